"""Code matrices in blocks, and reference problems computed from the formulas."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import cycle
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit, logsumexp, softmax

from bottleneck.linear.classifiers import prepare_path
from bottleneck.linear.matrix import CodeMatrix
from bottleneck.linear.solver.array_api import Array
from bottleneck.linear.solver.design import Design, Intercept, ToDevice, keep_numpy
from bottleneck.linear.solver.eigenbasis import make_design
from bottleneck.linear.solver.losses import (
    Logistic,
    Loss,
    LossSums,
    Softmax,
    SquaredHinge,
    Targets,
)
from bottleneck.linear.solver.path import RegularizationPath, Solution

F64 = NDArray[np.float64]

KINDS: list[type[Loss]] = [SquaredHinge, Logistic, Softmax]
INTERCEPTS: list[Intercept] = ["penalised", "free", "none"]

# Sizes of a matrix's blocks, repeated in turn; an empty list is one block.
BLOCK_SIZES = st.lists(st.integers(1, 9), max_size=4)


@st.composite
def tables(draw: st.DrawFn) -> NDArray[Any]:
    """Draw features of different means and spreads, with constant columns and rows of zeros."""
    n, d = draw(st.integers(1, 30)), draw(st.integers(1, 6))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    sizes = st.lists(st.sampled_from([0.0, 0.3, 17.1, -1e4, 1e6]), min_size=d, max_size=d)
    spreads = st.lists(st.sampled_from([0.0, 1e-3, 1.0, 300.0]), min_size=d, max_size=d)
    table = draw(sizes) + np.array(draw(spreads)) * random.normal(size=(n, d))
    table[random.random(n) < draw(st.sampled_from([0.0, 0.3]))] = 0
    return table.astype(draw(st.sampled_from([np.float32, np.float64])))


class Rows(CodeMatrix):
    """A matrix of an array that is read in blocks of given sizes, and counts its reads."""

    def __init__(
        self, rows: NDArray[Any], sizes: Sequence[int] = (), *, in_memory: bool = True
    ) -> None:
        self.rows, self.sizes, self.in_memory = rows, sizes or (len(rows),), in_memory
        self.reads = 0

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.shape[0], self.rows.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.rows.dtype

    def blocks(self) -> Iterator[NDArray[Any]]:
        self.reads += 1
        start = 0
        for size in cycle(self.sizes):
            if start >= len(self.rows):
                return
            yield self.rows[start : start + size]
            start += size

    def take(self, rows: NDArray[np.int64]) -> "Rows":
        return Rows(self.rows[rows], self.sizes, in_memory=self.in_memory)


@dataclass(frozen=True)
class Problem:
    """The objective ½‖w‖² + C Σ s ℓ and its derivatives, computed from the formulas.

    Targets are classes (n,) or membership (n, q); `weight` is of rows, `column_weight` (2, q) of
    a column's right and wrong rows.
    """

    rows: NDArray[Any]
    targets: NDArray[Any]
    kind: type[Loss]
    intercept: Intercept = "penalised"
    weight: F64 | None = None
    column_weight: F64 | None = None

    @cached_property
    def hot(self) -> NDArray[np.bool_]:
        if self.targets.ndim == 2:
            return self.targets
        return np.asarray(self.targets[:, None] == np.arange(self.targets.max() + 1))

    @property
    def columns(self) -> int:
        return int(self.hot.shape[1])

    @cached_property
    def share(self) -> F64:
        """Return the weight of every row in every column, shape (n, q)."""
        share = np.ones(self.hot.shape)
        if self.weight is not None:
            share = share * self.weight[:, None]
        if self.column_weight is not None:
            share = share * np.where(self.hot, *self.column_weight)
        return share

    def column(self, k: int) -> "Problem":
        """Return the problem of one column."""
        own = None if self.column_weight is None else self.column_weight[:, [k]]
        return replace(self, targets=self.hot[:, [k]], column_weight=own)

    def loss(self, to_device: ToDevice = keep_numpy) -> Loss:
        """Return the package's loss, with weights in the dtype of the rows."""
        weights = {}
        if self.column_weight is not None:
            weights["column_weight"] = to_device(self.column_weight.astype(self.rows.dtype))
        return self.kind(to_device(np.arange(self.columns)), **weights)

    def known(self, to_device: ToDevice = keep_numpy) -> Targets:
        """Return the package's targets, with weights in the dtype of the rows."""
        weight = self.weight
        if weight is not None:
            weight = to_device(weight[:, None].astype(self.rows.dtype))
        return Targets(to_device(self.targets), weight)

    def design(
        self, sizes: Sequence[int] = (), *, in_memory: bool = True, **options: Any
    ) -> Design:
        """Return the package's design."""
        codes = Rows(self.rows, sizes, in_memory=in_memory)
        return make_design(
            codes, self.targets, intercept=self.intercept, weight=self.weight, **options
        )

    def losses(self, margins: F64) -> F64:
        """Return the loss of every row and problem, shape (n, p)."""
        hot, sign = self.hot, np.where(self.hot, 1.0, -1.0)
        if self.kind is SquaredHinge:
            return np.asarray(self.share * np.maximum(0, 1 - sign * margins) ** 2)
        if self.kind is Logistic:
            return np.asarray(self.share * np.logaddexp(0, -sign * margins))
        value = logsumexp(margins, axis=1) - margins[hot]
        return np.asarray(self.share[:, :1] * value[:, None])

    def slopes(self, margins: F64) -> F64:
        """Return the derivatives of the losses by the margins, shape (n, q)."""
        sign = np.where(self.hot, 1.0, -1.0)
        if self.kind is SquaredHinge:
            return self.share * -2 * sign * np.maximum(0, 1 - sign * margins)
        if self.kind is Logistic:
            return np.asarray(self.share * -sign * expit(-sign * margins))
        return np.asarray(self.share * (softmax(margins, axis=1) - self.hot))

    def second(self, margins: F64) -> F64:
        """Return the second derivatives of every row, shape (n, q, q)."""
        n, q = margins.shape
        curved = np.zeros((n, q, q))
        if self.kind is Softmax:
            p = softmax(margins, axis=1)
            curved = p[:, :, None] * (np.eye(q) - p[:, None, :])
        elif self.kind is Logistic:
            curved[:, range(q), range(q)] = expit(margins) * expit(-margins)
        else:
            active = np.where(self.hot, margins, -margins) < 1
            curved[:, range(q), range(q)] = np.where(active, 2.0, 0.0)
        return curved * self.share[:, :, None]

    def objective(self, coef: F64, intercept: F64, c: float) -> F64:
        """Return the objective of each problem, shape (p,)."""
        square = (coef**2).sum(axis=1)
        if self.intercept == "penalised":
            square = square + intercept**2
        if self.kind is Softmax:
            square = square.sum(keepdims=True)
        margins = self.rows.astype(np.float64) @ coef.T + intercept
        return np.asarray(square / 2 + c * self.losses(margins).sum(axis=0))

    def zero(self, c: float) -> F64:
        """Return the objective of zero coefficients of each problem, shape (p,)."""
        none = np.zeros((self.columns, self.rows.shape[1]))
        return self.objective(none, np.zeros(self.columns), c)

    def scale(self, coef: F64, intercept: F64, c: float) -> F64:
        """Return what a gap is relative to: the objective or its decrease from zero coefficients.

        Counted as the squared coefficients where that is more, of which a gain is at least half.
        """
        value = self.objective(coef, intercept, c)
        gained = np.maximum(self.zero(c) - value, 2 * self.objective(coef, intercept, 0.0))
        return np.maximum(np.minimum(gained, value), 1e-9 * value)

    def minimum(self, c: float) -> F64:
        """Return the smallest objective that Newton's method finds for each problem, shape (p,).

        Whatever it finds, no minimum is above it.
        """
        if self.kind is Softmax:
            return np.array([self._newton(c)])
        return np.array([self.column(k)._newton(c) for k in range(self.columns)])

    def _newton(self, c: float) -> float:
        n, d = self.rows.shape
        q = self.columns
        constant = np.full((n, 1), float(self.intercept != "none"))
        rows = np.hstack([self.rows.astype(np.float64), constant])
        ridge = np.append(np.ones(d), float(self.intercept != "free"))[:, None]

        def value(at: F64) -> float:
            return float((ridge * at**2).sum() / 2 + c * self.losses(rows @ at).sum())

        at = np.zeros((d + 1, q))
        for _ in range(200):
            margins = rows @ at
            gradient = ridge * at + c * rows.T @ self.slopes(margins)
            second = c * self.second(margins)
            bent = [[(second[:, [a], b] * rows).T @ rows for b in range(q)] for a in range(q)]
            hessian = np.block(bent) + np.diag(np.tile(ridge[:, 0], q))
            hessian += 1e-13 * np.trace(hessian) / len(hessian) * np.eye(len(hessian))
            step = -np.linalg.solve(hessian, gradient.T.ravel()).reshape(q, d + 1).T
            now, slope, length = value(at), float((gradient * step).sum()), 1.0
            while value(at + length * step) > now + 1e-4 * length * slope and length > 1e-9:
                length /= 2
            if -slope < 1e-13 * now or length <= 1e-9:
                break
            at = at + length * step
        return value(at)


