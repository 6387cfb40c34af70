"""Minimisers of ½‖w‖² + C Σᵢ sᵢ ℓ(yᵢ, xᵢ·w) as a function of C.

The search for a C starts between the minimisers of the two nearest C that are known, or at the
linear extrapolation of the two below it, as in predictor-corrector methods (E. Allgower and K.
Georg, "Numerical continuation methods", 1990). A dual point of the hinge gives a lower bound for
every C, so that the solutions of separable classes need few passes.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from array_api_compat import device
from numpy.typing import NDArray

from bottleneck.linear.solver.arithmetic import SMALL_PRODUCT, exact_float32, single_thread
from bottleneck.linear.solver.array_api import Array, array_namespace, epsilon, to_numpy
from bottleneck.linear.solver.design import ArrayDesign, Design
from bottleneck.linear.solver.lbfgs import Minimum, minimise
from bottleneck.linear.solver.losses import Loss, SquaredHinge
from bottleneck.linear.solver.newton import newton_cost
from bottleneck.linear.solver.objective import Objective, gap_of

_STRIDE = 10.0  # a larger ratio of consecutive C is divided by intermediate values of C
# Up to this C, in units of 1/mean(Λ), starting from zero needs no intermediate C: by L-BFGS, or for
# the hinge, whose active rows are unknown; and by Newton steps on a log loss.
_EASY, _EASY_FOR_NEWTON = 10.0, 1e5
_CHEAP = 2.0  # passes: Newton steps that cost no more are used from the start
# Tolerance of an intermediate C, if it is below the second value in units of 1/mean(Λ). Above it
# the search for the hinge needs a start near the widest margin.
_INTERMEDIATE_TOL, _HARD = 0.1, 1e3
_SEPARATING = 0.9  # share of the tolerance, which leaves some to rounding


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
        coefficients, whichever is smaller. The decrease counts as at least ‖w‖², which is up to
        twice as much; the part of a free intercept is estimated.
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


class RegularizationPath:
    """Minimisers of one problem, solved for any values of C and remembered.

    Parameters
    ----------
    design : Design
        Rows and targets.
    loss : Loss
        With its arrays on the same device.
    intercept : array, shape (q,), optional
        Best free intercepts for zero coefficients, where the first search starts. 0 unless given.

    Examples
    --------
    >>> from bottleneck.linear.solver.eigenbasis import make_design
    >>> from bottleneck.linear.solver.losses import SquaredHinge
    >>> from bottleneck.linear.matrix import ArrayMatrix
    >>> codes = ArrayMatrix(np.array([[-2.0], [-1.0], [1.0], [2.0]]))
    >>> belongs = np.array([[False], [False], [True], [True]])
    >>> design = make_design(codes, belongs, intercept="none")
    >>> path = RegularizationPath(design, SquaredHinge(np.arange(1)))
    >>> for solution in path.solve([0.1, 1.0], tol=1e-9):
    ...     print(solution.c, solution.coef.round(4).tolist())
    0.1 [[0.4]]
    1.0 [[0.8]]
    >>> [solution.passes for solution in path.solve([0.1], tol=1e-9)]  # it is known
    [0]
    """

    def __init__(self, design: Design, loss: Loss, intercept: Array | None = None) -> None:
        self._design, self._loss, self._intercept = design, loss, intercept
        self._double: Design | None = None  # the same in float64, while large C are solved
        self._double_from = math.inf  # smallest C for which float32 does not suffice
        bound = array_namespace(loss.columns).full(loss.columns.shape, loss.curvature_bound)
        cheap = newton_cost(design, loss, bound) <= _CHEAP
        self._newton_from = 0.0 if cheap else math.inf  # smallest C for which Newton steps paid
        self._found: dict[float, Minimum] = {}
        # A constant added to every class's free intercept changes nothing: their mean is made 0.
        self._constant_is_free = not loss.one_vs_rest and float(design.penalty[-1]) == 0
        self._loss_at_zero: Array | None = None  # of zero coefficients
        xp = array_namespace(design.spectrum)
        self._largest = design.largest
        self._mean = max(float(xp.mean(design.spectrum)), 1e-300)
        far = cheap and not loss.has_inactive_rows
        self._easy = (_EASY_FOR_NEWTON if far else _EASY) / self._mean
        products = math.prod(design.rows.shape) if isinstance(design, ArrayDesign) else math.inf
        self._is_small = products * loss.columns.shape[0] <= SMALL_PRODUCT

    def solve(
        self, cs: Sequence[float], *, tol: float = 1e-3, max_passes: int = 1000
    ) -> Iterator[Solution]:
        """Minimise the objective for each C, starting from the minimisers that are known.

        Parameters
        ----------
        cs : sequence of float
            Ascending, each above 0.
        tol : float
            Largest `Solution.gap`. A minimiser that is known but less exact is improved.
        max_passes : int
            Largest number of passes over the rows for one C, including those for intermediate C.
            If it is reached, the solution has not converged.

        Yields
        ------
        Solution
            For each C, in order.
        """
        passes = 0
        steps = _path_steps([float(c) for c in cs], easy=self._easy, known=self._found)
        for c, wanted in steps:
            rough = not wanted and c <= _HARD / self._mean
            allowed = max_passes - passes if wanted else (max_passes - passes) // 2
            if not allowed:
                continue
            # OpenBLAS 0.3.31 with AVX-512 reads what an earlier product left in its memory when it
            # multiplies five columns of float32. It does not use it, but may flag it as invalid.
            flags = np.errstate(invalid="ignore", under="ignore")
            exact = exact_float32(self._design.spectrum)
            with single_thread(when=self._is_small), flags, exact:
                minimum = self._minimum(c, max(tol, _INTERMEDIATE_TOL) if rough else tol, allowed)
            passes += minimum.passes
            if wanted:
                value, gap = to_numpy(minimum.value), to_numpy(minimum.gap)
                with exact:
                    coef, intercept = self._design.to_coefficients(minimum.at)
                if self._constant_is_free:
                    intercept -= intercept.mean()
                yield Solution(c, coef, intercept, value, gap, gap <= tol, passes)
                passes = 0
        self._double = None

    def _minimum(self, c: float, tol: float, max_passes: int) -> Minimum:
        """Find and remember the minimum for a C, in double precision if float32 does not suffice.

        Its passes are those of this call.
        """
        found = self._found.get(c)
        if found is not None and not np.any(to_numpy(found.gap) > tol):
            return replace(found, passes=0)
        if found is None and (known := self._still_minimal(c, tol)) is not None:
            self._found[c] = known
            return known
        # Above this product a float32 gradient is mostly rounding along the first coordinate. A
        # rough search by L-BFGS hardly notices.
        most, rough = self._loss.float32_suffices
        most = most if tol >= rough and c < self._newton_from else 1.0
        if (1 + self._loss.curvature_bound * c * self._largest) * np.finfo(np.float32).eps > most:
            self._double_from = min(c, self._double_from)
        design = self._design_for(c)
        start = self._start(c, tol) if found is None else found.at
        nearest = self._nearest_below(c) if found is None else found
        minimum = self._search(design, c, start, nearest, tol=tol, max_passes=max_passes)
        passes = minimum.passes
        unfinished = passes < max_passes and bool(np.any(to_numpy(minimum.gap) > tol))
        if design.is_float32 and unfinished:
            self._double_from = c
            design, left = self._design_for(c), max_passes - passes
            minimum = self._search(design, c, minimum.at, minimum, tol=tol, max_passes=left)
            minimum = replace(minimum, passes=minimum.passes + passes)
        self._found[c] = minimum
        return minimum

    def _design_for(self, c: float) -> Design:
        if c < self._double_from or not self._design.is_float32:
            return self._design
        if self._double is None:
            self._double = self._design.in_float64()
        return self._double

    def _search(
        self,
        design: Design,
        c: float,
        start: Array,
        known: Minimum | None,
        *,
        tol: float,
        max_passes: int,
    ) -> Minimum:
        """Search from a start, with the dual points of a minimum that is known."""
        # A bound of float32 may be off by more than the gap of a search in float64.
        as_exact = known is not None and known.at.dtype == design.dtype
        bound = known.dual_bound if known is not None and as_exact else None
        value_at_zero = None if self._loss_at_zero is None else c * self._loss_at_zero
        objective = Objective(design, self._loss, c, bound, value_at_zero)
        start = objective.xp.astype(start, design.dtype, copy=False)
        newton = c >= self._newton_from
        minimum = minimise(objective, start, tol=tol, max_passes=max_passes, newton=newton)
        if minimum.newton:
            self._newton_from = min(c, self._newton_from)
        if self._loss_at_zero is None:
            self._loss_at_zero = minimum.value_at_zero / c
        return minimum

    def _nearest_below(self, c: float) -> Minimum | None:
        """Return the minimum of the nearest smaller C, whose dual points are the closest ones."""
        below = max((known for known in self._found if known < c), default=None)
        return None if below is None else self._found[below]

    def _still_minimal(self, c: float, tol: float) -> Minimum | None:
        """Return the minimum of the nearest smaller C, if it is within the tolerance for this one.

        Where classes are separated with the whole margin, the hinge is zero, and the objective the
        same for every larger C, while the dual bound rises: no prediction changes any more.
        """
        below = max((known for known in self._found if known < c), default=None)
        minimum = None if below is None else self._found[below]
        if minimum is None or minimum.dual_bound is None or self._loss_at_zero is None:
            return None
        xp = array_namespace(minimum.at)
        squares = xp.sum(xp.astype(minimum.at, xp.float64) ** 2, axis=0)
        loss = xp.clip((minimum.value - squares / 2) / below, 0, None)
        value = squares / 2 + c * loss
        # A loss that is zero by rounding counts the more, the larger C.
        rounding = epsilon(minimum.at) / 2 * xp.sqrt(squares * xp.sum(self._design.spectrum))
        most = squares / 2 + c * (xp.sqrt(loss) + rounding) ** 2
        gap = gap_of(most - minimum.dual_bound.at(c), value, squares, c * self._loss_at_zero)
        if np.any(to_numpy(gap) > tol):
            return None
        return replace(minimum, value=value, gap=gap, passes=0)

    def _start(self, c: float, tol: float) -> Array:
        """Return where the search for a C starts.

        Linear in the path's coordinate between the nearest known C on both sides, or through the
        two nearest below.
        """
        *_, first, last = [None, None, *sorted(known for known in self._found if known < c)]
        above = min((known for known in self._found if known > c), default=None)
        if last is None:
            return self._zero()
        end = self._found[last].at
        if above is not None:
            first, last = last, above
        if first is None:
            return end
        now, then, target = (self._loss.path_coordinate(each) for each in (last, first, c))
        final, begin = self._found[last].at, self._found[first].at
        start = final - (final - begin) * ((target - now) / (then - now))
        if not isinstance(self._loss, SquaredHinge) or not isinstance(self._design, ArrayDesign):
            return start
        return self._separating(start, end if c >= self._newton_from else start, c, tol)

    def _separating(self, start: Array, other: Array, c: float, tol: float) -> Array:
        """Return the columns that separate their class within the tolerance, and else the others.

        A column that separates is made as long as the whole margin asks, so that its loss is zero.
        """
        design, below, zero = self._design_for(c), self._nearest_below(c), self._loss_at_zero
        assert isinstance(design, ArrayDesign)
        assert isinstance(self._loss, SquaredHinge)
        if below is None or below.dual_bound is None or zero is None:
            return other
        xp, best = array_namespace(start), below.dual_bound.at(c)

        def gap_without_loss(at: Array) -> Array:
            squares = xp.sum(xp.astype(at, xp.float64) ** 2, axis=0)
            return gap_of(squares / 2 - best, squares / 2, squares, c * zero)

        if not bool(xp.any(gap_without_loss(start) <= tol)):  # longer starts are unlikely to help
            return other
        least = design.least_margins(xp.astype(start, design.dtype), self._loss)
        scaled = start / xp.where(least > 0, least, 1.0)
        gap = gap_without_loss(scaled)
        return xp.where((least > 0) & (gap <= _SEPARATING * tol), scaled, other)

    def _zero(self) -> Array:
        """Return zero coefficients, with the best intercepts."""
        design, xp = self._design, array_namespace(self._design.spectrum)
        shape = (design.spectrum.shape[0], self._loss.columns.shape[0])
        start = xp.zeros(shape, dtype=design.dtype, device=device(design.spectrum))
        if self._intercept is not None:
            start[-1] = self._intercept
        return start


def _path_steps(
    cs: Sequence[float], *, easy: float, known: Iterable[float] = ()
) -> Iterator[tuple[float, bool]]:
    """Yield every C to solve, and whether it is one of `cs` or an intermediate value.

    Parameters
    ----------
    cs : sequence of float
        Ascending.
    easy : float
        Largest C for which a search may start from zero.
    known : iterable of float
        C whose minimisers are known, where a search may start.
    """
    solved = sorted(known)
    for c in cs:
        before = max((each for each in solved if each <= c), default=None)
        steps = 1
        if before is not None:
            steps = math.ceil(math.log(c / before, _STRIDE) - 1e-9)
        elif c > easy:
            steps = 1 + math.ceil(math.log(c / easy, _STRIDE) - 1e-9)
        stride = _STRIDE if before is None else (c / before) ** (1 / max(steps, 1))
        for left in range(steps - 1, 0, -1):
            yield c / stride**left, False
        yield c, True
        solved.append(c)
