"""The labelled images to train on and those to judge on, with their targets and groups."""

import json
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache import Cache, count_copies
from bottleneck.data import (
    ImageTable,
    LabelledImages,
    class_names,
    encode_targets,
    is_multilabel,
    known_rows,
    split_rows,
    train_and_heldout_splits,
    why_none_is_heldout,
    with_labels_from_csv,
)
from bottleneck.errors import InvalidOptionError, LabelsError
from bottleneck.fitting.loading.features import Features
from bottleneck.fitting.scoring.judged_split import JudgedSplit
from bottleneck.fitting.selection.folds import group_codes
from bottleneck.runtime import sha256

LabelSource = str | PathLike[str] | LabelledImages


@dataclass(frozen=True)
class LabelledRows:
    """Labelled images of one split.

    Attributes
    ----------
    row : ndarray of int64, shape (n,)
        Rows of the table of images, ascending.
    targets : ndarray of int64, shape (n,), or of bool, shape (n, k)
        Class of each image, or with several labels an image which of the k labels each one has.
    groups : ndarray of int64, shape (n,), or None
        Images with the same group are kept on one side of every division; None without groups.
    """

    row: NDArray[np.int64]
    targets: NDArray[Any]
    groups: NDArray[np.int64] | None

    def digest(self, images: ImageTable) -> str:
        """Return a digest of the images by path, with their targets and groups.

        Images of equal digests have the same folds.

        Parameters
        ----------
        images : ImageTable
            The table of images.
        """
        paths = [images.path[row] for row in self.row.tolist()]
        groups = images.group.take(self.row)[:]
        return sha256(json.dumps([paths, self.targets.tolist(), groups]).encode())


@dataclass(frozen=True)
class LabelledSplits:
    """What a classifier is trained on and judged on.

    Attributes
    ----------
    names : list of k str
        Class names.
    training : LabelledRows
    heldout : LabelledRows or None
        None without a held-out split.
    judged : JudgedSplit
        The held-out split. Its images with a class that the training rows lack are not in
        `heldout`.
    """

    names: list[str]
    training: LabelledRows
    heldout: LabelledRows | None
    judged: JudgedSplit = JudgedSplit()

    def with_copies(self, copies: int) -> Self:
        """Return the same, with how many held-out images are copies of a training image."""
        return replace(self, judged=replace(self.judged, copies=copies))

    @property
    def multilabel(self) -> bool:
        """Whether an image may have several labels."""
        return self.training.targets.ndim == 2


def labelled_images(cache: Cache, labels: LabelSource | None) -> LabelledImages:
    """Return a cache's images, with the labels of a CSV if there is one.

    Parameters
    ----------
    cache : Cache
    labels : str, PathLike or LabelledImages, optional
        A CSV, or what this function returned for it.

    Raises
    ------
    ImagesTableError, LabelsError
        The CSV does not describe images of the cache.
    InvalidOptionError
        It is none of these.
    """
    if labels is None:
        return LabelledImages(cache.images)
    if not isinstance(labels, str | PathLike | LabelledImages):
        hint = "a DataFrame's `to_csv` writes one; paths are those of `cache.images.path`"
        allowed = "a CSV with the columns path,label[,split][,group]"
        raise InvalidOptionError("labels", type(labels).__name__, allowed, hint)
    if not isinstance(labels, LabelledImages):
        return with_labels_from_csv(cache.images, Path(labels))
    if labels.table.path != cache.images.path:
        raise LabelsError(f"these labels are of other images than those of {cache.path}")
    return labels


def label_rows(images: ImageTable, usable: NDArray[np.bool_]) -> LabelledSplits:
    """Return the images of the training split and of the held-out one, with their targets.

    Parameters
    ----------
    images : ImageTable
        n rows.
    usable : ndarray of bool, shape (n,)
        Which of them may be used.

    Raises
    ------
    LabelsError
        There are fewer than two classes, a split has no labelled images, or the held-out split has
        only images of classes that the training split lacks.

    Examples
    --------
    >>> from bottleneck.data import open_images
    >>> images = open_images("data/digits").table
    >>> found = label_rows(images, images.exists)
    >>> len(found.training.row), found.judged.name, len(found.heldout.row), len(found.names)
    (50, 'test', 846, 5)
    """
    train_split, heldout_split = train_and_heldout_splits(images)
    labelled = usable & images.has_label
    train = split_rows(images, labelled, train_split)
    names = class_names(images, train, split=train_split)
    multilabel = is_multilabel(images, train)

    def of(rows: NDArray[np.int64]) -> LabelledRows:
        targets = encode_targets(images, rows, names, multilabel=multilabel)
        return LabelledRows(rows, targets, row_groups(images, rows))

    if not heldout_split:
        return LabelledSplits(
            names, of(train), None, JudgedSplit(no_heldout=why_none_is_heldout(images))
        )
    heldout = split_rows(images, labelled, heldout_split)
    require_rows(heldout, split=heldout_split)
    heldout, unknown = known_rows(
        images, heldout, names, multilabel=multilabel, split=heldout_split
    )
    shared = count_shared_groups(images, heldout, among=train)
    in_use = images.split.equals(train_split) | images.split.equals(heldout_split)
    unused = images.split.take(np.flatnonzero(labelled & ~in_use)).counts()
    judged = JudgedSplit(heldout_split, unknown=unknown, shared_groups=shared, unused=unused)
    return LabelledSplits(names, of(train), of(heldout), judged)


