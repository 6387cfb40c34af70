"""Descent: the minimum for one C by quasi-Newton steps, two products each, with its proof.

All classes go side by side as columns of one product (L-BFGS: D. Liu and J. Nocedal, Math.
Programming 45, 1989). A step's initial inverse Hessian is (I + κ̄C·Λ)⁻¹ in the coordinates of
`bottleneck.design`, with κ̄ the mean curvature of a column's rows at that point: the bound of
`design`, made as tight as the rows allow.

Where it stops is proved: residuals are a point of the dual problem, whose objective is a lower
bound of the minimum. The gap between the two, ½‖∇f‖² in the penalty's norm or less, is at least
the error. Only a free intercept has no such bound; its part is counted by its own Newton step.
"""

from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
from array_api_compat import array_namespace, device

from bottleneck.design import Design
from bottleneck.losses import Array, Loss, Sums

_MEMORY = 8  # pairs of a quasi-Newton step; 20 took as many passes
_CURVATURE = 3e-3  # a column's mean curvature is taken to be no less, as a share of the bound
_ARMIJO = 1e-4
_TINY = 1e-30
_LEAST = 1e-3  # a gain of less than this share of the objective is counted as so much
# Once a quarter of the problems is done four times better than asked, they leave, at the price of
# copying what stays. Those that leave too early cost their next C the more.
_SHED, _FAR = 0.25, 0.25
_SHORTEST = 1e-6  # a step shorter than this share of the quasi-Newton step is rounding


@dataclass
class Proof:
    """The best dual point of each problem: linear - norm/2 - square/C is below the minimum."""

    linear: Array
    norm: Array
    square: Array

    def at(self, c: float) -> Array:
        """The lower bound for a C."""
        return self.linear - self.norm / 2 - self.square / c

    def or_better(self, other: "Proof", c: float) -> "Proof":
        """Of each problem, the one that proves more for a C."""
        xp, better = array_namespace(self.linear), other.at(c) > self.at(c)
        return Proof(
            xp.where(better, other.linear, self.linear),
            xp.where(better, other.norm, self.norm),
            xp.where(better, other.square, self.square),
        )

    @classmethod
    def trivial(cls, loss: Loss, *, like: Array) -> "Proof":
        """That no objective is below zero."""
        xp = array_namespace(like)
        zeros = xp.zeros(loss.problems, dtype=xp.float64, device=device(like))
        return cls(zeros, zeros, zeros)


@dataclass
class _Point:
    """Coordinates with what a pass over the rows says of them."""

    at: Array
    value: Array
    gradient: Array
    curvature: Array
    bound: Array  # below the minimum


