"""The split to train on, the one to judge on, and their rows."""

import numpy as np
from numpy.typing import NDArray

from bottleneck.data.split_names import canonical_split
from bottleneck.data.table.image_table import ImageTable
from bottleneck.errors import LabelsError


def train_and_heldout_splits(images: ImageTable) -> tuple[str, str]:
    """Return the names of the split to train on and of the one to judge on.

    Returns
    -------
    train, heldout : str
        Without splits, the empty names of all rows and of no rows. Where only some rows are in
        ``train``, the others are not trained on.

    Raises
    ------
    LabelsError
        There are splits, but no ``train``.

    Examples
    --------
    >>> from bottleneck.data.images import open_images
    >>> train_and_heldout_splits(open_images("data/digits").table)
    ('train', 'test')
    """
    splits = _splits(images)
    if splits <= {""}:
        return "", ""
    if "train" not in splits:
        raise LabelsError(
            f"no image is in split 'train'; found {', '.join(sorted(splits - {''}))}: name the "
            "training images' split train"
        )
    return "train", heldout_split(images)


def heldout_split(images: ImageTable) -> str:
    """Return the split to judge on: ``test``, or else ``val``; empty if there is neither.

    A split without any label, as a test set whose labels are kept secret, judges nothing.

    Examples
    --------
    >>> from bottleneck.data.images import open_images
    >>> heldout_split(open_images("data/digits").table)
    'test'
    """
    splits = _splits(images)
    there = [split for split in ("test", "val") if split in splits]
    labelled = [split for split in there if images.has_label[images.split.equals(split)].any()]
    return next(iter(labelled), "")


def why_none_is_heldout(images: ImageTable) -> str:
    """Say why none of the splits beside ``train`` is the held-out one; empty if there is none.

    Examples
    --------
    >>> n = np.zeros(2, dtype=np.int64)
    >>> images = ImageTable("ab", ["ant", "bee"], ["train", "holdout"], [""] * 2, n, n)
    >>> why_none_is_heldout(images)
    "no split is called test or val; 'holdout' is neither trained on nor judged"
    """
    others = sorted(_splits(images) - {"", "train"})
    if unlabelled := [name for name in others if name in ("test", "val")]:
        return f"no image has a label in {' or '.join(map(repr, unlabelled))}"
    if not others:
        return ""
    verb = "is" if len(others) == 1 else "are"
    named = ", ".join(map(repr, others))
    return f"no split is called test or val; {named} {verb} neither trained on nor judged"


def find_split(images: ImageTable, name: str) -> str:
    """Return a split's name as the images have it: the same, or else the canonical one.

    Examples
    --------
    >>> from bottleneck.data.images import open_images
    >>> images = open_images("data/digits").table
    >>> find_split(images, "testing"), find_split(images, "holdout")
    ('test', 'holdout')
    """
    return name if name in images.split.categories else canonical_split(name)


def split_rows(images: ImageTable, usable: NDArray[np.bool_], split: str) -> NDArray[np.int64]:
    """Return the usable rows of a split, ascending.

    Parameters
    ----------
    images : ImageTable
        n rows.
    usable : ndarray of bool, shape (n,)
    split : str
        If empty, all usable rows are returned.

    Returns
    -------
    ndarray of int64, shape (m,)

    Examples
    --------
    >>> from bottleneck.data.images import open_images
    >>> images = open_images("data/digits").table
    >>> len(split_rows(images, images.has_label, "train"))
    50
    """
    return np.flatnonzero(usable & images.split.equals(split) if split else usable)


def _splits(images: ImageTable) -> set[str]:
    """Return the splits of the images that exist."""
    return set(images.split.take(np.flatnonzero(images.exists)).categories)
