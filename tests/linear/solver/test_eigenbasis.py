import math
from typing import Any

import numpy as np
import pytest
import torch
from array_api_compat import array_namespace
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bottleneck.linear.solver.design import (
    ArrayDesign,
    Design,
    Intercept,
    StreamedDesign,
    ToDevice,
    keep_numpy,
)
from bottleneck.linear.solver.eigenbasis import _largest_eigenvalue
from bottleneck.linear.solver.losses import Logistic, Loss, Softmax, SquaredHinge, Targets
from bottleneck.linear.solver.path import Solution
from tests.helpers.problems import (
    INTERCEPTS,
    KINDS,
    Problem,
    RecordedMargins,
    Rows,
    margins,
    solve_path,
    unlabelled,
)


@st.composite
def codes(draw: st.DrawFn) -> NDArray[Any]:
    """Rows, fewer or more than features; some twice, some features constant, zero or large."""
    n, d = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = random.normal(size=(n, d))
    traits = st.lists(st.sampled_from(["twice", "constant", "zero", "large", "all"]), unique=True)
    for trait in draw(traits):
        some = random.random(d) < 0.5
        if trait == "twice":
            rows[n // 2 :] = rows[0]
        elif trait == "constant":
            rows[:, some] = 3.0
        elif trait == "zero":
            rows[:, some] = 0.0
        elif trait == "large":
            rows[:, some] *= 10
        else:  # the mean is far from zero
            rows += 2.0
    return rows.astype(draw(st.sampled_from([np.float32, np.float64])))


# A curvature that is worth a decomposition, and one that is not.
STIFFNESS = [math.inf, 0.0]


@st.composite
def designs(draw: st.DrawFn) -> tuple[Design, Problem]:
    rows, intercept = draw(codes()), draw(st.sampled_from(INTERCEPTS))
    if intercept == "none" and not rows.any():
        rows[0, 0] = 1
    weight = None
    if draw(st.booleans()):
        weight = np.random.default_rng(0).uniform(0.1, 3, len(rows))
    problem = Problem(rows, np.zeros(len(rows), int), Logistic, intercept, weight)
    sizes = draw(st.lists(st.integers(1, 6), max_size=3))
    options: dict[str, Any] = {
        "in_memory": draw(st.booleans()),
        "max_curvature": draw(st.sampled_from(STIFFNESS)),
    }
    return problem.design(sizes, **options), problem


def is_as_it_is(design: Design, problem: Problem) -> bool:
    """Whether the rows are their own coordinates, centred perhaps."""
    n, d = problem.rows.shape
    if n < d or not isinstance(design, ArrayDesign):
        return False
    at = array_namespace(design.spectrum).asarray(np.eye(len(design.spectrum)))
    coef, _ = design.to_coefficients(at[:, :d])
    return bool(np.array_equal(coef, np.eye(d)))


def tolerance(problem: Problem) -> float:
    """Of rounding, as a share of the largest eigenvalue."""
    return tolerance_of(problem.rows.dtype)


def tolerance_of(dtype: Any) -> float:
    return 3e-5 if dtype == np.float32 else 1e-10


@given(designs())
def test_the_gram_matrix_is_the_spectrum(case: tuple[Design, Problem]) -> None:
    design, problem = case
    n, r = len(problem.rows), len(design.spectrum)
    rows = margins(design, n, np.eye(r))
    weight = np.ones(n) if problem.weight is None else problem.weight
    size = design.spectrum.max() + np.linalg.norm(problem.rows.astype(float)) ** 2 * weight.max()
    gram = rows.T @ (weight[:, None] * rows)
    if is_as_it_is(design, problem):
        gram = np.diag(gram.diagonal())
    np.testing.assert_allclose(gram, np.diag(design.spectrum), atol=tolerance(problem) * size)
    assert design.spectrum.dtype == design.penalty.dtype == np.float64
    assert np.all(design.spectrum >= 0)
    assert design.weight == pytest.approx(weight.sum())
    assert str(design.dtype) == str(problem.rows.dtype)


@given(designs())
def test_coordinates_are_coefficients_of_the_same_length_and_margins(
    case: tuple[Design, Problem],
) -> None:
    design, problem = case
    n, r = len(problem.rows), len(design.spectrum)
    at = np.random.default_rng(1).normal(size=(r, 3)).astype(design.dtype)
    coef, intercept = design.to_coefficients(at)
    assert coef.shape == (3, problem.rows.shape[1])
    length = (coef**2).sum(axis=1)
    if problem.intercept == "penalised":
        length = length + intercept**2
    if problem.intercept == "none":
        np.testing.assert_array_equal(intercept, np.zeros(3))
    free = problem.intercept == "free"
    np.testing.assert_array_equal(design.penalty, np.r_[np.ones(r - free), np.zeros(int(free))])
    exact = at.astype(np.float64)
    ours = (design.penalty[:, None] * exact**2).sum(axis=0)
    # Among few rows eigenvalues are kept down to 1e-12 of the largest, and so have few digits.
    close = 1e-4 if n < problem.rows.shape[1] else 1e-9
    np.testing.assert_allclose(ours, length, rtol=close, atol=close)
    raw = problem.rows.astype(np.float64) @ coef.T + intercept
    size = 1 + np.abs(problem.rows).sum()
    np.testing.assert_allclose(margins(design, n, at), raw, atol=10 * tolerance(problem) * size)


@pytest.mark.parametrize("to_device", [keep_numpy, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("intercept", INTERCEPTS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_undecomposed_rows_have_the_same_minimiser(
    kind: type[Loss], intercept: Intercept, weighted: bool, to_device: ToDevice
) -> None:
    random = np.random.default_rng(0)
    weight = random.uniform(0.2, 3, 60) if weighted else None
    rows = (2.0 + random.normal(size=(60, 7))) * np.linspace(0.2, 2, 7)
    problem = Problem(rows, np.arange(60) % 3, kind, intercept, weight)

    def solved(max_curvature: float) -> tuple[Solution, Design]:
        design = problem.design([7, 1, 20], max_curvature=max_curvature, to_device=to_device)
        (found,) = solve_path(design, problem.loss(to_device), [0.05], tol=1e-13)
        return found, design

    (turned, decomposed), (plain, as_it_is) = (solved(max_curvature) for max_curvature in STIFFNESS)
    assert is_as_it_is(as_it_is, problem) != is_as_it_is(decomposed, problem)
    assert isinstance(as_it_is, ArrayDesign)
    np.testing.assert_allclose(plain.objective, turned.objective, rtol=1e-10)
    np.testing.assert_allclose(plain.objective, problem.minimum(0.05), rtol=1e-10)
    np.testing.assert_allclose(plain.coef, turned.coef, atol=1e-6)
    off = plain.decision_function(rows) - turned.decision_function(rows)
    if kind is Softmax:  # only differences of margins matter
        off -= off.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(off, 0, atol=2e-5)


@pytest.mark.parametrize("to_device", [keep_numpy, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("intercept", INTERCEPTS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", [SquaredHinge, Logistic])
def test_few_rows_of_one_column_have_the_same_minimiser_without_a_decomposition(
    kind: type[Loss], weighted: bool, intercept: Intercept, to_device: ToDevice
) -> None:
    random = np.random.default_rng(0)
    rows = 2.0 + random.normal(size=(30, 50))
    rows[15:20], rows[:, 7], rows[:, 8] = rows[0], 0.0, rows[:, 9]  # the kernel has no full rank
    weight = random.uniform(0.2, 3, 30) if weighted else None
    right = (np.arange(30) % 3 == 0)[:, None]  # equal rows are of different classes
    problem = Problem(rows, right, kind, intercept, weight)
    design = problem.design([7, 1], to_device=to_device)
    assert isinstance(design, ArrayDesign)
    assert design.rows.shape == (30, 50 + (intercept != "none"))
    cs = [1e-4, 0.03, 10.0]
    for found in solve_path(design, problem.loss(to_device), cs, tol=1e-11):
        np.testing.assert_allclose(found.objective, problem.minimum(found.c), rtol=1e-8)
        coef, own = found.coef, found.intercept if intercept == "penalised" else 0 * found.intercept
        margins = rows @ coef.T + found.intercept
        each = problem.loss()(Targets(right, None if weight is None else weight[:, None]), margins)
        value = ((coef**2).sum() + (own**2).sum()) / 2 + found.c * each[1].value.sum()
        assert value == pytest.approx(problem.minimum(found.c).sum(), rel=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("intercept", INTERCEPTS)
def test_undecomposed_rows_are_copied_with_a_column_of_ones(
    intercept: Intercept, dtype: Any
) -> None:
    random = np.random.default_rng(0)
    rows, weight = (5 + random.normal(size=(20, 4))).astype(dtype), random.uniform(0.5, 2, 20)
    codes, before = Rows(rows, [3, 8]), rows.copy()
    design = unlabelled(codes, intercept=intercept, weight=weight, max_curvature=0.0)
    assert isinstance(design, ArrayDesign)
    expected = rows - (weight @ rows / weight.sum() if intercept == "free" else 0)
    if intercept != "none":
        expected = np.hstack([expected, np.ones((20, 1))])
    np.testing.assert_allclose(design.rows, expected, atol=tolerance_of(dtype) * 5)
    assert design.rows.dtype == dtype
    assert not np.shares_memory(design.rows, rows)
    np.testing.assert_array_equal(rows, before)
    np.testing.assert_allclose(design.spectrum, weight @ expected**2, rtol=1e-4)


@pytest.mark.parametrize(("in_memory", "shape"), [(False, (20, 4)), (True, (4, 20))])
@pytest.mark.parametrize("intercept", INTERCEPTS)
def test_rows_outside_of_memory_or_few_are_always_decomposed(
    intercept: Intercept, in_memory: bool, shape: tuple[int, int]
) -> None:
    rows = np.random.default_rng(0).normal(size=shape)
    problem = Problem(rows, np.zeros(shape[0], int), Logistic, intercept)
    turned, soft = (problem.design(in_memory=in_memory, max_curvature=s) for s in STIFFNESS)
    assert type(soft) is type(turned)
    np.testing.assert_array_equal(soft.spectrum, turned.spectrum)


@pytest.mark.parametrize("intercept", INTERCEPTS)
def test_rows_are_decomposed_if_the_largest_curvature_is_large(
    intercept: Intercept,
) -> None:
    rows = 1.0 + np.random.default_rng(0).normal(size=(50, 6))
    problem = Problem(rows, np.zeros(50, int), Logistic, intercept)
    largest = problem.design().spectrum[: 6 if intercept == "free" else None].max()
    for times, expected in ((0.9, True), (1.15, False)):
        design = problem.design(max_curvature=times * 3 / largest)
        assert is_as_it_is(design, problem) == expected


@pytest.mark.parametrize(("n", "d"), [(400, 60), (60, 60), (20, 60), (50, 2), (9, 1)])
@pytest.mark.parametrize("mean", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(("decay", "near"), [(0.0, 0.25), (0.5, 0.1), (1.0, 0.1)])
def test_the_largest_eigenvalue_is_estimated_from_below(
    n: int, d: int, mean: float, decay: float, near: float
) -> None:
    # Noise that is alike in all directions is the hardest: none of them stands out.
    for seed in range(10):
        rows = mean + np.random.default_rng(seed).normal(size=(n, d))
        rows = rows * np.arange(1, d + 1) ** -decay
        gram = rows.T @ rows
        largest, found = float(np.linalg.eigvalsh(gram).max()), _largest_eigenvalue(gram)
        assert (1 - near) * largest <= found <= largest * (1 + 1e-12)
        assert _largest_eigenvalue(torch.from_numpy(gram)) == pytest.approx(found, rel=1e-9)


def test_the_largest_eigenvalue_of_a_zero_matrix_is_zero() -> None:
    assert _largest_eigenvalue(np.zeros((3, 3))) == 0


@given(designs())
def test_all_coefficients_can_be_represented(case: tuple[Design, Problem]) -> None:
    # Whatever the coefficients, some coordinates have their margins, and no more length.
    design, problem = case
    n, d = problem.rows.shape
    r = len(design.spectrum)
    random = np.random.default_rng(2)
    coef, intercept = random.normal(size=d), float(problem.intercept != "none")
    wanted = problem.rows.astype(np.float64) @ coef + intercept
    rows = margins(design, n, np.eye(r))
    at, *_ = np.linalg.lstsq(rows, wanted, rcond=1e-7 if design.is_float32 else 1e-9)
    size = 1 + np.abs(problem.rows).sum()
    np.testing.assert_allclose(rows @ at, wanted, atol=max(1e-6, 10 * tolerance(problem)) * size)
    length = np.sum(coef**2) + (problem.intercept == "penalised") * intercept**2
    if problem.intercept != "free":
        assert np.sum(at**2) <= length * (1 + 1e-3) + 1e-3


def test_a_free_intercept_is_the_last_coordinate() -> None:
    random = np.random.default_rng(0)
    for shape in ((20, 4), (4, 20)):
        rows, weight = 5 + random.normal(size=shape), random.uniform(0.5, 2, shape[0])
        design = unlabelled(Rows(rows), intercept="free", weight=weight)
        assert isinstance(design, ArrayDesign)
        np.testing.assert_allclose(design.rows[:, -1], 1)
        np.testing.assert_allclose(weight @ design.rows[:, :-1], 0, atol=1e-9)
        assert design.spectrum[-1] == pytest.approx(weight.sum())


@pytest.mark.parametrize("shape", [(20, 4), (4, 20)])
@pytest.mark.parametrize("intercept", INTERCEPTS)
def test_equal_rows_leave_no_coordinate_but_the_intercepts(
    shape: tuple[int, int], intercept: Intercept
) -> None:
    design = unlabelled(Rows(np.full(shape, 2.0)), intercept=intercept)
    n, d = shape
    expected = {"penalised": n * (4 * d + 1), "free": n, "none": 4 * n * d}[intercept]
    assert design.spectrum.sum() == pytest.approx(expected)
    assert design.spectrum.max() == pytest.approx(expected)


def test_rows_may_be_all_zero() -> None:
    for shape in ((6, 4), (4, 6)):
        for intercept in INTERCEPTS:
            design = unlabelled(Rows(np.zeros(shape)), intercept=intercept)
            at = np.ones((len(design.spectrum), 2))
            coef, intercepts = design.to_coefficients(at)
            assert (coef.shape, intercepts.shape) == ((2, shape[1]), (2,))
            found = margins(design, shape[0], at)
            np.testing.assert_allclose(found, np.broadcast_to(intercepts, found.shape))


def test_rows_in_memory_are_transformed_once_and_others_in_every_pass() -> None:
    rows = np.random.default_rng(0).normal(size=(30, 4))
    for in_memory, kind in ((True, ArrayDesign), (False, StreamedDesign)):
        codes = Rows(rows, [7], in_memory=in_memory)
        design = unlabelled(codes, intercept="free")
        assert isinstance(design, kind)
        reads = codes.reads
        design.gradient(np.ones((5, 2)), RecordedMargins())
        assert codes.reads - reads == (0 if in_memory else 1)
    codes = Rows(rows, [7], in_memory=False)
    unlabelled(codes, intercept="free")
    assert codes.reads == 1


@pytest.mark.parametrize("shape", [(30, 4), (4, 30)])
@pytest.mark.parametrize("intercept", INTERCEPTS)
@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("sent", [None, 100])  # bytes: rows in several parts, as to a GPU
def test_torch_gives_the_same(
    shape: tuple[int, int],
    intercept: Intercept,
    in_memory: bool,
    sent: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if sent:
        monkeypatch.setattr("bottleneck.linear.solver.design._TRANSFER_BYTES", sent)
    random = np.random.default_rng(0)
    rows, weight = random.normal(size=shape), random.uniform(0.5, 2, shape[0])

    def made(to_device: ToDevice) -> Design:
        codes = Rows(rows, [3, 2], in_memory=in_memory)
        return unlabelled(codes, intercept=intercept, weight=weight, to_device=to_device)

    ours, other = made(keep_numpy), made(torch.from_numpy)
    assert isinstance(other.spectrum, torch.Tensor)
    assert isinstance(other.penalty, torch.Tensor)
    size = float(ours.spectrum.max())
    np.testing.assert_allclose(other.spectrum.numpy(), ours.spectrum, atol=1e-12 * size)
    np.testing.assert_array_equal(other.penalty.numpy(), ours.penalty)
    # Eigenvectors have a sign of their own in either library, their squares have not.
    at = np.eye(len(ours.spectrum))
    coef, _ = ours.to_coefficients(at)
    moved, _ = other.to_coefficients(torch.from_numpy(at))
    seen = RecordedMargins()
    product = other.gradient(torch.from_numpy(at), seen).gradient
    assert all(isinstance(block, torch.Tensor) for block in [product, *seen.blocks])
    found = np.vstack([block.numpy() for block in seen.blocks])
    np.testing.assert_allclose(found**2, margins(ours, shape[0], at) ** 2, atol=1e-8)
    np.testing.assert_allclose(moved**2, coef**2, atol=1e-8)


def test_a_device_gets_a_few_rows_in_memory_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bottleneck.linear.solver.design._TRANSFER_BYTES", 5 * 4 * 8)
    rows = np.random.default_rng(0).normal(size=(33, 4))
    sent: list[NDArray[Any]] = []

    def to_device(array: NDArray[Any]) -> torch.Tensor:
        sent.extend([array] * (array.shape[1:] == (4,)))
        return torch.from_numpy(array)

    for weight in (None, np.arange(1.0, 34.0)):
        sent.clear()
        design = unlabelled(Rows(rows), intercept="free", weight=weight, to_device=to_device)
        assert {len(part) for part in sent} == {5, 3}
        np.testing.assert_array_equal(np.vstack(sent), np.vstack([rows, rows]))
        whole = unlabelled(Rows(rows), intercept="free", weight=weight)
        np.testing.assert_allclose(np.asarray(design.spectrum), whole.spectrum, rtol=1e-12)


@pytest.mark.parametrize("mean", [10.0, 100.0])
@pytest.mark.parametrize("intercept", INTERCEPTS)
def test_a_large_mean_costs_single_precision_few_digits(mean: float, intercept: Intercept) -> None:
    # Lengths of coordinates differ by `mean`; margins must not lose as many digits again.
    random = np.random.default_rng(0)
    rows = (mean + random.normal(size=(15, 40))).astype(np.float32)
    design = unlabelled(Rows(rows), intercept=intercept)
    at = random.normal(size=(len(design.spectrum), 3))
    coef, intercepts = design.to_coefficients(at)
    raw = rows.astype(np.float64) @ coef.T + intercepts
    size = float(np.sqrt(design.spectrum.max()))
    np.testing.assert_allclose(margins(design, 15, at), raw, atol=1e-6 * size)
    length = (coef**2).sum(axis=1) + (intercept == "penalised") * intercepts**2
    np.testing.assert_allclose(length, design.penalty @ at**2, rtol=1e-6)
