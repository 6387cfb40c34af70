"""Find near duplicates: pairs of images that are too close to be neighbours by chance."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bottleneck.auditing.neighbours import Neighbours

NEIGHBOURS = 64  # twice the copies that an image may have before they are taken for its density
LEAST_IMAGES = 16  # of fewer, a usual distance cannot be estimated
FALSE_SHARE = 0.2  # of the images that are found, how many may be near by chance


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
        How many images would be as near to an unrelated one as the last pair found.
    dimension : float
        Estimated dimension of the codes; NaN where it cannot be estimated.
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
    neighbour, at the distance r. Then :math:`k (d/r)^m` of them are expected within the distance d.
    For a pair, the larger number of its two images counts. m comes from the same distances, by the
    ratio of the neighbours k/2 and k (F. Denti et al., "The generalized ratios intrinsic dimension
    estimator", Scientific Reports 12, 2022), which copies do not reach unless an image has k/2 of
    them. Images with a near one are taken while those that chance makes are at most a fifth of them
    (Y. Benjamini and Y. Hochberg, "Controlling the false discovery rate", J. R. Stat. Soc. B 57,
    1995): where there are no copies, any is found in one of five sets of images.

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
    nearness = np.maximum(ratio, other)
    # Where there is no dimension, copies are the same codes alone.
    expected = k * (np.where(nearness > 0, np.inf, 0) if np.isnan(m) else nearness**m)
    of_images = np.sort(expected.min(axis=1))
    found = np.flatnonzero(n * of_images <= FALSE_SHARE * np.arange(1, n + 1))
    if not len(found):
        return NearPairs(none, none, np.empty(0), dimension=m)
    limit = float(of_images[found[-1]])
    image, place = np.nonzero(expected <= limit)
    near = index[image, place]
    first, second = np.minimum(image, near), np.maximum(image, near)
    _, once = np.unique(first * n + second, return_index=True)
    once = once[np.argsort(expected[image, place][once], kind="stable")]
    distances = distance[image, place][once]
    return NearPairs(first[once], second[once], distances, n * limit, m)


def _dimension(distance: NDArray[np.float64]) -> float:
    """Return the dimension, by the median ratio of the distances of the neighbours k/2 and k.

    In m dimensions its m-th power has a beta distribution with parameters k/2 and k − k/2, whose
    median is nearly (k/2 − 1/3) / (k − 2/3). A median is robust to
    the images around which this does not hold.
    """
    k = distance.shape[1]
    apart = distance[:, -1] > 0
    ratio = np.median(distance[apart, k // 2 - 1] / distance[apart, -1]) if apart.any() else 0.0
    if ratio in (0.0, 1.0):  # most images are copies, or as far from one as from another
        return np.nan
    return float(np.log((k // 2 - 1 / 3) / (k - 2 / 3)) / np.log(ratio))
