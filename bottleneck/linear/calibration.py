"""Calibration: probabilities from the margins of a classifier."""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bottleneck.runtime import available_cpus

T = TypeVar("T")

# The probability of a class that is far away is 0, also where a script makes underflow an error.
allow_underflow = np.errstate(under="ignore")

_NO_GAP = 1e-100  # smaller differences of margins count as 0, so that no slope overflows
_ZERO_TOL = 1e-12  # of the logarithm of a slope
_LEAST_SLOPE = 1e-6  # of a label, for margins in a range of 1
_BLOCK = 1 << 14  # values in a block: the system maps memory anew for arrays above 128 KiB


@dataclass(frozen=True)
class Calibration:
    """Map of margins to probabilities: a linear function of each margin, then softmax or logistic.

    Attributes
    ----------
    slope, offset : ndarray of float64, shape (k,)
        Logits are slope · margin + offset; slopes are not negative.
    independent : bool
        Whether each label has its own probability, the logistic function of its logit; otherwise
        exactly one class is true, and probabilities are the softmax of all logits.

    Examples
    --------
    >>> softmax = Calibration(np.array([2.0, 2.0]), np.zeros(2), independent=False)
    >>> softmax.probabilities(np.array([[0.0, 0.0], [1.0, -1.0]])).round(3).tolist()
    [[0.5, 0.5], [0.982, 0.018]]
    """

    slope: NDArray[np.float64]
    offset: NDArray[np.float64]
    independent: bool

    @allow_underflow
    def probabilities(self, margins: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probabilities of margins.

        Parameters
        ----------
        margins : ndarray of float64, shape (n, k)

        Returns
        -------
        ndarray of float64, shape (n, k)
            Rows sum to 1 unless the labels are independent.
        """
        logits = self.slope * margins + self.offset
        return _logistic(logits) if self.independent else _softmax(logits)

    def with_intercept(self, intercept: NDArray[np.float64]) -> "Calibration":
        """Return the calibration of margins to which an intercept is added.

        Parameters
        ----------
        intercept : ndarray of float64, shape (k,)

        Examples
        --------
        >>> calibration = Calibration(np.array([2.0]), np.array([1.0]), independent=True)
        >>> calibration.with_intercept(np.array([0.25])).offset.tolist()
        [0.5]
        >>> calibration.threshold.tolist()
        [-0.5]
        >>> calibration.with_intercept(-calibration.threshold).offset.tolist()
        [0.0]
        """
        return replace(self, offset=self.offset - self.slope * intercept)

    @property
    def threshold(self) -> NDArray[np.float64]:
        """Return the margins, shape (k,), at which independent labels have a probability of 1/2."""
        return -self.offset / self.slope


@allow_underflow
def fit_temperature(
    margins: NDArray[np.float64],
    true: NDArray[np.int64],
    weight: NDArray[np.float64] | None = None,
) -> Calibration:
    """Fit one temperature T for all classes, by the log loss of the softmax of margins / T.

    C. Guo et al., "On calibration of modern neural networks", ICML 2017. The loss is convex in
    1/T, and the order of the classes does not change. If the classifier is right on all n images,
    the loss decreases for every smaller T; therefore the mean confidence is limited to
    (n + 1) / (n + 2), Laplace's rule of succession for n successes.

    Parameters
    ----------
    margins : ndarray of float64, shape (n, k)
        Margins of images that the classifier was not trained on; finite, in the range of float32.
        n and k are at least 1.
    true : ndarray of int64, shape (n,)
        Class of each image, from 0 to k - 1.
    weight : ndarray of float64, shape (n,), optional
        Weight of each image; 1 unless given.

    Returns
    -------
    Calibration
        Not independent, with slopes 1/T and offsets of 0. The slope is 1 if the margins of every
        row are equal, and nearly 0 if the margins are worse than chance.

    Examples
    --------
    >>> margins = np.array([[4.0, -4.0], [-4.0, 4.0], [4.0, -4.0], [4.0, -4.0]])
    >>> calibration = fit_temperature(margins, np.array([0, 1, 0, 1]))  # one of 4 is wrong
    >>> calibration.probabilities(margins).max(axis=1).round(3).tolist()
    [0.75, 0.75, 0.75, 0.75]
    """
    k = margins.shape[1]
    slope = _best_slope(margins, true, np.ones(len(true)) if weight is None else weight)
    return Calibration(np.full(k, slope), np.zeros(k), independent=False)


@allow_underflow
def fit_platt(margins: NDArray[np.float64], true: NDArray[np.bool_]) -> Calibration:
    """Fit a slope and an offset for each label, by the log loss of the logistic function.

    J. Platt, "Probabilistic outputs for support vector machines", 1999, in the form of H.-T. Lin,
    C.-J. Lin and R. C. Weng, "A note on Platt's probabilistic outputs", Machine Learning 68
    (2007). Platt's targets lie slightly inside of 0 and 1, so that slope and offset are finite for
    a label that the margins separate, and for one that all images have or none has.

    Parameters
    ----------
    margins : ndarray of float64, shape (n, k)
        Margins of images that the classifier was not trained on; finite, in the range of float32.
        n is at least 1.
    true : ndarray of bool, shape (n, k)
        Whether each image has each label.

    Returns
    -------
    Calibration
        Independent. The slope of a label whose margins are worse than chance is nearly 0, so that
        the order of the images is never reversed.

    Examples
    --------
    >>> margins = np.array([[-1.0], [-1.0], [1.0], [1.0]])
    >>> calibration = fit_platt(margins, margins > 0)
    >>> calibration.probabilities(margins).round(3).tolist()
    [[0.25], [0.25], [0.75], [0.75]]
    """
    lines = [_platt_line(*label) for label in zip(margins.T, true.T, strict=True)]
    slope, offset = np.array(lines, np.float64).reshape(-1, 2).T
    return Calibration(slope, offset, independent=True)


def row_blocks(margins: NDArray[Any]) -> Iterator[slice]:
    """Divide rows into parts of 128 KiB, of which copies take little memory and time.

    Parameters
    ----------
    margins : ndarray, shape (n, k)

    Yields
    ------
    slice
        Rows of a part, in order.

    Examples
    --------
    >>> list(row_blocks(np.zeros((3, 1 << 13))))
    [slice(0, 2, None), slice(2, 4, None)]
    """
    n, k = margins.shape
    step = max(1, _BLOCK // max(k, 1))
    return (slice(start, start + step) for start in range(0, n, step))


def _best_slope(
    margins: NDArray[np.float64], true: NDArray[np.int64], weight: NDArray[np.float64]
) -> float:
    """Return the slope 1/T."""
    extremes = _map_blocks(lambda rows: _gap_range(_below_highest(margins[rows])), margins)
    narrowest, widest = min(low for low, _ in extremes), max(high for _, high in extremes)
    if not widest:
        return 1.0
    # With a smaller slope all probabilities are equal; with a larger one they are exactly 0 and 1.
    flattest, steepest = 1e-6 / widest, 40 / narrowest
    count = float(weight.sum())
    most = (count + 1) / (count + 2)

    def loss_derivative(slope: float) -> float:
        def block_sum(rows: slice) -> float:
            below = _below_highest(margins[rows])
            odds = _odds(slope, below)
            expected = np.einsum("ij,ij->i", odds, below) / odds.sum(axis=1)
            return float(weight[rows] @ (expected - below[np.arange(len(below)), true[rows]]))

        return sum(_map_blocks(block_sum, margins)) / count

    def overconfidence(slope: float) -> float:
        def block_sum(rows: slice) -> float:
            odds = _odds(slope, _below_highest(margins[rows]))
            return float(weight[rows] @ (1 / odds.sum(axis=1)))  # those of the highest are 1

        return sum(_map_blocks(block_sum, margins)) / count - most

    lowest_loss = _crossing(loss_derivative, flattest, steepest, 10 / widest)
    return _crossing(overconfidence, flattest, lowest_loss, lowest_loss)


def _map_blocks(function: Callable[[slice], T], margins: NDArray[np.float64]) -> list[T]:
    """Apply a function to each block of rows, with a thread for each core; results are in order."""
    blocks = list(row_blocks(margins))
    each = math.ceil(len(blocks) / available_cpus())
    parts = [blocks[start : start + each] for start in range(0, len(blocks), each)]
    if len(parts) == 1:
        return list(map(function, blocks))
    with ThreadPoolExecutor(len(parts)) as threads:
        return list(chain(*threads.map(lambda part: [function(rows) for rows in part], parts)))


def _odds(slope: float, below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of each class, divided by that of the most probable."""
    logits = slope * below
    return np.asarray(np.exp(logits, out=logits))


def _below_highest(margins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shift each row, which softmax is invariant to: with 0 for the highest, nothing overflows."""
    return np.asarray(margins - margins.max(axis=1, keepdims=True))


def _gap_range(below: NDArray[np.float64]) -> tuple[float, float]:
    """Return the least and the largest distance to the highest margin; infinity and 0 if none."""
    gaps = -below[below < -_NO_GAP]
    return (float(gaps.min()), float(gaps.max())) if gaps.size else (math.inf, 0.0)


def _crossing(rising: Callable[[float], float], low: float, high: float, near: float) -> float:
    """Return the zero of an increasing function of a slope, or the nearer end of the interval.

    The interval is many decades wide, and each call reads all margins: so it is looked for from
    `near` on, in steps that double.
    """

    @cache
    def at(log_slope: float) -> float:
        return rising(math.exp(log_slope))

    first, last = math.log(low), math.log(high)
    start = min(max(math.log(near), first), last)
    step = 1.0 if at(start) < 0 else -1.0
    while (at(start) < 0) == (at(end := min(max(start + step, first), last)) < 0):
        if end in (first, last):
            return low if end == first else high
        start, step = end, 2 * step
    return math.exp(_zero(at, min(start, end), max(start, end)))


def _zero(function: Callable[[float], float], low: float, high: float) -> float:
    """Return the zero of a function that is negative at the lower end of an interval alone.

    The Illinois algorithm: M. Dowell and P. Jarratt, "A modified regula falsi method for computing
    the root of an equation", BIT 11 (1971). scipy.optimize takes longer to import than a small fit.
    """
    at_low, at_high, zero, before = function(low), function(high), high, math.inf
    while abs(zero - before) > _ZERO_TOL:
        before = zero
        zero = high - at_high * (high - low) / (at_high - at_low)
        found = function(zero)
        if found < 0:
            low, at_low, at_high = zero, found, at_high / (2 if before == low else 1)
        else:
            high, at_high, at_low = zero, found, at_low / (2 if before == high else 1)
    return zero


def _platt_line(margins: NDArray[np.float64], true: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the slope and the offset for one label."""
    from scipy.optimize import minimize

    yes = int(true.sum())
    no = len(true) - yes
    target = np.where(true, (yes + 1) / (yes + 2), 1 / (no + 2))
    # Scaled to a range of 1, so that the tolerances of the minimiser fit margins of any size.
    width = float(np.ptp(margins))
    centre, unit = float(margins.mean()), width if width > _NO_GAP else 1.0
    x = (margins - centre) / unit

    def loss_and_gradient(line: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = line[0] * x + line[1]
        loss = np.logaddexp(0, logits) - target * logits
        error = _logistic(logits) - target
        return float(loss.mean()), np.array([(error * x).mean(), error.mean()])

    rate = float(target.mean())
    result = minimize(
        loss_and_gradient,
        np.array([_LEAST_SLOPE, math.log(rate / (1 - rate))]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(_LEAST_SLOPE, None), (None, None)],
        options={"ftol": 1e-15, "gtol": 1e-10},
    )
    slope = float(result.x[0]) / unit
    return slope, float(result.x[1]) - slope * centre


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def _logistic(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.exp(-np.logaddexp(0, -logits)))
