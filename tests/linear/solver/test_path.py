import math
import tracemalloc
import warnings
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from bottleneck.linear.solver import eigenbasis
from bottleneck.linear.solver import lbfgs as descent
from bottleneck.linear.solver import path as solver
from bottleneck.linear.solver.design import ArrayDesign, Intercept, ToDevice, keep_numpy
from bottleneck.linear.solver.eigenbasis import make_design
from bottleneck.linear.solver.lbfgs import Minimum
from bottleneck.linear.solver.losses import Logistic, Loss, Softmax, SquaredHinge
from bottleneck.linear.solver.newton import newton_direction
from bottleneck.linear.solver.objective import Objective
from bottleneck.linear.solver.path import RegularizationPath, Solution, _path_steps
from tests.helpers.problems import F64, KINDS, Problem, Rows, classes_of, solve_path

TOL = 1e-3
SHAPES = [(40, 6), (12, 30), (30, 1)]


def solve(problem: Problem, *cs: float, **options: Any) -> list[Solution]:
    return list(solve_path(problem.design(), problem.loss(), cs, **options))


def objective(problem: Problem, solution: Solution) -> F64:
    return problem.objective(solution.coef, solution.intercept, solution.c)


def blobs(n: int, d: int, k: int, *, apart: float = 1.0, dtype: Any = np.float64) -> Problem:
    random = np.random.default_rng(n + d)
    y = np.arange(n) % k
    centers = apart * random.normal(size=(k, d))
    return Problem((random.normal(size=(n, d)) + centers[y]).astype(dtype), y, SquaredHinge)


def two_classes(problem: Problem, kind: type[Loss], intercept: Intercept) -> Problem:
    return replace(problem, targets=problem.hot[:, [1]], kind=kind, intercept=intercept)


def fitted(model: Any, problem: Problem, weight: F64 | None = None) -> tuple[F64, F64]:
    """scikit-learn's coefficients, as near to its minimum as it comes."""
    y = problem.targets if problem.targets.ndim == 1 else problem.targets[:, 0]
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        model.fit(problem.rows.astype(np.float64), y, weight)
    intercept = np.broadcast_to(model.intercept_, model.coef_.shape[:1])
    return np.asarray(model.coef_), np.asarray(intercept, dtype=np.float64)


def allowed(problem: Problem, solution: Solution, gap: Any = TOL) -> F64:
    """How far above its minimum an objective of that gap may be, with rounding."""
    ours = objective(problem, solution)
    rounding = 1e-6 if problem.rows.dtype == np.float32 else 1e-9
    return np.asarray(
        gap * problem.scale(solution.coef, solution.intercept, solution.c) + rounding * ours
    )


def rounding_of(problem: Problem, solution: Solution) -> F64:
    """Return the error of an objective whose margins were computed in the rows' precision.

    A margin may be off by that precision times ‖x‖·‖w‖, which is much where a large C makes the
    coefficients large; the slope of the loss says what the objective makes of it.
    """
    rows = problem.rows.astype(np.float64)
    lengths = np.sqrt((rows**2).sum(axis=1, keepdims=True) + 1)
    reach = lengths * np.sqrt((solution.coef**2).sum(axis=1) + solution.intercept**2)
    slopes = problem.slopes(rows @ solution.coef.T + solution.intercept)
    changes = solution.c * (np.abs(slopes) * reach).sum(axis=0)
    of_problems = changes.sum(keepdims=True) if problem.kind is Softmax else changes
    summed = 1e-6 if problem.rows.dtype == np.float32 else 1e-9
    eps = float(np.finfo(problem.rows.dtype).eps)
    return np.asarray(eps * of_problems + summed * objective(problem, solution))


def assert_objective_is_true(problem: Problem, solution: Solution) -> None:
    error = np.abs(solution.objective - objective(problem, solution))
    assert np.all(error <= rounding_of(problem, solution))


def assert_solved(problem: Problem, solution: Solution, reference: F64) -> None:
    """As near the minimum as it says; `reference` may be any coefficients' objectives."""
    ours = objective(problem, solution)
    assert np.all(solution.converged)
    assert np.all(ours <= reference + allowed(problem, solution))
    # The gap is that of the objective that was computed.
    near = allowed(problem, solution, solution.gap) + rounding_of(problem, solution)
    assert np.all(ours <= reference + near)
    assert_objective_is_true(problem, solution)


def least_objective(problem: Problem, c: float) -> F64:
    """The minimum, by the reference or by a search with rows in double precision."""
    (exact,) = solve(replace(problem, rows=problem.rows.astype(np.float64)), c, tol=1e-10)
    return np.minimum(problem.minimum(c), objective(problem, exact))


