from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import brentq

from bottleneck.linear.solver.losses import Logistic, Loss, LossSums, Softmax, SquaredHinge, Targets
from tests.helpers.problems import F64, KINDS, Problem, classes_of


@st.composite
def cases(draw: st.DrawFn, *, softmax: bool = True) -> tuple[Problem, F64]:
    """A problem whose rows do not matter, and margins."""
    kind = draw(st.sampled_from(KINDS if softmax else KINDS[:2]))
    n, q = draw(st.tuples(st.integers(1, 8), st.integers(1, 4)))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    targets: NDArray[Any] = classes_of(max(n, q), q, random)
    n = len(targets)
    if kind is not Softmax and draw(st.booleans()):
        targets = random.random((n, q)) < 0.5
    weight = random.uniform(0.1, 3, n) if draw(st.booleans()) else None
    columns = None
    if kind is not Softmax and draw(st.booleans()):
        columns = random.uniform(0.1, 3, (2, q))
    margins = draw(st.sampled_from([0.5, 2.0, 10.0])) * random.normal(size=(n, q))
    rows = random.normal(size=(n, draw(st.integers(1, 3))))
    return Problem(rows, targets, kind, "none", weight, columns), margins


def everything(
    problem: Problem, margins: NDArray[Any], loss: Loss | None = None
) -> tuple[Any, LossSums]:
    return (loss or problem.loss())(problem.known(), margins.copy())


def assert_same(
    sums: LossSums, expected: LossSums, columns: Any = slice(None), *, rtol: float, atol: float
) -> None:
    """Every sum, of some of the columns that were expected."""
    names = ["value", "curvature", *([] if expected.slack is None else ["slack"])]
    assert (sums.slack is None) == (expected.slack is None)
    for name in names:
        wanted = getattr(expected, name)[columns]
        np.testing.assert_allclose(getattr(sums, name), wanted, rtol=rtol, atol=atol)


