"""Descent: the minimum for one C by quasi-Newton steps, two products each, with its proof.

All classes go side by side as columns of one product (L-BFGS: D. Liu and J. Nocedal, Math.
Programming 45, 1989). A step's initial inverse Hessian is (I + κ̄C·Λ)⁻¹ in the coordinates of
`bottleneck.linear.design`, with κ̄ the mean curvature of a column's rows at that point: the bound of
`design`, made as tight as the rows allow, and scaled by what the step before found.

Where it stops is proved: what is penalised curves at least as its penalty does, so that an
objective is no more than ½‖∇f‖² above its minimum. The hinge's residuals are points of the dual
problem besides, and the best of them proves more. Only a free intercept has no such bound; its part
is counted by its own Newton step.
"""

from dataclasses import dataclass, fields

from array_api_compat import array_namespace, device

from bottleneck.linear.design import Design
from bottleneck.linear.losses import Array, Loss

_MEMORY = 6  # pairs of a quasi-Newton step; 20 took as many passes
# A column's mean curvature is taken to be no less, as shares of the bound: along codes, where the
# rows that matter curve more than the mean, and along a free intercept, where all matter alike.
_CURVATURE, _CURVATURE_OF_INTERCEPT = 3e-2, 3e-3
_ARMIJO = 1e-4
_TINY = 1e-30
_LEAST = 1e-9  # a gain of less than this share of the objective is counted as so much
# With a small C an intercept's error is little of the objective and much of the predictions.
_INTERCEPT = 10.0
# Once a quarter of the problems is done four times better than asked, they leave, at the price of
# copying what stays. Those that leave too early cost their next C the more.
_SHED, _FAR = 0.25, 0.25
_SHORTEST = 1e-10  # a step shorter than this share of the quasi-Newton step is rounding


@dataclass
class DualBound:
    """The best dual point of each problem: linear - norm/2 - square/C is below the minimum."""

    linear: Array
    norm: Array
    square: Array

    def at(self, c: float) -> Array:
        """The lower bound for a C."""
        return self.linear - self.norm / 2 - self.square / c

    def or_better(self, other: "DualBound", c: float) -> "DualBound":
        """Of each problem, the one that proves more for a C."""
        xp, better = array_namespace(self.linear), other.at(c) > self.at(c)
        return DualBound(
            xp.where(better, other.linear, self.linear),
            xp.where(better, other.norm, self.norm),
            xp.where(better, other.square, self.square),
        )

    def take(self, kept: Array) -> "DualBound":
        """Those of some of the problems."""
        xp = array_namespace(kept)
        return DualBound(*(xp.take(v, kept, axis=0) for v in (self.linear, self.norm, self.square)))

    def put(self, places: Array, other: "DualBound") -> None:
        """Replace those of some of the problems."""
        self.linear[places], self.norm[places] = other.linear, other.norm
        self.square[places] = other.square

    @classmethod
    def trivial(cls, like: Array) -> "DualBound":
        """That no objective is below zero."""
        return cls(*(array_namespace(like).zeros_like(like) for _ in range(3)))


@dataclass
class _Point:
    """Coordinates with what a pass over the rows says of them."""

    at: Array
    value: Array
    gradient: Array
    curvature: Array
    squares: Array  # ‖w‖²
    excess: Array  # at least what the objective is above its minimum

    def where(self, better: Array, other: "_Point") -> "_Point":
        """The point itself for some of the problems, the other for the rest."""
        xp = array_namespace(better)
        if bool(xp.all(better)):
            return self
        names = (field.name for field in fields(self))
        return _Point(*(xp.where(better, getattr(self, n), getattr(other, n)) for n in names))

    def take(self, kept: Array) -> "_Point":
        """Some of the problems."""
        xp = array_namespace(kept)
        found = (getattr(self, field.name) for field in fields(self))
        return _Point(*(xp.take(values, kept, axis=values.ndim - 1) for values in found))


