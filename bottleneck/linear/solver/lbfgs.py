"""Minimisation of an objective for one C by L-BFGS, all classes at once.

All classes are columns of the same matrix products (L-BFGS: D. Liu and J. Nocedal, Math.
Programming 45, 1989). The initial inverse Hessian of a step is (I + κ̄C·Λ)⁻¹ in the coordinates of
`bottleneck.linear.solver.eigenbasis`, where κ̄ is the mean second derivative of a column's rows at
the current point: the bound of the Hessian with the actual curvature in place of the largest one.
It is scaled by the curvature that the last step measured.
"""

from dataclasses import dataclass

from array_api_compat import device

from bottleneck.linear.solver.array_api import Array, epsilon
from bottleneck.linear.solver.objective import DualBound, Objective, Point

_MEMORY = 6  # pairs of a quasi-Newton step; 20 took as many passes
_ARMIJO = 1e-4
_TINY = 1e-30
# Problems are dropped once a share of `_DROP_SHARE` has a gap below `_DROP_GAP` times the
# tolerance. Dropping copies the remaining state, so not earlier; a less exact solution would slow
# down the next C.
_DROP_SHARE, _DROP_GAP = 0.25, 0.25
_SHORTEST = 1e-10  # a step shorter than this share of the quasi-Newton step is rounding
# Newton steps replace L-BFGS once it has taken `_NEWTON_AFTER` times as many passes as one costs:
# with a small C it has converged by then. They are not used where one costs more than
# `_MAX_NEWTON_COST` passes. Far from the minimum they may take long, so their number is bounded.
_NEWTON_AFTER, _MAX_NEWTON_COST, _MAX_NEWTON_STEPS = 2.0, 15.0, 25
_PATIENCE = 20  # passes in which an objective must fall by more than its rounding


