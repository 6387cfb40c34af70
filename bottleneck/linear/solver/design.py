"""Rows of a problem behind one operation, the gradient, in memory, on a device or streamed.

Rows in memory are already in the coordinates of `bottleneck.linear.solver.eigenbasis`. Rows outside
of memory are read block by block for every gradient, and the coefficients are transformed instead.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial, reduce
from operator import add
from typing import Any, Literal

import numpy as np
from array_api_compat import device
from numpy.typing import NDArray

from bottleneck.linear.matrix import CodeMatrix
from bottleneck.linear.solver.array_api import Array, array_namespace, to_numpy
from bottleneck.linear.solver.losses import LossSums, SquaredHinge, Targets

KERNEL_ROWS = 4096  # whose products take 64 MiB in float32
# Margins computed at once: few enough for a core's cache, enough to keep an accelerator busy.
_MARGINS, _MARGINS_ELSEWHERE = 1 << 20, 1 << 26
_ROUNDING = 4.0  # of a margin, in units of precision times the lengths of row and coefficients

_TRANSFER_BYTES = 1 << 29  # of codes that are copied to a device at a time
SMALL_PROBLEM = 1 << 20  # values for which a second array of as many costs little

# LIBLINEAR penalises the intercept as one more coefficient; LogisticRegression does not.
Intercept = Literal["penalised", "free", "none"]

ToDevice = Callable[[NDArray[Any]], Array]  # from NumPy to the library and device that computes
Residuals = Callable[[Targets, Array], tuple[Array, LossSums]]  # of margins: a `Loss`


def keep_numpy(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array itself: the `ToDevice` of computations with NumPy."""
    return array


