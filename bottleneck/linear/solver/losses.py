"""Losses of linear classifiers: residuals of margins, and the sums that a solver needs.

Margins are blocks of shape (b, q): b rows, q columns. A one-vs-rest loss (`SquaredHinge`,
`Logistic`) has an independent problem in every column; `Softmax` is one problem of q columns. The
number of problems is p. Arrays are of NumPy, torch or any other library with the array API.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from array_api_compat import device

from bottleneck.linear.solver.array_api import Array, array_namespace


@dataclass(frozen=True)
class LossSums:
    """Sums of a loss over rows, in double precision; they can be added.

    Attributes
    ----------
    value : array, shape (p,)
        Σ s ℓ of each problem.
    curvature : array, shape (q,)
        Σ s ∂²ℓ/∂m² of each column, with respect to the column's own margin.
    slack : array, shape (p,), or None
        Σ s max(0, 1 ∓ m), of the hinge alone: its residuals r are a dual point, at which the dual
        objective is 2C·slack - ½‖C Σ rᵢxᵢ‖² - C·value.
    """

    value: Array
    curvature: Array
    slack: Array | None = None

    def __add__(self, other: Self) -> Self:
        """Return the sums over the rows of both."""
        return replace(
            self,
            value=self.value + other.value,
            curvature=self.curvature + other.curvature,
            slack=None if self.slack is None else self.slack + other.slack,
        )


@dataclass(frozen=True)
class Targets:
    """Targets and weights of rows; a slice of rows indexes them.

    Attributes
    ----------
    right : array of int, shape (n,), or of bool, shape (n, q)
        Index of each row's class, or for every column whether the row belongs to it.
    weight : array, shape (n, 1), or None
        Weight s of each row; None if all are 1.

    Examples
    --------
    >>> import numpy as np
    >>> Targets(np.array([0, 2, 1]))[1:].right
    array([2, 1])
    """

    right: Array
    weight: Array | None = None

    def __getitem__(self, rows: slice) -> Self:
        """Return the targets and weights of some rows."""
        weight = None if self.weight is None else self.weight[rows]
        return replace(self, right=self.right[rows], weight=weight)


@dataclass(frozen=True)
class Loss:
    """A loss ℓ of margins; `SquaredHinge`, `Logistic` and `Softmax` are its kinds.

    Attributes
    ----------
    columns : array of int, shape (q,)
        Column of the targets that each column of the margins belongs to; fewer than the targets
        have, once some problems have converged.

    Examples
    --------
    Two rows, the first of class 0 and the second of class 1:

    >>> import numpy as np
    >>> loss, targets = Softmax(np.arange(2)), Targets(np.array([0, 1]))
    >>> residuals, sums = loss(targets, np.zeros((2, 2)))
    >>> residuals
    array([[-0.5,  0.5],
           [ 0.5, -0.5]])
    >>> bool(np.isclose(sums.value[0], 2 * np.log(2)))
    True
    >>> residuals, sums = SquaredHinge(np.arange(2))(targets, np.array([[2.0, 0.0], [0.0, 1.0]]))
    >>> residuals
    array([[-0.,  2.],
           [ 2., -0.]])
    >>> sums.value
    array([1., 1.])
    """

    columns: Array

    # Upper bound of a row's second derivative (of softmax: of its Hessian's eigenvalues).
    curvature_bound: ClassVar[float]
    # Whether every column is a problem of its own.
    one_vs_rest: ClassVar[bool] = True
    # Whether rows on the right side of the margin have no second derivative.
    has_inactive_rows: ClassVar[bool] = False
    # Largest product of a gradient's bound and the precision of float32 up to which a search does
    # well in float32, from this tolerance on. A log loss curves less than its bound, the larger C.
    float32_suffices: ClassVar[tuple[float, float]] = (1e3, 5e-4)

    def __call__(self, targets: Targets, margins: Array) -> tuple[Array, LossSums]:
        """Compute the residuals and the sums of a block of rows.

        Parameters
        ----------
        targets : Targets
            Of the b rows of the block.
        margins : array, shape (b, q)
            May be overwritten.

        Returns
        -------
        residuals : array, shape (b, q)
            s ∂ℓ/∂m, in the dtype of the margins.
        sums : LossSums
        """
        raise NotImplementedError

    def second(self, targets: Targets, margins: Array) -> Array:
        """Return the weighted second derivative of every row and column, shape (b, q).

        Softmax, whose columns belong together, returns its probabilities.
        """
        raise NotImplementedError

    @property
    def curvature_at_zero(self) -> float:
        """Second derivative of a row whose margins are all 0."""
        return self.curvature_bound

    @property
    def largest_weight(self) -> float:
        """Largest weight that a column gives to rows, beside their own."""
        return 1.0

    @staticmethod
    def path_coordinate(c: float) -> float:
        """Return the function of C in which the minimiser of separable classes is about linear.

        A path of C is extrapolated linearly in it. Log losses never reach zero, and so their
        minimiser grows with log C.
        """
        return math.log(c)

    def of_problems(self, sums: Array) -> Array:
        """Return sums of the columns, shape (q,), as sums of the problems, shape (p,)."""
        return sums if self.one_vs_rest else array_namespace(sums).sum(sums, axis=0, keepdims=True)

    def take(self, kept: Array) -> Self:
        """Return the loss of some problems, given by their index among the present ones."""
        raise NotImplementedError


@dataclass(frozen=True)
class _OneVsRest(Loss):
    """A loss of each column on its own.

    Attributes
    ----------
    column_weight : array, shape (2, q), or None
        Further weight of the rows that belong to a column, and of those that do not.
    """

    column_weight: Array | None = None

    @property
    def largest_weight(self) -> float:
        """Largest of the further weights."""
        weight = self.column_weight
        return 1.0 if weight is None else float(array_namespace(weight).max(weight))

    def take(self, kept: Array) -> Self:
        """Return the loss of some columns, given by their index among the present ones."""
        xp, weight = array_namespace(self.columns), self.column_weight
        return replace(
            self,
            columns=xp.take(self.columns, kept, axis=0),
            column_weight=None if weight is None else xp.take(weight, kept, axis=1),
        )

    def _signs_and_weight(self, targets: Targets, like: Array) -> tuple[Array, Array | None]:
        """Return -1 where a row belongs to a column, else 1; and weights, None if all are 1."""
        hot = self._hot(targets.right)
        xp = array_namespace(hot)
        signs = xp.astype(hot, like.dtype)
        signs *= -2
        signs += 1
        weight = targets.weight
        if self.column_weight is not None:
            of_column = xp.where(hot, self.column_weight[:1], self.column_weight[1:])
            weight = of_column if weight is None else of_column * weight
        return signs, weight

    def _hot(self, right: Array) -> Array:
        """Return whether each row belongs to each column, shape (b, q)."""
        if right.ndim == 1:
            return right[:, None] == self.columns[None, :]
        same = self.columns.shape[0] == right.shape[1]
        return right if same else array_namespace(right).take(right, self.columns, axis=1)


class SquaredHinge(_OneVsRest):
    """Squared hinge max(0, 1 ∓ m)², one class against the rest: LIBLINEAR's L2-loss SVM."""

    curvature_bound: ClassVar[float] = 2.0
    has_inactive_rows: ClassVar[bool] = True
    float32_suffices: ClassVar[tuple[float, float]] = (30.0, 5e-3)

    @staticmethod
    def path_coordinate(c: float) -> float:
        """Return -1/C: the minimiser of separable classes converges to the widest margin."""
        return -1 / c

    def __call__(self, targets: Targets, margins: Array) -> tuple[Array, LossSums]:
        """Compute residuals and sums of a block; it overwrites the margins."""
        xp = array_namespace(margins)
        signs, weight = self._signs_and_weight(targets, margins)
        margins *= signs
        margins += 1
        active = xp.astype(margins > 0, margins.dtype)
        slack = xp.clip(margins, 0, None)
        weighted = _weigh(slack, weight)
        value = _sum_rows(weighted * slack)
        signs *= 2
        signs *= weighted
        curvature = 2 * _sum_rows(_weigh(active, weight))
        return signs, LossSums(value, curvature, _sum_rows(weighted))

    def least_margin(self, targets: Targets, margins: Array) -> Array:
        """Return the least distance of a block's rows to the right side, shape (q,)."""
        signs, _ = self._signs_and_weight(targets, margins)
        return -array_namespace(margins).max(margins * signs, axis=0)

    def second(self, targets: Targets, margins: Array) -> Array:
        """Return 2s where a row is on the wrong side of its margin, else 0."""
        signs, weight = self._signs_and_weight(targets, margins)
        active = array_namespace(margins).astype(margins * signs > -1, margins.dtype)
        return 2 * _weigh(active, weight)