def assert_gap_is_true(
    problem: Problem, solution: Solution, tol: float, least: F64 | None = None
) -> None:
    """No further above the minimum than it says, whatever the precision of the rows."""
    least = least_objective(problem, solution.c) if least is None else least
    above = objective(problem, solution) - least
    scale = problem.scale(solution.coef, solution.intercept, solution.c)
    stated = np.where(solution.converged, np.minimum(solution.gap, tol), solution.gap)
    assert np.all(above <= 1.1 * stated * scale + 0.02 * tol * scale + 1e-12 * solution.objective)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("intercept", ["penalised", "none"])
def test_the_hinge_is_linear_svcs(shape: tuple[int, int], k: int, intercept: Intercept) -> None:
    problem = replace(blobs(*shape, k), intercept=intercept)
    if k == 2:  # of which scikit-learn has one column
        problem = two_classes(problem, SquaredHinge, intercept)
    cs = [1e-6, 1e-2, 1.0, 100.0, 1e5]
    for solution in solve(problem, *cs, tol=TOL):
        model = LinearSVC(
            C=solution.c,
            dual=False,
            tol=1e-10,
            max_iter=10_000,
            fit_intercept=intercept != "none",
        )
        coef, intercepts = fitted(model, problem)
        assert_solved(problem, solution, problem.objective(coef, intercepts, solution.c))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("intercept", ["free", "none"])
def test_log_losses_are_logistic_regressions(
    shape: tuple[int, int], k: int, intercept: Intercept
) -> None:
    problem = replace(blobs(*shape, k), kind=Softmax, intercept=intercept)
    if k == 2:
        problem = two_classes(problem, Logistic, intercept)
    cs = [1e-6, 1e-2, 1.0, 100.0, 1e4]
    for solution in solve(problem, *cs, tol=TOL):
        model = LogisticRegression(
            C=solution.c, tol=1e-9, max_iter=10_000, fit_intercept=intercept != "none"
        )
        coef, intercepts = fitted(model, problem)
        reference = problem.objective(coef, intercepts, solution.c)
        assert np.all(solution.converged)
        assert np.all(objective(problem, solution) <= reference + allowed(problem, solution))
        np.testing.assert_allclose(solution.objective, objective(problem, solution), rtol=1e-9)


@pytest.mark.parametrize("kind", [SquaredHinge, Logistic])
def test_rows_weights_are_scikit_learns(kind: type[Loss]) -> None:
    weight = np.random.default_rng(0).uniform(0.1, 5, 40)
    intercept: Intercept = "penalised" if kind is SquaredHinge else "free"
    problem = replace(two_classes(blobs(40, 6, 2), kind, intercept), weight=weight)
    hinge = LinearSVC(C=2.0, dual=False, tol=1e-10, max_iter=10_000)
    model = hinge if kind is SquaredHinge else LogisticRegression(C=2.0, tol=1e-9, max_iter=10_000)
    reference = problem.objective(*fitted(model, problem, weight), 2.0)
    (solution,) = solve(problem, 2.0, tol=1e-6)
    np.testing.assert_allclose(objective(problem, solution), reference, rtol=1e-5)


def test_a_columns_weights_are_liblinears() -> None:
    # LIBLINEAR weighs a class where it is right; where it is the rest it counts as it is.
    own = np.array([0.3, 2.0, 5.0])
    problem = replace(blobs(40, 6, 3), column_weight=np.stack([own, np.ones(3)]))
    model = LinearSVC(
        C=2.0, dual=False, tol=1e-10, max_iter=10_000, class_weight=dict(enumerate(own))
    )
    reference = problem.objective(*fitted(model, problem), 2.0)
    (solution,) = solve(problem, 2.0, tol=1e-6)
    np.testing.assert_allclose(objective(problem, solution), reference, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(40, 6), (12, 30)])
def test_weights_are_those_of_repeated_rows(kind: type[Loss], shape: tuple[int, int]) -> None:
    problem = replace(blobs(*shape, 3), kind=kind)
    times = np.random.default_rng(0).integers(1, 4, shape[0])
    weighted = replace(problem, weight=times.astype(np.float64))
    repeated = replace(
        problem, rows=problem.rows.repeat(times, 0), targets=problem.targets.repeat(times)
    )
    (one,), (other,) = (solve(p, 3.0, tol=1e-10) for p in (weighted, repeated))
    np.testing.assert_allclose(one.coef, other.coef, atol=1e-4)
    np.testing.assert_allclose(one.objective, other.objective, rtol=1e-9)


TRAITS = ["constant", "twice", "zero", "single-feature", "large-mean", "one-each", "rare"]