def solve_path(
    design: Design,
    loss: Loss,
    cs: Sequence[float],
    *,
    intercept: Array | None = None,
    **options: Any,
) -> Iterator[Solution]:
    """Solve a path from its start."""
    return RegularizationPath(design, loss, intercept).solve(cs, **options)


class RecordedMargins:
    """A substitute for a loss that returns the margins as residuals and keeps each block."""

    def __init__(self) -> None:
        self.blocks: list[Array] = []

    def __call__(self, targets: Targets, margins: Array) -> tuple[Array, LossSums]:
        self.blocks.append(margins * 1)
        return margins, LossSums(margins[0], margins[0])


def classes_of(n: int, k: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw classes of n rows, each of the k classes at least once if n is large enough."""
    return random.permutation(np.r_[np.arange(min(n, k)), random.integers(0, k, max(0, n - k))])


def unlabelled(codes: Rows, **options: Any) -> Design:
    """A design of rows whose classes do not matter."""
    return make_design(codes, np.zeros(len(codes.rows), int), **options)


def margins(design: Design, n: int, at: NDArray[Any]) -> F64:
    """What the design makes of coordinates, for every row."""
    seen = RecordedMargins()
    design.gradient(at.astype(design.dtype), seen)
    found = np.vstack(seen.blocks)
    assert len(found) == n
    return found


def fit_path(
    codes: CodeMatrix,
    targets: NDArray[Any],
    *,
    cs: Sequence[float],
    tol: float = 3e-5,
    **options: Any,
) -> Iterator[Solution]:
    """Train a classifier for each C, starting from the solution for the C before it."""
    return prepare_path(codes, targets, max_c=max(cs), **options).solve(cs, tol=tol)
