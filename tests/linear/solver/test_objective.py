from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from bottleneck.linear.solver.lbfgs import minimise
from bottleneck.linear.solver.losses import Loss, Softmax, SquaredHinge
from bottleneck.linear.solver.objective import DualBound
from tests.helpers.objectives import (
    C_VALUES,
    anywhere,
    bound_of,
    hard,
    hinges,
    objective,
    problems,
    start,
)
from tests.helpers.problems import F64, KINDS, Problem


@given(problems(), C_VALUES)
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


@given(problems(), C_VALUES)
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


@given(problems(), C_VALUES)
def test_curvature_is_the_rows_mean(problem: Problem, c: float) -> None:
    f = objective(problem, c)
    at = anywhere(f)
    coef, intercept = f.design.to_coefficients(at)
    second = problem.second(problem.rows @ coef.T + intercept).sum(axis=0).diagonal()
    total = len(problem.rows) if problem.weight is None else problem.weight.sum()
    np.testing.assert_allclose(f(at).curvature, second / total, rtol=1e-6, atol=1e-12)


@given(problems(), C_VALUES, st.floats(-6, 0))
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


@given(problems(), C_VALUES)
def test_an_excess_is_half_the_squared_gradient_with_ten_of_an_intercepts_steps(
    problem: Problem, c: float
) -> None:
    # Its step is Newton's, along it alone: rows are centred. The gradient that it makes is its
    # slope times a mean of rows, whose squared length is about a tenth of theirs.
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
        curvature = np.maximum(curvature, c * weight.sum() * 1e-30)
        squares = weight @ (rows**2).sum(axis=1) / weight.sum()
        gradient = slopes.sum(axis=0) ** 2 * (10 / curvature + squares / 10)
    half = (((coef + slopes.T @ rows) ** 2).sum(axis=1) + gradient) / 2
    expected = half.sum(keepdims=True) if problem.kind is Softmax else half
    excess = f(at).excess
    if problem.kind is SquaredHinge and problem.intercept != "free":  # which knows a second bound
        assert np.all(excess <= expected * (1 + 1e-6))
    else:
        np.testing.assert_allclose(excess, expected, rtol=1e-6, atol=1e-12)


@given(problems(free=False), C_VALUES)
def test_no_point_is_further_above_the_minimum_than_its_excess(problem: Problem, c: float) -> None:
    f, minimum = objective(problem, c), problem.minimum(c)
    for seed, scale in enumerate((0.0, 0.1, 1.0, 10.0)):
        point = f(anywhere(f, scale, seed))
        assert np.all(point.value - minimum <= point.excess + 1e-9 * (1e-3 + point.value))


def is_free_and_finite(problem: Problem) -> bool:
    some = problem.hot.any(axis=0) & ~problem.hot.all(axis=0)  # else it grows without end
    return problem.intercept == "free" and bool(some.all())


@given(problems().filter(is_free_and_finite), C_VALUES)
def test_the_excess_is_a_bound_near_the_minimum_with_a_free_intercept_too(
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


@given(hinges(), C_VALUES, C_VALUES)
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


@given(hinges(), C_VALUES)
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
