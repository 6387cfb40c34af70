"""Objective of a linear classifier for one C, with a bound on the distance from its minimum.

The penalty makes the objective f strongly convex: f - min f ≤ ½‖∇f‖². The residuals of the hinge
are also a point of the dual problem, and the best dual point of all evaluated so far gives a
second, tighter bound. A free intercept has no penalty; its part of the bound is estimated by its
Newton step.
"""

from dataclasses import dataclass, fields

from bottleneck.linear.solver.array_api import Array, array_namespace, epsilon
from bottleneck.linear.solver.design import ArrayDesign, Design
from bottleneck.linear.solver.losses import Loss
from bottleneck.linear.solver.newton import newton_cost, newton_direction

# Lower limits of a column's mean curvature, as shares of the bound: for codes, because the rows
# near the decision boundary curve more than the mean, and for a free intercept.
_CURVATURE, _CURVATURE_OF_INTERCEPT = 3e-2, 3e-3
_TINY = 1e-30
_ROUNDING = 4.0  # of a sum over rows of which most cancel, in units of precision
_LEAST = 1e-9  # a gain below this share of the objective counts as this share
# With a small C an error of the intercept changes the objective little and the predictions much.
_INTERCEPT = 10.0
# With a large C it changes the gradient by its slope times the mean of the rows that curve, of
# which the squared length is estimated as this share of all rows'.
_MEAN = 0.1


@dataclass
class DualBound:
    """Best dual point of each problem; the minimum is at least linear - norm/2 - square/C.

    Attributes
    ----------
    linear, norm, square : array of float64, shape (p,)
    """

    linear: Array
    norm: Array
    square: Array

    def at(self, c: float) -> Array:
        """Return the lower bound of the minimum for a C, shape (p,)."""
        return self.linear - self.norm / 2 - self.square / c

    def or_better(self, other: "DualBound", c: float) -> "DualBound":
        """Return for each problem the point of the two with the higher bound for a C."""
        xp, better = array_namespace(self.linear), other.at(c) > self.at(c)
        return DualBound(
            xp.where(better, other.linear, self.linear),
            xp.where(better, other.norm, self.norm),
            xp.where(better, other.square, self.square),
        )

    def take(self, kept: Array) -> "DualBound":
        """Return the points of some problems, given by index."""
        xp = array_namespace(kept)
        return DualBound(*(xp.take(v, kept, axis=0) for v in (self.linear, self.norm, self.square)))

    def put(self, indices: Array, other: "DualBound") -> None:
        """Replace the points of some problems, given by index."""
        self.linear[indices], self.norm[indices] = other.linear, other.norm
        self.square[indices] = other.square

    @classmethod
    def trivial(cls, like: Array) -> "DualBound":
        """Return the bound 0 for as many problems as an array has entries."""
        return cls(*(array_namespace(like).zeros_like(like) for _ in range(3)))


@dataclass
class Point:
    """Coordinates, and what a pass over the rows computed for them.

    Attributes
    ----------
    at, gradient : array, shape (r, q)
        Coordinates, and the gradient of the objective.
    value, squares, excess : array of float64, shape (p,)
        Objective of each problem, ‖w‖², and an upper bound of objective - minimum.
    curvature : array, shape (q,)
        Mean second derivative of the rows of each column.
    """

    at: Array
    value: Array
    gradient: Array
    curvature: Array
    squares: Array
    excess: Array

    def where(self, chosen: Array, other: "Point") -> "Point":
        """Return this point for the chosen problems, and the other for the rest."""
        xp = array_namespace(chosen)
        if bool(xp.all(chosen)):
            return self
        names = (field.name for field in fields(self))
        return Point(*(xp.where(chosen, getattr(self, n), getattr(other, n)) for n in names))

    def take(self, kept: Array) -> "Point":
        """Return the point of some problems, given by index."""
        xp = array_namespace(kept)
        arrays = (getattr(self, field.name) for field in fields(self))
        return Point(*(xp.take(values, kept, axis=values.ndim - 1) for values in arrays))