@st.composite
def problems(draw: st.DrawFn, *, free: bool) -> Problem:
    """Of any shape, with the traits that trouble solvers; a free intercept's, or the others."""
    trait = draw(st.sampled_from(["", *TRAITS]))
    n, d, k = draw(st.tuples(st.integers(2, 24), st.integers(1, 14), st.integers(2, 4)))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = k if trait == "one-each" else max(n, k)
    d = 1 if trait == "single-feature" else d
    targets: NDArray[Any] = classes_of(n, k, random)
    if trait == "rare":
        targets = np.r_[np.arange(k), np.zeros(max(n, 24) - k, int)]
    rows = random.normal(size=(len(targets), d))
    rows += draw(st.sampled_from([0.0, 1.0, 3.0])) * random.normal(size=(k, d))[targets]
    if trait == "constant":
        rows[:, random.random(d) < 0.5] = 2.0
    elif trait == "twice":
        rows[len(rows) // 2 :] = rows[: len(rows) - len(rows) // 2]
    elif trait == "zero":
        rows[:, random.random(d) < 0.5] = 0.0
    elif trait == "large-mean":
        rows += 5.0
    others: list[Intercept] = ["penalised", "none"]
    intercept: Intercept = "free" if free else draw(st.sampled_from(others))
    kind = draw(st.sampled_from(KINDS[1:] if free else KINDS))
    if kind is not Softmax and not free and draw(st.booleans()):
        targets = random.random((len(rows), k)) < 0.4
    rows = rows.astype(draw(st.sampled_from([np.float32, np.float64])))
    weight = random.uniform(0.2, 3, len(rows)) if draw(st.booleans()) else None
    return Problem(rows, targets, kind, intercept, weight)


C = st.floats(-6, 5).map(lambda exponent: float(10**exponent))


@given(problems(free=False), C)
def test_any_problem_is_solved(problem: Problem, c: float) -> None:
    (solution,) = solve(problem, c, tol=TOL)
    assert_solved(problem, solution, problem.minimum(c))
    assert np.all(allowed(problem, solution, solution.gap) >= 0)  # below zero by rounding alone


@pytest.mark.parametrize("seed", [25, 51, 56])
def test_a_search_that_float32_stops_goes_on_in_float64(seed: int) -> None:
    # Their steps become smaller than the spacing of float32, though the slope is still large.
    random = np.random.default_rng(seed)
    rows = random.normal(size=(24, 12)).astype(np.float32)
    problem = Problem(rows, random.random((24, 1)) < 0.4, SquaredHinge)
    (solution,) = solve(problem, 2e4, tol=TOL)
    assert_solved(problem, solution, problem.minimum(2e4))


@given(problems(free=True), C)
def test_any_problem_with_a_free_intercept_is_solved(problem: Problem, c: float) -> None:
    # Its gap is no proof: the error may be some times the tolerance, not more.
    (solution,) = solve(problem, c, tol=TOL)
    ours, minimum = objective(problem, solution), problem.minimum(c)
    assert np.all(solution.converged)
    assert_objective_is_true(problem, solution)
    assert np.all(allowed(problem, solution, solution.gap) >= 0)
    assert np.all(ours <= minimum + 10 * allowed(problem, solution))


@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("c", [1e-4, 1e-2, 1.0, 100.0])
def test_a_free_intercept_of_rare_classes(k: int, c: float) -> None:
    # At the start, far from the intercept's place, nothing must be taken for proved.
    random = np.random.default_rng(0)
    y = np.r_[np.arange(1, k).repeat(4), np.zeros(400, int)]
    problem = Problem(random.normal(size=(len(y), 8)), y, Softmax, "free")
    if k == 2:
        problem = two_classes(problem, Logistic, "free")
    (solution,) = solve(problem, c, tol=TOL)
    model = LogisticRegression(C=c, tol=1e-9, max_iter=10_000)
    reference = problem.objective(*fitted(model, problem), c)
    assert np.all(solution.converged)
    assert np.all(solution.gap >= 0)
    assert np.all(objective(problem, solution) <= reference + 3 * allowed(problem, solution))


def test_leftovers_in_the_memory_of_blas_raise_no_invalid_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def after_a_product(design: ArrayDesign, *arguments: Any) -> Any:
        # OpenBLAS's own memory keeps halves of these doubles, which signal as numbers of float32.
        shape = (design.rows.shape[0], 14)
        left = np.full(shape, 0x7F800001, dtype=np.uint32).view(np.float64)
        assert (left @ np.ones(7)).shape == (len(left),)
        return newton_direction(design, *arguments)

    monkeypatch.setattr("bottleneck.linear.solver.objective.newton_direction", after_a_product)
    for n in range(100, 160):  # some of them have the flag, by where their last rows lie
        problem = two_classes(blobs(n, 5, 2, dtype=np.float32), SquaredHinge, "none")
        (solution,) = solve(problem, 1.0)
        assert_objective_is_true(problem, solution)


@pytest.mark.parametrize("always", [True, False])
def test_a_constant_label_has_a_finite_intercept(always: bool) -> None:
    rows = np.random.default_rng(0).normal(size=(30, 4))
    targets = np.stack([np.full(30, always), rows[:, 0] > 0], axis=1)
    problem = Problem(rows, targets, Logistic, "free")
    for solution in solve(problem, 1e-2, 1.0, 1e3):
        assert np.all(np.isfinite(solution.coef))
        assert np.all(np.isfinite(solution.intercept))
        margins = rows @ solution.coef[0] + solution.intercept[0]
        assert np.all((margins > 2) if always else (margins < -2))
        np.testing.assert_allclose(objective(problem, solution), solution.objective, rtol=1e-6)


@given(problems(free=False), C)
def test_the_gap_bounds_the_error(problem: Problem, c: float) -> None:
    problem = replace(problem, rows=problem.rows.astype(np.float64))
    exact = solve(problem, c, tol=1e-10, max_passes=20_000)[0].objective
    for tol, passes in ((0.1, 1000), (1e-3, 1000), (1e-3, 3)):
        (solution,) = solve(problem, c, tol=tol, max_passes=passes)
        error = objective(problem, solution) - exact
        assert np.all(error <= allowed(problem, solution, solution.gap))
        np.testing.assert_array_equal(solution.converged, solution.gap <= tol)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_solution_that_has_not_converged_says_so(kind: type[Loss], dtype: Any) -> None:
    problem = replace(blobs(40, 6, 3, dtype=dtype), kind=kind)
    (solution,) = solve(problem, 0.1, tol=1e-5, max_passes=1)
    assert not solution.converged.any()
    assert np.all(solution.gap > 1e-5)
    np.testing.assert_allclose(objective(problem, solution), solution.objective, rtol=1e-5)
    assert solution.passes == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_passes", [1, 2, 3, 7, 20])
def test_passes_for_intermediate_c_are_counted(kind: type[Loss], max_passes: int) -> None:
    problem = replace(blobs(40, 6, 3, dtype=np.float32), kind=kind)
    found = list(
        solve_path(problem.design(), problem.loss(), [1.0, 1e3], tol=1e-8, max_passes=max_passes)
    )
    assert all(1 <= solution.passes <= max_passes for solution in found)
    assert max_passes > 3 or not any(solution.converged.all() for solution in found)


def test_some_problems_may_converge_where_others_do_not() -> None:
    # The first label can be told without an error, which takes long; the second is of no rows.
    rows = np.random.default_rng(0).normal(size=(60, 20))
    targets = np.stack([rows[:, 0] > 0, np.random.default_rng(1).random(60) < 0.5], axis=1)
    problem = Problem(rows, targets, SquaredHinge)
    (solution,) = solve(problem, 10.0, tol=1e-3, max_passes=12)
    assert solution.converged.tolist() == [False, True]
    assert solution.gap[1] <= 1e-3 < solution.gap[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(40, 6), (12, 30)])
