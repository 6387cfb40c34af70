from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from bottleneck.linear.design import ToDevice, keep_numpy
from bottleneck.linear.eigenbasis import Intercept
from bottleneck.linear.lbfgs import _MEMORY, Minimum, _Search, minimise
from bottleneck.linear.losses import Logistic, Loss, Softmax, SquaredHinge
from bottleneck.linear.objective import DualBound, Objective
from tests.helpers.problems import F64, INTERCEPTS, KINDS, Problem, classes_of

C = st.floats(-3, 3).map(lambda e: float(10**e))


@st.composite
def problems(draw: st.DrawFn, *, free: bool = True) -> Problem:
    """Small ones in double precision, of every loss, weighted or not."""
    kind = draw(st.sampled_from(KINDS))
    n, d, k = draw(st.tuples(st.integers(2, 12), st.integers(1, 12), st.integers(2, 4)))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    targets: NDArray[Any] = classes_of(max(n, k), k, random)
    n = len(targets)
    columns = None
    if kind is not Softmax:
        if draw(st.booleans()):
            targets = random.random((n, k)) < 0.4
        if draw(st.booleans()):
            columns = random.uniform(0.2, 2, (2, k))
    weight = random.uniform(0.2, 2, n) if draw(st.booleans()) else None
    intercept = draw(st.sampled_from(INTERCEPTS if free else ("penalised", "none")))
    return Problem(1 + random.normal(size=(n, d)), targets, kind, intercept, weight, columns)


def objective(
    problem: Problem, c: float, bound: DualBound | None = None, **options: Any
) -> Objective:
    return Objective(problem.design(**options), problem.loss(), c, bound, problem.zero(c))


def bound_of(f: Objective) -> DualBound:
    assert f.dual_bound is not None
    return f.dual_bound


def hinges() -> st.SearchStrategy[Problem]:
    return problems(free=False).filter(lambda problem: problem.kind is SquaredHinge)


def anywhere(f: Objective, scale: float = 1.0, seed: int = 0) -> F64:
    shape = (len(f.design.spectrum), int(f.loss.columns.shape[0]))
    return scale * np.random.default_rng(seed).normal(size=shape)


def start(f: Objective) -> F64:
    return anywhere(f, 0.0).astype(f.design.dtype)


def hard(kind: type[Loss] = SquaredHinge, k: int = 8, dtype: Any = np.float64) -> Problem:
    """Classes from easy to hard, so that some are done long before others."""
    random = np.random.default_rng(0)
    y = np.arange(160) % k
    rows = random.normal(size=(160, 24)) + (np.linspace(0, 6, k)[:, None] * np.eye(k, 24))[y]
    return Problem(rows.astype(dtype), y, kind)


@given(problems(), C)
def test_value_and_gradient_are_the_objectives(problem: Problem, c: float) -> None:
    f = objective(problem, c)
    at, along = anywhere(f), anywhere(f, seed=1)

    def value(where: F64) -> F64:
        return problem.objective(*f.design.to_coefficients(where), c)

    point = f(at)
    np.testing.assert_allclose(point.value, value(at), rtol=1e-7)
    step = 1e-5
    slope = (value(at + step * along) - value(at - step * along)).sum() / (2 * step)
    expected = (point.gradient * along).sum()
    assert slope == pytest.approx(expected, rel=1e-4, abs=1e-5 * (1 + point.value.sum()))
    assert f.passes == 1
    assert f(at) is not point
    assert f.passes == 2


@given(problems(), C)
def test_the_diagonal_is_above_the_curvature(problem: Problem, c: float) -> None:
    f = objective(problem, c)
    at, along = anywhere(f), anywhere(f, seed=1)
    if problem.column_weight is not None:  # of which `design` knows nothing
        problem = replace(problem, column_weight=None)
        f = objective(problem, c)
    step = 1e-5 * along
    curved = (f(at + step).gradient - f(at - step).gradient) * along / 2e-5
    bound = f.diagonal(np.full(problem.columns, problem.kind.curvature_bound)) * along**2
    assert curved.sum() <= bound.sum() * (1 + 1e-5) + 1e-5


