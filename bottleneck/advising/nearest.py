"""Classify each image by its nearest neighbours of other groups, without any training."""

import numpy as np
from numpy.typing import NDArray

from bottleneck.linear import TrainingSet

NEIGHBOURS = 5
# Images, evenly spaced among all, so that the products stay a matter of seconds.
_MOST_JUDGED = 2000
_TILE = 2048  # rows that they are multiplied with at a time


def nearest_neighbour_accuracy(training: TrainingSet) -> float:
    """Return the share of images of which most of the nearest neighbours have their class.

    Leave-one-out: neighbours are the nearest of all other images, by the angle between their codes.
    Images of the image's own group do not count. Each of five neighbours has one vote; of equal
    votes the nearest decide. At most 2000 images are judged.

    Parameters
    ----------
    training : TrainingSet
        Plain images of one class each.

    Examples
    --------
    >>> from bottleneck.linear import ArrayMatrix
    >>> codes = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]] * 4)
    >>> targets = np.array([0, 0, 1, 1] * 4)
    >>> nearest_neighbour_accuracy(TrainingSet(ArrayMatrix(codes), targets, 2))
    1.0
    """
    n = len(training.targets)
    groups = np.arange(n) if training.groups is None else training.groups
    judged = np.unique(np.linspace(0, n - 1, min(n, _MOST_JUDGED)).round().astype(np.int64))
    codes = training.codes.scaled(training.fit_scaler("l2"))
    queries = np.concatenate(list(codes.take(judged).blocks()))
    nearest = np.full((len(judged), NEIGHBOURS), -1)
    product = np.full((len(judged), NEIGHBOURS), -np.inf)
    start = 0
    for block in codes.blocks():
        for tile in np.split(block, range(_TILE, len(block), _TILE)):
            rows = np.arange(start, start + len(tile))
            products = queries @ tile.T
            products[groups[judged][:, None] == groups[rows]] = -np.inf
            nearest, product = _nearer(nearest, product, rows, products)
            start += len(tile)
    found = np.isfinite(product)
    votes = np.zeros((len(judged), training.classes))
    # A vote and a little for nearness, which decides among equal votes alone.
    weight = np.where(found, 1 + 1e-3 * np.where(found, product, 0), 0)
    np.add.at(votes, (np.arange(len(judged))[:, None], training.targets[nearest]), weight)
    return float((votes.argmax(axis=1) == training.targets[judged]).mean())


def _nearer(
    nearest: NDArray[np.int64],
    product: NDArray[np.float64],
    rows: NDArray[np.int64],
    products: NDArray[np.floating],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the nearest of those so far and a tile's rows."""
    indices = np.concatenate([nearest, np.broadcast_to(rows, products.shape)], axis=1)
    values = np.concatenate([product, products], axis=1)
    best = np.argpartition(-values, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
    return np.take_along_axis(indices, best, axis=1), np.take_along_axis(values, best, axis=1)