def test_a_path_gives_what_each_c_gives_alone(kind: type[Loss], shape: tuple[int, int]) -> None:
    problem = replace(blobs(*shape, 3), kind=kind)
    cs = [1e-5, 3e-5, 1e-2, 0.1, 2.0, 500.0, 1e5]
    path = solve(problem, *cs, tol=TOL)
    assert [solution.c for solution in path] == cs
    for solution in path:
        (alone,) = solve(problem, solution.c, tol=1e-7)
        assert_solved(problem, solution, alone.objective)
        # The objective is strongly convex: coefficients are as near as its values say.
        near = 2 * (allowed(problem, solution) + allowed(problem, alone, 1e-7)).sum()
        assert np.linalg.norm(solution.coef - alone.coef) <= 2 * np.sqrt(near)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(40, 6), (12, 30)])
def test_a_path_goes_on_from_what_it_knows(kind: type[Loss], shape: tuple[int, int]) -> None:
    problem = replace(blobs(*shape, 3, dtype=np.float32), kind=kind)
    path = RegularizationPath(problem.design(), problem.loss())
    coarse = list(path.solve([1e-6, 1e-3, 0.1, 10.0, 1e5]))
    saved = []
    for c in (1e-7, 1e-3, 0.03, 0.3, 1e3, 1e6):
        ((found,), (alone,)) = path.solve([c]), solve(problem, c)
        ours = objective(problem, found)
        assert np.all(ours <= problem.minimum(c) + allowed(problem, found))
        np.testing.assert_allclose(found.objective, ours, rtol=1e-5)
        saved.append(alone.passes - found.passes)
    assert sum(saved) > 3 * len(saved)
    for known in coarse:  # nothing is solved again, but to be more exact
        (again,) = path.solve([known.c])
        assert again.passes == 0
        np.testing.assert_allclose(again.coef, known.coef, rtol=1e-9, atol=1e-15)
    for known in coarse[:4]:
        (exact,) = path.solve([known.c], tol=1e-6)
        assert np.all(exact.gap <= 1e-6)


