"""Scaling of features: standardization, unit length or none, learned from training rows."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import InvalidOptionError
from bottleneck.linear.matrix import CodeMatrix

SCALINGS = ("standardize", "l2", "none")


@dataclass(frozen=True)
class FeatureScaler:
    """A scaling of codes, applied before the classifier in training and in prediction.

    Attributes
    ----------
    name : str
        ``"standardize"`` computes (code - mean) / scale, ``"l2"`` divides every row by its
        Euclidean length, ``"none"`` changes nothing.
    mean, scale : ndarray of float64, shape (d,)
        Zeros and ones unless the name is ``"standardize"``.

    Examples
    --------
    >>> scaler = FeatureScaler("l2", np.zeros(2), np.ones(2))
    >>> scaler(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """

    name: str
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    def __call__(self, codes: NDArray[Any]) -> NDArray[Any]:
        """Return codes of shape (n, d) scaled, in the same dtype."""
        if self.name == "l2":
            norms = np.linalg.norm(codes, axis=1, keepdims=True)
            return np.asarray(codes / np.where(norms == 0, 1, norms))
        if self.name == "none":
            return codes
        scaled = codes - self.mean.astype(codes.dtype)
        scaled /= self.scale.astype(codes.dtype)
        return np.asarray(scaled)


def fit_scaler(scaling: str, codes: CodeMatrix) -> FeatureScaler:
    """Learn a scaling from training rows.

    Parameters
    ----------
    scaling : str
        ``"standardize"``, ``"l2"`` or ``"none"``.
    codes : CodeMatrix
        Training rows: read once for ``"standardize"``, not at all otherwise.

    Returns
    -------
    FeatureScaler
        A feature that is constant but for rounding has a scale of 1.

    Raises
    ------
    InvalidOptionError
        The scaling has another name.

    Examples
    --------
    >>> from bottleneck.linear.matrix import ArrayMatrix
    >>> matrix = ArrayMatrix(np.array([[1.0, 10.0], [3.0, 10.0]]))
    >>> scaler = fit_scaler("standardize", matrix)
    >>> scaler.mean.tolist(), scaler.scale.tolist()
    ([2.0, 10.0], [1.0, 1.0])
    >>> matrix.scaled(scaler).array.tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """
    require_scaling(scaling)
    d = codes.shape[1]
    if scaling != "standardize":
        return FeatureScaler(scaling, np.zeros(d), np.ones(d))
    moments = codes.sum_blocks(_Moments.from_block)
    variance = moments.squares / moments.count
    return FeatureScaler(scaling, moments.mean, _scale(moments.mean, variance, moments.count))


def require_scaling(scaling: str) -> None:
    """Raise an error unless a scaling has this name.

    Raises
    ------
    InvalidOptionError
        Its parameter is ``"scaling"``.

    Examples
    --------
    >>> require_scaling("l2")
    >>> require_scaling("whiten")
    Traceback (most recent call last):
    bottleneck.errors.InvalidOptionError: `scaling='whiten'`: must be one of standardize, l2, \
none, or auto
    """
    if scaling not in SCALINGS:
        raise InvalidOptionError("scaling", scaling, f"one of {', '.join(SCALINGS)}, or auto")


@dataclass(frozen=True)
class _Moments:
    """Count, mean and sum of squared deviations of some rows; the last two of shape (d,).

    Moments of blocks are added as in T. Chan, G. Golub and R. LeVeque, "Updating formulae and a
    pairwise algorithm for computing sample variances" (1979): the mean of squares less the square
    of the mean would lose all digits of a variance beside a large mean.
    """

    count: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def from_block(cls, block: NDArray[Any]) -> Self:
        mean = block.mean(axis=0, dtype=np.float64)
        deviations = block - mean.astype(block.dtype)
        squares = np.einsum("ij,ij->j", deviations, deviations, dtype=np.float64)
        # The mean was rounded to the block's dtype: remove that shift from the squares.
        squares -= deviations.sum(axis=0, dtype=np.float64) ** 2 / len(block)
        return cls(len(block), mean, squares)

    def __add__(self, other: "_Moments") -> "_Moments":
        count, shift = self.count + other.count, other.mean - self.mean
        between = shift**2 * (self.count * other.count / count)
        mean = self.mean + shift * (other.count / count)
        return _Moments(count, mean, self.squares + other.squares + between)


def _scale(mean: NDArray[np.float64], variance: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Return standard deviations, or 1 where the variance is rounding, as scikit-learn does."""
    eps = np.finfo(np.float64).eps
    constant = variance <= n * eps * variance + (n * mean * eps) ** 2
    return np.where(constant, 1.0, np.sqrt(np.where(constant, 1.0, variance)))
