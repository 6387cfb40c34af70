"""Find images that are far from all others."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.auditing.neighbours import Neighbours

_NEAREST = 10
_FENCE = 1.5  # J. W. Tukey, "Exploratory data analysis" (1977): beyond it a value is outside


@dataclass(frozen=True)
class Outlier:
    """An image that is far from all others.

    Attributes
    ----------
    path, split, label : str
    score : float
        Its mean distance to its nearest neighbours, as a multiple of the median image's.
    """

    path: str
    split: str
    label: str
    score: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def find_outliers(
    neighbours: Neighbours, component: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the images whose nearest neighbours are far.

    The distance of an image is the mean of those to its 10 nearest neighbours (F. Angiulli and
    C. Pizzuti, "Fast outlier detection in high dimensional spaces", 2002), copies of it left out.
    It is far if its logarithm is above the upper quartile by more than 1.5 times the distance of
    the quartiles, as one of 300 values of a normal distribution is.

    Parameters
    ----------
    neighbours : Neighbours
        Of n images.
    component : ndarray of int64, shape (n,)
        Equal for images that show the same.

    Returns
    -------
    rows : ndarray of int64, shape (m,)
        The farthest first.
    score : ndarray of float64, shape (m,)
        The distance of each over the median of all.

    Examples
    --------
    >>> from bottleneck.auditing.neighbours import find_neighbours
    >>> from bottleneck.linear.matrix import ArrayMatrix
    >>> angle = np.append(np.linspace(0, 2, 50), 4.0)
    >>> codes = ArrayMatrix(np.column_stack([np.cos(angle), np.sin(angle)]).astype(np.float32))
    >>> rows, score = find_outliers(find_neighbours(codes, 20, memory=1 << 20), np.arange(51))
    >>> int(rows[0]), bool(score[0] > 5)
    (50, True)
    """
    if not neighbours.index.size:
        return np.empty(0, dtype=np.int64), np.empty(0)
    unrelated = component[neighbours.index] != component[:, None]
    counted = unrelated & (unrelated.cumsum(axis=1) <= _NEAREST)
    total = np.where(counted, neighbours.distance, 0).sum(axis=1, dtype=np.float64)
    # An image whose neighbours are all copies of it has a mean of 0, and is no outlier.
    mean = total / np.maximum(counted.sum(axis=1), 1)
    known = mean > 0
    if not known.any():
        return np.empty(0, dtype=np.int64), np.empty(0)
    low, middle, high = np.quantile(np.log(mean[known]), [0.25, 0.5, 0.75])
    far = np.flatnonzero(known & (np.log(np.where(known, mean, 1)) > high + _FENCE * (high - low)))
    far = far[np.argsort(-mean[far], kind="stable")]
    return far, mean[far] / np.exp(middle)