class Objective:
    """Objective f for one C, its gradient, and the best dual point of all points evaluated.

    Parameters
    ----------
    design : Design
        Rows and targets.
    loss : Loss
    c : float
    dual_bound : DualBound or None
        Best dual point of earlier C.
    value_at_zero : array of float64, shape (p,), or None
        Objective of zero coefficients; None if the first point evaluated has zero coefficients.
    """

    def __init__(
        self,
        design: Design,
        loss: Loss,
        c: float,
        dual_bound: DualBound | None,
        value_at_zero: Array | None,
    ) -> None:
        self.design, self.loss, self.c = design, loss, c
        self.dual_bound, self.value_at_zero = dual_bound, value_at_zero
        self.xp = array_namespace(design.spectrum)
        self.spectrum = self.xp.astype(design.spectrum, design.dtype)[:, None]
        self.free = float(design.penalty[-1]) == 0
        self.passes = 0

    def __call__(self, at: Array) -> Point:
        """Evaluate the objective at coordinates of shape (r, q), in one pass over the rows."""
        xp, result = self.xp, self.design.gradient(at, self.loss)
        dual, sums = self.c * result.gradient, result.sums
        self.passes += 1
        mean = sums.curvature / self.design.weight
        gradient = dual + at
        if self.free:
            gradient[-1:] = dual[-1:]
        squares = self._squares(at)
        value = self.c * sums.value + squares / 2
        if self.value_at_zero is None:
            self.value_at_zero = (1 - _ROUNDING * epsilon(at)) * value
        # What a gradient has of the eigenvectors that are left out: squared, it is at most their
        # eigenvalue times Σ s ℓ'², and ℓ'² at most twice the curvature's bound times ℓ.
        hidden = 2 * self.loss.curvature_bound * self.loss.largest_weight * self.design.left_out
        unseen = self.c**2 * hidden * sums.value
        excess = self._excess(gradient, mean) + unseen / 2
        if sums.slack is not None and not self.free:
            dual_excess = value - self._improve_bound(dual, sums.slack, sums.value, unseen)
            excess = xp.where(dual_excess < excess, dual_excess, excess)
        return Point(at, value, gradient, xp.astype(mean, at.dtype), squares, excess)

    def diagonal(self, curvature: Array) -> Array:
        """Return the approximate second derivative of f along each coordinate, shape (r, q).

        Parameters
        ----------
        curvature : array, shape (q,)
            Mean second derivative of the rows of each column.
        """
        xp = self.xp

        def at_least(share: float) -> Array:
            return self.c * xp.clip(curvature, share * self.loss.curvature_bound, None)[None]

        diagonal = 1 + at_least(_CURVATURE) * self.spectrum
        if self.free:
            diagonal[-1:] = at_least(_CURVATURE_OF_INTERCEPT) * self.spectrum[-1:]
        return diagonal

    def newton_cost(self, point: Point) -> float:
        """Estimate the cost of a Newton step from a point, in passes over the rows."""
        return newton_cost(self.design, self.loss, point.curvature)

    def newton_direction(self, point: Point) -> Array:
        """Return -H⁻¹g at a point, shape (r, q); only where its cost is finite."""
        assert isinstance(self.design, ArrayDesign)
        return newton_direction(self.design, self.loss, self.c, point.at, point.gradient)

    def sum(self, values: Array) -> Array:
        """Sum an array (r, q) for each problem, shape (p,), in double precision."""
        return self.loss.of_problems(self.xp.astype(self.xp.sum(values, axis=0), self.xp.float64))

    def gap(self, point: Point) -> Array:
        """Return the bound of each problem's relative distance from its minimum, shape (p,).

        Relative to the objective, or to its decrease from zero coefficients if that is smaller:
        with a small C the decrease is tiny, and yet it decides all predictions. If the decrease is
        lost in the rounding of the objective, ‖w‖² replaces it: at the minimum the decrease is at
        least half of that.
        """
        return gap_of(point.excess, point.value, point.squares, self.value_at_zero)

    def take(self, kept: Array) -> None:
        """Drop all problems but some, given by index."""
        xp = self.xp
        self.value_at_zero = xp.take(self.value_at_zero, kept, axis=0)
        self.loss = self.loss.take(kept)
        self.dual_bound = None if self.dual_bound is None else self.dual_bound.take(kept)

    def _excess(self, gradient: Array, mean: Array) -> Array:
        """Return an upper bound of f - min f: ½‖∇f‖², as the penalty's curvature is 1.

        For a free intercept, whose curvature is that of the rows, it is an estimate.
        """
        excess = self._squares(gradient)
        if self.free:
            curvature = self.c * self.design.weight * self.xp.clip(mean, _TINY, None)
            slope = self.xp.astype(gradient[-1:], curvature.dtype)
            length = float(self.xp.sum(self.design.spectrum[:-1])) / self.design.weight
            excess = excess + self.sum(slope * slope * (_INTERCEPT / curvature + _MEAN * length))
        return excess / 2

    def _squares(self, values: Array) -> Array:
        """Return the squared length of the penalised coordinates, shape (p,).

        In double precision: the loss is the objective minus these, and may be tiny.
        """
        penalised = self.xp.astype(values[:-1] if self.free else values, self.xp.float64)
        return self.sum(penalised * penalised)

    def _improve_bound(self, dual: Array, slack: Array, value: Array, unseen: Array) -> Array:
        """Add the dual point of the hinge's residuals, and return the best lower bounds.

        Any positive multiple of a dual point is a dual point: the best multiple is taken. Each term
        is made worse by its rounding.
        """
        linear, square = 2 * self.c * slack, self.c**2 * value
        norm = self.sum(dual * dual) + unseen
        length = norm + 2 * square / self.c
        scale = linear / self.xp.where(length > 0, length, 1.0)
        less, more = 1 - _ROUNDING * epsilon(dual), 1 + _ROUNDING * epsilon(dual)
        bound = DualBound(less * scale * linear, more * scale**2 * norm, more * scale**2 * square)
        if self.dual_bound is not None:
            bound = self.dual_bound.or_better(bound, self.c)
        self.dual_bound = bound
        return bound.at(self.c)


def gap_of(excess: Array, value: Array, squares: Array, value_at_zero: Array) -> Array:
    """Return the relative distance from the minimum of an excess over it; see `Objective.gap`."""
    xp = array_namespace(value)
    gained = value_at_zero - value
    scale = xp.where(gained > squares, gained, squares)
    scale = xp.where(scale < value, scale, value)
    scale = xp.where(scale > _LEAST * value, scale, _LEAST * value)
    return excess / xp.where(scale > 0, scale, 1.0)
