"""Solver: the minimisers of ½‖w‖² + C Σᵢ sᵢ ℓ(yᵢ, xᵢ·w) along a path of C.

Each C starts where the minimisers of the two before it point to, as predictor-corrector methods do
(E. Allgower and K. Georg, "Numerical continuation methods", 1990). A dual point of the hinge serves
every larger C, so that where classes can be separated, what was proved for one C soon proves all
that follow.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, to_device
from numpy.typing import NDArray

from bottleneck.linear.design import Design
from bottleneck.linear.lbfgs import DualBound, Minimum, Objective, minimise
from bottleneck.linear.losses import Array, Loss

_STRIDE = 10.0  # a longer way from one C to the next is walked in steps
_EASY = 10.0  # times 1/mean(Λ): up to this C a start from zero is as good as a walk
# The tolerance of a C that is only walked through, up to the second times 1/mean(Λ). Beyond, a
# hinge that starts from nowhere near its widest margin hardly gets there.
_ON_THE_WAY, _HARD = 0.1, 1e3


@dataclass(frozen=True)
class Solution:
    """The minimiser for one C.

    Attributes
    ----------
    c : float
    coef : ndarray of float64, shape (q, d)
    intercept : ndarray of float64, shape (q,)
    objective : ndarray of float64, shape (p,)
        Of each problem: a class of a one-vs-rest classifier, or softmax as a whole.
    gap : ndarray of float64, shape (p,)
        The objective is within this share of its minimum, or of what it gained over zero
        coefficients where that is less.
    converged : ndarray of bool, shape (p,)
        Whether the gap is within the tolerance.
    passes : int
        How often the rows were read for it.
    """

    c: float
    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    objective: NDArray[np.float64]
    gap: NDArray[np.float64]
    converged: NDArray[np.bool_]
    passes: int

    def decision_function(self, codes: NDArray[Any]) -> NDArray[Any]:
        """The linear score of each column, shape (n, q), in the codes' own precision."""
        coef = self.coef.T.astype(codes.dtype)
        return np.asarray(codes @ coef + self.intercept.astype(codes.dtype))


def solve_path(
    design: Design,
    loss: Loss,
    cs: Sequence[float],
    *,
    intercept: Array | None = None,
    tol: float = 1e-3,
    max_passes: int = 1000,
) -> Iterator[Solution]:
    """The minimisers for some C, each from the one before.

    Parameters
    ----------
    design : Design
        The rows.
    loss : Loss
        Of the same rows, on the same device.
    cs : sequence of float
        Ascending, each above 0.
    intercept : array, shape (q,), optional
        Where it is free, what is best with zero coefficients: a gain is counted from there. 0
        unless given.
    tol : float
        How far an objective may be above its minimum, as a share of it.
    max_passes : int
        Give up on a C after so many passes over the rows, those on the way to it among them; its
        `Solution.gap` says how near it is.

    Yields
    ------
    Solution
        For each C, in order.
    """
    path = _Path(design, loss, intercept)
    passes = 0
    for c, wanted in _path_steps([float(c) for c in cs], easy=_EASY / path.mean_spectrum):
        rough = not wanted and c <= _HARD / path.mean_spectrum
        allowed = max_passes - passes if wanted else (max_passes - passes) // 2
        if not allowed:
            continue
        found = path.solve(c, tol=max(tol, _ON_THE_WAY) if rough else tol, max_passes=allowed)
        passes += found.passes
        if wanted:
            value, gap = _host(found.value), _host(found.gap)
            yield Solution(c, *design.lift(found.at), value, gap, gap <= tol, passes)
            passes = 0


def _path_steps(cs: Sequence[float], *, easy: float) -> Iterator[tuple[float, bool]]:
    """Every C to walk through, and whether it is one of those asked for."""
    before: float | None = None
    for c in cs:
        steps = 1
        if before is not None:
            steps = math.ceil(math.log(c / before, _STRIDE) - 1e-9)
        elif c > easy:
            steps = 1 + math.ceil(math.log(c / easy, _STRIDE) - 1e-9)
        stride = _STRIDE if before is None else (c / before) ** (1 / max(steps, 1))
        for left in range(steps - 1, 0, -1):
            yield c / stride**left, False
        yield c, True
        before = c


class _Path:
    """Walks from C to C, and knows the last two minimisers and what was proved on the way."""

    def __init__(self, design: Design, loss: Loss, intercept: Array | None) -> None:
        self.design, self.loss, self.intercept = design, loss, intercept
        self.proof: DualBound | None = None
        self.last: list[tuple[float, Array]] = []
        self.zero: Array | None = None  # the loss of zero coefficients
        xp = array_namespace(design.spectrum)
        self.largest = float(xp.max(design.spectrum))
        self.mean_spectrum = max(float(xp.mean(design.spectrum)), 1e-300)

    def solve(self, c: float, *, tol: float, max_passes: int) -> Minimum:
        """The minimum for a C, from where the walk has come."""
        # Beyond this, single precision cannot tell a gradient from its rounding.
        if (1 + self.loss.bound * c * self.largest) * np.finfo(np.float32).eps > 1:
            self._double()
        found = self._minimum(c, self._predicted(c), self.proof, tol, max_passes)
        passes = found.passes
        if self.design.single and passes < max_passes and bool(np.any(_host(found.gap) > tol)):
            self._double()
            found = self._minimum(c, found.at, found.proof, tol, max_passes - passes)
            found.passes += passes
        self.last = [*self.last[-1:], (c, found.at)]
        self.proof = found.proof
        return found

    def _double(self) -> None:
        if self.design.single:
            self.design = self.design.doubled()

    def _minimum(
        self, c: float, start: Array, proof: DualBound | None, tol: float, max_passes: int
    ) -> Minimum:
        zero = None if self.zero is None else c * self.zero
        objective = Objective(self.design, self.loss, c, proof, zero)
        start = objective.xp.astype(start, self.design.dtype, copy=False)
        found = minimise(objective, start, tol=tol, max_passes=max_passes)
        if self.zero is None:
            self.zero = found.zero / c
        return found

    def _predicted(self, c: float) -> Array:
        xp, spectrum = array_namespace(self.design.spectrum), self.design.spectrum
        if not self.last:
            shape = (spectrum.shape[0], self.loss.columns.shape[0])
            start = xp.zeros(shape, dtype=self.design.dtype, device=device(spectrum))
            if self.intercept is not None:
                start[-1] = self.intercept
            return start
        here, at = self.last[-1]
        if len(self.last) > 1:
            before, was = self.last[0]
            done, ahead = (self.loss.course(to) - self.loss.course(here) for to in (before, c))
            at = at - (at - was) * (ahead / done)
        return at


def _host(values: Array) -> NDArray[np.float64]:
    return np.asarray(to_device(values, "cpu"), dtype=np.float64)
