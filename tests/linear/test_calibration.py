import math
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize, minimize_scalar
from scipy.special import expit, log_softmax, logit, softmax
from sklearn.linear_model import LogisticRegression

from bottleneck.fitting.scoring.metrics import calibration_bins
from bottleneck.linear.calibration import (
    Calibration,
    _crossing,
    _zero,
    fit_platt,
    fit_temperature,
    row_blocks,
)

# Every number that single precision has, the smallest and the largest included.
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
SHAPES = st.tuples(st.integers(1, 8), st.integers(1, 5))


def simulated(
    temperature: float, *, n: int = 4000, k: int = 5, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Margins, and classes drawn from their softmax at a temperature (Gumbel's trick)."""
    random = np.random.default_rng(seed)
    margins = random.normal(scale=3, size=(n, k))
    return margins, (margins / temperature + random.gumbel(size=(n, k))).argmax(axis=1)


def simulated_labels(
    slope: NDArray[np.float64], offset: NDArray[np.float64], *, n: int = 4000, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    random = np.random.default_rng(seed)
    margins = random.normal(size=(n, len(slope)))
    return margins, random.random(margins.shape) < expit(slope * margins + offset)


def log_loss(slope: float, margins: NDArray[np.float64], true: NDArray[np.int64]) -> float:
    return -float(log_softmax(slope * margins, axis=1)[np.arange(len(true)), true].mean())


def targets(true: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Platt's: one image more on either side, as Lin, Lin and Weng write them."""
    yes, no = true.sum(), (~true).sum()
    return np.asarray(np.where(true, (yes + 1) / (yes + 2), 1 / (no + 2)))


# ---- temperature


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 20.0])
@pytest.mark.parametrize("k", [2, 5, 50])
def test_a_known_temperature_is_recovered(temperature: float, k: int) -> None:
    found = fit_temperature(*simulated(temperature, k=k))
    assert 1 / found.slope == pytest.approx(np.full(k, temperature), rel=0.2)
    np.testing.assert_array_equal(found.offset, np.zeros(k))
    assert not found.independent


@pytest.mark.parametrize("seed", range(5))
def test_temperature_minimises_the_log_loss(seed: int) -> None:
    margins, true = simulated(1 + seed, n=200, k=3, seed=seed)
    reference = minimize_scalar(
        log_loss, bounds=(1e-3, 10), args=(margins, true), method="bounded", options={"xatol": 1e-9}
    )
    assert fit_temperature(margins, true).slope[0] == pytest.approx(reference.x, rel=1e-4)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e3, 1e30])
def test_temperature_follows_the_scale_of_the_margins(scale: float) -> None:
    margins, true = simulated(2.0, n=300)
    found = fit_temperature(scale * margins, true)
    assert found.slope[0] * scale == pytest.approx(fit_temperature(margins, true).slope[0])


def test_one_wild_row_does_not_spoil_the_rest() -> None:
    margins, true = simulated(2.0, n=300)
    wild = np.vstack([margins, [3e38, -3e38, 0, 0, 0]])
    found = fit_temperature(wild, np.append(true, 0))  # right at every slope, so it says nothing
    assert found.slope[0] == pytest.approx(fit_temperature(margins, true).slope[0])


@pytest.mark.parametrize("n", [1, 10, 1000])
@pytest.mark.parametrize("k", [2, 7])
def test_without_errors_confidence_is_laplaces(n: int, k: int) -> None:
    random = np.random.default_rng(n)
    margins = random.normal(size=(n, k))
    found = fit_temperature(margins, margins.argmax(axis=1)).probabilities(margins)
    assert found.max(axis=1).mean() == pytest.approx((n + 1) / (n + 2))


def test_an_error_too_small_to_matter_does_not_bring_certainty() -> None:
    margins, true = np.array([[0.0, 1.0]] * 9 + [[1e-30, 0.0]]), np.ones(10, int)
    found = fit_temperature(margins, true).probabilities(margins)
    assert found.max(axis=1).mean() == pytest.approx(11 / 12)


