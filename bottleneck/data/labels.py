"""Class names and training targets from the labels of images.

A label is one class name, or several with ``|`` between them: ``cat|dog``. One such label among
the training rows makes the data multi-label; then every label is a list of names, and ``none`` is
the empty one, of an image that is known to have none of them. The name of a folder of the image
does not make them so: a class folder ``cat|dog`` is one class, and two names only where another
label makes the data multi-label.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.data.table.image_table import ImageTable
from bottleneck.errors import LabelsError
from bottleneck.runtime import format_count, format_names

SEPARATOR = "|"
NO_LABEL = "none"  # of an image that has none of several labels: empty text would be "not known"

_MOST_NAMES = 5  # that are nearly known, in a message
_MOST_KNOWN = 12


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
        ``|``, blanks around a name are removed, and ``none`` alone is no name; otherwise a label is
        one name, unchanged.
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
        only = ", ".join(
            f"{name!r} ({format_count(count, 'image')})" for name, count in counts.items()
        )
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
    none = {NO_LABEL} & index.keys()  # a class of heads that took it for a name
    for label, label_names in enumerate(labels.names):
        targets[label, [index[name] for name in label_names or none]] = True
    return targets[labels.codes]


@dataclass(frozen=True)
class UnknownLabels:
    """Images that cannot be judged, because a classifier was not trained on one of their labels.

    Attributes
    ----------
    images : int
        Number of these images.
    counts : mapping of str to int
        How many of them have each of the unknown names, most frequent first.
    similar : mapping of str to str
        For an unknown name, the known one that differs in case, blanks or Unicode form alone.

    Examples
    --------
    >>> print(UnknownLabels(3, {"Cat": 2, "emu": 1}, {"Cat": "cat"}))
    3 images of 2 classes that were not trained on: 'Cat' (2 images), 'emu' (1 image); \
'Cat' is 'cat' but for case, blanks or Unicode form: give both one name
    """

    images: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    similar: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "images": self.images,
            "classes": dict(self.counts),
            "similar": dict(self.similar),
        }

    def __str__(self) -> str:
        k = len(self.counts)
        classes = "a class that was" if k == 1 else f"{k} classes that were"
        names = [
            f"{name!r} ({format_count(count, 'image')})" for name, count in self.counts.items()
        ]
        images = format_count(self.images, "image")
        text = f"{images} of {classes} not trained on: {format_names(names)}"
        return f"{text}; {self._hint()}" if self.similar else text

    def _hint(self) -> str:
        pairs = list(self.similar.items())[:_MOST_NAMES]
        named = ", ".join(f"{name!r} is {known!r}" for name, known in pairs)
        return f"{named} but for case, blanks or Unicode form: give both one name"


def known_rows(
    images: ImageTable,
    rows: NDArray[np.int64],
    names: Sequence[str],
    *,
    multilabel: bool,
    split: str,
) -> tuple[NDArray[np.int64], UnknownLabels]:
    """Return the rows that a classifier of these names can be judged on, and the unknown labels.

    Parameters
    ----------
    images : ImageTable
    rows : ndarray of int64, shape (n,)
        Labelled rows.
    names : sequence of k str
        Class names that were trained on.
    multilabel : bool
        Whether the training rows' labels are several names. Then a row is left out if one of its
        names is unknown.
    split : str
        The split that the rows are from, for the message; empty if there are no splits.

    Returns
    -------
    known : ndarray of int64, shape (m,)
        Ascending.
    unknown : UnknownLabels

    Raises
    ------
    LabelsError
        There are rows, and none can be judged; or one of several names in a label is empty.

    Examples
    --------
    >>> n = np.ones(2, dtype=np.int64)
    >>> images = ImageTable(["1.jpg", "2.jpg"], ["cat", "emu"], ["", ""], ["", ""], n, n)
    >>> rows, unknown = known_rows(
    ...     images, np.array([0, 1]), ["cat", "dog"], multilabel=False, split="test")
    >>> rows.tolist(), unknown.counts
    ([0], {'emu': 1})
    """
    labels = _Labels.of(images, rows, multilabel=multilabel)
    known, counter = labels.compare(names)
    counts = dict(counter.most_common())
    unknown = UnknownLabels(int((~known).sum()), counts, _similar_names(counts, names))
    if len(rows) and not known.any():
        where = f" in split {split!r}" if split else ""
        raise LabelsError(
            f"no labelled image{where} can be judged: {unknown}; the classifier knows "
            f"{format_names(names, _MOST_KNOWN)}"
        )
    return rows[known], unknown


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
        return self.compare(())[1]

    def compare(self, names: Sequence[str]) -> tuple[NDArray[np.bool_], Counter[str]]:
        """Compare with known names.

        Returns
        -------
        known : ndarray of bool, shape (n,)
            Whether all names of each row are known.
        unknown : Counter of str
            The number of rows that have each of the unknown names.
        """
        known = set(names)
        unknown = [[name for name in label if name not in known] for label in self.names]
        rows = np.bincount(self.codes, minlength=len(self.names)).tolist()
        counts: Counter[str] = Counter()
        for label, count in zip(unknown, rows, strict=True):
            for name in label:
                counts[name] += count
        return np.array([not label for label in unknown], dtype=np.bool_)[self.codes], counts

    def require_known(self, names: Sequence[str]) -> None:
        """Refuse names that are not known."""
        known, counts = self.compare(names)
        if known.all():
            return
        name, count = counts.most_common(1)[0]
        images = format_count(int((~known).sum()), "image has", "images have")
        raise LabelsError(
            f"{images} labels that the head does not know, for example {name!r} "
            f"({format_count(count, 'image')}); it knows {format_names(names, _MOST_KNOWN)}"
        )


def _names_in(label: str, images: ImageTable, row: int) -> tuple[str, ...]:
    if label == NO_LABEL:
        return ()
    names = [name.strip() for name in label.split(SEPARATOR)]
    if "" in names:
        raise LabelsError(
            f"image {images.path[row]!r} has the label {label!r}, where a name is empty: write "
            f"'cat', or 'cat{SEPARATOR}dog' for several names"
        )
    return tuple(dict.fromkeys(names))


def _similar_names(unknown: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Map unknown names to known ones that differ in case, blanks or Unicode form alone."""
    by_form = {name_form(name): name for name in known}
    return {name: by_form[name_form(name)] for name in unknown if name_form(name) in by_form}


def name_form(name: str) -> str:
    """Return a name without the differences of spellings: case, blanks, Unicode form."""
    # macOS writes names of files with their accents apart (NFD).
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())


def class_targets(images: ImageTable, rows: NDArray[np.int64]) -> tuple[list[str], NDArray[Any]]:
    """Return class names and the target of each row.

    Class names come from all labelled images, so that they are the same for all splits.

    Parameters
    ----------
    images : ImageTable
    rows : ndarray of int64, shape (n,)
        Labelled rows.

    Returns
    -------
    classes : list of k str
    targets : ndarray
        int64 of shape (n,), the index of each row's class; or bool of shape (n, k) if labels are
        several names (``cat|dog``).

    Raises
    ------
    LabelsError
        There are fewer than two classes, or a name in a label is empty.
    """
    labelled = np.flatnonzero(images.has_label)
    classes = class_names(images, labelled, split="")
    multilabel = is_multilabel(images, labelled)
    return classes, encode_targets(images, rows, classes, multilabel=multilabel)
