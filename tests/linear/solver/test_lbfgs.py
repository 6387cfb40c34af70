from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bottleneck.linear.solver import lbfgs
from bottleneck.linear.solver.design import Intercept, ToDevice, keep_numpy
from bottleneck.linear.solver.lbfgs import _MEMORY, Minimum, _Search, minimise
from bottleneck.linear.solver.losses import Logistic, Loss, SquaredHinge
from bottleneck.linear.solver.objective import Objective
from tests.helpers.objectives import C_VALUES, anywhere, hard, hinges, objective, problems, start
from tests.helpers.problems import F64, INTERCEPTS, KINDS, Problem


@pytest.fixture(autouse=True, scope="module")
def no_newton_steps() -> Iterator[None]:
    """L-BFGS alone, as where problems are large; test_newton.py has the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lbfgs, "_MAX_NEWTON_COST", 0.0)
        yield


@given(problems(), C_VALUES)
def test_only_a_hinge_without_a_free_intercept_has_a_dual_bound(problem: Problem, c: float) -> None:
    f = objective(problem, c)
    found = minimise(f, start(f), tol=1e-2, max_passes=3)
    proved = problem.kind is SquaredHinge and problem.intercept != "free"
    assert (f.dual_bound is not None) == (found.dual_bound is not None) == proved


@given(hinges(), C_VALUES)
def test_at_the_minimum_the_dual_bound_is_tight(problem: Problem, c: float) -> None:
    f = objective(problem, c)
    found = minimise(f, start(f), tol=1e-10, max_passes=5000)
    assert found.dual_bound is not None
    np.testing.assert_allclose(found.dual_bound.at(c), found.value, rtol=2e-10 + 1e-14 * c)


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
    kind_of_design, widths = type(f.design), []
    gradient = kind_of_design.gradient

    def counted(design: Any, coefficients: Any, loss: Any) -> Any:
        widths.append(coefficients.shape[1])
        return gradient(design, coefficients, loss)

    monkeypatch.setattr(kind_of_design, "gradient", counted)
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
def test_problems_have_their_own_step_lengths(leaves: int | None) -> None:
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
def test_a_distant_start_converges(kind: type[Loss], scale: float) -> None:
    problem = hard(kind, k=3)
    f = objective(problem, 1.0)
    found = minimise(f, anywhere(f, scale), tol=1e-6, max_passes=1000)
    assert np.all(found.gap <= 1e-6)
    assert np.all(found.value <= problem.minimum(1.0) * (1 + 1e-6))


@pytest.mark.parametrize("kind", KINDS)
def test_the_search_ends_where_rounding_prevents_progress(kind: type[Loss]) -> None:
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