def transfer_rows(block: NDArray[Any], to_device: ToDevice) -> Iterator[tuple[slice, Array]]:
    """Copy a block to a device some rows at a time, without a second copy of all of it there.

    Parameters
    ----------
    block : ndarray, shape (b, d)
    to_device : callable
        `keep_numpy` copies nothing: then the block is yielded whole.

    Yields
    ------
    part : slice
        Rows of the block.
    rows : array, shape (at most b, d)
        These rows, on the device.
    """
    most = len(block) if to_device is keep_numpy else max(1, _TRANSFER_BYTES // block[:1].nbytes)
    for start in range(0, len(block), most):
        part = slice(start, min(start + most, len(block)))
        yield part, to_device(block[part])


def device_blocks(codes: CodeMatrix, to_device: ToDevice) -> Iterator[tuple[slice, Array]]:
    """Copy all rows to a device, some at a time.

    Parameters
    ----------
    codes : CodeMatrix
        n rows of d features.
    to_device : callable

    Yields
    ------
    part : slice
        Rows of the matrix.
    rows : array, shape (at most n, d)
        These rows, on the device.
    """
    start = 0
    for block in codes.blocks():
        for part, rows in transfer_rows(block, to_device):
            yield slice(start + part.start, start + part.stop), rows
        start += len(block)


@dataclass(frozen=True)
class GradientPass:
    """Result of one pass over rows X; results of blocks can be added.

    Attributes
    ----------
    gradient : array, shape (r, q)
        Gradient XᵀR of the summed loss by the coefficients, from the residuals R.
    sums : LossSums
        Sums of the loss over the rows.
    """

    gradient: Array
    sums: LossSums

    def __add__(self, other: "GradientPass") -> "GradientPass":
        """Return the result for the rows of both."""
        return GradientPass(self.gradient + other.gradient, self.sums + other.sums)


@dataclass(frozen=True, eq=False, kw_only=True)
class Design:
    """Rows X of a problem with their targets, in coordinates of which XᵀSX is diagonal.

    Attributes
    ----------
    spectrum : array of float64, shape (r,)
        Diagonal Λ of XᵀSX: weighted sum of squares of each coordinate.
    penalty : array of float64, shape (r,)
        1, or 0 for the coordinate of a free intercept, which is then the last one.
    weight : float
        Σ s, the total weight of the rows.
    left_out : float
        Largest eigenvalue of XᵀSX along which rows have no coordinate; 0 if they have all.
    """

    spectrum: Array
    penalty: Array
    weight: float
    left_out: float = 0.0

    @property
    def dtype(self) -> Any:
        """Dtype in which margins and gradients are computed."""
        raise NotImplementedError

    @property
    def largest(self) -> float:
        """Largest eigenvalue of XᵀSX, or an upper bound of it."""
        return float(array_namespace(self.spectrum).max(self.spectrum))

    @property
    def is_float32(self) -> bool:
        """Whether that dtype is float32."""
        return str(self.dtype).endswith("float32")

    def gradient(self, coefficients: Array, loss: Residuals) -> GradientPass:
        """Compute the gradient of the loss in one pass over the rows.

        Parameters
        ----------
        coefficients : array, shape (r, q)
        loss : callable
            Maps targets and margins of shape (b, q) to residuals and sums.
        """
        raise NotImplementedError

    def to_coefficients(
        self, coordinates: Array
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Transform coordinates to coefficients and intercepts for the rows as they were given.

        Parameters
        ----------
        coordinates : array, shape (r, q)

        Returns
        -------
        coef : ndarray, shape (q, d)
        intercept : ndarray, shape (q,)
        """
        raise NotImplementedError

    def in_float64(self) -> "Design":
        """Return the same design, computed in double precision."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class ArrayDesign(Design):
    """Rows in memory, on any device, already transformed to the coordinates.

    Attributes
    ----------
    rows : array, shape (n, r)
    targets : Targets
        Of the same rows, on the same device.
    from_coordinates : callable
        Maps coordinates (r, q) to coefficients and intercept (d + 1, q).
    exact : callable or None
        Computes the rows in double precision, if they were rounded to float32.
    """

    rows: Array
    targets: Targets
    from_coordinates: Callable[[Array], Array]
    exact: Callable[[], Array] | None = None

    @property
    def dtype(self) -> Any:
        """Dtype of the rows."""
        return self.rows.dtype

    def gradient(self, coefficients: Array, loss: Residuals) -> GradientPass:
        """Compute the gradient, one slice of rows after the other."""

        def of_rows(rows: slice) -> GradientPass:
            block = self.rows[rows]
            residuals, sums = loss(self.targets[rows], block @ coefficients)
            return GradientPass(block.T @ residuals, sums)

        return reduce(add, map(of_rows, row_slices(self.rows.shape[0], coefficients)))

    @cached_property
    def kernel(self) -> Array | None:
        """Products XXᵀ of all rows, shape (n, n); None for many rows, in float64 for fewer."""
        most = KERNEL_ROWS if self.is_float32 else KERNEL_ROWS // 4
        return self.rows @ self.rows.T if self.rows.shape[0] <= most else None

    def least_margins(self, coefficients: Array, loss: SquaredHinge) -> Array:
        """Return a lower bound of each problem's least margin of a row, rounding included.

        Margins are positive on the right side; shape (q,).
        """
        xp = array_namespace(coefficients)
        length = xp.sqrt(xp.sum(coefficients * coefficients, axis=0))
        rounding = _ROUNDING * float(xp.finfo(self.dtype).eps) * self._longest * length
        return loss.least_margin(self.targets, self.rows @ coefficients) - rounding

    @cached_property
    def _longest(self) -> float:
        """Length of the longest row."""
        xp = array_namespace(self.rows)
        return math.sqrt(float(xp.max(xp.vecdot(self.rows, self.rows))))

    def to_coefficients(
        self, coordinates: Array
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Transform coordinates (r, q) to coefficients (q, d) and intercepts (q,)."""
        return _split(self.from_coordinates(coordinates))

    def in_float64(self) -> "ArrayDesign":
        """Return a copy whose rows are float64."""
        xp = array_namespace(self.rows)
        rows = xp.astype(self.rows, xp.float64) if self.exact is None else self.exact()
        return replace(self, rows=rows, exact=None)


class UndecomposedDesign(ArrayDesign):
    """Rows in memory as they are, or centred: of XᵀSX, the spectrum is the diagonal alone."""

    @property
    def largest(self) -> float:
        """Trace of XᵀSX."""
        return float(array_namespace(self.spectrum).sum(self.spectrum))


@dataclass(frozen=True, eq=False)
class StreamedDesign(Design):
    """Rows outside of memory: each gradient reads them once, and is computed where a block is.

    Attributes
    ----------
    codes : CodeMatrix
    targets : Targets
        Of the same rows, on the device that computes, aligned with the codes.
    basis : array, shape (d + 1, r)
        Transforms coordinates to coefficients and intercept.
    to_device : callable
        Converts NumPy arrays to the library and device that computes.
    double : bool
        Whether blocks are converted to float64, whatever the dtype of the codes.
    """

    codes: CodeMatrix
    targets: Targets
    basis: Array
    to_device: ToDevice
    double: bool = False

    @cached_property
    def dtype(self) -> Any:
        """Dtype that blocks are converted to."""
        of_codes = np.float64 if self.double else self.codes.dtype
        return self.to_device(np.empty(0, dtype=of_codes)).dtype

    def gradient(self, coefficients: Array, loss: Residuals) -> GradientPass:
        """Compute the gradient, reading every block of codes once."""
        basis = array_namespace(coefficients).astype(self.basis, self.dtype, copy=False)
        of_block = partial(
            _block_gradient, coef=basis @ coefficients, loss=loss, to_device=self.to_device
        )
        found = self.codes.sum_blocks(of_block, self.targets)
        return GradientPass(basis.T @ found.gradient, found.sums)

    def to_coefficients(
        self, coordinates: Array
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Transform coordinates (r, q) to coefficients (q, d) and intercepts (q,)."""
        xp = array_namespace(coordinates)
        return _split(self.basis @ xp.astype(coordinates, xp.float64, copy=False))

    def in_float64(self) -> "StreamedDesign":
        """Return a design that converts blocks to float64."""
        return replace(self, double=True)


def _block_gradient(
    block: NDArray[Any], targets: Targets, *, coef: Array, loss: Residuals, to_device: ToDevice
) -> GradientPass:
    """Compute [X 1]ᵀR of a block, shape (d + 1, q), and its sums.

    It has no other state, so that it can be sent to the machine that holds the block.
    """
    xp, rows = array_namespace(coef), to_device(block)
    gradient, sums = xp.zeros_like(coef), []
    for part in row_slices(rows.shape[0], coef):
        x = xp.astype(rows[part], coef.dtype, copy=False)
        residuals, of_part = loss(targets[part], x @ coef[:-1] + coef[-1:])
        gradient[:-1] += x.T @ residuals
        gradient[-1] += xp.sum(residuals, axis=0)
        sums.append(of_part)
    return GradientPass(gradient, reduce(add, sums))


def row_slices(n: int, coefficients: Array) -> Iterator[slice]:
    """Divide n rows into slices whose margins fit into the cache of the processor."""
    margins = _MARGINS if str(device(coefficients)) == "cpu" else _MARGINS_ELSEWHERE
    size = max(64, margins // int(coefficients.shape[1]))
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _split(coefficients: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Split an array (d + 1, q) into coefficients (q, d) and intercepts (q,)."""
    host = to_numpy(coefficients)
    return np.ascontiguousarray(host[:-1].T), host[-1].copy()


def apply_basis(basis: Array, coordinates: Array) -> Array:
    """Return basis · coordinates, in the dtype of the basis.

    Parameters
    ----------
    basis : array, shape (d, r)
    coordinates : array, shape (r, q)
    """
    return basis @ array_namespace(basis).astype(coordinates, basis.dtype, copy=False)


def append_value(values: Array, last: float) -> Array:
    """Return a vector with one more value.

    Parameters
    ----------
    values : array, shape (r,)
    last : float
    """
    xp = array_namespace(values)
    return xp.concat([values, xp.asarray([last], dtype=values.dtype, device=device(values))])
