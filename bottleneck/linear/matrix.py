"""Codes: rows of codes as training reads them, in memory or not, and their preprocessing."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import InvalidOptionError

SCALINGS = ("standardize", "l2", "none")

T = TypeVar("T")


class Codes(ABC):
    """Rows of codes in blocks, wherever these lie.

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
    @abstractmethod
    def shape(self) -> tuple[int, int]: ...

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]: ...

    @property
    @abstractmethod
    def in_memory(self) -> bool: ...

    @abstractmethod
    def blocks(self) -> Iterator[NDArray[Any]]:
        """Consecutive rows, together all; each of shape (b, d), at least one row."""

    @abstractmethod
    def take(self, rows: NDArray[np.int64]) -> "Codes":
        """Only some rows, by ascending place."""

    def prepared(self, preprocessing: "FeatureScaler") -> "Codes":
        """The same rows, prepared: as they are read, unless they are in memory."""
        return _Prepared(self, preprocessing)

    def here(self) -> "Codes":
        """The same rows, on this machine."""
        return self

    def beside(self, values: T) -> T:
        """What belongs to each row, brought once to where the rows are, for `map` and `total`."""
        return values

    def map(self, function: Callable[..., T], *beside: Any) -> Iterator[T]:
        """What a function makes of every block, where the block lies, in order.

        Parameters
        ----------
        function : callable
            Called with a block, and of what stands beside it that of the same rows. Where blocks
            lie on other machines it is pickled, as is what it returns.
        beside
            Arrays of n, or what else can be indexed with a slice of rows.
        """
        start = 0
        for block in self.blocks():
            rows = slice(start, start + len(block))
            yield function(block, *(values[rows] for values in beside))
            start = rows.stop

    def total(self, function: Callable[..., T], *beside: Any) -> T:
        """The sum of what `map` gives."""
        return reduce(add, self.map(function, *beside))


@dataclass(frozen=True)
class ArrayMatrix(Codes):
    """Codes that are an array.

    Attributes
    ----------
    array : ndarray of float32 or float64, shape (n, d)
    """

    array: NDArray[Any]

    @property
    def in_memory(self) -> bool:
        """True."""
        return True

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

    def prepared(self, preprocessing: "FeatureScaler") -> "ArrayMatrix":
        """The same rows, prepared at once."""
        return ArrayMatrix(preprocessing(self.array))


@dataclass(frozen=True)
class FeatureScaler:
    """What is done to a code before it meets a classifier.

    Attributes
    ----------
    name : str
        One of `SCALINGS`.
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
class _Prepared(Codes):
    """Codes outside of memory, prepared as they are read."""

    codes: Codes
    preprocessing: FeatureScaler

    @property
    def in_memory(self) -> bool:
        return False

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


@dataclass(frozen=True)
class _Moments:
    """Of some rows: how many, their mean, and the sum of squares about it, both of shape (d,).

    T. Chan, G. Golub and R. LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances" (1979): no mean square from which a large mean is taken.
    """

    count: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def of(cls, block: NDArray[Any]) -> Self:
        """Those of a block."""
        mean = block.mean(axis=0, dtype=np.float64)
        spread = block - mean.astype(block.dtype)
        squares = np.einsum("ij,ij->j", spread, spread, dtype=np.float64)
        # What the precision of a block rounds its mean by is no variance.
        squares -= spread.sum(axis=0, dtype=np.float64) ** 2 / len(block)
        return cls(len(block), mean, squares)

    def __add__(self, other: "_Moments") -> "_Moments":
        total, shift = self.count + other.count, other.mean - self.mean
        between = shift**2 * (self.count * other.count / total)
        mean = self.mean + shift * (other.count / total)
        return _Moments(total, mean, self.squares + other.squares + between)


def fit_scaler(name: str, codes: Codes) -> FeatureScaler:
    """Learn preprocessing from training rows.

    Parameters
    ----------
    name : str
        One of `SCALINGS`.
    codes : Codes
        Read once for ``"standardize"``, and not at all else.

    Raises
    ------
    InvalidOptionError
        There is no preprocessing of that name.
    """
    require_scaling(name)
    d = codes.shape[1]
    if name != "standardize":
        return FeatureScaler(name, np.zeros(d), np.ones(d))
    found = codes.total(_Moments.of)
    scale = _scale(found.mean, found.squares / found.count, found.count)
    return FeatureScaler(name, found.mean, scale)


def require_scaling(name: str) -> None:
    """Refuse the name of no preprocessing.

    Raises
    ------
    InvalidOptionError
    """
    if name not in SCALINGS:
        raise InvalidOptionError("preprocess", name, f"one of {', '.join(SCALINGS)}, or auto")


def _scale(mean: NDArray[np.float64], variance: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Standard deviations; 1 for a feature whose variance is rounding, as scikit-learn has it."""
    eps = np.finfo(np.float64).eps
    constant = variance <= n * eps * variance + (n * mean * eps) ** 2
    return np.where(constant, 1.0, np.sqrt(np.where(constant, 1.0, variance)))
