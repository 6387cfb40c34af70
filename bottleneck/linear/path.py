"""Minimisers of ½‖w‖² + C Σᵢ sᵢ ℓ(yᵢ, xᵢ·w) for an ascending sequence of C.

The search for each C starts at the linear extrapolation of the two minimisers before it, as in
predictor-corrector methods (E. Allgower and K. Georg, "Numerical continuation methods", 1990). A
dual point of the hinge gives a lower bound for every larger C, so that the solutions of separable
classes need few passes.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from bottleneck.linear.design import Design, to_numpy
from bottleneck.linear.lbfgs import Minimum, minimise
from bottleneck.linear.losses import Array, Loss
from bottleneck.linear.objective import DualBound, Objective

_STRIDE = 10.0  # a larger ratio of consecutive C is divided by intermediate values of C
_EASY = 10.0  # up to this C, in units of 1/mean(Λ), starting from zero needs no intermediate C
# Tolerance of an intermediate C, if it is below the second value in units of 1/mean(Λ). Above it
# the search for the hinge needs a start near the widest margin.
_INTERMEDIATE_TOL, _HARD = 0.1, 1e3


@dataclass(frozen=True)
class Solution:
    """Coefficients that minimise the objective for one C.

    Attributes
    ----------
    c : float
        Weight of the loss against the penalty.
    coef : ndarray of float64, shape (q, d)
    intercept : ndarray of float64, shape (q,)
    objective : ndarray of float64, shape (p,)
        Of each problem: one for every class of a one-vs-rest classifier, one for softmax.
    gap : ndarray of float64, shape (p,)
        Upper bound of objective - minimum, relative to the objective or to its decrease from zero
        coefficients, whichever is smaller.
    converged : ndarray of bool, shape (p,)
        Whether the gap is within the tolerance.
    passes : int
        Number of passes over the rows, those for intermediate C included.

    Examples
    --------
    >>> one = np.ones(1)
    >>> solution = Solution(1.0, np.array([[2.0, -1.0]]), one, one, 0 * one, one > 0, 3)
    >>> solution.decision_function(np.array([[1.0, 0.0], [0.0, 2.0]])).tolist()
    [[3.0], [-1.0]]
    """

    c: float
    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    objective: NDArray[np.float64]
    gap: NDArray[np.float64]
    converged: NDArray[np.bool_]
    passes: int

    def decision_function(self, codes: NDArray[Any]) -> NDArray[Any]:
        """Return the linear score of each column, shape (n, q), in the dtype of the codes.

        Parameters
        ----------
        codes : ndarray of float32 or float64, shape (n, d)
        """
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
    """Minimise the objective for each C, starting from the solutions before it.

    Parameters
    ----------
    design : Design
        Rows and targets.
    loss : Loss
        With its arrays on the same device.
    cs : sequence of float
        Ascending, each above 0.
    intercept : array, shape (q,), optional
        Best free intercepts for zero coefficients, where the search starts. 0 unless given.
    tol : float
        Largest `Solution.gap`.
    max_passes : int
        Largest number of passes over the rows for one C, including those for intermediate C. If
        it is reached, the solution has not converged.

    Yields
    ------
    Solution
        For each C, in order.

    Examples
    --------
    >>> from bottleneck.linear.eigenbasis import make_design
    >>> from bottleneck.linear.losses import SquaredHinge
    >>> from bottleneck.linear.matrix import ArrayMatrix
    >>> codes = ArrayMatrix(np.array([[-2.0], [-1.0], [1.0], [2.0]]))
    >>> belongs = np.array([[False], [False], [True], [True]])
    >>> design = make_design(codes, belongs, intercept="none")
    >>> for solution in solve_path(design, SquaredHinge(np.arange(1)), [0.1, 1.0], tol=1e-9):
    ...     print(solution.c, solution.coef.round(4).tolist())
    0.1 [[0.4]]
    1.0 [[0.8]]
    """
    path = _Path(design, loss, intercept)
    passes = 0
    for c, wanted in _path_steps([float(c) for c in cs], easy=_EASY / path.mean_spectrum):
        rough = not wanted and c <= _HARD / path.mean_spectrum
        allowed = max_passes - passes if wanted else (max_passes - passes) // 2
        if not allowed:
            continue
        c_tol = max(tol, _INTERMEDIATE_TOL) if rough else tol
        minimum = path.solve(c, tol=c_tol, max_passes=allowed)
        passes += minimum.passes
        if wanted:
            value, gap = to_numpy(minimum.value), to_numpy(minimum.gap)
            yield Solution(c, *design.to_coefficients(minimum.at), value, gap, gap <= tol, passes)
            passes = 0


def _path_steps(cs: Sequence[float], *, easy: float) -> Iterator[tuple[float, bool]]:
    """Yield every C to solve, and whether it is one of `cs` or an intermediate value."""
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
    """State of a path: the last two minimisers, and the best dual points so far."""

    def __init__(self, design: Design, loss: Loss, intercept: Array | None) -> None:
        self.design, self.loss, self.intercept = design, loss, intercept
        self.dual_bound: DualBound | None = None
        self.last: list[tuple[float, Array]] = []
        self.loss_at_zero: Array | None = None  # of zero coefficients
        xp = array_namespace(design.spectrum)
        self.largest = float(xp.max(design.spectrum))
        self.mean_spectrum = max(float(xp.mean(design.spectrum)), 1e-300)

    def solve(self, c: float, *, tol: float, max_passes: int) -> Minimum:
        """Minimise the objective for a C, in double precision if float32 does not suffice."""
        # Above this product a float32 gradient is mostly rounding.
        if (1 + self.loss.curvature_bound * c * self.largest) * np.finfo(np.float32).eps > 1:
            self._use_float64()
        minimum = self._minimum(c, self._extrapolate(c), self.dual_bound, tol, max_passes)
        passes = minimum.passes
        unfinished = passes < max_passes and bool(np.any(to_numpy(minimum.gap) > tol))
        if self.design.is_float32 and unfinished:
            self._use_float64()
            minimum = self._minimum(c, minimum.at, minimum.dual_bound, tol, max_passes - passes)
            minimum.passes += passes
        self.last = [*self.last[-1:], (c, minimum.at)]
        self.dual_bound = minimum.dual_bound
        return minimum

    def _use_float64(self) -> None:
        if self.design.is_float32:
            self.design = self.design.in_float64()

    def _minimum(
        self, c: float, start: Array, bound: DualBound | None, tol: float, max_passes: int
    ) -> Minimum:
        value_at_zero = None if self.loss_at_zero is None else c * self.loss_at_zero
        objective = Objective(self.design, self.loss, c, bound, value_at_zero)
        start = objective.xp.astype(start, self.design.dtype, copy=False)
        minimum = minimise(objective, start, tol=tol, max_passes=max_passes)
        if self.loss_at_zero is None:
            self.loss_at_zero = minimum.value_at_zero / c
        return minimum

    def _extrapolate(self, c: float) -> Array:
        """Return the start for a C: the linear extrapolation of the last two minimisers."""
        xp, spectrum = array_namespace(self.design.spectrum), self.design.spectrum
        if not self.last:
            shape = (spectrum.shape[0], self.loss.columns.shape[0])
            start = xp.zeros(shape, dtype=self.design.dtype, device=device(spectrum))
            if self.intercept is not None:
                start[-1] = self.intercept
            return start
        last_c, last = self.last[-1]
        if len(self.last) == 1:
            return last
        first_c, first = self.last[0]
        now, then, target = (self.loss.path_coordinate(each) for each in (last_c, first_c, c))
        return last - (last - first) * ((target - now) / (then - now))
