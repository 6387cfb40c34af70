"""Labels: what the rows of a cache are to be called, and which of them to learn from.

A label is one name, or several with ``|`` between them: ``cat|dog``. One such label among the
rows that are learned from makes the data multi-label, and every label a list of names. It makes
no difference where the label comes from: a class folder called ``cat|dog`` is two names as well.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.data.sources.image_csv import read_image_csv
from bottleneck.data.table import ImageTable
from bottleneck.errors import LabelsError

SEPARATOR = "|"

_COLUMNS = "path,label[,split][,group]"


def train_and_heldout_splits(images: ImageTable) -> tuple[str, str]:
    """The split to learn from and the one to be judged on; empty names mean all rows and none.

    Raises
    ------
    LabelsError
        There are splits, but no ``train``.
    """
    found = _splits(images)
    if found <= {"", "train"}:
        return "", ""
    if "train" not in found:
        raise LabelsError(
            f"no image is in split 'train'; found {', '.join(sorted(found - {''}))}: name the "
            "training images' split train"
        )
    return "train", heldout_split(images)


def heldout_split(images: ImageTable) -> str:
    """The split to be judged on: ``test``, or else ``val``; empty where there is neither."""
    found = _splits(images)
    return next((split for split in ("test", "val") if split in found), "")


def split_rows(images: ImageTable, usable: NDArray[np.bool_], split: str) -> NDArray[np.int64]:
    """The usable rows of a split (of all, where it is empty), ascending."""
    if not split:
        return np.flatnonzero(usable)
    named = (name == split for name in images.split)
    return np.flatnonzero(usable & np.fromiter(named, dtype=bool, count=len(images)))


def is_multilabel(images: ImageTable, rows: NDArray[np.int64]) -> bool:
    """Whether any of these rows' labels is several names.

    Parameters
    ----------
    images : ImageTable
    rows : ndarray of int64, shape (n,)
        The training rows: they decide for those that the classifier is judged on, too.
    """
    return any(SEPARATOR in images.label[row] for row in rows.tolist())


def class_names(images: ImageTable, rows: NDArray[np.int64], *, split: str) -> list[str]:
    """The names that the rows' labels give, each once, sorted.

    Parameters
    ----------
    images : ImageTable
    rows : ndarray of int64, shape (n,)
        Labelled training rows. Where one of their labels is several names, all are split, and
        the blanks around a name are no part of it; otherwise a label is a name as it stands.
    split : str
        Where the rows are from, for the message; empty where there are no splits.

    Raises
    ------
    LabelsError
        There is nothing to tell apart: fewer than two classes or, where labels are several
        names, no name that some images have and others have not. Or one of several names is
        empty.
    """
    multilabel = is_multilabel(images, rows)
    labels = _labels(images, rows, multilabel=multilabel)
    counts = Counter(name for label in labels for name in label)
    where = f" in split {split!r}" if split else ""
    if multilabel and set(counts.values()) == {len(labels)}:
        raise LabelsError(
            f"all {len(labels)} images{where} have the same labels {SEPARATOR.join(counts)!r}: a "
            "classifier needs one that some images have and others have not; change them in the CSV"
        )
    if len(counts) < 2:
        found = ", ".join(f"{label!r} ({count} images)" for label, count in counts.items())
        raise LabelsError(
            f"a classifier needs at least 2 classes{where}, found {found or 'no labelled image'}: "
            "put each class's images into a folder of its own, or give labels in a CSV"
        )
    return sorted(counts)


def encode_targets(
    images: ImageTable, rows: NDArray[np.int64], names: Sequence[str], *, multilabel: bool
) -> NDArray[Any]:
    """What a classifier is to answer for each row.

    Parameters
    ----------
    images : ImageTable
    rows : ndarray of int64, shape (n,)
        Labelled rows.
    names : sequence of str, length k
        As from `class_names`.
    multilabel : bool
        As from `is_multilabel` for the training rows.

    Returns
    -------
    ndarray
        int64 of shape (n,), each row's place in the names; for multi-label data bool of shape
        (n, k), whether row i has name j.

    Raises
    ------
    LabelsError
        A label is not among the names, or one of several names in a label is empty.
    """
    if not multilabel:
        return class_indices(images, rows, names)
    targets = np.zeros((len(rows), len(names)), dtype=np.bool_)
    for i, places in enumerate(_places(_labels(images, rows, multilabel=True), names)):
        targets[i, places] = True
    return targets


def class_indices(
    images: ImageTable, rows: NDArray[np.int64], names: Sequence[str]
) -> NDArray[np.int64]:
    """Each row's place in the list of class names, shape (n,).

    Raises
    ------
    LabelsError
        A label is not among the names.
    """
    places = _places(_labels(images, rows, multilabel=False), names)
    return np.array([place for (place,) in places], dtype=np.int64)


def relabel(images: ImageTable, csv: Path) -> ImageTable:
    """Ask the same images another question: their labels are those of a CSV.

    Images that the CSV does not name get neither label nor split, and so take no part.

    Parameters
    ----------
    images : ImageTable
        A cache's rows.
    csv : Path
        With the columns ``path,label[,split][,group]``; paths as in the cache's ``images.csv``,
        whatever the CSV's own folder, with or without a leading ``./``. Without the column, the
        images that it names keep their split, and all images their group.

    Returns
    -------
    ImageTable
        The same rows in the same order.

    Raises
    ------
    ImagesTableError
        The CSV lacks a ``path`` column or names a path twice.
    LabelsError
        There is no such file, it lacks a ``label`` column, or it names an image that the cache
        does not have, or one in two ways.
    """
    if csv.is_dir() or not csv.exists():
        raise LabelsError(f"no such CSV of labels: {csv}: give a file with the columns {_COLUMNS}")
    columns, (paths, *given) = read_image_csv(csv)
    if "label" not in columns:
        raise LabelsError(
            f"{csv}: no column 'label' in its first line; a CSV of labels has {_COLUMNS}"
        )
    named = _rows_named(images, csv, paths)
    labels, splits = [""] * len(images), [""] * len(images)
    groups = [""] * len(images) if "group" in columns else list(images.group)
    own = list(images.split)  # rows are named in any order
    for row, label, split, group in zip(named, *given, strict=True):
        labels[row] = label
        splits[row] = split if "split" in columns else own[row]
        if "group" in columns:
            groups[row] = group
    return dataclasses.replace(images, label=labels, split=splits, group=groups)


def _splits(images: ImageTable) -> set[str]:
    return {
        split for split, there in zip(images.split, images.exists.tolist(), strict=True) if there
    }


def _labels(images: ImageTable, rows: NDArray[np.int64], *, multilabel: bool) -> list[list[str]]:
    """The names in each row's label, each name once."""
    if multilabel:
        return [_parts(images, row) for row in rows.tolist()]
    return [[images.label[row]] for row in rows.tolist()]