def label_codes(cache: Cache, features: Features, images: ImageTable) -> LabelledSplits:
    """Return the labelled images that have codes, with the copies among the held-out ones.

    Parameters
    ----------
    cache : Cache
    features : Features
        Finished layers and views of the cache.
    images : ImageTable
        The cache's own table, or the same rows with other labels.

    Raises
    ------
    CacheError, ShardError
        A layer is not finished, or a shard is damaged.
    LabelsError
        As in `label_rows`.

    Examples
    --------
    >>> from bottleneck.cache import open_cache
    >>> cache = open_cache("tests/data/before/cache")
    >>> found = label_codes(cache, Features(("layer1",)), cache.images)
    >>> len(found.training.row), found.judged.copies
    (12, 0)
    """
    labelled = label_rows(images, features.valid_rows(cache))
    train, held = labelled.training, labelled.heldout
    layer = features.layers[0]
    copies = 0 if held is None else count_copies(cache, layer, held.row, among=train.row)
    return labelled.with_copies(copies)


def require_rows(rows: NDArray[np.int64], *, split: str) -> None:
    """Refuse an empty set of labelled rows.

    Parameters
    ----------
    rows : ndarray of int64, shape (n,)
        Labelled rows with codes.
    split : str
        Their split, for the message; empty without splits.

    Raises
    ------
    LabelsError
        There are no rows.

    Examples
    --------
    >>> require_rows(np.array([3]), split="val")
    """
    if not len(rows):
        where = f" in split {split!r}" if split else ""
        raise LabelsError(
            f"no labelled image with codes{where}: labels are the names of class folders, or a "
            "CSV's column; `labels` takes a CSV that gives them, or one without these images"
        )


def without_labels(images: ImageTable, rows: NDArray[np.bool_]) -> ImageTable:
    """Return the images with no label for some rows, which are then not trained on nor judged.

    Parameters
    ----------
    images : ImageTable
        n rows.
    rows : ndarray of bool, shape (n,)
        Which of them lose their label.

    Examples
    --------
    >>> n = np.zeros(2, dtype=np.int64)
    >>> images = ImageTable(["1", "2"], ["ant", "bee"], ["", ""], ["", ""], n, n)
    >>> without_labels(images, np.array([True, False])).label[:]
    ['', 'bee']
    """
    kept = np.where(rows, -1, np.arange(len(images)))
    return replace(images, label=images.label.take_or_blank(kept))


def row_groups(images: ImageTable, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return the groups of some rows, as a `TrainingSet` has them; None where none has a group.

    Examples
    --------
    >>> n = np.zeros(3, dtype=np.int64)
    >>> images = ImageTable(["1", "2", "3"], ["a"] * 3, [""] * 3, ["p", "q", "p"], n, n)
    >>> row_groups(images, np.array([0, 1, 2])).tolist()
    [0, 1, 0]
    """
    column = images.group
    return group_codes(column.codes[rows], column.categories)


def count_shared_groups(
    images: ImageTable, rows: NDArray[np.int64], *, among: NDArray[np.int64]
) -> int:
    """Return how many of some images are of a group, such as a patient, that others have too.

    Parameters
    ----------
    images : ImageTable
    rows : ndarray of int64, shape (n,)
    among : ndarray of int64, shape (m,)
        Rows of the others.

    Examples
    --------
    >>> n = np.zeros(4, dtype=np.int64)
    >>> images = ImageTable("abcd", [""] * 4, [""] * 4, ["p", "q", "", "p"], n, n)
    >>> count_shared_groups(images, np.array([0, 1, 2]), among=np.array([2, 3]))
    1
    """
    named, codes = ~images.group.equals(""), images.group.codes
    return int((named[rows] & np.isin(codes[rows], codes[among])).sum())