@pytest.mark.parametrize("scale", [0.5, 4.0])
def test_a_row_of_weight_three_counts_as_three_rows(scale: float) -> None:
    random = np.random.default_rng(0)
    true = random.integers(0, 3, 40)
    margins = scale * (np.eye(3)[true] + 0.5 * random.normal(size=(40, 3)))
    weight = random.integers(1, 4, 40)
    repeated = fit_temperature(margins.repeat(weight, axis=0), true.repeat(weight))
    weighted = fit_temperature(margins, true, weight.astype(np.float64))
    np.testing.assert_allclose(weighted.slope, repeated.slope, rtol=1e-9)
    assert weighted.slope[0] != pytest.approx(fit_temperature(margins, true).slope[0], rel=1e-4)


def test_equal_margins_are_left_as_they_are() -> None:
    found = fit_temperature(np.full((4, 3), 7.0), np.array([0, 1, 2, 0]))
    np.testing.assert_array_equal(found.slope, np.ones(3))
    np.testing.assert_allclose(found.probabilities(np.zeros((2, 3))), 1 / 3)


def test_margins_that_differ_by_nothing_one_could_divide_by_count_as_equal() -> None:
    margins = np.array([[0.0, 5e-324], [5e-324, 0.0]])
    np.testing.assert_array_equal(fit_temperature(margins, np.array([1, 1])).slope, np.ones(2))
    found = fit_platt(margins, margins > 0).probabilities(margins)
    np.testing.assert_allclose(found, np.full((2, 2), 0.5))


def test_margins_worse_than_chance_give_equal_probabilities() -> None:
    margins, _ = simulated(1.0, n=50, k=3)
    found = fit_temperature(margins, margins.argmin(axis=1))
    assert found.slope[0] > 0
    np.testing.assert_allclose(found.probabilities(margins), 1 / 3, rtol=1e-5)


def test_separable_margins_with_ties_at_the_top() -> None:
    margins = np.array([[1.0, 1.0, 0.0], [2.0, 2.0, 0.0]])
    found = fit_temperature(margins, np.array([0, 1])).probabilities(margins)
    np.testing.assert_allclose(found, [[0.5, 0.5, 0]] * 2, atol=1e-12)


def test_temperature_lowers_the_calibration_error_of_held_out_images() -> None:
    margins, true = simulated(4.0)  # taken as they are, four times too sure
    held_out, held_out_true = simulated(4.0, seed=1)
    before = calibration_bins(softmax(held_out, axis=1), held_out_true).error
    found = fit_temperature(margins, true).probabilities(held_out)
    assert calibration_bins(found, held_out_true).error < 0.1 * before
    np.testing.assert_array_equal(found.argmax(axis=1), held_out.argmax(axis=1))


@settings(deadline=None)  # the first example imports a minimiser
@given(st.data(), SHAPES)
def test_any_temperature_gives_probabilities_in_the_same_order(
    data: st.DataObject, shape: tuple[int, int]
) -> None:
    margins = data.draw(stn.arrays(np.float64, shape, elements=FLOATS))
    true = data.draw(stn.arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)))
    calibration = fit_temperature(margins, true)
    assert calibration.slope.shape == calibration.offset.shape == (shape[1],)
    assert (calibration.slope > 0).all()
    found = calibration.probabilities(margins)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    ordered = np.take_along_axis(found, margins.argsort(axis=1), axis=1)
    assert (np.diff(ordered, axis=1) >= -1e-15).all()  # the exponential's last digit


@settings(deadline=None)  # the first example imports a minimiser
@given(st.data(), SHAPES)
def test_no_other_slope_is_better(data: st.DataObject, shape: tuple[int, int]) -> None:
    """Among those that are no surer than Laplace allows."""
    margins = data.draw(stn.arrays(np.float64, shape, elements=st.floats(-5, 5, width=16)))
    true = data.draw(stn.arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)))
    found = fit_temperature(margins, true).slope[0]
    most = (shape[0] + 1) / (shape[0] + 2)
    for other in found * np.array([0.5, 0.99, 1.01, 2]):
        if softmax(other * margins, axis=1).max(axis=1).mean() <= most:
            assert log_loss(found, margins, true) <= log_loss(other, margins, true) + 1e-6


# ---- Platt