@given(cases())
def test_values_and_residuals_are_the_formulas(case: tuple[Problem, F64]) -> None:
    problem, margins = case
    residual, sums = everything(problem, margins)
    np.testing.assert_allclose(residual, problem.slopes(margins), rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(sums.value, problem.losses(margins).sum(axis=0), 1e-9, 1e-13)


@given(cases())
def test_residuals_and_curvature_are_derivatives(case: tuple[Problem, F64]) -> None:
    problem, margins = case
    if problem.kind is SquaredHinge:  # away from its corners
        margins = np.where(np.abs(np.abs(margins) - 1) < 1e-3, 0.0, margins)
    step = 1e-5
    residual, sums = everything(problem, margins)
    curvature = np.zeros_like(sums.curvature)
    for i, k in np.ndindex(margins.shape):
        nudge = np.zeros_like(margins)
        nudge[i, k] = step
        above, below = everything(problem, margins + nudge), everything(problem, margins - nudge)
        slope = (above[1].value - below[1].value).sum() / (2 * step)
        assert slope == pytest.approx(residual[i, k], rel=1e-5, abs=1e-7)
        curvature[k] += (above[0] - below[0])[i, k] / (2 * step)
    np.testing.assert_allclose(sums.curvature, curvature, rtol=1e-5, atol=1e-7)


@given(cases())
def test_no_row_curves_more_than_the_bound(case: tuple[Problem, F64]) -> None:
    problem, margins = case
    plain = Problem(problem.rows, problem.targets, problem.kind)
    assert np.linalg.eigvalsh(plain.second(margins)).max() <= problem.kind.curvature_bound + 1e-12
    _, sums = everything(plain, margins)
    assert np.all(sums.curvature <= problem.kind.curvature_bound * len(margins) + 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_is_reached(kind: type[Loss]) -> None:
    problem = Problem(np.ones((2, 1)), np.array([0, 1]), kind)
    assert np.linalg.eigvalsh(problem.second(np.zeros((2, 2)))).max() == kind.curvature_bound


@given(cases(), st.floats(1e-3, 1e3))
def test_the_hinges_residuals_prove_a_lower_bound(case: tuple[Problem, F64], c: float) -> None:
    # Whatever the margins that residuals come from, no coefficients have a lower objective; and
    # where they come from coefficients, half the squared gradient is between the two.
    problem, margins = case
    columns = None if problem.kind is Softmax else problem.column_weight
    problem = Problem(problem.rows, problem.hot, SquaredHinge, "none", problem.weight, columns)
    rows = problem.rows

    def bound(at: F64) -> F64:
        residual, sums = everything(problem, at)
        norm = ((c * rows.T @ residual) ** 2).sum(axis=0)
        assert sums.slack is not None
        return np.asarray(2 * c * sums.slack - norm / 2 - c * sums.value)

    random = np.random.default_rng(0)
    none = np.zeros(problem.columns)
    for scale in (0.0, 0.3, 3.0):
        coef = scale * random.normal(size=(problem.columns, rows.shape[1]))
        objective = problem.objective(coef, none, c)
        scale_of_both = np.abs(objective) + np.abs(bound(margins)) + c
        assert np.all(bound(margins) <= objective + 1e-9 * scale_of_both)
        gradient = coef.T + c * rows.T @ problem.slopes(rows @ coef.T)
        half = (gradient**2).sum(axis=0) / 2
        np.testing.assert_allclose(
            objective - bound(rows @ coef.T), half, rtol=1e-7, atol=1e-9 * (1 + objective.max())
        )


@given(cases())
def test_only_the_hinge_gives_its_slack(case: tuple[Problem, F64]) -> None:
    problem, margins = case
    _, sums = everything(problem, margins)
    assert (sums.slack is not None) == (problem.kind is SquaredHinge)
    if sums.slack is not None:
        slack = np.maximum(0, 1 - np.where(problem.hot, margins, -margins))
        np.testing.assert_allclose(sums.slack, (problem.share * slack).sum(axis=0), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("q", [2, 3, 10])
def test_curvature_at_zero_is_that_of_zero_margins(kind: type[Loss], q: int) -> None:
    problem = Problem(np.ones((q, 1)), np.arange(q), kind)
    curvature = np.einsum("nkk->nk", problem.second(np.zeros((q, q))))
    np.testing.assert_allclose(curvature, problem.loss().curvature_at_zero, rtol=1e-12)


@pytest.mark.parametrize(("kind", "near"), [(SquaredHinge, 1e-3), (Logistic, 0.1)])
def test_the_minimiser_of_separable_rows_is_linear_in_the_path_coordinate(
    kind: type[Loss], near: float
) -> None:
    # One coefficient, a right row and a wrong one; C grows tenfold, and tenfold again.
    problem = Problem(np.array([[1.0], [-1.0]]), np.array([[True], [False]]), kind, "none")
    cs = [1e4, 1e5, 1e6]

    def slope(w: float, c: float) -> float:
        return float(w + c * (problem.rows.T @ problem.slopes(w * problem.rows)).item())

    minimisers = [brentq(slope, 0, 100, (c,), xtol=1e-15, rtol=1e-14) for c in cs]
    speeds = np.diff(minimisers) / np.diff([kind.path_coordinate(c) for c in cs])
    assert speeds[0] > 0
    assert speeds[1] == pytest.approx(speeds[0], rel=near)


@given(cases(softmax=False), st.data())
def test_some_columns_are_as_among_all(case: tuple[Problem, F64], data: st.DataObject) -> None:
    problem, margins = case
    loss = problem.loss()
    residual, sums = everything(problem, margins)
    left = np.arange(problem.columns)
    for _ in range(2):  # and some of these
        kept = data.draw(st.lists(st.sampled_from(range(len(left))), min_size=1, unique=True))
        kept.sort()
        loss, left = loss.take(np.array(kept)), left[kept]
        assert len(loss.columns) == len(left)
        some, some_sums = everything(problem, margins[:, left], loss)
        np.testing.assert_array_equal(some, residual[:, left])
        assert_same(some_sums, sums, left, rtol=1e-12, atol=1e-15)


@given(cases(), st.integers(0, 8))
def test_blocks_add_up(case: tuple[Problem, F64], cut: int) -> None:
    problem, margins = case
    cut = min(cut, len(margins))
    loss, known = problem.loss(), problem.known()
    residual, sums = everything(problem, margins)
    halves = (slice(0, cut), slice(cut, len(margins)))
    parts = [loss(known[rows], margins[rows].copy()) for rows in halves]
    np.testing.assert_array_equal(np.concatenate([part for part, _ in parts]), residual)
    assert_same(parts[0][1] + parts[1][1], sums, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_torch_gives_the_same(kind: type[Loss], dtype: Any) -> None:
    random = np.random.default_rng(0)
    margins = (3 * random.normal(size=(30, 4))).astype(dtype)
    columns = None if kind is Softmax else random.uniform(0.5, 2, (2, 4))
    weight = random.uniform(0.5, 2, 30)
    problem = Problem(margins, random.integers(0, 4, 30), kind, "none", weight, columns)
    expected, sums = everything(problem, margins)
    known = problem.known(torch.from_numpy)
    residual, moved = problem.loss(torch.from_numpy)(known, torch.from_numpy(margins.copy()))
    assert residual.numpy().dtype == expected.dtype == dtype
    np.testing.assert_allclose(residual.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert moved.value.dtype == torch.float64
    assert_same(moved, sums, rtol=1e-5, atol=1e-5)


def test_residuals_near_certainty_keep_their_digits() -> None:
    # In single precision p is 1 here, and 1 - p would be 0.
    margins, targets = np.array([[30.0, 0.0, 2.0], [-3.0, 40.0, 1.0]], np.float32), np.array([0, 1])
    residual, _ = Softmax(np.arange(3))(Targets(targets), margins.copy())
    wrong = np.exp([[-30.0, -28.0], [-43.0, -39.0]])
    np.testing.assert_allclose(residual[[0, 0, 1, 1], [1, 2, 0, 2]], wrong.ravel(), rtol=1e-5)
    np.testing.assert_allclose(residual[[0, 1], targets], -wrong.sum(axis=1), rtol=1e-5)
    residual, _ = Logistic(np.arange(3))(Targets(targets), margins.copy())
    np.testing.assert_allclose(residual[[0, 1], targets], -np.exp([-30.0, -40.0]), rtol=1e-5)


def test_sums_near_certainty_keep_their_digits() -> None:
    # In single precision 1 + exp(-20) is 1, and its logarithm would be 0: large C multiply that.
    margins, targets = np.array([[20.0, 0.0], [-1.0, 18.0]], np.float32), np.array([0, 1])
    lost = np.exp([-20.0, -19.0])  # to first order the loss, p of the wrong class and the curvature
    _, sums = Softmax(np.arange(2))(Targets(targets), margins.copy())
    np.testing.assert_allclose(sums.value, [lost.sum()], rtol=1e-5)
    np.testing.assert_allclose(sums.curvature, 2 * [lost.sum()], rtol=1e-5)
    margins = np.array([[20.0], [-19.0]], np.float32)
    _, sums = Logistic(np.arange(1))(Targets(np.array([[True], [False]])), margins.copy())
    np.testing.assert_allclose(sums.value, [lost.sum()], rtol=1e-5)
    np.testing.assert_allclose(sums.curvature, [lost.sum()], rtol=1e-5)


@pytest.mark.parametrize("kind", [Logistic, Softmax])
def test_log_losses_of_huge_margins_are_finite(kind: type[Loss]) -> None:
    huge = np.array([[1e30, -1e30], [-1e30, 1e30]], np.float32)  # the first right, the other wrong
    residual, sums = kind(np.arange(2))(Targets(np.array([0, 0])), huge.copy())
    np.testing.assert_array_equal(residual, [[0, 0], [-1, 1]])
    expected = np.array([2e30] if kind is Softmax else [1e30, 1e30])
    np.testing.assert_allclose(sums.value, expected, rtol=1e-6)
    np.testing.assert_array_equal(sums.curvature, [0, 0])


def test_squared_hinges_of_huge_margins_are_finite() -> None:
    huge = np.array([[1e18, -1e18], [-1e18, 1e18]], np.float32)
    residual, sums = SquaredHinge(np.arange(2))(Targets(np.array([0, 0])), huge.copy())
    np.testing.assert_allclose(residual, np.array([[0, 0], [-2e18, 2e18]]), rtol=1e-6)
    np.testing.assert_allclose(sums.value, [1e36, 1e36], rtol=1e-6)
    np.testing.assert_array_equal(sums.curvature, [2, 2])


@pytest.mark.parametrize("kind", KINDS)
def test_sums_of_many_rows_keep_their_digits(kind: type[Loss]) -> None:
    random = np.random.default_rng(0)
    margins = random.normal(size=(200_000, 2)).astype(np.float32)
    problem = Problem(margins, random.integers(0, 2, 200_000), kind)
    _, sums = everything(problem, margins)
    exact = margins.astype(np.float64)
    np.testing.assert_allclose(sums.value, problem.losses(exact).sum(axis=0), rtol=1e-6)
    curvature = np.einsum("nkk->k", problem.second(exact))
    np.testing.assert_allclose(sums.curvature, curvature, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_targets_and_weights_are_not_changed(kind: type[Loss]) -> None:
    random = np.random.default_rng(0)
    columns = None if kind is Softmax else np.ones((2, 3))
    problem = Problem(
        np.ones((5, 1)), np.array([0, 1, 2, 1, 0]), kind, "none", np.arange(1.0, 6), columns
    )
    loss, known = problem.loss(), problem.known()
    margins = random.normal(size=(5, 3))
    first, _ = loss(known, margins.copy())
    second, _ = loss(known, margins.copy())
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(problem.known().right, known.right)
    np.testing.assert_array_equal(problem.known().weight, known.weight)