def test_a_path_is_solved_as_it_is_asked_for() -> None:
    problem = blobs(40, 6, 3)
    codes = Rows(problem.rows, [9], in_memory=False)
    design = make_design(codes, problem.targets, intercept="penalised")
    path = solve_path(design, problem.loss(), [1e-3, 1.0, 1e3], tol=TOL)
    assert isinstance(path, Iterator)
    for c in (1e-3, 1.0, 1e3):
        before = codes.reads
        solution = next(path)
        assert (solution.c, solution.passes) == (c, codes.reads - before)
    with pytest.raises(StopIteration):
        next(path)


def test_a_hinge_that_separates_needs_one_pass_for_the_larger_c() -> None:
    # What was proved for one C holds for all that follow, once no row is within the margin.
    problem = blobs(30, 60, 3, apart=3.0)
    *_, before, last = solve(problem, 1e4, 1e5, 1e6, tol=TOL)
    assert np.all(last.converged)
    assert last.passes <= before.passes <= 3


def starts(problem: Problem, *cs: float, **options: Any) -> tuple[list[F64], list[F64]]:
    """Where the search of each C began, and where it ended."""
    found: tuple[list[F64], list[F64]] = [], []

    def kept(objective: Objective, start: Any, **settings: Any) -> Minimum:
        minimum = descent.minimise(objective, start, **settings)
        found[0].append(start)
        found[1].append(minimum.at)
        return minimum

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solver, "minimise", kept)
        solve(problem, *cs, **options)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_each_c_starts_at_the_extrapolation_of_the_last_two_minimisers(
    kind: type[Loss], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solver, "_CHEAP", 0.0)  # Newton steps for the hinge start at the last one
    monkeypatch.setattr(descent, "_MAX_NEWTON_COST", 0.0)
    monkeypatch.setattr(solver, "_SEPARATING", 0.0)
    problem = replace(blobs(60, 30, 3, apart=2.0), kind=kind)
    cs = [1e-3, 1e-2, 0.1, 1.0, 10.0, 1e2, 3e2, 1e3]
    began, ended = starts(problem, *cs, tol=1e-12)
    assert len(began) == len(cs)
    np.testing.assert_array_equal(began[0], np.zeros_like(began[0]))
    np.testing.assert_array_equal(began[1], ended[0])
    course = [problem.kind.path_coordinate(c) for c in cs]
    for i in range(2, len(cs)):
        share = (course[i] - course[i - 1]) / (course[i - 1] - course[i - 2])
        np.testing.assert_allclose(began[i], ended[i - 1] + share * (ended[i - 1] - ended[i - 2]))
    # It pays for the largest C, where the course is that of separable classes.
    assert np.linalg.norm(began[-1] - ended[-1]) < np.linalg.norm(ended[-2] - ended[-1]) / 2


@pytest.mark.parametrize("shape", [(200, 40), (40, 200)])
def test_a_path_takes_far_fewer_passes_than_each_c_alone(shape: tuple[int, int]) -> None:
    problem = blobs(*shape, 4, apart=1.5)
    cs = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5]
    path = solve(problem, *cs, tol=1e-4)
    alone = [solve(problem, c, tol=1e-4)[0] for c in cs]
    assert 3 * sum(one.passes for one in path) <= sum(one.passes for one in alone)
    for one, other in zip(path, alone, strict=True):
        assert np.all(one.converged)
        np.testing.assert_allclose(objective(problem, one), objective(problem, other), rtol=1e-3)


