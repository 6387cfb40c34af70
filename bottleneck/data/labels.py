"""Class names and training targets from the labels of images.

A label is one class name, or several with ``|`` between them: ``cat|dog``. One such label among
the training rows makes the data multi-label; then every label is a list of names. A label that is
the name of a folder of its image is always one name: a class folder ``cat|dog`` is one class.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.data.table import ImageTable
from bottleneck.errors import LabelsError

SEPARATOR = "|"


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


@dataclass(frozen=True)
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