class Objective:
    """f and its gradient for one C, with the best lower bound that any of its points has given."""

    def __init__(
        self, design: Design, loss: Loss, c: float, proof: Proof | None, zero: Array | None
    ) -> None:
        self.design, self.loss, self.c, self.zero = design, loss, c, zero
        self.xp = array_namespace(design.spectrum)
        dtype = design.dtype
        self.penalty = self.xp.astype(design.penalty, dtype)[:, None]
        self.spectrum = self.xp.astype(design.spectrum, dtype)[:, None]
        self.free = float(design.penalty[-1]) == 0
        self.proof = Proof.trivial(loss, like=self.spectrum) if proof is None else proof
        self.passes = 0

    def __call__(self, at: Array) -> _Point:
        xp, parts = self.xp, []

        def residual(rows: slice, margins: Array) -> Array:
            found, part = self.loss(rows, margins)
            parts.append(part)
            return found

        gradient = self.c * self.design.products(at, residual)
        sums = reduce(add, parts)
        self.passes += 1
        mean = sums.curvature / self.design.weight
        floor = _CURVATURE * self.loss.bound
        curvature = xp.astype(xp.where(mean > floor, mean, floor), at.dtype)
        bound = self._bound(at, gradient, mean, sums)
        gradient += self.penalty * at
        value = self.c * sums.value + self.sum(self.penalty * at * at) / 2
        if self.zero is None:  # a walk begins at zero coefficients
            self.zero = value
        return _Point(at, value, gradient, curvature, bound)

    def diagonal(self, curvature: Array) -> Array:
        """The approximate curvature of f along each coordinate, shape (r, q)."""
        return self.penalty + self.c * curvature[None] * self.spectrum

    def sum(self, values: Array) -> Array:
        """Sums of (r, q) for each problem, shape (p,), in double precision."""
        return self.loss.of_problems(self.xp.astype(self.xp.sum(values, axis=0), self.xp.float64))

    def gap(self, point: _Point) -> Array:
        """How far above their minima objectives may be, as a share; shape (p,).

        Of the objective, or of what it gained over zero coefficients where that is less: with a
        small C hardly anything is gained, and yet every prediction comes from that.
        """
        value = point.value
        gained = self.zero - value
        scale = self.xp.where(gained < value, gained, value)
        scale = self.xp.where(scale > _LEAST * value, scale, _LEAST * value)
        return (value - point.bound) / self.xp.where(scale > 0, scale, 1.0)

    def take(self, kept: Array) -> None:
        """Go on with some of the problems."""
        xp, proof = self.xp, self.proof
        self.zero = xp.take(self.zero, kept, axis=0)
        self.loss = self.loss.take(kept)
        self.proof = Proof(
            *(xp.take(v, kept, axis=0) for v in (proof.linear, proof.norm, proof.square))
        )

    def _bound(self, at: Array, dual: Array, mean: Array, sums: Sums) -> Array:
        """Below the minima, by the dual point that residuals are or the best before it."""
        found = Proof(self.c * sums.linear, self.sum(dual * dual), self.c**2 * sums.square)
        if self.free:
            return self._estimated(at, dual, mean, found)
        if not self.loss.grows:  # any multiple of a hinge's dual point is one: take the best
            length = found.norm + 2 * found.square / self.c
            scale = found.linear / self.xp.where(length > 0, length, 1.0)
            found = Proof(scale * found.linear, scale**2 * found.norm, scale**2 * found.square)
        self.proof = self.proof.or_better(found, self.c)
        return self.proof.at(self.c)

    def _estimated(self, at: Array, dual: Array, mean: Array, proof: Proof) -> Array:
        """Where the intercept is free: as far below as a Newton step of the intercept goes.

        A residual that does not add up to nothing is no dual point, and the bound falls without end
        along the intercept; so this one holds for that point alone, and near the minimum.
        """
        xp, slope = self.xp, dual[-1:]
        steepness = self.c * xp.where(mean > _TINY, mean, _TINY) * self.design.weight
        step = xp.astype(slope, xp.float64) ** 2 * (1 / steepness[None] - 1)
        return proof.at(self.c) + self.sum(at[-1:] * slope) - self.sum(step) / 2


class _Search:
    """The quasi-Newton descent of one C; every problem goes at its own pace.

    Each pass tries one point for each problem. A problem that finds enough descent there goes on
    from it with a new direction; the others try nearer along the old one. Problems that are done
    leave once they are many, so that no product is spent on them.
    """

    def __init__(self, objective: Objective, start: Array) -> None:
        self.f, self.xp = objective, objective.xp
        self.point = objective(start)
        self.pairs: list[tuple[Array, Array, Array]] = []
        self.length = self.xp.ones_like(self.point.value)
        self.stuck = self.length < 0  # none
        self.direction, self.slope = self.point.gradient, self.length  # until the first is found
        self._aim(self.stuck)

    @property
    def gap(self) -> Array:
        """As `Objective.gap` has it, here; shape (p,)."""
        return self.f.gap(self.point)

    def step(self) -> None:
        """Try one point for each problem, at the price of one pass."""
        xp, point, tiny = self.xp, self.point, np.finfo(str(self.point.at.dtype).split(".")[-1]).eps
        trial = self.f(point.at + self._narrow(self.length) * self.direction)
        expected = self.length * self.slope
        slack = 8 * tiny * xp.abs(point.value)
        accepted = trial.value <= point.value + _ARMIJO * expected + slack
        # Where it failed: the minimum of the parabola through what is known.
        excess = trial.value - point.value - expected
        nearer = -expected * self.length / (2 * xp.where(excess > 0, excess, 1.0))
        nearer = xp.where(nearer < self.length / 2, nearer, self.length / 2)
        nearer = xp.where(nearer > self.length / 10, nearer, self.length / 10)
        if bool(xp.any(accepted)):
            self._remember(accepted, trial)
            self.point = _Point(
                xp.where(accepted, trial.at, point.at),
                xp.where(accepted, trial.value, point.value),
                xp.where(accepted, trial.gradient, point.gradient),
                xp.where(accepted, trial.curvature, point.curvature),
                xp.where(accepted, trial.bound, point.bound),
            )
        self.length = xp.where(accepted, 1.0, nearer)
        self.stuck = self.length < _SHORTEST
        self._aim(~accepted)

    def take(self, kept: Array) -> None:
        """Go on with some of the problems."""
        xp, point = self.xp, self.point
        self.f.take(kept)
        self.point = _Point(
            xp.take(point.at, kept, axis=1),
            xp.take(point.value, kept, axis=0),
            xp.take(point.gradient, kept, axis=1),
            xp.take(point.curvature, kept, axis=0),
            xp.take(point.bound, kept, axis=0),
        )
        self.pairs = [
            (xp.take(s, kept, axis=1), xp.take(y, kept, axis=1), xp.take(rho, kept, axis=0))
            for s, y, rho in self.pairs
        ]
        self.direction = xp.take(self.direction, kept, axis=1)
        self.slope = xp.take(self.slope, kept, axis=0)
        self.length = xp.take(self.length, kept, axis=0)
        self.stuck = xp.take(self.stuck, kept, axis=0)

    def _remember(self, accepted: Array, trial: _Point) -> None:
        """Keep the pair of steps in point and gradient; zeros where none was made."""
        xp = self.xp
        moved = xp.where(accepted, trial.at - self.point.at, 0)
        turned = xp.where(accepted, trial.gradient - self.point.gradient, 0)
        product = self.f.sum(moved * turned)
        inverse = xp.where(product > 0, 1 / xp.where(product > 0, product, 1.0), 0.0)
        self.pairs = [*self.pairs[1 - _MEMORY :], (moved, turned, self._narrow(inverse))]

    def _aim(self, keep: Array) -> None:
        """The direction of the next step, but where the old one is kept."""
        xp, point = self.xp, self.point
        diagonal = self.f.diagonal(point.curvature)
        direction = -self._times_inverse_hessian(point.gradient, diagonal)
        slope = self.f.sum(direction * point.gradient)
        uphill = slope >= 0  # rounding; the bound's own direction is downhill
        if bool(xp.any(uphill)):
            direction = xp.where(uphill, -point.gradient / diagonal, direction)
            slope = self.f.sum(direction * point.gradient)
        if bool(xp.any(keep)):
            direction = xp.where(keep, self.direction, direction)
            slope = xp.where(keep, self.slope, slope)
        self.direction, self.slope = direction, slope

    def _times_inverse_hessian(self, gradient: Array, diagonal: Array) -> Array:
        """The two loops of L-BFGS."""
        weights, product = [], gradient
        for moved, turned, inverse in reversed(self.pairs):
            weight = inverse * self._dot(moved, product)
            product = product - weight * turned
            weights.append(weight)
        product = product / diagonal
        for moved, turned, inverse in self.pairs:
            product = product + (weights.pop() - inverse * self._dot(turned, product)) * moved
        return product

    def _dot(self, one: Array, other: Array) -> Array:
        return self.f.loss.of_problems(self.xp.sum(one * other, axis=0))

    def _narrow(self, values: Array) -> Array:
        """Values of problems in the precision of the coordinates."""
        return self.xp.astype(values, self.point.at.dtype)


