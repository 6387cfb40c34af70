"""Scaling of features: standardization, unit length or none, learned from training rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import InvalidOptionError
from bottleneck.linear.matrix import CodeMatrix

SCALINGS = ("standardize", "sqrt", "l2", "none")
_STANDARDIZED = ("standardize", "sqrt")  # those that learn a mean and a scale


@dataclass(frozen=True)
class FeatureScaler:
    """A scaling of codes, applied before the classifier in training and in prediction.

    Attributes
    ----------
    name : str
        ``"standardize"`` computes (code - mean) / scale, ``"sqrt"`` the same of signed square
        roots, ``"l2"`` divides the codes of each layer by their Euclidean length, ``"none"``
        changes nothing. Then the codes of b layers are divided by √b.
    sizes : tuple of b int
        Number of features of each layer; the codes of layers are side by side.
    mean, scale : ndarray of float64, shape (d,)
        Zeros and ones unless the name is ``"standardize"`` or ``"sqrt"``.

    Examples
    --------
    >>> scaler = FeatureScaler("l2", (2,), np.zeros(2), np.ones(2))
    >>> scaler(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    >>> FeatureScaler("none", (1, 1, 1, 1), np.zeros(4), np.ones(4))(np.full((1, 4), 2.0)).tolist()
    [[1.0, 1.0, 1.0, 1.0]]
    """

    name: str
    sizes: tuple[int, ...]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    def __call__(self, codes: NDArray[Any]) -> NDArray[Any]:
        """Return codes of shape (n, d) scaled, in the same dtype."""
        share = np.sqrt(len(self.sizes))  # layers weigh the same together as one does alone
        if self.name in _STANDARDIZED:
            scaled = _rooted(self.name, codes) - self.mean.astype(codes.dtype)
            scaled /= (share * self.scale).astype(codes.dtype)
            return np.asarray(scaled)
        if self.name == "l2":
            return _unit_lengths(codes, self.sizes, share)
        return codes if len(self.sizes) == 1 else np.asarray(codes / codes.dtype.type(share))


def fit_scaler(
    scaling: str, codes: CodeMatrix, sizes: Sequence[int] | None = None
) -> FeatureScaler:
    """Learn a scaling from training rows.

    Parameters
    ----------
    scaling : str
        One of `SCALINGS`; see `FeatureScaler`.
    codes : CodeMatrix
        Training rows: read once for a scaling with mean and scale, not at all otherwise.
    sizes : sequence of int, optional
        Number of features of each layer, whose sum is d; one layer unless given.

    Returns
    -------
    FeatureScaler
        A feature that is constant but for rounding has a scale of 1; so has one whose deviation is
        too small a number for the dtype of the codes.

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
    sizes = (d,) if sizes is None else tuple(sizes)
    if scaling not in _STANDARDIZED:
        return FeatureScaler(scaling, sizes, np.zeros(d), np.ones(d))
    moments = codes.sum_blocks(partial(_Moments.from_block, scaling=scaling))
    deviation = moments.deviation
    known = deviation >= np.finfo(codes.dtype).tiny  # codes are divided by it in their own dtype
    return FeatureScaler(scaling, sizes, moments.mean, np.where(known, deviation, 1.0))


def standard_deviations(codes: CodeMatrix) -> NDArray[np.float64]:
    """Return the standard deviation of each feature, shape (d,); 0 where it is rounding.

    Examples
    --------
    >>> from bottleneck.linear.matrix import ArrayMatrix
    >>> standard_deviations(ArrayMatrix(np.array([[1.0, 10.0], [3.0, 10.0]]))).tolist()
    [1.0, 0.0]
    """
    return codes.sum_blocks(partial(_Moments.from_block, scaling="none")).deviation


def column_blocks(sizes: Sequence[int]) -> Iterator[slice]:
    """Yield the columns of each layer, of codes side by side.

    Examples
    --------
    >>> list(column_blocks([2, 3]))
    [slice(0, 2, None), slice(2, 5, None)]
    """
    return (slice(start, stop) for start, stop in pairwise(accumulate(sizes, initial=0)))


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
    bottleneck.errors.InvalidOptionError: `scaling='whiten'`: must be one of standardize, sqrt, \
l2, none, or auto
    """
    if scaling not in SCALINGS:
        raise InvalidOptionError("scaling", scaling, f"one of {', '.join(SCALINGS)}, or auto")


def _rooted(name: str, codes: NDArray[Any]) -> NDArray[Any]:
    """Return signed square roots for ``"sqrt"``, else the codes themselves.

    They draw in the few large values of codes after ReLU; F. Perronnin, J. Sánchez and T. Mensink,
    "Improving the Fisher kernel for large-scale image classification" (2010).
    """
    return np.copysign(np.sqrt(np.abs(codes)), codes) if name == "sqrt" else codes


def _unit_lengths(codes: NDArray[Any], sizes: Sequence[int], share: float) -> NDArray[Any]:
    scaled = np.empty_like(codes)
    for columns in column_blocks(sizes):
        block = codes[:, columns]
        squares = np.einsum("ij,ij->i", block, block, dtype=np.float64)  # float32 ends at 1e19²
        norms = (share * np.sqrt(squares)).astype(codes.dtype)[:, None]
        np.divide(block, np.where(norms == 0, 1, norms), out=scaled[:, columns])
    return scaled


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
    def from_block(cls, codes: NDArray[Any], *, scaling: str) -> Self:
        block = _rooted(scaling, codes)
        mean = block.mean(axis=0, dtype=np.float64)
        deviations = block - mean.astype(block.dtype)
        squares = np.einsum("ij,ij->j", deviations, deviations, dtype=np.float64)
        # The mean was rounded to the block's dtype: remove that shift from the squares.
        shift = deviations.sum(axis=0, dtype=np.float64) / len(block)
        squares -= len(block) * shift**2
        if block.dtype == np.float64:  # the sum itself was rounded: beside a large mean that counts
            mean = mean + shift
        return cls(len(block), mean, squares)

    def __add__(self, other: "_Moments") -> "_Moments":
        count, shift = self.count + other.count, other.mean - self.mean
        between = shift**2 * (self.count * other.count / count)
        mean = self.mean + shift * (other.count / count)
        return _Moments(count, mean, self.squares + other.squares + between)

    @property
    def deviation(self) -> NDArray[np.float64]:
        """Standard deviations, or 0 where the variance is rounding by scikit-learn's measure."""
        n, variance, eps = self.count, self.squares / self.count, np.finfo(np.float64).eps
        constant = variance <= n * eps * variance + (n * self.mean * eps) ** 2
        return np.sqrt(np.where(constant, 0.0, variance))
