"""Labels of images: the splits to train and to judge on, class names and training targets.

A label is one class name, or several with ``|`` between them: ``cat|dog``. One such label among
the training rows makes the data multi-label; then every label is a list of names. A label that is
the name of a folder of its image is always one name: a class folder ``cat|dog`` is one class.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.data.categorical_column import CategoricalColumn
from bottleneck.data.sources.image_csv import read_image_csv
from bottleneck.data.table import ImageTable
from bottleneck.errors import LabelsError

SEPARATOR = "|"

_COLUMNS = "path,label[,split][,group]"


def train_and_heldout_splits(images: ImageTable) -> tuple[str, str]:
    """Return the names of the split to train on and of the one to judge on.

    Returns
    -------
    train, heldout : str
        Empty names mean all rows and no rows.

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
    if splits <= {"", "train"}:
        return "", ""
    if "train" not in splits:
        raise LabelsError(
            f"no image is in split 'train'; found {', '.join(sorted(splits - {''}))}: name the "
            "training images' split train"
        )
    return "train", heldout_split(images)


def heldout_split(images: ImageTable) -> str:
    """Return the split to judge on: ``test``, or else ``val``; empty if there is neither.

    Examples
    --------
    >>> from bottleneck.data.images import open_images
    >>> heldout_split(open_images("data/digits").table)
    'test'
    """
    splits = _splits(images)
    return next((split for split in ("test", "val") if split in splits), "")


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


def is_multilabel(images: ImageTable, rows: NDArray[np.int64]) -> bool:
    """Return whether any of these rows' labels is several names.

    Parameters
    ----------
    images : ImageTable
    rows : ndarray of int64, shape (n,)
        The training rows: they decide for the rows to judge on, too.

    Examples
    --------
    >>> n = np.ones(2, dtype=np.int64)
    >>> columns = {"split": ["", ""], "group": ["", ""], "size": n, "mtime_ns": n}
    >>> images = ImageTable(path=["1.jpg", "2.jpg"], label=["cat", "cat|dog"], **columns)
    >>> is_multilabel(images, np.array([0, 1])), is_multilabel(images, np.array([0]))
    (True, False)
    >>> images = ImageTable(path=["a/1.jpg", "a|b/2.jpg"], label=["a", "a|b"], **columns)
    >>> is_multilabel(images, np.array([0, 1]))  # the names of folders
    False
    """
    separated = np.array([SEPARATOR in label for label in images.label.categories], dtype=np.bool_)
    suspects = rows[separated[images.label.codes[rows]]] if separated.any() else rows[:0]
    return any(
        images.label[row] not in images.path[row].split("/")[:-1] for row in suspects.tolist()
    )


def class_names(images: ImageTable, rows: NDArray[np.int64], *, split: str) -> list[str]:
    """Return the class names in the rows' labels, each once, sorted.

    Parameters
    ----------
    images : ImageTable
    rows : ndarray of int64, shape (n,)
        Labelled training rows. If one of their labels is several names, all labels are split at
        ``|``, and blanks around a name are removed; otherwise a label is one name, unchanged.
    split : str
        The split that the rows are from, for the message; empty if there are no splits.

    Raises
    ------
    LabelsError
        There are fewer than two classes; or, if labels are several names, no name that some
        images have and others have not; or one of several names is empty.

    Examples
    --------
    >>> from bottleneck.data.images import open_images
    >>> images = open_images("data/digits").table
    >>> class_names(images, np.array([0, 895]), split="")
    ['5', '9']
    """
    multilabel = is_multilabel(images, rows)
    labels = _Labels.of(images, rows, multilabel=multilabel)
    counts = labels.count_names()
    where = f" in split {split!r}" if split else ""
    if multilabel and set(counts.values()) == {len(rows)}:
        raise LabelsError(
            f"all {len(rows)} images{where} have the same labels {SEPARATOR.join(counts)!r}: a "
            "classifier needs one that some images have and others have not; change them in the CSV"
        )
    if len(counts) < 2:
        only = ", ".join(f"{name!r} ({count} images)" for name, count in counts.items())
        raise LabelsError(
            f"a classifier needs at least 2 classes{where}, found {only or 'no labelled image'}: "
            "put each class's images into a folder of its own, or give labels in a CSV"
        )
    return sorted(counts)


def encode_targets(
    images: ImageTable, rows: NDArray[np.int64], names: Sequence[str], *, multilabel: bool
) -> NDArray[Any]:
    """Return the training targets of some rows.

    Parameters
    ----------
    images : ImageTable
    rows : ndarray of int64, shape (n,)
        Labelled rows.
    names : sequence of k str
        Class names.
    multilabel : bool
        Whether the training rows' labels are several names.

    Returns
    -------
    ndarray
        int64 of shape (n,), the index of each row's name; for multi-label data bool of shape
        (n, k), whether row i has name j.

    Raises
    ------
    LabelsError
        A label is not among the names, or one of several names in a label is empty.

    Examples
    --------
    >>> n = np.ones(2, dtype=np.int64)
    >>> images = ImageTable(["1.jpg", "2.jpg"], ["cat", "dog|cat"], ["", ""], ["", ""], n, n)
    >>> encode_targets(images, np.array([0, 1]), ["cat", "dog"], multilabel=True).tolist()
    [[True, False], [True, True]]
    >>> encode_targets(images, np.array([0]), ["cat", "dog"], multilabel=False).tolist()
    [0]
    """
    labels = _Labels.of(images, rows, multilabel=multilabel)
    labels.require_known(names)
    index = {name: k for k, name in enumerate(names)}
    if not multilabel:
        return np.array([index[name] for (name,) in labels.names], dtype=np.int64)[labels.codes]
    targets = np.zeros((len(labels.names), len(names)), dtype=np.bool_)
    for label, label_names in enumerate(labels.names):
        targets[label, [index[name] for name in label_names]] = True
    return targets[labels.codes]