class _Search:
    """Quasi-Newton search for the minimisers of all problems, each with its own step length.

    Each pass evaluates one trial point of every problem. A problem whose trial decreases its
    objective enough accepts it and gets a new direction; the others try a shorter step in the old
    direction. Converged problems can be dropped, so that no product is spent on them.
    """

    def __init__(self, objective: Objective, start: Array, *, newton: bool = False) -> None:
        self.f, self.xp = objective, objective.xp
        self.point = objective(start)
        # Not once few problems are left: the next C has all of them again.
        self.newton_steps = (
            _MAX_NEWTON_STEPS if objective.newton_cost(self.point) <= _MAX_NEWTON_COST else 0
        )
        self.newton = newton and self.newton_steps > 0
        self.pairs: list[tuple[Array, Array, Array]] = []
        self.length = self.xp.ones_like(self.point.value)
        self.stuck = self.length < 0  # all False
        self.lowest, self.idle = self.point.value, self.xp.zeros_like(self.length)
        self.direction, self.slope = self.point.gradient, self.length  # replaced by each step
        self.kept = self.stuck  # problems that go on in their old direction

    @property
    def gap(self) -> Array:
        """Bound of each problem's relative distance from its minimum, shape (p,)."""
        return self.f.gap(self.point)

    def step(self) -> None:
        """Try one point of each problem, in one pass over the rows."""
        xp, point, eps = self.xp, self.point, epsilon(self.point.at)
        self._set_direction(self.kept)
        smallest = eps / 8 * xp.abs(point.value)  # less is in the objective's rounding
        lost = -self.slope < smallest
        if bool(xp.all(lost)):
            self.stuck = lost
            return
        trial = self.f(point.at + self._cast(self.length) * self.direction)
        expected = self.length * self.slope
        rounding = 8 * eps * xp.abs(point.value)
        accepted = trial.value <= point.value + _ARMIJO * expected + rounding
        # Else go to the minimum of the parabola through both values and the slope.
        excess = trial.value - point.value - expected
        shorter = -expected * self.length / (2 * xp.where(excess > 0, excess, 1.0))
        shorter = xp.where(shorter < self.length / 2, shorter, self.length / 2)
        shorter = xp.where(shorter > self.length / 10, shorter, self.length / 10)
        if bool(xp.any(accepted)):
            self._accept(trial.where(accepted, point))
        self.length = xp.where(accepted, 1.0, shorter)
        self.kept = ~accepted
        fell = self.point.value < self.lowest - smallest
        self.lowest = xp.where(fell, self.point.value, self.lowest)
        self.idle = xp.where(fell, 0.0, self.idle + 1)
        self.stuck = (self.length < _SHORTEST) | lost | (self.idle >= _PATIENCE)

    def take(self, kept: Array) -> None:
        """Drop all problems but some, given by index."""
        xp = self.xp
        self.f.take(kept)
        self.point = self.point.take(kept)
        self.pairs = [
            (xp.take(s, kept, axis=1), xp.take(y, kept, axis=1), xp.take(rho, kept, axis=0))
            for s, y, rho in self.pairs
        ]
        self.direction = xp.take(self.direction, kept, axis=1)
        self.slope = xp.take(self.slope, kept, axis=0)
        self.length = xp.take(self.length, kept, axis=0)
        self.stuck = xp.take(self.stuck, kept, axis=0)
        self.kept = xp.take(self.kept, kept, axis=0)
        self.lowest = xp.take(self.lowest, kept, axis=0)
        self.idle = xp.take(self.idle, kept, axis=0)

    def _accept(self, point: Point) -> None:
        """Replace the point, and remember the differences of point and gradient."""
        xp = self.xp
        s, y = point.at - self.point.at, point.gradient - self.point.gradient
        self.point = point
        product = self.f.sum(s * y)  # 0 for problems whose trial was not accepted
        rho = xp.where(product > _TINY, 1 / xp.where(product > _TINY, product, 1.0), 0.0)
        self.pairs = [*self.pairs[1 - _MEMORY :], (s, y, self._cast(rho))]

    def _set_direction(self, keep: Array) -> None:
        """Compute the quasi-Newton direction, except for problems that keep the old one."""
        xp, point = self.xp, self.point
        if self.newton_steps and not self.newton:
            self.newton = self.f.newton_cost(point) <= self.f.passes / _NEWTON_AFTER
        if self.newton_steps and self.newton:
            self.newton_steps -= 1
            direction = self.f.newton_direction(point)
        else:
            diagonal = self.f.diagonal(point.curvature)
            direction = -self._times_inverse_hessian(point.gradient, diagonal)
        slope = self.f.sum(direction * point.gradient)
        uphill = slope >= 0  # by rounding; the scaled gradient always descends
        if bool(xp.any(uphill)):
            scaled = -point.gradient / self.f.diagonal(point.curvature)
            direction = xp.where(uphill, scaled, direction)
            slope = self.f.sum(direction * point.gradient)
        if bool(xp.any(keep)):
            direction = xp.where(keep, self.direction, direction)
            slope = xp.where(keep, self.slope, slope)
        self.direction, self.slope = direction, slope

    def _times_inverse_hessian(self, gradient: Array, diagonal: Array) -> Array:
        """Multiply the gradient by the inverse Hessian: the two-loop recursion of L-BFGS."""
        weights, product = [], gradient
        for s, y, rho in reversed(self.pairs):
            weight = rho * self._dot(s, product)
            product = product - weight * y
            weights.append(weight)
        product = product * self._scale(diagonal) / diagonal
        for s, y, rho in self.pairs:
            product = product + (weights.pop() - rho * self._dot(y, product)) * s
        return product

    def _scale(self, diagonal: Array) -> Array:
        """Return the factor of the diagonal's inverse that fits the last pair.

        Along the descent the curvature is several times the mean of all rows: rows that are
        uncertain make both the gradient and the curvature.
        """
        if not self.pairs:
            return self._cast(self.length)
        _, y, rho = self.pairs[-1]
        curved = rho * self._dot(y, y / diagonal)
        return 1 / self.xp.where(curved > 0, curved, 1.0)

    def _dot(self, one: Array, other: Array) -> Array:
        """Return the inner product of each problem, shape (p,)."""
        xp = self.xp
        if self.f.loss.one_vs_rest:
            return xp.sum(one * other, axis=0)
        return xp.vecdot(xp.reshape(one, (-1,)), xp.reshape(other, (-1,)))[None]

    def _cast(self, values: Array) -> Array:
        """Convert values of the problems to the dtype of the coordinates."""
        return self.xp.astype(values, self.point.at.dtype)