@given(problems(), C)
def test_curvature_is_the_rows_mean(problem: Problem, c: float) -> None:
    f = objective(problem, c)
    at = anywhere(f)
    coef, intercept = f.design.to_coefficients(at)
    second = problem.second(problem.rows @ coef.T + intercept).sum(axis=0).diagonal()
    total = len(problem.rows) if problem.weight is None else problem.weight.sum()
    np.testing.assert_allclose(f(at).curvature, second / total, rtol=1e-6, atol=1e-12)


@given(problems(), C, st.floats(-6, 0))
def test_a_free_intercept_has_a_lower_floor_of_curvature_than_codes(
    problem: Problem, c: float, exponent: float
) -> None:
    f, bound = objective(problem, c), problem.kind.curvature_bound
    mean = bound * 10**exponent * np.linspace(0.1, 1, problem.columns)
    expected = f.design.penalty[:, None] + c * np.outer(
        f.design.spectrum, np.maximum(mean, 3e-2 * bound)
    )
    if problem.intercept == "free":
        expected[-1] = c * f.design.spectrum[-1] * np.maximum(mean, 3e-3 * bound)
    np.testing.assert_allclose(f.diagonal(mean), expected)


@given(problems(), C)
def test_an_excess_is_half_the_squared_gradient_with_ten_of_an_intercepts_steps(
    problem: Problem, c: float
) -> None:
    # Its step is Newton's, along it alone: rows are centred, so that coefficients stay.
    f = objective(problem, c)
    at = anywhere(f)
    coef, intercept = f.design.to_coefficients(at)
    weight = np.ones(len(problem.rows)) if problem.weight is None else problem.weight
    rows, margins = problem.rows, problem.rows @ coef.T + intercept
    slopes, gradient = c * problem.slopes(margins), 0.0
    if problem.intercept == "penalised":
        gradient = (intercept + slopes.sum(axis=0)) ** 2
    elif problem.intercept == "free":
        rows = rows - weight @ rows / weight.sum()
        curvature = c * np.einsum("nkk->k", problem.second(margins))
        gradient = 10 * slopes.sum(axis=0) ** 2 / np.maximum(curvature, c * weight.sum() * 1e-30)
    half = (((coef + slopes.T @ rows) ** 2).sum(axis=1) + gradient) / 2
    expected = half.sum(keepdims=True) if problem.kind is Softmax else half
    excess = f(at).excess
    if problem.kind is SquaredHinge and problem.intercept != "free":  # which knows a second bound
        assert np.all(excess <= expected * (1 + 1e-6))
    else:
        np.testing.assert_allclose(excess, expected, rtol=1e-6, atol=1e-12)


@given(problems(free=False), C)
def test_no_point_is_further_above_the_minimum_than_its_excess(problem: Problem, c: float) -> None:
    f, minimum = objective(problem, c), problem.minimum(c)
    for seed, scale in enumerate((0.0, 0.1, 1.0, 10.0)):
        point = f(anywhere(f, scale, seed))
        assert np.all(point.value - minimum <= point.excess + 1e-9 * (1e-3 + point.value))


def is_free_and_finite(problem: Problem) -> bool:
    some = problem.hot.any(axis=0) & ~problem.hot.all(axis=0)  # else it grows without end
    return problem.intercept == "free" and bool(some.all())


@given(problems().filter(is_free_and_finite), C)
@settings(max_examples=60, deadline=None)
def test_nor_is_one_near_the_minimum_where_the_intercept_is_free(
    problem: Problem, c: float
) -> None:
    f = objective(problem, c)
    found = minimise(f, start(f), tol=1e-9, max_passes=3000)
    f, minimum = objective(problem, c), problem.minimum(c)
    penalised = f.design.penalty[:, None]
    for seed in range(3):
        for along in (np.ones_like(penalised), penalised, 1 - penalised):
            point = f(found.at + along * anywhere(f, 1e-3, seed))
            assert np.all(point.value - minimum <= point.excess + 1e-8 * point.value)