def test_known_lines_are_recovered() -> None:
    slope, offset = np.array([0.5, 2.0, 4.0]), np.array([1.0, -2.0, 0.0])
    found = fit_platt(*simulated_labels(slope, offset, n=20_000))
    np.testing.assert_allclose(found.slope, slope, rtol=0.1)
    np.testing.assert_allclose(found.offset, offset, atol=0.1)
    assert found.independent


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("offset", [0.0, -4.0])  # common labels and rare ones
def test_platt_is_logistic_regression_on_his_targets(seed: int, offset: float) -> None:
    margins, true = simulated_labels(np.array([2.0]), np.array([offset]), n=150, seed=seed)
    target = targets(true[:, 0])
    # A target t is a yes of weight t and a no of weight 1 - t.
    reference = LogisticRegression(C=np.inf, tol=1e-10, solver="newton-cholesky").fit(
        np.vstack([margins, margins]),
        np.repeat([True, False], 150),
        sample_weight=np.hstack([target, 1 - target]),
    )
    found = fit_platt(margins, true)
    np.testing.assert_allclose(found.slope, reference.coef_[0], rtol=1e-4)
    np.testing.assert_allclose(found.offset, reference.intercept_, rtol=1e-4, atol=1e-4)


def test_platt_agrees_with_a_minimiser_that_needs_no_gradient() -> None:
    margins, true = simulated_labels(np.array([1.0]), np.array([0.5]), n=100)
    x, target = margins[:, 0], targets(true[:, 0])

    def loss(line: NDArray[np.float64]) -> float:
        p = expit(line[0] * x + line[1])
        return -float((target * np.log(p) + (1 - target) * np.log(1 - p)).sum())

    reference = minimize(loss, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-8}).x
    found = fit_platt(margins, true)
    np.testing.assert_allclose([found.slope[0], found.offset[0]], reference, rtol=1e-4)


def test_separated_labels_reach_platts_targets() -> None:
    margins = np.array([[-1.0]] * 6 + [[1.0]] * 3)
    found = fit_platt(margins, margins > 0).probabilities(margins)
    np.testing.assert_allclose(found[[0, -1], 0], [1 / 8, 4 / 5], rtol=1e-5)


@pytest.mark.parametrize("yes", [True, False])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_a_label_with_one_side_only(yes: bool, spread: float) -> None:
    margins = 0.1 + spread * np.arange(8.0).reshape(8, 1)
    found = fit_platt(margins, np.full((8, 1), yes))
    assert found.slope[0] == pytest.approx(0, abs=1e-6)
    assert expit(found.offset[0]) == pytest.approx(9 / 10 if yes else 1 / 10)


def test_margins_worse_than_chance_give_the_labels_share() -> None:
    random = np.random.default_rng(0)
    margins = random.normal(size=(200, 1))
    true = random.random((200, 1)) < expit(-3 * margins)
    found = fit_platt(margins, true)
    assert 0 < found.slope[0] * np.ptp(margins) <= 1e-6
    assert found.offset[0] == pytest.approx(logit(targets(true).mean()), abs=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e3, 1e30])
def test_platt_follows_the_scale_of_the_margins(scale: float) -> None:
    margins, true = simulated_labels(np.array([2.0, 1.0]), np.array([0.0, 1.0]), n=300)
    found, reference = fit_platt(scale * margins, true), fit_platt(margins, true)
    np.testing.assert_allclose(found.slope * scale, reference.slope, rtol=1e-5)
    np.testing.assert_allclose(found.offset, reference.offset, rtol=1e-5, atol=1e-6)


def test_platt_lowers_the_calibration_error_of_held_out_images() -> None:
    slope, offset = np.array([0.3, 0.5]), np.array([-1.0, 1.0])
    margins, true = simulated_labels(slope, offset)
    held_out, held_out_true = simulated_labels(slope, offset, seed=1)
    before = calibration_bins(expit(4 * held_out), held_out_true).error
    found = fit_platt(4 * margins, true).probabilities(4 * held_out)
    assert calibration_bins(found, held_out_true).error < 0.1 * before


@settings(deadline=None)  # the first example imports a minimiser
@given(st.data(), SHAPES)
def test_any_labels_give_probabilities_in_the_same_order(
    data: st.DataObject, shape: tuple[int, int]
) -> None:
    margins = data.draw(stn.arrays(np.float64, shape, elements=FLOATS))
    true = data.draw(stn.arrays(np.bool_, shape))
    calibration = fit_platt(margins, true)
    assert calibration.slope.shape == calibration.offset.shape == (shape[1],)
    assert (calibration.slope >= 0).all()
    found = calibration.probabilities(margins)
    assert ((found >= 0) & (found <= 1)).all()
    ordered = np.take_along_axis(found, margins.argsort(axis=0), axis=0)
    assert (np.diff(ordered, axis=0) >= -1e-15).all()


