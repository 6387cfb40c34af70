"""Matrices of codes that are read block by block, whether they are in memory or not."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

RowFunction = Callable[[NDArray[Any]], NDArray[Any]]  # maps each row of (b, d) on its own


class CodeMatrix(ABC):
    """A matrix of codes with n rows and d features, read in blocks of consecutive rows.

    Subclasses say where the rows are stored: in memory (`ArrayMatrix`), in the shards of a cache,
    or in the memory of other machines.

    Attributes
    ----------
    in_memory : bool
        Whether the rows are in this process's memory, so that reading them costs nothing.
    """

    in_memory: bool = False

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Number of rows n and of features d."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """Float32 or float64."""

    @property
    def spare(self) -> int:
        """Bytes of this process for results that are computed from the rows and reused."""
        return 0

    @abstractmethod
    def blocks(self) -> Iterator[NDArray[Any]]:
        """Yield all rows in order, as arrays of shape (b, d) with b >= 1."""

    @abstractmethod
    def take(self, rows: NDArray[np.int64]) -> "CodeMatrix":
        """Return a matrix of some rows, given by ascending index."""

    def scaled(self, scaler: RowFunction) -> "CodeMatrix":
        """Return a matrix whose rows are scaled, lazily unless it is in memory.

        Parameters
        ----------
        scaler : callable
            A `FeatureScaler`, or any function of a block (b, d) that maps each row on its own.
        """
        return _LazyMatrix(self, scaler)

    def averaged(self, count: int) -> "CodeMatrix":
        """Return the means of every `count` consecutive rows, lazily unless in memory.

        Parameters
        ----------
        count : int
            At least 1; every block has a multiple of it.
        """
        if count == 1:
            return self
        return _LazyMatrix(self, partial(mean_of_rows, count=count), count)

    def to_local(self) -> "CodeMatrix":
        """Return a matrix whose blocks this machine can read, in memory if they fit.

        The matrix itself if there is nothing to gain.
        """
        return self

    def align(self, values: T) -> T:
        """Send one value a row to where the rows are, once for many calls of `map_blocks`.

        Parameters
        ----------
        values : array of length n, or another object that a slice of rows can index

        Returns
        -------
        aligned
            To be given to `map_blocks` and `sum_blocks` of this matrix. The values themselves if
            the rows are on this machine.
        """
        return values

    def map_blocks(self, function: Callable[..., T], *aligned: Any) -> Iterator[T]:
        """Call a function with each block, on the machine that has it, and yield the results.

        Parameters
        ----------
        function : callable
            Called with a block (b, d), and with the same rows of every array in `aligned`. If the
            rows are on other machines, the function and its results are pickled.
        *aligned
            Arrays of length n, or what `align` returned for them.

        Examples
        --------
        >>> matrix = ArrayMatrix(np.array([[1.0, 2.0], [3.0, 4.0]]))
        >>> weight = np.array([1.0, 10.0])
        >>> [result.tolist() for result in matrix.map_blocks(lambda rows, s: s @ rows, weight)]
        [[31.0, 42.0]]
        """
        start = 0
        for block in self.blocks():
            rows = slice(start, start + len(block))
            yield function(block, *(values[rows] for values in aligned))
            start = rows.stop

    def sum_blocks(self, function: Callable[..., T], *aligned: Any) -> T:
        """Return the sum of a function over all blocks.

        Parameters
        ----------
        function : callable
            Called with a block (b, d), and with the same rows of every array in `aligned`; its
            results are added with ``+``.
        *aligned
            Arrays of length n, or what `align` returned for them.

        Examples
        --------
        >>> matrix = ArrayMatrix(np.array([[1.0, 2.0], [3.0, 4.0]]))
        >>> matrix.sum_blocks(lambda rows: rows.sum(axis=0)).tolist()
        [4.0, 6.0]
        """
        return reduce(add, self.map_blocks(function, *aligned))


@dataclass(frozen=True)
class ArrayMatrix(CodeMatrix):
    """A matrix of codes that is one NumPy array.

    Attributes
    ----------
    array : ndarray of float32 or float64, shape (n, d)
    spare : int
        Bytes for results that are kept and reused; no limit by default.

    Examples
    --------
    >>> matrix = ArrayMatrix(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    >>> matrix.shape, matrix.in_memory
    ((3, 2), True)
    >>> matrix.take(np.array([0, 2])).array.tolist()
    [[1.0, 2.0], [5.0, 6.0]]
    """

    array: NDArray[Any]
    spare: int = sys.maxsize
    in_memory = True

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows n and of features d."""
        n, d = self.array.shape
        return n, d

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the array."""
        return self.array.dtype

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Yield the array as one block."""
        yield self.array

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Return a matrix of some rows, given by ascending index."""
        return replace(self, array=self.array[rows])

    def scaled(self, scaler: RowFunction) -> "ArrayMatrix":
        """Return a matrix whose rows are scaled at once, by a function of a block (b, d)."""
        return replace(self, array=scaler(self.array))

    def averaged(self, count: int) -> "ArrayMatrix":
        """Return the means of every `count` consecutive rows."""
        return self if count == 1 else ArrayMatrix(mean_of_rows(self.array, count))


@dataclass(frozen=True)
class _LazyMatrix(CodeMatrix):
    """Rows outside of memory, scaled as they are read, or means of `count` consecutive ones."""

    codes: CodeMatrix
    function: RowFunction
    count: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        n, d = self.codes.shape
        return n // self.count, d

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.codes.dtype

    @property
    def spare(self) -> int:
        return self.codes.spare

    def blocks(self) -> Iterator[NDArray[Any]]:
        return map(self.function, self.codes.blocks())

    def take(self, rows: NDArray[np.int64]) -> "_LazyMatrix":
        return replace(self, codes=self.codes.take(consecutive_rows(rows, self.count)))

    def to_local(self) -> CodeMatrix:
        local = self.codes.to_local()
        return local.scaled(self.function) if local.in_memory else self


def mean_of_rows(values: NDArray[Any], count: int) -> NDArray[Any]:
    """Return the mean of every `count` consecutive rows, in the dtype of the rows.

    Examples
    --------
    >>> mean_of_rows(np.array([[1.0], [3.0], [5.0], [5.0]]), 2).tolist()
    [[2.0], [5.0]]
    """
    return np.asarray(values.reshape(-1, count, *values.shape[1:]).mean(axis=1))


def consecutive_rows(items: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the rows of some items that have `count` consecutive rows each.

    Examples
    --------
    >>> consecutive_rows(np.array([0, 2]), 3).tolist()
    [0, 1, 2, 6, 7, 8]
    """
    return (items[:, None] * count + np.arange(count)).ravel()
