"""Design: the rows of a problem as a solver reads them, by two products alone.

In memory they are already in the coordinates that `bottleneck.linear.eigenbasis` finds; outside of
memory they are read for every product, a block at a time, and the coefficients are turned instead.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, to_device
from numpy.typing import NDArray

from bottleneck.linear.losses import Array, Sums, Targets
from bottleneck.linear.matrix import CodeMatrix

# A block's margins: small enough for a core's cache, large enough to keep an accelerator busy.
_MARGINS, _MARGINS_ELSEWHERE = 1 << 20, 1 << 26

Move = Callable[[NDArray[Any]], Array]  # from NumPy to the library and device that computes
Residuals = Callable[[Targets, Array], tuple[Array, Sums]]  # of margins: a `Loss`


def stay(array: NDArray[Any]) -> NDArray[Any]:
    """The `Move` of what is computed with by NumPy."""
    return array


@dataclass(frozen=True)
class Pass:
    """What a pass over the rows gives: XᵀR, shape (r, q), and the sums of the loss."""

    product: Array
    sums: Sums

    def __add__(self, other: "Pass") -> "Pass":
        """That of two blocks."""
        return Pass(self.product + other.product, self.sums + other.sums)


class Design:
    """The rows X of a problem with their targets, known by two products alone.

    Attributes
    ----------
    spectrum : array of float64, shape (r,)
        Λ: the squared length of all rows along each coordinate.
    penalty : array of float64, shape (r,)
        1, or 0 for a free intercept's coordinate, which is then the last.
    weight : float
        Σ s over the rows.
    """

    spectrum: Array
    penalty: Array
    weight: float

    @property
    def dtype(self) -> Any:
        """The precision that products are made in."""
        raise NotImplementedError

    @property
    def single(self) -> bool:
        """Whether that is single precision."""
        return str(self.dtype).endswith("float32")

    def products(self, coefficients: Array, loss: Residuals) -> Pass:
        """XᵀR, R the residuals at X·coefficients: the only way in which a solver touches the data.

        Parameters
        ----------
        coefficients : array, shape (r, q)
        loss : callable
            From targets and margins, shape (b, q), to residuals and sums.
        """
        raise NotImplementedError

    def lift(self, coefficients: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Coefficients and intercepts for the rows as they were given, shapes (q, d) and (q,)."""
        raise NotImplementedError

    def doubled(self) -> "Design":
        """The same in double precision."""
        raise NotImplementedError


class Rotated(Design):
    """Rows in memory, on any device, already in their coordinates.

    Parameters
    ----------
    rows : array, shape (n, r)
    targets : Targets
        Of the same rows, where they are.
    lifting : callable
        From coordinates (r, q) to coefficients and intercept (d + 1, q).
    """

    def __init__(
        self,
        rows: Array,
        targets: Targets,
        lifting: Callable[[Array], Array],
        *,
        spectrum: Array,
        penalty: Array,
        weight: float,
    ) -> None:
        self.rows, self._targets, self._lifting = rows, targets, lifting
        self.spectrum, self.penalty, self.weight = spectrum, penalty, weight

    @property
    def dtype(self) -> Any:
        """The precision of the rows."""
        return self.rows.dtype

    def products(self, coefficients: Array, loss: Residuals) -> Pass:
        """XᵀR; see `Design`."""

        def of_rows(where: slice) -> Pass:
            block = self.rows[where]
            residuals, sums = loss(self._targets[where], block @ coefficients)
            return Pass(block.T @ residuals, sums)

        return reduce(add, map(of_rows, _slices(self.rows.shape[0], coefficients)))

    def lift(self, coefficients: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Coefficients and intercepts; see `Design`."""
        return _split(self._lifting(coefficients))

    def doubled(self) -> "Rotated":
        """The same in double precision; see `Design`."""
        xp = array_namespace(self.rows)
        return Rotated(
            xp.astype(self.rows, xp.float64),
            self._targets,
            self._lifting,
            spectrum=self.spectrum,
            penalty=self.penalty,
            weight=self.weight,
        )


class Streamed(Design):
    """Rows outside of memory: every product is made a block at a time, where the block is read.

    Parameters
    ----------
    codes : CodeMatrix
    targets : Targets
        Of the same rows, where they are computed with.
    basis : array, shape (d + 1, r)
        From coordinates to coefficients and intercept.
    move : callable
        From NumPy to the library and device that computes.
    """

    def __init__(
        self,
        codes: CodeMatrix,
        targets: Targets,
        basis: Array,
        move: Move,
        *,
        dtype: Any,
        spectrum: Array,
        penalty: Array,
        weight: float,
    ) -> None:
        self._codes, self._basis, self._move, self._dtype = codes, basis, move, dtype
        self._targets = codes.align(targets)
        self.spectrum, self.penalty, self.weight = spectrum, penalty, weight

    @property
    def dtype(self) -> Any:
        """The precision that blocks are brought to."""
        return self._dtype

    def products(self, coefficients: Array, loss: Residuals) -> Pass:
        """XᵀR; see `Design`."""
        basis = array_namespace(coefficients).astype(self._basis, self.dtype, copy=False)
        of_block = partial(_of_block, lifted=basis @ coefficients, loss=loss, move=self._move)
        found = self._codes.sum_blocks(of_block, self._targets)
        return Pass(basis.T @ found.product, found.sums)

    def lift(self, coefficients: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Coefficients and intercepts; see `Design`."""
        xp = array_namespace(coefficients)
        return _split(self._basis @ xp.astype(coefficients, xp.float64, copy=False))

    def doubled(self) -> "Streamed":
        """The same in double precision; see `Design`."""
        return Streamed(
            self._codes,
            self._targets,
            self._basis,
            self._move,
            dtype=array_namespace(self._basis).float64,
            spectrum=self.spectrum,
            penalty=self.penalty,
            weight=self.weight,
        )


def _of_block(
    block: NDArray[Any], targets: Targets, *, lifted: Array, loss: Residuals, move: Move
) -> Pass:
    """What a block of rows adds to a pass: [X 1]ᵀR, shape (d + 1, q), and its sums.

    It knows nothing else, so that it can be called wherever the block is.
    """
    xp, rows = array_namespace(lifted), move(block)
    product, sums = xp.zeros_like(lifted), []
    for where in _slices(rows.shape[0], lifted):
        here = xp.astype(rows[where], lifted.dtype, copy=False)
        residuals, part = loss(targets[where], here @ lifted[:-1] + lifted[-1:])
        product[:-1] += here.T @ residuals
        product[-1] += xp.sum(residuals, axis=0)
        sums.append(part)
    return Pass(product, reduce(add, sums))


def _slices(n: int, coefficients: Array) -> Iterator[slice]:
    """All of n rows, as many at a time as are computed with best."""
    margins = _MARGINS if str(device(coefficients)) == "cpu" else _MARGINS_ELSEWHERE
    size = max(64, margins // int(coefficients.shape[1]))
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _split(lifted: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coefficients (q, d) and intercepts (q,) from both in one array (d + 1, q)."""
    host = np.asarray(to_device(lifted, "cpu"), dtype=np.float64)
    return np.ascontiguousarray(host[:-1].T), host[-1].copy()
