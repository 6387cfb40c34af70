"""Design: the rows of a problem as a solver reads them, by two products alone.

In memory they are already in the coordinates that `bottleneck.coordinates` finds; outside of
memory they are read for every product, a block at a time, and the coefficients are turned instead.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, to_device
from numpy.typing import NDArray

from bottleneck.codes import Codes
from bottleneck.losses import Array

# A block's margins: small enough for a core's cache, large enough to keep an accelerator busy.
_MARGINS, _MARGINS_ELSEWHERE = 1 << 20, 1 << 26


class Design:
    """The rows X of a problem, known by two products alone.

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

    def products(self, coefficients: Array, residual: Callable[[slice, Array], Array]) -> Array:
        """Xᵀ·residual(X·coefficients): the only way in which a solver touches the data.

        Parameters
        ----------
        coefficients : array, shape (r, q)
        residual : callable
            From a block's rows and margins, shape (b, q), to what stands in their place.

        Returns
        -------
        array, shape (r, q)
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
    lifting : callable
        From coordinates (r, q) to coefficients and intercept (d + 1, q).
    """

    def __init__(
        self,
        rows: Array,
        lifting: Callable[[Array], Array],
        *,
        spectrum: Array,
        penalty: Array,
        weight: float,
    ) -> None:
        self.rows, self._lifting = rows, lifting
        self.spectrum, self.penalty, self.weight = spectrum, penalty, weight

    @property
    def dtype(self) -> Any:
        """The precision of the rows."""
        return self.rows.dtype

    def products(self, coefficients: Array, residual: Callable[[slice, Array], Array]) -> Array:
        """Xᵀ·residual(X·coefficients); see `Design`."""
        n, size = self.rows.shape[0], _block_rows(coefficients)
        found = None
        for start in range(0, n, size):
            where = slice(start, min(start + size, n))
            block = self.rows[where]
            part = block.T @ residual(where, block @ coefficients)
            found = part if found is None else found + part
        return found

    def lift(self, coefficients: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Coefficients and intercepts; see `Design`."""
        return _split(self._lifting(coefficients))

    def doubled(self) -> "Rotated":
        """The same in double precision; see `Design`."""
        xp = array_namespace(self.rows)
        return Rotated(
            xp.astype(self.rows, xp.float64),
            self._lifting,
            spectrum=self.spectrum,
            penalty=self.penalty,
            weight=self.weight,
        )


class Streamed(Design):
    """Rows outside of memory: read for every product, as many at a time as a block has.

    Parameters
    ----------
    codes : Codes
    basis : array, shape (d + 1, r)
        From coordinates to coefficients and intercept.
    move : callable
        From NumPy to the library and device that computes.
    """

    def __init__(
        self,
        codes: Codes,
        basis: Array,
        move: Callable[[NDArray[Any]], Array],
        *,
        dtype: Any,
        spectrum: Array,
        penalty: Array,
        weight: float,
    ) -> None:
        self._codes, self._basis, self._move, self._dtype = codes, basis, move, dtype
        self.spectrum, self.penalty, self.weight = spectrum, penalty, weight

    @property
    def dtype(self) -> Any:
        """The precision that blocks are brought to."""
        return self._dtype

    def products(self, coefficients: Array, residual: Callable[[slice, Array], Array]) -> Array:
        """Xᵀ·residual(X·coefficients); see `Design`."""
        xp = array_namespace(coefficients)
        basis = xp.astype(self._basis, self.dtype, copy=False)
        lifted = basis @ coefficients
        size = _block_rows(coefficients)
        found = xp.zeros_like(lifted)
        for where, rows in placed(self._codes, self._move, size):
            block = xp.astype(rows, self.dtype, copy=False)
            residuals = residual(where, block @ lifted[:-1] + lifted[-1:])
            found[:-1] += block.T @ residuals
            found[-1] += xp.sum(residuals, axis=0)
        return basis.T @ found

    def lift(self, coefficients: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Coefficients and intercepts; see `Design`."""
        xp = array_namespace(coefficients)
        return _split(self._basis @ xp.astype(coefficients, xp.float64, copy=False))

    def doubled(self) -> "Streamed":
        """The same in double precision; see `Design`."""
        return Streamed(
            self._codes,
            self._basis,
            self._move,
            dtype=array_namespace(self._basis).float64,
            spectrum=self.spectrum,
            penalty=self.penalty,
            weight=self.weight,
        )


def _block_rows(coefficients: Array) -> int:
    """How many rows to compute with at a time."""
    margins = _MARGINS if str(device(coefficients)) == "cpu" else _MARGINS_ELSEWHERE
    return max(64, margins // int(coefficients.shape[1]))


def placed(
    codes: Codes, move: Callable[[NDArray[Any]], Array], size: int
) -> Iterator[tuple[slice, Array]]:
    """Blocks of at most so many rows, moved to where they are computed with, and their places."""
    start = 0
    for block in codes.blocks():
        moved = move(block)
        for first in range(0, block.shape[0], size):
            rows = moved[first : first + size]
            yield slice(start, start + rows.shape[0]), rows
            start += rows.shape[0]


def _split(lifted: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coefficients (q, d) and intercepts (q,) from both in one array (d + 1, q)."""
    host = np.asarray(to_device(lifted, "cpu"), dtype=np.float64)
    return np.ascontiguousarray(host[:-1].T), host[-1].copy()