@given(hinges(), C, C)
@settings(max_examples=60)
def test_every_point_of_a_hinge_proves_a_lower_bound(
    problem: Problem, c: float, other: float
) -> None:
    f = objective(problem, c)
    assert f.dual_bound is None
    minimum, best = problem.minimum(c), np.zeros(problem.columns)
    for seed, scale in enumerate((0.0, 0.1, 1.0, 10.0)):
        point = f(anywhere(f, scale, seed))
        now = bound_of(f).at(c)
        assert np.all(now >= best)
        assert np.all(now <= minimum * (1 + 1e-9))
        assert np.all(point.excess <= (point.value - now) * (1 + 1e-9))
        best = now
    # Dual points serve every C.
    assert np.all(bound_of(f).at(other) <= problem.minimum(other) * (1 + 1e-9))


@given(problems(), C)
def test_only_a_hinge_without_a_free_intercept_has_a_dual_bound(problem: Problem, c: float) -> None:
    f = objective(problem, c)
    found = minimise(f, start(f), tol=1e-2, max_passes=3)
    proved = problem.kind is SquaredHinge and problem.intercept != "free"
    assert (f.dual_bound is not None) == (found.dual_bound is not None) == proved


@given(hinges(), C)
def test_at_the_minimum_the_dual_bound_is_tight(problem: Problem, c: float) -> None:
    f = objective(problem, c)
    found = minimise(f, start(f), tol=1e-10, max_passes=5000)
    assert found.dual_bound is not None
    np.testing.assert_allclose(found.dual_bound.at(c), found.value, rtol=2e-10 + 1e-14 * c)


@given(hinges(), C)
def test_a_hinge_takes_the_best_multiple_of_its_dual_point(problem: Problem, c: float) -> None:
    f = objective(problem, c)
    at = anywhere(f)
    f(at)
    coef, intercept = f.design.to_coefficients(at)
    margins = problem.rows @ coef.T + intercept
    last = np.full((len(problem.rows), 1), float(problem.intercept == "penalised"))
    dual = c * np.hstack([problem.rows, last]).T @ problem.slopes(margins)
    slack = np.maximum(0, 1 - np.where(problem.hot, margins, -margins))
    for k, proved in enumerate(bound_of(f).at(c)):
        share = problem.share[:, k]
        linear = 2 * c * float(share @ slack[:, k])
        square = float(dual[:, k] @ dual[:, k]) / 2 + c * float(share @ slack[:, k] ** 2)
        if linear == 0:
            assert proved == 0
            continue
        best = minimize_scalar(lambda t, a=linear, b=square: t * t * b - t * a)
        assert proved == pytest.approx(-best.fun, rel=1e-6)


def test_an_earlier_dual_point_is_kept_where_it_is_better() -> None:
    problem = hard(k=3)
    f = objective(problem, 1.0)
    best = minimise(f, start(f), tol=1e-9, max_passes=1000).dual_bound
    assert best is not None
    mixed = DualBound(
        *(np.where([True, False, True], v, 0) for v in (best.linear, best.norm, best.square))
    )
    later = objective(problem, 1.0, mixed)
    later(start(later))
    assert later.dual_bound is not None
    np.testing.assert_array_equal(later.dual_bound.at(1.0)[[0, 2]], best.at(1.0)[[0, 2]])
    assert 0 < later.dual_bound.at(1.0)[1] < best.at(1.0)[1]


def by_itself(problem: Problem, k: int, c: float, tol: float) -> Minimum:
    f = objective(problem.column(k), c)
    return minimise(f, start(f), tol=tol, max_passes=5000)