@dataclass
class Minimum:
    """Where a search ended: coordinates (r, q); objective, gap and proof of each problem."""

    at: Array
    value: Array
    gap: Array
    proof: Proof
    zero: Array  # the objectives of zero coefficients
    passes: int = 0

    @classmethod
    def unknown(cls, start: Array, search: _Search) -> "Minimum":
        """To be filled in."""
        at, value, gap, linear, norm, square = (
            search.xp.zeros_like(like) for like in (start, *5 * (search.gap,))
        )
        return cls(at, value, gap, Proof(linear, norm, square), search.f.zero)

    def note(self, places: Array, leaving: Array, search: _Search, gap: Array) -> None:
        """Fill in the problems that leave a search, each at its place."""
        point, proof = search.point, search.f.proof
        if search.f.loss.separate:
            self.at[:, places] = point.at[:, leaving]
        else:
            self.at = point.at
        self.value[places], self.gap[places] = point.value[leaving], gap[leaving]
        for name in ("linear", "norm", "square"):
            getattr(self.proof, name)[places] = getattr(proof, name)[leaving]


def minimise(objective: Objective, start: Array, *, tol: float, max_passes: int) -> Minimum:
    """Descend until every problem is proved to be near its minimum, or can go no further."""
    xp, separate = objective.xp, objective.loss.separate
    search = _Search(objective, start)
    places = xp.arange(search.gap.shape[0], device=device(start))  # of the problems still at hand
    found = Minimum.unknown(start, search)
    while True:
        gap = search.gap
        done = (gap <= tol) | search.stuck
        share = float(xp.mean(xp.astype(done, xp.float64)))
        over = share == 1 or objective.passes >= max_passes
        far = (gap <= _FAR * tol) | search.stuck
        if over or (separate and float(xp.mean(xp.astype(far, xp.float64))) >= _SHED):
            leaving = xp.nonzero(far | over)[0]
            found.note(xp.take(places, leaving, axis=0), leaving, search, gap)
            if over:
                found.passes = objective.passes
                return found
            staying = xp.nonzero(~far)[0]
            places = xp.take(places, staying, axis=0)
            search.take(staying)
        search.step()
