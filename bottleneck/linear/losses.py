"""Losses of linear classifiers: from margins to residuals, with the sums that a solver needs.

Margins are blocks of shape (b, q): b rows, q columns. One-vs-rest losses have a *problem* in every
column; softmax is one problem of q columns. Problems share the rows and nothing else. Arrays are
of NumPy, torch, or whatever has the array API: nothing here names a library.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from array_api_compat import array_namespace, device

Array = Any  # of any library with the array API, for which Python's typing has no name yet


@dataclass(frozen=True)
class Sums:
    """What a pass over the rows adds up, in double precision.

    Attributes
    ----------
    value : array, shape (p,)
        Σ s ℓ of each problem.
    curvature : array, shape (q,)
        Σ s ℓ″ of each column, the second derivative by the column's own margin.
    slack : array, shape (p,), or None
        Σ s max(0, 1 ∓ m), of the hinge: its residuals r are a point of the dual, where the
        objective is at least 2C·slack - ½‖C Σ rᵢxᵢ‖² - C·value.
    """

    value: Array
    curvature: Array
    slack: Array | None = None

    def __add__(self, other: Self) -> Self:
        """The sums of two blocks."""
        return replace(
            self,
            value=self.value + other.value,
            curvature=self.curvature + other.curvature,
            slack=None if self.slack is None else self.slack + other.slack,
        )


@dataclass(frozen=True)
class Targets:
    """What the rows are to be called, and what each of them counts.

    Attributes
    ----------
    right : array of int, shape (n,), or of bool, shape (n, q)
        Each row's right column, or of every column whether it is right.
    weight : array, shape (n, 1), or None
        sᵢ; None where all are 1.
    """

    right: Array
    weight: Array | None = None

    def __getitem__(self, rows: slice) -> Self:
        """Those of some of the rows."""
        weight = None if self.weight is None else self.weight[rows]
        return replace(self, right=self.right[rows], weight=weight)


@dataclass(frozen=True)
class Loss:
    """A loss, which knows no rows; each kind is a subclass.

    Attributes
    ----------
    columns : array of int, shape (q,)
        The columns that margins have; fewer than the targets' once some are done.
    """

    columns: Array

    # No row's curvature is above it.
    bound: ClassVar[float]
    # Whether every column is a problem of its own.
    separate: ClassVar[bool] = True

    def __call__(self, targets: Targets, margins: Array) -> tuple[Array, Sums]:
        """Residuals s ∂ℓ/∂m of b rows, of shape (b, q) as their margins, and their sums.

        May write over the margins.
        """
        raise NotImplementedError

    @property
    def problems(self) -> int:
        """p, how many there are at hand."""
        return int(self.columns.shape[0]) if self.separate else 1

    @property
    def curvature_at_zero(self) -> float:
        """ℓ″ of a row whose margins are all 0."""
        return self.bound

    @staticmethod
    def course(c: float) -> float:
        """What of C the minimiser moves evenly with, where classes can be separated.

        Log losses never reach zero, and the minimiser grows without end.
        """
        return math.log(c)

    def of_problems(self, sums: Array) -> Array:
        """Sums of columns, shape (q,), as sums of problems, shape (p,)."""
        return sums if self.separate else array_namespace(sums).sum(sums, axis=0, keepdims=True)

    def take(self, kept: Array) -> Self:
        """Only some of the problems, by their places among those at hand."""
        raise NotImplementedError


@dataclass(frozen=True)
class _OneVsRest(Loss):
    """Every column for itself.

    Attributes
    ----------
    column_weight : array, shape (2, q), or None
        A further weight of a column's right rows, and of its wrong ones.
    """

    column_weight: Array | None = None

    def take(self, kept: Array) -> Self:
        """Only some of the columns; see `Loss`."""
        xp, weight = array_namespace(self.columns), self.column_weight
        return replace(
            self,
            columns=xp.take(self.columns, kept, axis=0),
            column_weight=None if weight is None else xp.take(weight, kept, axis=1),
        )

    def _signs_and_weight(self, targets: Targets, like: Array) -> tuple[Array, Array | None]:
        """-1 where a column is right for a row, else 1; and the weights, None where all are 1."""
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
        if right.ndim == 1:
            return right[:, None] == self.columns[None, :]
        same = self.columns.shape[0] == right.shape[1]
        return right if same else array_namespace(right).take(right, self.columns, axis=1)


class SquaredHinge(_OneVsRest):
    """max(0, 1 ∓ m)², one class against the rest: LIBLINEAR's L2-loss SVM."""

    bound: ClassVar[float] = 2.0

    @staticmethod
    def course(c: float) -> float:
        """The minimiser comes to rest at the widest margin; see `Loss`."""
        return -1 / c

    def __call__(self, targets: Targets, margins: Array) -> tuple[Array, Sums]:
        """Residuals and sums; see `Loss`."""
        xp = array_namespace(margins)
        signs, weight = self._signs_and_weight(targets, margins)
        margins *= signs
        margins += 1
        active = xp.astype(margins > 0, margins.dtype)
        slack = xp.clip(margins, 0, None)
        weighted = _times(slack, weight)
        value = _total(weighted * slack)
        signs *= 2
        signs *= weighted
        return signs, Sums(value, 2 * _total(_times(active, weight)), _total(weighted))