class Logistic(_OneVsRest):
    """Log loss log(1 + exp(∓m)), one class against the rest; LogisticRegression's for two."""

    curvature_bound: ClassVar[float] = 0.25

    def __call__(self, targets: Targets, margins: Array) -> tuple[Array, LossSums]:
        """Compute residuals and sums of a block."""
        xp = array_namespace(margins)
        signs, weight = self._signs_and_weight(targets, margins)
        wrong = margins * signs  # margin of the wrong answer
        small = xp.exp(-xp.abs(wrong))
        probability = xp.where(wrong > 0, 1.0, small) / (1 + small)
        value = xp.log1p(small)
        value += xp.where(wrong > 0, wrong, 0)
        curvature = _sum_rows(_weigh(probability * (1 - probability), weight))
        signs *= _weigh(probability, weight)
        return signs, LossSums(_sum_rows(_weigh(value, weight)), curvature)

    def second(self, targets: Targets, margins: Array) -> Array:
        """Return s·p(1 - p) of the probability p."""
        xp = array_namespace(margins)
        _, weight = self._signs_and_weight(targets, margins)
        small = xp.exp(-xp.abs(margins))
        return _weigh(small / (1 + small) ** 2, weight)


class Softmax(Loss):
    """Multinomial log loss -log softmax(m): LogisticRegression's for three or more classes."""

    curvature_bound: ClassVar[float] = 0.5  # D. Böhning, Ann. Inst. Stat. Math. 44 (1992)
    one_vs_rest: ClassVar[bool] = False

    @property
    def curvature_at_zero(self) -> float:
        """Second derivative by one margin, of a row whose margins are all 0."""
        q = int(self.columns.shape[0])
        return (1 - 1 / q) / q

    def __call__(self, targets: Targets, margins: Array) -> tuple[Array, LossSums]:
        """Compute residuals and sums of a block; it overwrites the margins.

        The residual of the right class is summed from the other probabilities and not computed as
        p - 1, which would lose its digits where p is near 1.
        """
        xp = array_namespace(margins)
        right = xp.arange(margins.shape[0], device=device(margins)), targets.right
        margins -= xp.max(margins, axis=1, keepdims=True)
        residual = xp.exp(margins)
        own_margin, own = margins[right], residual[right]
        residual[right] = 0
        others = xp.sum(residual, axis=1)
        # log(others + own), where own is 1 if the right class is the most probable one.
        value = xp.log1p(others - (1 - own)) - own_margin
        residual /= (others + own)[:, None]  # now the probabilities of the wrong classes
        residual[right] = others / (others + own)
        variance = residual * residual
        variance -= residual
        curvature = -_sum_rows(_weigh(variance, targets.weight))
        residual[right] *= -1
        value = _sum_rows(_weigh(value[:, None], targets.weight))
        return _weigh(residual, targets.weight), LossSums(value, curvature)

    def second(self, targets: Targets, margins: Array) -> Array:
        """Return the probabilities p; the second derivatives are s·pᵢ(δᵢⱼ - pⱼ)."""
        xp = array_namespace(margins)
        exponentials = xp.exp(margins - xp.max(margins, axis=1, keepdims=True))
        return exponentials / xp.sum(exponentials, axis=1, keepdims=True)


def _weigh(values: Array, weight: Array | None) -> Array:
    return values if weight is None else values * weight


def _sum_rows(values: Array) -> Array:
    """Return sums over a block's rows, in double precision; shape (q,)."""
    xp = array_namespace(values)
    return xp.sum(values, axis=0, dtype=xp.float64)
