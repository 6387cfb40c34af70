"""Find held-out images that show the same as a training image; keep copies together in folds."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.auditing.duplicates import Links
from bottleneck.data import CategoricalColumn, ImageTable


def leaked_rows(images: ImageTable, component: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows of other splits that show the same as a row of the split ``train``.

    Parameters
    ----------
    images : ImageTable
        n rows.
    component : ndarray of int64, shape (n,)
        Equal for images that show the same.

    Returns
    -------
    ndarray of int64, shape (m,)
        Ascending.

    Examples
    --------
    >>> n = np.zeros(4, dtype=np.int64)
    >>> images = ImageTable("abcd", [""] * 4, ["train", "test", "test", ""], [""] * 4, n, n)
    >>> leaked_rows(images, np.array([0, 0, 1, 0])).tolist()
    [1]
    """
    train = images.split.equals("train")
    outside = ~train & ~images.split.equals("")
    return np.flatnonzero(outside & np.isin(component, component[train]))


def grouped_by(images: ImageTable, component: NDArray[np.int64]) -> ImageTable:
    """Return the images in groups: images that show the same are in one, with all their groups.

    Folds keep the images of a group together, so that none is judged by a classifier that has seen
    a copy of it; and intervals count copies as less than other images.

    Parameters
    ----------
    images : ImageTable
        n rows.
    component : ndarray of int64, shape (n,)
        Equal for images that show the same.

    Examples
    --------
    >>> n = np.zeros(4, dtype=np.int64)
    >>> images = ImageTable("abcd", [""] * 4, [""] * 4, ["p", "", "p", ""], n, n)
    >>> grouped_by(images, np.array([0, 0, 1, 2])).group[:]
    ['0', '0', '0', '']
    """
    n, named = len(images), ~images.group.equals("")
    groups = np.where(named, images.group.codes, -1)
    both = [_linked(component), _linked(groups, named)]
    first, second = (np.concatenate(side) for side in zip(*both, strict=True))
    joined = Links(first, second, np.zeros(len(first))).components(n)
    alone = (np.bincount(joined)[joined] == 1) & ~named
    names = np.unique(joined)
    column = CategoricalColumn.from_codes(
        np.where(alone, len(names), joined), [*map(str, names.tolist()), ""]
    )
    return replace(images, group=column)


def _linked(
    values: NDArray[np.integer[Any]], which: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return links between consecutive rows of the same value."""
    rows = np.arange(len(values)) if which is None else np.flatnonzero(which)
    order = rows[np.argsort(values[rows], kind="stable")]
    same = values[order][1:] == values[order][:-1]
    return order[:-1][same], order[1:][same]