def _parts(images: ImageTable, row: int) -> list[str]:
    label = images.label[row]
    names = [name.strip() for name in label.split(SEPARATOR)]
    if "" in names:
        raise LabelsError(
            f"image {images.path[row]!r} has the label {label!r}, where a name is empty: write "
            f"'cat', or 'cat{SEPARATOR}dog' for several names"
        )
    return list(dict.fromkeys(names))


def _places(labels: list[list[str]], names: Sequence[str]) -> list[list[int]]:
    """Where the names in each label stand in the list of names."""
    place = {name: k for k, name in enumerate(names)}
    strange = [new for label in labels if (new := [name for name in label if name not in place])]
    if strange:
        counts = Counter(name for new in strange for name in new)
        name, count = counts.most_common(1)[0]
        raise LabelsError(
            f"{len(strange)} images have labels that the head does not know, for example "
            f"{name!r} ({count} images); it knows {', '.join(names[:12])}"
        )
    return [[place[name] for name in label] for label in labels]


def _rows_named(images: ImageTable, csv: Path, paths: Sequence[str]) -> list[int]:
    """The row of each path, exactly as it stands or else but for a leading ``./``."""
    # The cache's own paths may begin with ./ as well: they stand as their CSV wrote them.
    row_of = {path.removeprefix("./"): row for row, path in enumerate(images.path)}
    row_of |= {path: row for row, path in enumerate(images.path)}
    rows = [row_of.get(path, row_of.get(path.removeprefix("./"), -1)) for path in paths]
    unknown = [path for path, row in zip(paths, rows, strict=True) if row < 0]
    if unknown:
        raise LabelsError(
            f"{csv}: {len(unknown)} of {len(paths)} paths are not in the cache: "
            f"{', '.join(map(repr, unknown[:3]))}{', …' if len(unknown) > 3 else ''}; paths must "
            f"be as in its images.csv, for example {images.path[0]!r}"
        )
    _require_once(csv, paths, rows)
    return rows


def _require_once(csv: Path, paths: Sequence[str], rows: list[int]) -> None:
    first: dict[int, str] = {}
    for path, row in zip(paths, rows, strict=True):
        if row in first:
            raise LabelsError(
                f"{csv}: {first[row]!r} and {path!r} are the same image; an image is one row"
            )
        first[row] = path
