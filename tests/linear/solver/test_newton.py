import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bottleneck.linear.solver.design import ArrayDesign, Intercept, UndecomposedDesign
from bottleneck.linear.solver.lbfgs import minimise
from bottleneck.linear.solver.losses import Logistic, Softmax, SquaredHinge
from bottleneck.linear.solver.newton import _zero_of, newton_cost, newton_direction
from bottleneck.linear.solver.objective import Objective
from tests.helpers.objectives import C_VALUES, anywhere, hard, objective, problems, start
from tests.helpers.problems import INTERCEPTS, KINDS, Problem


def direction(f: Objective, at: Any) -> Any:
    assert isinstance(f.design, ArrayDesign)
    return newton_direction(f.design, f.loss, f.c, at, f(at).gradient)


@settings(deadline=None)
@given(problems(), C_VALUES, st.integers(0, 9))
def test_a_step_solves_the_second_derivatives_equations(
    problem: Problem, c: float, seed: int
) -> None:
    f = objective(problem, c)
    at = anywhere(f, 0.3, seed)
    gradient, step = f(at).gradient, direction(f, at)
    small = 1e-6 / max(1.0, float(np.abs(step).max()))
    bent = (f(at + small * step).gradient - f(at - small * step).gradient) / (2 * small)
    # Of a one-vs-rest problem the step has a length of its own.
    for k in range(1 if problem.kind is Softmax else step.shape[1]):
        own = slice(None) if problem.kind is Softmax else slice(k, k + 1)
        g, curved = gradient[:, own].ravel(), bent[:, own].ravel()
        length = -(curved @ g) / (g @ g)
        assert length > 0
        np.testing.assert_allclose(curved, -length * g, atol=2e-3 * np.abs(g).max() * length)


@settings(deadline=None)
@given(problems(), C_VALUES, st.integers(0, 9))
def test_a_one_vs_rest_step_ends_near_the_least_objective_on_its_way(
    problem: Problem, c: float, seed: int
) -> None:
    f = objective(problem, c)
    at = anywhere(f, 0.3, seed)
    step = direction(f, at)
    if problem.kind is not Softmax:
        before, after = f(at), f(at + step)
        first, last = ((point.gradient * step).sum(axis=0) for point in (before, after))
        assert np.all(np.abs(last) <= 0.11 * np.abs(first) + 1e-9 * before.value)
        assert np.all(after.value <= before.value * (1 + 1e-12))


@pytest.mark.parametrize("bend", [0.03, 0.3, 0.77, 0.98])
@pytest.mark.parametrize("steepness", [10.0, 1e2, 1e4])
def test_a_slope_that_bends_sharply_is_no_long_search(bend: float, steepness: float) -> None:
    seen = []

    def slope(length: Any) -> Any:
        seen.append(length)
        return np.where(length < bend, length - 1, bend - 1 + steepness * (length - bend))

    found = _zero_of(slope, np.array([-1.0]))
    assert abs(slope(found)[0]) <= 0.1
    assert len(seen) <= 30


@pytest.mark.parametrize("intercept", INTERCEPTS)
@pytest.mark.parametrize(("kind", "c"), [(Logistic, 0.01), (Logistic, 1.0), (SquaredHinge, 0.003)])
def test_conjugate_gradients_come_near_the_exact_step(
    kind: Any, c: float, intercept: Intercept
) -> None:
    random = np.random.default_rng(0)
    rows, weight = 0.3 + random.normal(size=(40, 90)), random.uniform(0.5, 2, 40)
    f = objective(Problem(rows, random.random((40, 1)) < 0.4, kind, intercept, weight), c)
    assert isinstance(f.design, UndecomposedDesign)
    at = anywhere(f, 0.03)
    step = direction(f, at)[:, 0]
    second = f.loss.second(f.design.targets, f.design.rows @ at)
    hessian = np.diag(f.design.penalty) + c * f.design.rows.T @ (second * f.design.rows)
    exact = -np.linalg.lstsq(hessian, f(at).gradient[:, 0])[0]
    # A residual of a tenth is a hundredth of the squared length that the Hessian measures.
    cosine = step @ hessian @ exact / math.sqrt((step @ hessian @ step) * (exact @ hessian @ exact))
    assert cosine > 0.99


@pytest.mark.parametrize("intercept", INTERCEPTS)
@pytest.mark.parametrize(("kind", "d"), [(SquaredHinge, 20), (Softmax, 1)])
def test_a_step_with_equal_rows_far_from_zero_is_finite_and_descends(
    kind: Any, d: int, intercept: Intercept
) -> None:
    # Their system has no digit left for the penalty, or for the inverse of C: it is singular.
    rows = np.repeat(2.0**20 * np.random.default_rng(0).integers(1, 9, (4, d)), 2, axis=0)
    targets = np.arange(8) % 2 if kind is Softmax else np.arange(8)[:, None] % 2 == 0
    f = objective(Problem(rows, targets, kind, intercept), 1e5)
    at = anywhere(f, 1e-9)
    step = direction(f, at)
    assert np.all(np.isfinite(step))
    assert np.sum(step * f(at).gradient) < 0


@pytest.mark.parametrize("intercept", INTERCEPTS)
def test_a_step_of_rows_that_hardly_curve_is_finite(intercept: Intercept) -> None:
    random = np.random.default_rng(0)
    f = objective(Problem(random.normal(size=(40, 60)), np.arange(40) % 3, Logistic, intercept), 1)
    step = direction(f, anywhere(f, 100.0))  # where the inverse of a curvature is infinite
    assert np.all(np.isfinite(step))


@pytest.mark.parametrize("intercept", INTERCEPTS)
def test_a_step_without_active_rows_follows_the_penalty_and_solves_no_system(
    intercept: Intercept, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    belongs = np.arange(40)[:, None] % 2 == 0
    f = objective(Problem(random.normal(size=(40, 90)), belongs, SquaredHinge, intercept), 1.0)
    assert isinstance(f.design, ArrayDesign)
    at = np.linalg.lstsq(f.design.rows, np.where(belongs, 3.0, -3.0))[0]  # beyond every margin
    for name in ("_coordinate_system", "_row_system"):  # the former would have 91 equations
        monkeypatch.setattr(f"bottleneck.linear.solver.newton.{name}", None)
    penalised = f.design.penalty[:, None] * at
    np.testing.assert_allclose(f(at).gradient, penalised, atol=1e-12)
    step = direction(f, at)
    length = np.linalg.norm(step) / np.linalg.norm(penalised)
    assert length > 0.1
    np.testing.assert_allclose(step, -length * penalised, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy])
def test_newton_steps_need_few_passes(kind: Any, convert: Any) -> None:
    problem, c, passes = hard(kind), 1.0, []
    for newton in (False, True):
        f = objective(problem, c, to_device=convert)
        f.value_at_zero = None
        found = minimise(
            f, convert(start(objective(problem, c))), tol=1e-8, max_passes=900, newton=newton
        )
        assert float(found.gap.max()) <= 1e-8
        assert float(found.value.sum()) == pytest.approx(problem.minimum(c).sum(), rel=1e-7)
        passes.append(found.passes)
    assert passes[1] <= 16


def test_a_step_costs_what_its_equations_do() -> None:
    few, many = hard(k=2), hard(k=8)
    costs = [
        newton_cost(f.design, f.loss, f(start(f)).curvature)
        for f in (objective(few, 1.0), objective(many, 1.0))
    ]
    assert 0 < costs[0] < costs[1] < math.inf
    streamed = objective(few, 1.0, in_memory=False)
    assert newton_cost(streamed.design, streamed.loss, np.ones(2)) == math.inf