@pytest.mark.parametrize("kind", [SquaredHinge, Logistic])
@pytest.mark.parametrize("tol", [1e-3, 1e-7])
def test_together_each_problem_is_solved_as_if_alone(
    kind: type[Loss], tol: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, c = hard(kind), 10.0
    f = objective(problem, c)
    gradient, widths = f.design.gradient, []

    def counted(coefficients: Any, loss: Any) -> Any:
        widths.append(coefficients.shape[1])
        return gradient(coefficients, loss)

    monkeypatch.setattr(f.design, "gradient", counted)
    found = minimise(f, start(f), tol=tol, max_passes=5000)
    assert found.passes == f.passes == len(widths)
    assert (widths[0], sorted(widths, reverse=True)) == (8, widths)
    assert widths[-1] < 8  # those that were done have left
    assert np.all(found.gap <= tol)
    coef, intercept = f.design.to_coefficients(found.at)
    np.testing.assert_allclose(found.value, problem.objective(coef, intercept, c), rtol=1e-9)
    again, proved = (
        objective(problem, c, found.dual_bound),
        found.gap * problem.scale(coef, intercept, c),
    )
    np.testing.assert_allclose(proved, again(found.at).excess, rtol=1e-6)
    minimum = problem.minimum(c)
    if found.dual_bound is not None:
        assert np.all(found.dual_bound.at(c) <= minimum * (1 + 1e-9))
    assert np.all(found.value <= minimum + proved + 1e-12 * minimum)
    for k in range(8):
        one = by_itself(problem, k, c, tol)
        # The objective is strongly convex: coefficients are as near as its values say.
        near = np.sqrt(2 * tol * one.value[0]) + np.sqrt(2 * tol * found.value[k])
        assert np.linalg.norm(found.at[:, k] - one.at[:, 0]) <= near


@given(problems(free=False), st.floats(0, 5))
@settings(max_examples=50)
def test_no_step_goes_uphill(problem: Problem, exponent: float) -> None:
    f = objective(problem, 10**exponent)
    search = _Search(f, start(f))
    for _ in range(25):
        if np.all(search.gap < 1e-12):
            break
        before = search.point.value
        search.step()
        assert np.all(search.point.value <= before * (1 + 1e-12))
        again = objective(problem, 10**exponent)(search.point.at)
        np.testing.assert_allclose(again.value, search.point.value, rtol=1e-9)
        np.testing.assert_allclose(again.curvature, search.point.curvature, rtol=1e-6)
        size = 1e-9 * (1 + np.abs(again.gradient).max())
        np.testing.assert_allclose(again.gradient, search.point.gradient, rtol=1e-6, atol=size)


@pytest.mark.parametrize("leaves", [None, 4])
def test_every_problem_goes_at_its_own_pace(leaves: int | None) -> None:
    # Steps that fail for one problem, and problems that leave, change nothing for the others,
    # for as long as all of the steps are remembered.
    problem, c = hard(k=5), 1e4
    f = objective(problem, c)
    at, kept = anywhere(f), np.arange(5)
    together = _Search(f, at)
    alone = [_Search(objective(problem.column(k), c), at[:, [k]]) for k in range(5)]
    failed = np.zeros(5, int)
    for step in range(_MEMORY):
        if step == leaves:
            kept = np.array([1, 2, 4])
            together.take(kept)
        together.step()
        for place, k in enumerate(kept):
            alone[k].step()
            failed[k] += alone[k].length[0] < 1
            assert together.length[place] == pytest.approx(alone[k].length[0], rel=1e-4)
            assert together.point.value[place] == pytest.approx(alone[k].point.value[0], rel=1e-6)
            assert together.gap[place] == pytest.approx(alone[k].gap[0], rel=1e-4)
    assert len({*failed.tolist()}) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_gap_is_a_share_of_the_objective_or_of_what_was_gained(kind: type[Loss]) -> None:
    problem = hard(kind, k=3)
    problem, shares = replace(problem, intercept="none"), []
    for c in (1e-14, 1e-9, 1e-3, 1.0, 1e3):  # from nothing gained to nearly all
        f = objective(problem, c)
        found = minimise(f, start(f), tol=1e-2, max_passes=1000)
        gained, square = problem.zero(c) - found.value, (found.at**2).sum(axis=0)
        if kind is Softmax:
            square = square.sum(keepdims=True)
        shares.append(np.maximum(gained, square).mean() / found.value.mean())
        fresh = objective(problem, c, found.dual_bound)
        point = fresh(found.at)
        share = np.maximum(np.minimum(found.value, np.maximum(gained, square)), 1e-9 * found.value)
        np.testing.assert_allclose(fresh.gap(point), point.excess / share, rtol=1e-6)
        np.testing.assert_allclose(found.gap, fresh.gap(point), rtol=1e-6, atol=1e-12)
    assert shares[0] < 1e-9 < shares[1] < 1e-3 < shares[2] < 1 < shares[-1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("passes", [1, 2, 5])
def test_passes_are_no_more_than_allowed(kind: type[Loss], passes: int) -> None:
    problem = hard(kind, k=5)
    f = objective(problem, 1.0)
    found = minimise(f, start(f), tol=1e-9, max_passes=passes)
    assert found.passes == f.passes == passes
    assert np.all(found.gap > 1e-9)
    np.testing.assert_allclose(
        found.value, problem.objective(*f.design.to_coefficients(found.at), 1.0)
    )
    error = found.value - problem.minimum(1.0)
    assert np.all(error <= found.gap * problem.scale(*f.design.to_coefficients(found.at), 1.0))


@pytest.mark.parametrize("kind", KINDS)
def test_at_the_minimum_one_pass_is_enough(kind: type[Loss]) -> None:
    f = objective(hard(kind, k=3), 1.0)
    found = minimise(f, start(f), tol=1e-8, max_passes=1000)
    again = minimise(objective(hard(kind, k=3), 1.0), found.at, tol=1e-7, max_passes=1000)
    assert again.passes == 1
    np.testing.assert_array_equal(again.at, found.at)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_it_comes_back_from_afar(kind: type[Loss], scale: float) -> None:
    problem = hard(kind, k=3)
    f = objective(problem, 1.0)
    found = minimise(f, anywhere(f, scale), tol=1e-6, max_passes=1000)
    assert np.all(found.gap <= 1e-6)
    assert np.all(found.value <= problem.minimum(1.0) * (1 + 1e-6))


@pytest.mark.parametrize("kind", KINDS)
def test_where_rounding_ends_it_it_ends(kind: type[Loss]) -> None:
    # No point is proved to be so near in single precision: it has to stop all the same.
    f = objective(hard(kind, k=3, dtype=np.float32), 10.0)
    found = minimise(f, start(f), tol=1e-14, max_passes=3000)
    assert found.passes < 1000
    assert np.all(np.abs(found.gap) < 1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("intercept", INTERCEPTS)
@pytest.mark.parametrize("shape", [(30, 5), (8, 20)])
def test_torch_gives_the_same(
    kind: type[Loss], intercept: Intercept, shape: tuple[int, int]
) -> None:
    random = np.random.default_rng(0)
    targets, weight = np.arange(shape[0]) % 3, random.uniform(0.5, 2, shape[0])
    problem = Problem(random.normal(size=shape), targets, kind, intercept, weight)

    def solved(to_device: ToDevice) -> tuple[Minimum, tuple[F64, F64]]:
        f = Objective(problem.design(to_device=to_device), problem.loss(to_device), 3.0, None, None)
        found = minimise(f, to_device(anywhere(f, 0.0)), tol=1e-9, max_passes=2000)
        np.testing.assert_allclose(found.value_at_zero, problem.zero(3.0), rtol=1e-12)
        return found, f.design.to_coefficients(found.at)

    (ours, coefficients), (other, moved) = solved(keep_numpy), solved(torch.from_numpy)
    assert isinstance(other.at, torch.Tensor)
    np.testing.assert_allclose(other.value.numpy(), ours.value, rtol=1e-8)
    for one, same in zip(coefficients, moved, strict=True):
        np.testing.assert_allclose(one, same, atol=1e-3)