# ---- probabilities


@given(st.data(), SHAPES, st.booleans())
def test_probabilities_are_scipys(
    data: st.DataObject, shape: tuple[int, int], independent: bool
) -> None:
    margins = data.draw(stn.arrays(np.float64, shape, elements=FLOATS))
    offset = data.draw(stn.arrays(np.float64, shape[1], elements=FLOATS))
    slope = data.draw(stn.arrays(np.float64, shape[1], elements=st.floats(0, 2.0**100, width=32)))
    logits = slope * margins + offset
    reference = expit(logits) if independent else softmax(logits, axis=1)
    found = Calibration(slope, offset, independent).probabilities(margins)
    np.testing.assert_allclose(found, reference, rtol=1e-9, atol=1e-300)


@given(
    at=st.floats(-20, 20),
    below=st.floats(1e-9, 8),
    above=st.floats(1e-9, 8),
    steep=st.floats(1e-3, 100),
)
def test_a_zero_is_that_of_scipys_brentq(
    at: float, below: float, above: float, steep: float
) -> None:
    def rising(x: float) -> float:
        return math.tanh(steep * (x - at)) + math.expm1((x - at) / 8)

    low, high = at - below, at + above
    assert _zero(rising, low, high) == pytest.approx(
        brentq(rising, low, high, xtol=1e-12), abs=1e-11
    )


def test_importing_calibration_does_not_load_scipy() -> None:
    code = "import sys, bottleneck.linear.calibration; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_rows_in_blocks_have_the_temperature_of_all_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(0)
    margins, true = random.normal(size=(101, 7)), random.integers(0, 7, 101)
    margins[np.arange(101), true] += 1.5
    weight = random.random(101)
    whole = fit_temperature(margins, true, weight)
    monkeypatch.setattr("bottleneck.linear.calibration._BLOCK", 7 * 10)
    assert len(list(row_blocks(margins))) == 11
    found = []
    for threads in (1, 3, 16):
        monkeypatch.setattr("bottleneck.linear.calibration.available_cpus", lambda n=threads: n)
        found.append(fit_temperature(margins, true, weight).slope[0])
    np.testing.assert_allclose(found, whole.slope[0], rtol=1e-9)
    assert len(set(found)) == 1  # to the last bit, whatever the number of threads


def test_a_temperature_takes_a_fraction_of_the_memory_of_its_margins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    margins = np.random.default_rng(0).normal(size=(5000, 100))
    fit_temperature(margins[:50], np.zeros(50, np.int64))  # imports SciPy
    monkeypatch.setattr("bottleneck.linear.calibration._BLOCK", 100 * 50)
    tracemalloc.start()
    try:
        fit_temperature(margins, np.zeros(5000, np.int64))
        assert tracemalloc.get_traced_memory()[1] < margins.nbytes / 5
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [1.0, 1e-200])
def test_a_zero_is_found_wherever_the_search_begins(size: float) -> None:
    """Values whose product is 0 have signs nonetheless."""

    def rising(slope: float) -> float:
        return size * (slope - 5)

    for near in (1e-3, 4.0, 5.0, 6.0, 1e3):
        assert _crossing(rising, 1e-3, 1e3, near) == pytest.approx(5, rel=1e-9)
        assert _crossing(rising, 1e-3, 2.0, near) == 2
        assert _crossing(rising, 10.0, 1e3, near) == 10


def test_probabilities_vanish_in_scripts_that_make_underflow_an_error() -> None:
    margins = np.array([[400.0, -400.0], [-400.0, 400.0], [-1.0, 1.0], [1.0, -1.0]])
    with np.errstate(all="raise"):
        found = fit_temperature(margins, np.array([0, 1, 0, 1])).probabilities(1e3 * margins)
        assert found.sum(axis=1).tolist() == [1, 1, 1, 1]
        assert fit_platt(margins, margins > 0).probabilities(1e3 * margins)[0].tolist() == [1, 0]