class Objective:
    """f and its gradient for one C, with the best dual point that any of its points has given."""

    def __init__(
        self, design: Design, loss: Loss, c: float, proof: DualBound | None, zero: Array | None
    ) -> None:
        self.design, self.loss, self.c, self.zero = design, loss, c, zero
        self.xp = array_namespace(design.spectrum)
        dtype = design.dtype
        self.spectrum = self.xp.astype(design.spectrum, dtype)[:, None]
        self.free = float(design.penalty[-1]) == 0
        self.proof = proof
        self.passes = 0

    def __call__(self, at: Array) -> _Point:
        xp, found = self.xp, self.design.products(at, self.loss)
        dual, sums = self.c * found.product, found.sums
        self.passes += 1
        mean = sums.curvature / self.design.weight
        gradient = dual + at
        if self.free:
            gradient[-1:] = dual[-1:]
        squares = self._squares(at)
        value = self.c * sums.value + squares / 2
        if self.zero is None:  # a walk begins at zero coefficients
            self.zero = value
        excess = self._excess(gradient, mean)
        if sums.slack is not None and not self.free:
            rounding = _epsilon(at) * value
            proved = value - self._bound(dual, sums.slack, sums.value) + rounding
            excess = xp.where(proved < excess, proved, excess)
        return _Point(at, value, gradient, xp.astype(mean, at.dtype), squares, excess)

    def diagonal(self, curvature: Array) -> Array:
        """The approximate curvature of f along each coordinate, shape (r, q)."""
        xp = self.xp

        def at_least(share: float) -> Array:
            return self.c * xp.clip(curvature, share * self.loss.bound, None)[None]

        diagonal = 1 + at_least(_CURVATURE) * self.spectrum
        if self.free:
            diagonal[-1:] = at_least(_CURVATURE_OF_INTERCEPT) * self.spectrum[-1:]
        return diagonal

    def sum(self, values: Array) -> Array:
        """Sums of (r, q) for each problem, shape (p,), in double precision."""
        return self.loss.of_problems(self.xp.astype(self.xp.sum(values, axis=0), self.xp.float64))

    def gap(self, point: _Point) -> Array:
        """How far above their minima objectives may be, as a share; shape (p,).

        Of the objective, or of what it gained over zero coefficients where that is less: with a
        small C hardly anything is gained, and yet every prediction comes from that. A gain that is
        lost in the objective's rounding is no more than ‖w‖².
        """
        xp, value, squares = self.xp, point.value, point.squares
        gained = self.zero - value
        scale = xp.where(gained > squares, gained, squares)
        scale = xp.where(scale < value, scale, value)
        scale = xp.where(scale > _LEAST * value, scale, _LEAST * value)
        return point.excess / xp.where(scale > 0, scale, 1.0)

    def take(self, kept: Array) -> None:
        """Go on with some of the problems."""
        xp = self.xp
        self.zero = xp.take(self.zero, kept, axis=0)
        self.loss = self.loss.take(kept)
        self.proof = None if self.proof is None else self.proof.take(kept)

    def _excess(self, gradient: Array, mean: Array) -> Array:
        """At least what objectives are above their minima, near them where the intercept is free.

        What is penalised curves at least as its penalty does; a free intercept, as its rows do.
        """
        excess = self._squares(gradient)
        if self.free:
            steepness = self.c * self.design.weight * self.xp.clip(mean, _TINY, None)
            slope = self.xp.astype(gradient[-1:], steepness.dtype)
            excess = excess + _INTERCEPT * self.sum(slope * slope / steepness)
        return excess / 2

    def _squares(self, values: Array) -> Array:
        """The squared length of what is penalised."""
        penalised = values[:-1] if self.free else values
        return self.sum(penalised * penalised)

    def _bound(self, dual: Array, slack: Array, value: Array) -> Array:
        """Below the hinge's minima, by the dual point that residuals are or the best before it.

        Any multiple of a dual point is another: the best is taken.
        """
        linear, norm, square = 2 * self.c * slack, self.sum(dual * dual), self.c**2 * value
        length = norm + 2 * square / self.c
        scale = linear / self.xp.where(length > 0, length, 1.0)
        found = DualBound(scale * linear, scale**2 * norm, scale**2 * square)
        self.proof = found if self.proof is None else self.proof.or_better(found, self.c)
        return self.proof.at(self.c)


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
        xp, point, tiny = self.xp, self.point, _epsilon(self.point.at)
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
            self._go(trial.where(accepted, point))
        self.length = xp.where(accepted, 1.0, nearer)
        self._aim(~accepted)
        lost = -self.slope < tiny / 8 * xp.abs(self.point.value)  # in the objective's rounding
        self.stuck = (self.length < _SHORTEST) | lost

    def take(self, kept: Array) -> None:
        """Go on with some of the problems."""
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

    def _go(self, to: _Point) -> None:
        """Keep the pair of steps in point and gradient; zeros where none was made."""
        xp = self.xp
        moved, turned = to.at - self.point.at, to.gradient - self.point.gradient
        self.point = to
        product = self.f.sum(moved * turned)
        inverse = xp.where(product > _TINY, 1 / xp.where(product > _TINY, product, 1.0), 0.0)
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
        product = product * self._scale(diagonal) / diagonal
        for moved, turned, inverse in self.pairs:
            product = product + (weights.pop() - inverse * self._dot(turned, product)) * moved
        return product

    def _scale(self, diagonal: Array) -> Array:
        """How far a step goes for each that the diagonal says, judged by the last pair.

        Along the way of descent rows curve several times as much as they do in the mean: those that
        are not yet certain make both the gradient and the curvature.
        """
        if not self.pairs:
            return self._narrow(self.length)
        _, turned, inverse = self.pairs[-1]
        curved = inverse * self._dot(turned, turned / diagonal)
        return 1 / self.xp.where(curved > 0, curved, 1.0)

    def _dot(self, one: Array, other: Array) -> Array:
        xp = self.xp
        if self.f.loss.separate:
            return xp.sum(one * other, axis=0)
        return xp.vecdot(xp.reshape(one, (-1,)), xp.reshape(other, (-1,)))[None]

    def _narrow(self, values: Array) -> Array:
        """Values of problems in the precision of the coordinates."""
        return self.xp.astype(values, self.point.at.dtype)


def _epsilon(values: Array) -> float:
    """The relative rounding of an array's precision."""
    return float(array_namespace(values).finfo(values.dtype).eps)


@dataclass
class Minimum:
    """Where a search ended: coordinates (r, q); objective, gap and proof of each problem."""

    at: Array
    value: Array
    gap: Array
    proof: DualBound | None
    zero: Array  # the objectives of zero coefficients
    passes: int = 0

    @classmethod
    def unknown(cls, start: Array, search: _Search) -> "Minimum":
        """To be filled in."""
        at, value, gap = (search.xp.zeros_like(like) for like in (start, *2 * (search.gap,)))
        proof = None if search.f.proof is None else DualBound.trivial(gap)
        return cls(at, value, gap, proof, search.f.zero)

    def note(self, places: Array, leaving: Array, search: _Search, gap: Array) -> None:
        """Fill in the problems that leave a search, each at its place."""
        point, proof = search.point, search.f.proof
        if search.f.loss.separate:
            self.at[:, places] = point.at[:, leaving]
        else:
            self.at = point.at
        self.value[places], self.gap[places] = point.value[leaving], gap[leaving]
        if self.proof is not None and proof is not None:
            self.proof.put(places, proof.take(leaving))


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
