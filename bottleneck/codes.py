"""Codes: rows of codes as training reads them, in memory or not, and their preprocessing."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import InvalidOptionError

PREPROCESSING = ("standardize", "l2", "none")


class Codes(Protocol):
    """Rows of codes, read in order, a block at a time.

    Attributes
    ----------
    shape : tuple of 2 int
        n rows of d features.
    dtype : dtype
        float32 or float64.
    in_memory : bool
        Whether reading them again costs nothing.
    """

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def in_memory(self) -> bool: ...

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Consecutive rows, together all; each of shape (b, d)."""
        ...

    def take(self, rows: NDArray[np.int64]) -> "Codes":
        """Only some rows, by ascending place."""
        ...


@dataclass(frozen=True)
class InMemory:
    """Codes that are an array.

    Attributes
    ----------
    array : ndarray of float32 or float64, shape (n, d)
    """

    array: NDArray[Any]

    in_memory = True

    @property
    def shape(self) -> tuple[int, int]:
        """Rows n and features d."""
        n, d = self.array.shape
        return n, d

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the array."""
        return self.array.dtype

    def blocks(self) -> Iterator[NDArray[Any]]:
        """The array as one block."""
        yield self.array

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Only some rows, by ascending place."""
        return type(self)(self.array[rows])


@dataclass(frozen=True)
class Preprocessing:
    """What is done to a code before it meets a classifier.

    Attributes
    ----------
    name : str
        One of `PREPROCESSING`.
    mean, scale : ndarray of float64, shape (d,)
        For ``"standardize"``: (code - mean) / scale; else zeros and ones.
    """

    name: str
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    def __call__(self, codes: NDArray[Any]) -> NDArray[Any]:
        """Codes of shape (n, d), prepared in their own precision."""
        if self.name == "l2":
            norms = np.linalg.norm(codes, axis=1, keepdims=True)
            return np.asarray(codes / np.where(norms == 0, 1, norms))
        if self.name == "none":
            return codes
        prepared = codes - self.mean.astype(codes.dtype)
        prepared /= self.scale.astype(codes.dtype)
        return np.asarray(prepared)


@dataclass(frozen=True)
class _Prepared:
    """Codes outside of memory, prepared as they are read."""

    codes: Codes
    preprocessing: Preprocessing

    in_memory = False

    @property
    def shape(self) -> tuple[int, int]:
        return self.codes.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.codes.dtype

    def blocks(self) -> Iterator[NDArray[Any]]:
        return map(self.preprocessing, self.codes.blocks())

    def take(self, rows: NDArray[np.int64]) -> "_Prepared":
        return _Prepared(self.codes.take(rows), self.preprocessing)


def prepare(codes: Codes, preprocessing: Preprocessing) -> Codes:
    """The same rows, prepared: at once where they are in memory, else as they are read."""
    if isinstance(codes, InMemory):
        return InMemory(preprocessing(codes.array))
    return _Prepared(codes, preprocessing)


def fit_preprocessing(name: str, codes: Codes) -> Preprocessing:
    """Learn preprocessing from training rows.

    Parameters
    ----------
    name : str
        One of `PREPROCESSING`.
    codes : Codes
        Read once for ``"standardize"``, and not at all else.

    Raises
    ------
    InvalidOptionError
        There is no preprocessing of that name.
    """
    require_preprocessing(name)
    d = codes.shape[1]
    if name != "standardize":
        return Preprocessing(name, np.zeros(d), np.ones(d))
    n, mean, squares = 0, np.zeros(d), np.zeros(d)
    for block in codes.blocks():
        # T. Chan, G. Golub and R. LeVeque, "Updating formulae and a pairwise algorithm for
        # computing sample variances" (1979): no mean square from which a large mean is taken.
        count = len(block)
        own = block.mean(axis=0, dtype=np.float64)
        spread = block - own.astype(block.dtype)
        shift, total = own - mean, n + count
        squares += np.einsum("ij,ij->j", spread, spread, dtype=np.float64)
        # What the precision of a block rounds its mean by is no variance.
        squares -= spread.sum(axis=0, dtype=np.float64) ** 2 / count
        squares += shift**2 * (n * count / total)
        mean += shift * (count / total)
        n = total
    return Preprocessing(name, mean, _scale(mean, squares / n, n))


def require_preprocessing(name: str) -> None:
    """Refuse the name of no preprocessing.

    Raises
    ------
    InvalidOptionError
    """
    if name not in PREPROCESSING:
        raise InvalidOptionError(
            f"--preprocess {name!r}: must be one of {', '.join(PREPROCESSING)}, or auto"
        )


def _scale(mean: NDArray[np.float64], variance: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Standard deviations; 1 for a feature whose variance is rounding, as scikit-learn has it."""
    eps = np.finfo(np.float64).eps
    constant = variance <= n * eps * variance + (n * mean * eps) ** 2
    return np.where(constant, 1.0, np.sqrt(np.where(constant, 1.0, variance)))


def consecutive(rows: NDArray[np.int64]) -> NDArray[np.int64] | slice:
    """Ascending rows, as a slice where they lie one behind another: that copies nothing."""
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1) if last - first + 1 == len(rows) else rows