@pytest.mark.parametrize("to_device", [keep_numpy, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("shape", [(40, 6), (12, 30)])
@pytest.mark.parametrize("kind", [Logistic, Softmax])
def test_a_free_intercept_starts_at_the_given_value(
    kind: type[Loss], shape: tuple[int, int], to_device: ToDevice
) -> None:
    problem = replace(blobs(*shape, 3), kind=kind, intercept="free")
    where = np.array([0.5, -1.0, 0.5])  # their mean is 0, as softmax is made to have it
    design, loss = problem.design(to_device=to_device), problem.loss(to_device)
    (alone,) = solve(problem, 1e-3, tol=1e-10)
    (found,) = solve_path(design, loss, [1e-3], intercept=to_device(where), tol=1e-10)
    np.testing.assert_allclose(found.objective, alone.objective, rtol=1e-9)
    # The first point of all is that intercept with no coefficients.
    (first,) = solve_path(design, loss, [1e-3], intercept=to_device(where), max_passes=1)
    np.testing.assert_allclose(first.coef, np.zeros_like(first.coef), atol=1e-15)
    np.testing.assert_allclose(first.intercept, where)
    expected = problem.objective(np.zeros_like(first.coef), where, 1e-3)
    np.testing.assert_allclose(first.objective, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("intercept", ["penalised", "free"])
def test_a_converged_float32_solution_is_final(kind: type[Loss], intercept: Intercept) -> None:
    # With a small C hardly anything is gained, and the objective's rounding is much of that.
    problem = replace(blobs(400, 20, 3, apart=0.5), kind=kind, intercept=intercept)
    problem = replace(problem, rows=problem.rows * np.logspace(0, 1.5, 20))
    single = replace(problem, rows=problem.rows.astype(np.float32))
    (solution,) = solve(single, 1e-4, tol=1e-7)
    (exact,) = solve(problem, 1e-4, tol=1e-12)
    assert solution.passes < 40
    assert np.all(solution.converged)
    off = np.linalg.norm(solution.coef - exact.coef) / np.linalg.norm(exact.coef)
    assert off < 1e-3


def test_solutions_have_the_documented_shapes() -> None:
    problem = blobs(40, 6, 4)
    (solution,) = solve(problem, 0.5)
    assert (solution.coef.shape, solution.intercept.shape) == ((4, 6), (4,))
    for values in (solution.objective, solution.gap, solution.converged):
        assert values.shape == (4,)
    (solution,) = solve(replace(problem, kind=Softmax, intercept="none"), 0.5)
    assert (solution.coef.shape, solution.intercept.shape) == ((4, 6), (4,))
    for values in (solution.objective, solution.gap, solution.converged):
        assert values.shape == (1,)
    assert solve(problem) == []


@given(st.lists(st.integers(-24, 20), min_size=1, max_size=6, unique=True), st.integers(-24, 20))
def test_consecutive_c_differ_by_a_factor_of_ten_at_most(quarters: list[int], easy: int) -> None:
    quarters.sort()  # of a decade
    cs = [10 ** (i / 4) for i in quarters]
    walk = list(_path_steps(cs, easy=10 ** (easy / 4)))
    assert [c for c, wanted in walk if wanted] == cs
    assert walk[0][0] <= max(cs[0] if quarters[0] <= easy else 0, 10 ** (easy / 4)) * (1 + 1e-9)
    for (before, _), (c, _) in pairwise(walk):
        assert before < c <= before * 10 * (1 + 1e-9)
    # And no more of them than that takes.
    first = max(0, math.ceil((quarters[0] - easy) / 4))
    assert len(walk) == 1 + first + sum(math.ceil((b - a) / 4) for a, b in pairwise(quarters))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(60, 8), (20, 50)])
@pytest.mark.parametrize("cs", [[1e5], [1.0, 1e5]])
def test_double_precision_replaces_single_if_needed(
    kind: type[Loss], shape: tuple[int, int], cs: list[float]
) -> None:
    problem = replace(blobs(*shape, 3, apart=4.0, dtype=np.float32), kind=kind)
    *_, solution = solve(problem, *cs, tol=1e-4)
    assert solution.coef.dtype == solution.intercept.dtype == np.float64
    assert np.all(solution.converged)
    minimum = problem.minimum(1e5)
    assert np.all(objective(problem, solution) <= minimum + allowed(problem, solution, 1e-4))


@pytest.mark.parametrize("c", [1e-4, 2e-3, 1e-1, pytest.param(1e1, marks=pytest.mark.slow)])
def test_a_gap_below_the_rounding_of_float32_is_true(c: float) -> None:
    # A search in float64 goes on from what one in float32 found, whose bound is too rough for it.
    for shape in [(400, 8), (3000, 30)]:
        problem = replace(blobs(*shape, 4, dtype=np.float32), kind=SquaredHinge)
        (exact,) = solve(replace(problem, rows=problem.rows.astype(np.float64)), c, tol=1e-13)
        scale = problem.scale(exact.coef, exact.intercept, c)
        for in_memory in (True, False):
            design = problem.design(in_memory=in_memory)
            (solution,) = solve_path(design, problem.loss(), [c], tol=1e-10)
            assert np.all(np.abs(solution.gap) <= 1e-10)
            above = objective(problem, solution) - objective(problem, exact)
            assert np.all(above <= (1e-10 + 2e-11) * scale)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("c", [1e-8, 1e-7])
def test_a_gain_below_the_rounding_of_float32_has_a_true_gap(kind: type[Loss], c: float) -> None:
    small = blobs(10, 28, 3)
    problem = replace(
        small, rows=(1e-3 * small.rows).astype(np.float32), kind=kind, intercept="none"
    )
    (solution,) = solve(problem, c, tol=TOL)
    assert_gap_is_true(problem, solution, TOL)


@pytest.mark.parametrize("shape", [(45, 186), (68, 21)])
@pytest.mark.parametrize("cs", [[3e4], [1e-4, 1e-2, 1e6]])
def test_large_c_have_true_gaps_of_codes_in_float32(
    shape: tuple[int, int], cs: list[float]
) -> None:
    # The loss of separated classes is zero but for the rounding of the rows, which C multiplies.
    problem = blobs(*shape, 4, apart=5.0, dtype=np.float32)
    for solution in solve(problem, *cs, tol=1e-8):
        assert_gap_is_true(problem, solution, 1e-8)


@pytest.mark.parametrize("c", [1e-2, pytest.param(1.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("intercept", ["penalised", "free", "none"])
@pytest.mark.parametrize("kind", KINDS)
def test_large_means_have_true_gaps_of_codes_in_float32(
    kind: type[Loss], intercept: Intercept, c: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eigenbasis, "SMALL_PROBLEM", 0)  # as of many codes, which are rotated once
    problem = blobs(200, 6, 2)
    rows = (problem.rows + 1e5 * np.random.default_rng(0).normal(size=6)).astype(np.float32)
    problem = replace(problem, rows=rows, kind=kind, intercept=intercept)
    least = least_objective(problem, c)
    for bound in (math.inf, 0.0):  # rotated, and as they are
        design = problem.design(max_curvature=bound)
        (solution,) = solve_path(design, problem.loss(), [c], tol=1e-5)
        assert_gap_is_true(problem, solution, 1e-5, least)


@pytest.mark.parametrize("seed", [1, 15, 30])
def test_a_gap_with_a_free_intercept_is_true_for_features_of_unlike_spread(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = random.normal(size=(30, 8)) * 10 ** random.uniform(1, 5, 8)
    problem = Problem(rows, np.arange(30)[:, None] % 10 == 0, Logistic, "free")
    (solution,) = solve(problem, 3e-3, tol=1e-5)
    assert_gap_is_true(problem, solution, 1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cs", [[0.1], [1e-3, 0.1, 10.0]])
def test_gains_are_counted_from_zero_coefficients(
    kind: type[Loss], cs: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Wherever a search starts, and also where double precision takes over what single began.
    problem = replace(blobs(60, 8, 3, dtype=np.float32), kind=kind)
    zero = problem.losses(np.zeros((60, 3))).sum(axis=0)
    seen = []

    def not_enough_in_single(objective: Objective, start: Any, **options: Any) -> Minimum:
        found = descent.minimise(objective, start, **options)
        seen.append(objective.design.is_float32)
        np.testing.assert_allclose(
            np.asarray(objective.value_at_zero), objective.c * zero, rtol=1e-6
        )
        return replace(found, gap=found.gap + objective.design.is_float32)

    monkeypatch.setattr(descent, "_DROP_SHARE", 2.0)  # none leaves early
    monkeypatch.setattr(descent, "_MAX_NEWTON_COST", 0.0)  # as after Newton steps
    monkeypatch.setattr(solver, "minimise", not_enough_in_single)
    *_, last = solve(problem, *cs, tol=1e-6)
    assert np.all(last.converged)
    assert seen[:2] == [True, False]


@pytest.mark.parametrize("kind", KINDS)
def test_a_float32_objective_has_the_reported_value(kind: type[Loss]) -> None:
    # Near certainty, where losses are tiny and C makes them count.
    for n in (2, 3, 5, 8):
        problem = replace(blobs(n, 20, 2, dtype=np.float32), kind=kind, intercept="none")
        for solution in solve(problem, 1e2, 1e3, 1e4, 3e4):
            ours = objective(problem, solution)
            np.testing.assert_allclose(solution.objective, ours, rtol=1e-5)
            assert np.all(allowed(problem, solution, solution.gap) >= 0)


def test_double_precision_is_not_copied() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(20_000, 50))
    problem = Problem(rows, rows[:, [0]] + random.normal(size=(20_000, 1)) > 0, SquaredHinge)
    design, loss = problem.design(), problem.loss()
    tracemalloc.start()
    try:
        solutions = list(solve_path(design, loss, [1e3, 1e5], max_passes=30))
        assert tracemalloc.get_traced_memory()[1] < rows.nbytes
    finally:
        tracemalloc.stop()
    assert [solution.c for solution in solutions] == [1e3, 1e5]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        *((np.float32, (90, 6)), (np.float64, (12, 30))),
        pytest.param(np.float32, (12, 30), marks=pytest.mark.slow),
        pytest.param(np.float64, (90, 6), marks=pytest.mark.slow),
    ],
)
def test_streamed_rows_give_the_same(kind: type[Loss], dtype: Any, shape: tuple[int, int]) -> None:
    intercept: Intercept = "free" if kind is Softmax else "penalised"
    problem = replace(blobs(*shape, 3, dtype=dtype), kind=kind, intercept=intercept)
    codes = Rows(problem.rows, [7, 1, 20], in_memory=False)
    design = make_design(codes, problem.targets, intercept=intercept)
    cs = [1e-3, 1.0, 1e3]
    streamed = solve_path(design, problem.loss(), cs, tol=1e-6)
    for one, other in zip(streamed, solve(problem, *cs, tol=1e-6), strict=True):
        np.testing.assert_allclose(one.objective, other.objective, rtol=1e-5)
        np.testing.assert_allclose(one.objective, objective(problem, one), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("shape", "in_memory"),
    [
        *(((90, 6), True), ((12, 30), False)),
        pytest.param((90, 6), False, marks=pytest.mark.slow),
        pytest.param((12, 30), True, marks=pytest.mark.slow),
    ],
)
def test_torch_gives_the_same(
    kind: type[Loss], dtype: Any, shape: tuple[int, int], in_memory: bool
) -> None:
    problem = replace(
        blobs(*shape, 3, dtype=dtype),
        kind=kind,
        weight=np.random.default_rng(0).uniform(0.5, 2, shape[0]),
        column_weight=None if kind is Softmax else np.array([[1.0, 2.0, 3.0], [1.0, 0.5, 1.0]]),
    )

    def path(to_device: ToDevice) -> list[Solution]:
        design = problem.design([5, 40], in_memory=in_memory, to_device=to_device)
        return list(solve_path(design, problem.loss(to_device), [1e-3, 1.0, 1e5], tol=1e-5))

    for one, other in zip(path(torch.from_numpy), path(keep_numpy), strict=True):
        assert type(one.objective) is type(one.gap) is np.ndarray
        assert one.coef.dtype == np.float64
        np.testing.assert_allclose(one.objective, other.objective, rtol=3e-5)
        np.testing.assert_allclose(one.objective, objective(problem, one), rtol=1e-4)
        assert np.all(one.converged)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
@pytest.mark.parametrize("intercept", ["penalised", "none"])
def test_rows_of_zeros_are_solved(
    kind: type[Loss], shape: tuple[int, int], intercept: Intercept
) -> None:
    problem = Problem(np.zeros(shape), np.arange(shape[0]) % 2, kind, intercept)
    for solution in solve(problem, 1e-3, 1e3):
        assert_solved(problem, solution, problem.minimum(solution.c))
        np.testing.assert_array_equal(solution.coef, np.zeros_like(solution.coef))


def test_one_class_is_solved() -> None:
    rows = np.random.default_rng(0).normal(size=(10, 3))
    for kind in KINDS:
        problem = Problem(rows, np.zeros(10, int), kind)
        (solution,) = solve(problem, 1.0)
        assert np.all(solution.converged)
        assert np.all(np.isfinite(solution.gap))
        assert np.all(objective(problem, solution) <= problem.minimum(1.0) * (1 + TOL))


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6), st.integers(2, 4), st.sampled_from([(12, 30), (30, 8)]))
def test_a_classifier_that_separates_answers_every_larger_c(
    seed: int, k: int, shape: tuple[int, int]
) -> None:
    """Its hinge is zero, so that its objective is the same; the bound below it only rises."""
    random = np.random.default_rng(seed)
    y = np.r_[np.arange(k), random.integers(0, k, shape[0] - k)]
    rows = random.normal(size=shape) + 8 * np.eye(k, shape[1])[y]
    problem = Problem(rows, y, SquaredHinge)
    cs = [10.0**e for e in range(-2, 8)]
    found = solve(problem, *cs, tol=TOL)
    first = 1 + max(i for i, solution in enumerate(found) if solution.passes)
    for solution in (*found[:first], found[-1]):
        assert_solved(problem, solution, problem.minimum(solution.c))
    for later in found[first:]:
        assert later.passes == 0
        np.testing.assert_array_equal(later.coef, found[first - 1].coef)
    assert first < len(cs)


def test_classes_that_overlap_are_solved_for_every_c() -> None:
    found = solve(blobs(60, 4, 3, apart=0.3), *(10.0**e for e in range(-2, 6)), tol=TOL)
    assert all(solution.passes for solution in found)
