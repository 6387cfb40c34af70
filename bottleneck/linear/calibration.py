"""Calibration: margins become probabilities that come true as often as they say."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NO_GAP = 1e-100  # margins nearer than this count as equal, so that no slope overflows


@dataclass(frozen=True)
class Calibration:
    """Straight lines through the margins, and what makes probabilities of them.

    Attributes
    ----------
    slope, offset : ndarray of float64, shape (k,)
        A line for each class; a slope is never negative.
    independent : bool
        Whether every label has a probability of its own (the logistic of its line), or one class
        of all is the true one (the softmax of all lines).
    """

    slope: NDArray[np.float64]
    offset: NDArray[np.float64]
    independent: bool

    def probabilities(self, margins: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of margins, both of shape (n, k); rows sum to 1 unless independent."""
        logits = self.slope * margins + self.offset
        return _logistic(logits) if self.independent else _softmax(logits)


def fit_temperature(
    margins: NDArray[np.float64],
    true: NDArray[np.int64],
    weight: NDArray[np.float64] | None = None,
) -> Calibration:
    """One slope 1/T for all classes, the one whose softmax has the smallest log loss.

    C. Guo et al., "On calibration of modern neural networks", ICML 2017. The loss is convex in
    1/T, and the order of the classes stays as it was. Where no image is wrong the loss falls for
    ever as the slope grows; so mean confidence ends at (n + 1) / (n + 2), which is all that n
    images can show when every one is right (Laplace's rule of succession).

    Parameters
    ----------
    margins : ndarray of float64, shape (n, k)
        Of images from which the classifier did not learn; finite, in the range of float32. n and
        k are at least 1.
    true : ndarray of int64, shape (n,)
        Their classes, from 0 to k - 1.
    weight : ndarray of float64, shape (n,), optional
        How often each counts; once unless given.

    Returns
    -------
    Calibration
        Not independent, with offsets of 0. The slope is 1 where every row's margins are equal,
        and all but 0 where margins are worse than chance.
    """
    k = margins.shape[1]
    # Softmax does not see a shift of its row: with 0 for the highest, nothing overflows.
    below = margins - margins.max(axis=1, keepdims=True)
    slope = _best_slope(below, true, np.ones(len(true)) if weight is None else weight)
    return Calibration(np.full(k, slope), np.zeros(k), independent=False)


def fit_platt(margins: NDArray[np.float64], true: NDArray[np.bool_]) -> Calibration:
    """A slope and an offset for each label, whose logistic has the smallest log loss.

    J. Platt, "Probabilistic outputs for support vector machines", 1999, in the form of H.-T. Lin,
    C.-J. Lin and R. C. Weng, "A note on Platt's probabilistic outputs", Machine Learning 68
    (2007). Platt's targets, a little inside of 0 and 1, keep the line finite for a label that
    margins separate, and for one that all images have or none has.

    Parameters
    ----------
    margins : ndarray of float64, shape (n, k)
        Of images from which the classifier did not learn; finite, in the range of float32. n is
        at least 1.
    true : ndarray of bool, shape (n, k)
        Which image has which label.

    Returns
    -------
    Calibration
        Independent. A slope is 0 where a label's margins are worse than chance: the best of the
        lines that do not turn the order of the images around.
    """
    lines = [_platt_line(*label) for label in zip(margins.T, true.T, strict=True)]
    slope, offset = np.array(lines, np.float64).reshape(-1, 2).T
    return Calibration(slope, offset, independent=True)


def _best_slope(
    below: NDArray[np.float64], true: NDArray[np.int64], weight: NDArray[np.float64]
) -> float:
    """The slope for margins of which each row's highest is 0."""
    gaps = -below[below < -_NO_GAP]
    if not gaps.size:
        return 1.0
    # Flatter, all probabilities of a row are equal; steeper, they are 0 and 1 to the last digit.
    flattest, steepest = 1e-6 / float(gaps.max()), 40 / float(gaps.min())
    of_true = below[np.arange(len(true)), true]
    count = float(weight.sum())
    most = (count + 1) / (count + 2)

    def loss_derivative(slope: float) -> float:
        expected = (_softmax(slope * below) * below).sum(axis=1)
        return float(weight @ (expected - of_true)) / count

    def overconfidence(slope: float) -> float:
        return float(weight @ _softmax(slope * below).max(axis=1)) / count - most

    lowest_loss = _crossing(loss_derivative, flattest, steepest)
    return _crossing(overconfidence, flattest, lowest_loss)


def _crossing(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function of a slope becomes 0; the nearer end where it does not."""
    from scipy.optimize import brentq  # half a second that nobody else should wait for

    def at(log_slope: float) -> float:
        return rising(math.exp(log_slope))

    first, last = math.log(low), math.log(high)
    if at(first) >= 0:
        return low
    if at(last) <= 0:
        return high
    return math.exp(brentq(at, first, last, xtol=1e-12, maxiter=1000))


def _platt_line(margins: NDArray[np.float64], true: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and offset for one label."""
    from scipy.optimize import minimize

    yes = int(true.sum())
    no = len(true) - yes
    target = np.where(true, (yes + 1) / (yes + 2), 1 / (no + 2))
    # In units of their own width, margins of every size give the minimiser one problem.
    width = float(np.ptp(margins))
    centre, unit = float(margins.mean()), width if width > _NO_GAP else 1.0
    x = (margins - centre) / unit

    def loss_and_gradient(line: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = line[0] * x + line[1]
        loss = np.logaddexp(0, logits) - target * logits
        error = _logistic(logits) - target
        return float(loss.mean()), np.array([(error * x).mean(), error.mean()])

    rate = float(target.mean())
    found = minimize(
        loss_and_gradient,
        np.array([0.0, math.log(rate / (1 - rate))]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None), (None, None)],
        options={"ftol": 1e-15, "gtol": 1e-10},
    )
    slope = float(found.x[0]) / unit
    return slope, float(found.x[1]) - slope * centre


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def _logistic(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.exp(-np.logaddexp(0, -logits)))