def with_labels_from_csv(images: ImageTable, csv: Path) -> ImageTable:
    r"""Return the images with the labels of a CSV in place of their own.

    Images that the CSV does not name get neither label nor split: they are not used.

    Parameters
    ----------
    images : ImageTable
        A cache's rows.
    csv : Path
        With the columns ``path,label[,split][,group]``. Paths are those of the cache's
        ``images.csv``, with or without a leading ``./``, whatever the CSV's folder. Without a
        column ``split``, the images that it names keep their split; without ``group``, all images
        keep their group.

    Returns
    -------
    ImageTable
        The same rows in the same order.

    Raises
    ------
    ImagesTableError
        The CSV lacks a ``path`` column or names a path twice.
    LabelsError
        The file does not exist, it lacks a ``label`` column, or it names an image that the cache
        does not have, or one by two paths.

    Examples
    --------
    >>> import tempfile
    >>> n = np.ones(2, dtype=np.int64)
    >>> images = ImageTable(["1.jpg", "2.jpg"], ["cat", "dog"], ["", ""], ["", ""], n, n)
    >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
    ...     print("path,label\n2.jpg,brown", file=file, flush=True)
    ...     with_labels_from_csv(images, Path(file.name)).label[:]
    ['', 'brown']
    """
    if csv.is_dir() or not csv.exists():
        raise LabelsError(f"no such CSV of labels: {csv}: give a file with the columns {_COLUMNS}")
    columns, (paths, label, split, group) = read_image_csv(csv)
    if "label" not in columns:
        raise LabelsError(
            f"{csv}: no column 'label' in its first line; a CSV of labels has {_COLUMNS}"
        )
    rows = _rows_of_paths(images, csv, paths)
    return dataclasses.replace(
        images,
        label=_scatter(label, rows, len(images)),
        split=_scatter(split if "split" in columns else images.split.take(rows), rows, len(images)),
        group=_scatter(group, rows, len(images)) if "group" in columns else images.group,
    )


def _scatter(values: CategoricalColumn, rows: NDArray[np.int64], n: int) -> CategoricalColumn:
    """Return a column of n rows with these values in these rows, and empty text in the others."""
    codes = np.full(n, len(values))  # the row of an empty text behind the values
    codes[rows] = np.arange(len(values))
    return values.concatenate(CategoricalColumn([""])).take(codes)


def _splits(images: ImageTable) -> set[str]:
    """Return the splits of the images that exist."""
    return set(images.split.take(np.flatnonzero(images.exists)).categories)


@dataclasses.dataclass(frozen=True)
class _Labels:
    """The labels of some rows, each distinct one split into its names once.

    Attributes
    ----------
    names : list of tuple of str
        The names in each distinct label, each name once; labels in the order of the rows.
    codes : ndarray of int64, shape (n,)
        The index into `names` of each row.
    """

    names: list[tuple[str, ...]]
    codes: NDArray[np.int64]

    @classmethod
    def of(cls, images: ImageTable, rows: NDArray[np.int64], *, multilabel: bool) -> "_Labels":
        distinct, first, codes = np.unique(
            images.label.codes[rows], return_index=True, return_inverse=True
        )
        order = np.argsort(first)  # np.unique sorts by code; messages follow the rows
        categories = images.label.categories
        names = [
            _names_in(categories[distinct[k]], images, int(rows[first[k]]))
            if multilabel
            else (categories[distinct[k]],)
            for k in order.tolist()
        ]
        return cls(names, np.argsort(order)[codes])

    def count_names(self) -> Counter[str]:
        """Return the number of rows that have each name."""
        counts: Counter[str] = Counter()
        for names, count in zip(self.names, self._count_rows(), strict=True):
            for name in names:
                counts[name] += count
        return counts

    def require_known(self, known: Sequence[str]) -> None:
        """Refuse names that are not known."""
        known_set = set(known)
        unknown = [[name for name in names if name not in known_set] for names in self.names]
        if not any(unknown):
            return
        counts: Counter[str] = Counter()
        images = 0
        for names, count in zip(unknown, self._count_rows(), strict=True):
            images += count if names else 0
            for name in names:
                counts[name] += count
        name, count = counts.most_common(1)[0]
        raise LabelsError(
            f"{images} images have labels that the head does not know, for example "
            f"{name!r} ({count} images); it knows {', '.join(known[:12])}"
        )

    def _count_rows(self) -> list[int]:
        return list(map(int, np.bincount(self.codes, minlength=len(self.names))))


def _names_in(label: str, images: ImageTable, row: int) -> tuple[str, ...]:
    names = [name.strip() for name in label.split(SEPARATOR)]
    if "" in names:
        raise LabelsError(
            f"image {images.path[row]!r} has the label {label!r}, where a name is empty: write "
            f"'cat', or 'cat{SEPARATOR}dog' for several names"
        )
    return tuple(dict.fromkeys(names))


def _rows_of_paths(images: ImageTable, csv: Path, paths: Sequence[str]) -> NDArray[np.int64]:
    """Return the row of each path: of the same path, or else of that without a leading ``./``."""
    # The cache's own paths may begin with ./ as well: they are stored as their CSV wrote them.
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
    _require_distinct(csv, paths, rows)
    return np.array(rows, dtype=np.int64)


def _require_distinct(csv: Path, paths: Sequence[str], rows: list[int]) -> None:
    first: dict[int, str] = {}
    for path, row in zip(paths, rows, strict=True):
        if row in first:
            raise LabelsError(
                f"{csv}: {first[row]!r} and {path!r} are the same image; an image is one row"
            )
        first[row] = path