class Logistic(_OneVsRest):
    """log(1 + exp(∓m)), one class against the rest; for two classes, LogisticRegression's loss."""

    bound: ClassVar[float] = 0.25

    def __call__(self, targets: Targets, margins: Array) -> tuple[Array, Sums]:
        """Residuals and sums; see `Loss`."""
        xp = array_namespace(margins)
        signs, weight = self._signs_and_weight(targets, margins)
        wrong = margins * signs  # the margin of the wrong answer
        small = xp.exp(-xp.abs(wrong))
        probability = xp.where(wrong > 0, 1.0, small) / (1 + small)
        value = xp.log1p(small)
        value += xp.where(wrong > 0, wrong, 0)
        curvature = _total(_times(probability * (1 - probability), weight))
        signs *= _times(probability, weight)
        return signs, Sums(_total(_times(value, weight)), curvature)


class Softmax(Loss):
    """-log softmax(m) of the right class: LogisticRegression's loss for three classes or more."""

    bound: ClassVar[float] = 0.5  # D. Böhning, Ann. Inst. Stat. Math. 44 (1992)
    separate: ClassVar[bool] = False

    @property
    def curvature_at_zero(self) -> float:
        """ℓ″ of a row whose margins are all 0; see `Loss`."""
        q = int(self.columns.shape[0])
        return (1 - 1 / q) / q

    def __call__(self, targets: Targets, margins: Array) -> tuple[Array, Sums]:
        """Residuals and sums; see `Loss`.

        No probability is taken from 1: where one is near 1, only the others say how near.
        """
        xp = array_namespace(margins)
        right = xp.arange(margins.shape[0], device=device(margins)), targets.right
        margins -= xp.max(margins, axis=1, keepdims=True)
        residual = xp.exp(margins)
        own_margin, own = margins[right], residual[right]
        residual[right] = 0
        others = xp.sum(residual, axis=1)
        # log(others + own), where own is 1 if the right class is the likeliest.
        value = xp.log1p(others - (1 - own)) - own_margin
        residual /= (others + own)[:, None]  # now the others' probabilities
        residual[right] = others / (others + own)
        flat = residual * residual
        flat -= residual
        curvature = -_total(_times(flat, targets.weight))
        residual[right] *= -1
        value = _total(_times(value[:, None], targets.weight))
        return _times(residual, targets.weight), Sums(value, curvature)


def _times(values: Array, weight: Array | None) -> Array:
    return values if weight is None else values * weight


def _total(values: Array) -> Array:
    """Sums over a block's rows, in double precision; shape (q,)."""
    xp = array_namespace(values)
    return xp.sum(values, axis=0, dtype=xp.float64)
