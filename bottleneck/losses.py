"""Losses of linear classifiers: from margins to residuals, with the sums that a solver needs.

Margins are blocks of shape (b, q): b rows, q columns. One-vs-rest losses have a *problem* in every
column; softmax is one problem of q columns. Problems share the rows and nothing else. Arrays are
of NumPy, torch, or whatever has the array API: nothing here names a library.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from array_api_compat import array_namespace

_SURE = 0.5  # below this, 1 - p has more digits than p

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
    linear, square : array, shape (p,)
        Residuals r are a point of the dual, where the objective is at least
        C·linear - ½‖C Σ rᵢxᵢ‖² - C·square.
    """

    value: Array
    curvature: Array
    linear: Array
    square: Array

    def __add__(self, other: Self) -> Self:
        """The sums of two blocks."""
        return replace(
            self,
            value=self.value + other.value,
            curvature=self.curvature + other.curvature,
            linear=self.linear + other.linear,
            square=self.square + other.square,
        )


@dataclass(frozen=True)
class Loss:
    """A loss with its targets and weights; each kind is a subclass.

    Attributes
    ----------
    targets : array of int, shape (n,), or of bool, shape (n, q)
        Each row's right column, or of every column whether it is right.
    columns : array of int, shape (q,)
        The columns that margins have; fewer than the targets' once some are done.
    row_weight : array, shape (n, 1), or None
        sᵢ; None where all are 1.
    column_weight : array, shape (2, q), or None
        A further weight of a column's right rows, and of its wrong ones.
    """

    targets: Array
    columns: Array
    row_weight: Array | None = None
    column_weight: Array | None = None

    # No row's curvature is above it.
    bound: ClassVar[float]
    # Whether every column is a problem of its own.
    separate: ClassVar[bool] = True
    # Whether the minimiser goes on growing with log C where the classes can be separated.
    # Log losses never reach zero; the hinge does, and comes to rest at the widest margin.
    grows: ClassVar[bool] = True

    def __call__(self, rows: slice, margins: Array) -> tuple[Array, Sums]:
        """Residuals s ∂ℓ/∂m of a block of rows, shape (b, q) as their margins, and its sums.

        May write over the margins.
        """
        raise NotImplementedError

    @property
    def problems(self) -> int:
        """p, how many there are at hand."""
        return int(self.columns.shape[0]) if self.separate else 1

    def of_problems(self, sums: Array) -> Array:
        """Sums of columns, shape (q,), as sums of problems, shape (p,)."""
        return sums if self.separate else array_namespace(sums).sum(sums, axis=0, keepdims=True)

    def take(self, kept: Array) -> Self:
        """Only some of the columns, by their places among those at hand."""
        xp, weight = array_namespace(self.columns), self.column_weight
        return replace(
            self,
            columns=xp.take(self.columns, kept, axis=0),
            column_weight=None if weight is None else xp.take(weight, kept, axis=1),
        )

    def _hot(self, rows: slice) -> Array:
        """Whether a column is right for a row, bool of shape (b, q)."""
        targets = self.targets[rows]
        if targets.ndim == 1:
            return targets[:, None] == self.columns[None, :]
        xp = array_namespace(targets)
        same = self.columns.shape[0] == targets.shape[1]
        return targets if same else xp.take(targets, self.columns, axis=1)

    def _weight(self, rows: slice, hot: Array) -> Array | None:
        """The weights of a block, to be multiplied to shape (b, q); None where all are 1."""
        if self.column_weight is None:
            return None if self.row_weight is None else self.row_weight[rows]
        right, wrong = self.column_weight[0], self.column_weight[1]
        weight = array_namespace(hot).where(hot, right[None], wrong[None])
        return weight if self.row_weight is None else weight * self.row_weight[rows]


class SquaredHinge(Loss):
    """max(0, 1 ∓ m)², one class against the rest: LIBLINEAR's L2-loss SVM."""

    bound: ClassVar[float] = 2.0
    grows: ClassVar[bool] = False

    def __call__(self, rows: slice, margins: Array) -> tuple[Array, Sums]:
        """Residuals and sums; see `Loss`."""
        xp = array_namespace(margins)
        hot = self._hot(rows)
        weight = self._weight(rows, hot)
        slack = xp.where(hot, -margins, margins)
        slack += 1
        active = slack > 0
        slack = xp.where(active, slack, 0)
        weighted = slack if weight is None else slack * weight
        value = _total(weighted * slack)
        curvature = 2 * _total(_times(xp.astype(active, slack.dtype), weight))
        residual = xp.where(hot, -weighted, weighted)
        residual *= 2
        return residual, Sums(value, curvature, 2 * _total(weighted), value)


class Logistic(Loss):
    """log(1 + exp(∓m)), one class against the rest; for two classes, LogisticRegression's loss."""

    bound: ClassVar[float] = 0.25

    def __call__(self, rows: slice, margins: Array) -> tuple[Array, Sums]:
        """Residuals and sums; see `Loss`."""
        xp = array_namespace(margins)
        hot = self._hot(rows)
        weight = self._weight(rows, hot)
        wrong = xp.where(hot, -margins, margins)  # the margin of the wrong answer
        small = xp.exp(-xp.abs(wrong))
        probability = xp.where(wrong > 0, 1.0, small) / (1 + small)
        value = xp.log1p(small)
        value += xp.where(wrong > 0, wrong, 0)
        total = _total(_times(value, weight))
        # The entropy -q log q - (1-q) log(1-q) is the loss less q times the margin.
        entropy = total - _total(_times(probability * wrong, weight))
        curvature = _total(_times(probability * (1 - probability), weight))
        residual = _times(xp.where(hot, -probability, probability), weight)
        return residual, Sums(total, curvature, entropy, xp.zeros_like(total))


class Softmax(Loss):
    """-log softmax(m) of the right class: LogisticRegression's loss for three classes or more."""

    bound: ClassVar[float] = 0.5  # D. Böhning, Ann. Inst. Stat. Math. 44 (1992)
    separate: ClassVar[bool] = False

    def __call__(self, rows: slice, margins: Array) -> tuple[Array, Sums]:
        """Residuals and sums; see `Loss`."""
        xp = array_namespace(margins)
        hot = self._hot(rows)
        weight = self._weight(rows, hot)
        margins -= xp.max(margins, axis=1, keepdims=True)
        probability = xp.exp(margins)
        norm = xp.sum(probability, axis=1, keepdims=True)
        probability /= norm
        margins -= xp.log(norm)  # now logarithms of probabilities
        # Not 1 - p: where p is near 1, only the others' sum says how near.
        residual = xp.where(hot, 0, probability)
        missing = xp.sum(residual, axis=1, keepdims=True)
        sure = missing < _SURE
        value = -xp.sum(xp.where(hot, margins, 0), axis=1, keepdims=True)
        value = xp.where(sure, -xp.log1p(-xp.where(sure, missing, 0)), value)
        margins = xp.where(hot, -value, margins)
        entropy = -xp.sum(probability * margins, axis=1, keepdims=True)
        rest = xp.where(hot, missing, 1 - probability)
        curvature = _total(_times(probability * rest, weight))
        residual = _times(xp.where(hot, -missing, residual), weight)
        total = _total(_times(value, weight))
        entropies = _total(_times(entropy, weight))
        return residual, Sums(total, curvature, entropies, xp.zeros_like(total))


def _times(values: Array, weight: Array | None) -> Array:
    return values if weight is None else values * weight


def _total(values: Array) -> Array:
    """Sums over a block's rows, in double precision; shape (q,)."""
    xp = array_namespace(values)
    return xp.sum(values, axis=0, dtype=xp.float64)