@dataclass
class Minimum:
    """Result of a search.

    Attributes
    ----------
    at : array, shape (r, q)
        Coordinates.
    value, gap : array of float64, shape (p,)
        Objective of each problem, and the bound of its relative distance from the minimum.
    dual_bound : DualBound or None
        Best dual points; None for losses other than the hinge, and with a free intercept.
    value_at_zero : array of float64, shape (p,)
        Objective of zero coefficients.
    passes : int
        Number of passes over the rows.
    newton : bool
        Whether Newton steps paid.
    """

    at: Array
    value: Array
    gap: Array
    dual_bound: DualBound | None
    value_at_zero: Array
    passes: int = 0
    newton: bool = False

    @classmethod
    def unknown(cls, start: Array, search: _Search) -> "Minimum":
        """Return a result whose problems `record` fills in."""
        at, value, gap = (search.xp.zeros_like(like) for like in (start, *2 * (search.gap,)))
        bound = None if search.f.dual_bound is None else DualBound.trivial(gap)
        return cls(at, value, gap, bound, search.f.value_at_zero)

    def record(self, indices: Array, leaving: Array, search: _Search, gap: Array) -> None:
        """Copy the result of some problems from a search.

        Parameters
        ----------
        indices : array of int
            Their indices in this result.
        leaving : array of int
            Their indices in the search.
        search : _Search
        gap : array, shape (p,)
            Gap of each problem of the search.
        """
        point, bound = search.point, search.f.dual_bound
        if search.f.loss.one_vs_rest:
            self.at[:, indices] = point.at[:, leaving]
        else:
            self.at = point.at
        self.value[indices], self.gap[indices] = point.value[leaving], gap[leaving]
        if self.dual_bound is not None and bound is not None:
            self.dual_bound.put(indices, bound.take(leaving))


def minimise(
    objective: Objective, start: Array, *, tol: float, max_passes: int, newton: bool = False
) -> Minimum:
    """Minimise an objective until every problem is within the tolerance or cannot improve.

    Parameters
    ----------
    objective : Objective
        Its problems are dropped as they converge: do not use it afterwards.
    start : array, shape (r, q)
        Coordinates to start from.
    tol : float
        Largest gap, see `Objective.gap`.
    max_passes : int
        Largest number of passes over the rows.
    newton : bool
        Whether to begin with Newton steps, where they are possible.

    Examples
    --------
    >>> import numpy as np
    >>> from bottleneck.linear.solver.eigenbasis import make_design
    >>> from bottleneck.linear.solver.losses import SquaredHinge
    >>> from bottleneck.linear.matrix import ArrayMatrix
    >>> codes = ArrayMatrix(np.array([[-2.0], [-1.0], [1.0], [2.0]]))
    >>> belongs = np.array([[False], [False], [True], [True]])
    >>> design = make_design(codes, belongs, intercept="none")
    >>> objective = Objective(design, SquaredHinge(np.arange(1)), 1.0, None, None)
    >>> minimum = minimise(objective, np.zeros((1, 1)), tol=1e-9, max_passes=100)
    >>> coef, intercept = design.to_coefficients(minimum.at)
    >>> coef.round(4).tolist(), minimum.value.round(4).tolist()
    ([[0.8]], [0.4])
    """
    xp, one_vs_rest = objective.xp, objective.loss.one_vs_rest
    search = _Search(objective, start, newton=newton)
    remaining = xp.arange(search.gap.shape[0], device=device(start))  # indices in the result
    result = Minimum.unknown(start, search)
    while True:
        gap = search.gap
        done = (gap <= tol) | search.stuck
        share = float(xp.mean(xp.astype(done, xp.float64)))
        over = share == 1 or objective.passes >= max_passes
        droppable = done if search.newton else (gap <= _DROP_GAP * tol) | search.stuck
        drop_share = float(xp.mean(xp.astype(droppable, xp.float64)))
        if over or (
            one_vs_rest and (drop_share >= _DROP_SHARE or (search.newton and drop_share > 0))
        ):
            leaving = xp.nonzero(droppable | over)[0]
            result.record(xp.take(remaining, leaving, axis=0), leaving, search, gap)
            if over:
                result.passes, result.newton = objective.passes, search.newton
                return result
            staying = xp.nonzero(~droppable)[0]
            remaining = xp.take(remaining, staying, axis=0)
            search.take(staying)
        search.step()
