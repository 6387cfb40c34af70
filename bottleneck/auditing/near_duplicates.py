"""Find near duplicates: pairs of images that are too close to be neighbours by chance."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bottleneck.auditing.neighbours import Neighbours

NEIGHBOURS = 64  # twice the copies that an image may have before they are taken for its density
LEAST_IMAGES = 16  # of fewer nobody can tell what is near
FALSE_SHARE = 0.05  # of the pairs that are found, how many may be unrelated


@dataclass(frozen=True)
class NearPairs:
    """Pairs of images that are nearer than unrelated images come by chance.

    Attributes
    ----------
    first, second : ndarray of int64, shape (m,)
        Numbers of the images, ``first < second``; the least likely pair by chance comes first.
    distance : ndarray of float64, shape (m,)
        Between their codes of length 1: from 0 to 2.
    chance : float
        How many pairs of unrelated images would be as near as the last pair found.
    dimension : float
        Estimated dimension of the codes; NaN for too few images.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.float64]
    chance: float = 0.0
    dimension: float = np.nan


def neighbour_count(images: int) -> int:
    """Return how many neighbours `find_near_pairs` needs: fewer where there are few images.

    Examples
    --------
    >>> neighbour_count(1000), neighbour_count(41)
    (64, 20)
    """
    return min(NEIGHBOURS, (images - 1) // 2)


def find_near_pairs(neighbours: Neighbours) -> NearPairs:
    r"""Find the pairs that are nearer than chance puts unrelated images.

    Around an image, let unrelated ones be spread evenly in m dimensions as far as its k-th
    neighbour, at the distance r. Then :math:`k (d/r)^m` of them are expected within the distance d,
    and half of n times that among all pairs of n images; of an image's and its neighbour's number
    the larger one counts. m comes from the same distances, by the ratio of that to the neighbour
    k/2 (F. Denti et al., "The generalized ratios intrinsic dimension estimator", Scientific
    Reports 12, 2022), which copies do not reach unless an image has k/2 of them. Pairs are taken
    while those that are expected by chance are at most a twentieth of those that are there
    (Y. Benjamini and Y. Hochberg, "Controlling the false discovery rate", J. R. Stat. Soc. B 57,
    1995): where there are no copies, any pair at all is found in one of twenty sets of images.

    Parameters
    ----------
    neighbours : Neighbours
        At least `neighbour_count` nearest neighbours of each of n images.

    Returns
    -------
    NearPairs
        None of fewer than 16 images.

    Examples
    --------
    >>> from bottleneck.auditing.neighbours import find_neighbours
    >>> from bottleneck.linear.matrix import ArrayMatrix
    >>> codes = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    >>> codes[150] = codes[20] + 0.01
    >>> codes /= np.linalg.norm(codes, axis=1, keepdims=True)
    >>> pairs = find_near_pairs(find_neighbours(ArrayMatrix(codes), 64, memory=1 << 20))
    >>> pairs.first.tolist(), pairs.second.tolist(), 5 < pairs.dimension < 9
    ([20], [150], True)
    """
    n, k = len(neighbours.index), neighbour_count(len(neighbours.index))
    none = np.empty(0, dtype=np.int64)
    if n < LEAST_IMAGES:
        return NearPairs(none, none, np.empty(0))
    distance = neighbours.distance[:, :k].astype(np.float64)
    index = neighbours.index[:, :k].astype(np.int64)
    radius, m = distance[:, -1], _dimension(distance)
    # Where k neighbours have the same code, all of them are copies.
    ratio = distance / np.where(radius == 0, 1, radius)[:, None]
    other = distance / np.where(radius == 0, 1, radius)[index]
    expected = n / 2 * k * np.maximum(ratio, other) ** m
    first, second, value, nearest = _distinct_pairs(index, expected, distance)
    found = np.flatnonzero(value <= FALSE_SHARE * np.arange(1, len(value) + 1))
    count = int(found[-1]) + 1 if len(found) else 0
    chance = float(value[count - 1]) if count else 0.0
    return NearPairs(first[:count], second[:count], nearest[:count], chance, m)


def _dimension(distance: NDArray[np.float64]) -> float:
    """Return the dimension, by the mean logarithm of the ratio of two neighbours' distances.

    In m dimensions its expectation is the sum of 1/j over j from k/2 to k − 1, divided by m.
    """
    k = distance.shape[1]
    apart = distance[:, k // 2 - 1] > 0
    if not apart.any():
        return 1.0
    logarithm = np.log(distance[apart, -1] / distance[apart, k // 2 - 1]).mean()
    return float(sum(1 / j for j in range(k // 2, k)) / max(logarithm, np.finfo(float).tiny))


def _distinct_pairs(
    index: NDArray[np.int64], expected: NDArray[np.float64], distance: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return each pair once, with its expected number and distance; the least expected first."""
    n, k = index.shape
    likely = expected.ravel() <= FALSE_SHARE * n * k  # there are no more pairs than n · k
    image, other = np.repeat(np.arange(n), k)[likely], index.ravel()[likely]
    first, second = np.minimum(image, other), np.maximum(image, other)
    _, once = np.unique(first * n + second, return_index=True)
    value, near = expected.ravel()[likely][once], distance.ravel()[likely][once]
    order = np.argsort(value, kind="stable")
    return first[once][order], second[once][order], value[order], near[order]
