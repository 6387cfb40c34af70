"""Replace the labels of images by those of a CSV."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.data.labels import name_form
from bottleneck.data.sources.files.image_csv import read_image_csv
from bottleneck.data.sources.notes import SourceNotes
from bottleneck.data.summary import SourceSummary
from bottleneck.data.table.categorical_column import CategoricalColumn
from bottleneck.data.table.image_table import TEXT_COLUMNS, ImageTable
from bottleneck.errors import LabelsError
from bottleneck.runtime import escape_unprintable, format_count

_COLUMNS = "path,label[,split][,group]"


@dataclass(frozen=True)
class LabelSummary:
    """What was understood of a CSV of labels. `str` gives two lines, and one for each remark.

    Attributes
    ----------
    csv : Path
    rows : int
        Images that it names.
    columns : tuple of str
        Those of ``path``, ``label``, ``split`` and ``group`` that it has, under whatever name.
    images : SourceSummary
        The cache's images with these labels.

    Examples
    --------
    >>> images = SourceSummary(30, 0, 2, 10, {"train": 15, "test": 5, "": 10}, SourceNotes())
    >>> print(LabelSummary(Path("colours.csv"), 20, ("path", "label", "split"), images))
    labels from colours.csv: path, label, split of 20 images
    30 images, 2 classes, 10 without a label, train 15, test 5, in no split 10
    """

    csv: Path
    rows: int
    columns: tuple[str, ...]
    images: SourceSummary

    def __str__(self) -> str:
        name = escape_unprintable(str(self.csv))
        images = format_count(self.rows, "image")
        return f"labels from {name}: {', '.join(self.columns)} of {images}\n{self.images}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, which can be written as JSON."""
        images = self.images.to_dict()
        return {
            "csv": str(self.csv),
            "rows": self.rows,
            "columns": list(self.columns),
            **{key: images[key] for key in ("classes", "unlabelled", "splits", "remarks")},
        }


@dataclass(frozen=True)
class LabelledImages:
    """A cache's images with the labels to train on.

    Attributes
    ----------
    table : ImageTable
    summary : LabelSummary or None
        Where the labels came from; None if they are the cache's own.
    """

    table: ImageTable
    summary: LabelSummary | None = None


def with_labels_from_csv(images: ImageTable, csv: Path) -> LabelledImages:
    r"""Return the images with the labels of a CSV in place of their own.

    Images that the CSV does not name get neither label nor split: they are not used.

    Parameters
    ----------
    images : ImageTable
        A cache's rows.
    csv : Path
        With the columns ``path,label[,split][,group]``, under any of their usual names. Paths are
        those of the cache's ``images.csv``, with or without a leading ``./``, with ``/`` or ``\``,
        whatever the CSV's folder. Without a column ``split``, the images that it names keep their
        split; without ``group``, all images keep their group.

    Returns
    -------
    LabelledImages
        The same rows in the same order, and what was understood of the CSV.

    Raises
    ------
    ImagesTableError
        The CSV lacks a column of paths, names a path twice, or is not understood.
    LabelsError
        There is no such file, it lacks a ``label`` column, or it names an image that the cache does
        not have, or one by two paths.

    Examples
    --------
    >>> import tempfile
    >>> n = np.ones(2, dtype=np.int64)
    >>> images = ImageTable(["1.jpg", "2.jpg"], ["cat", "dog"], ["", ""], ["", ""], n, n)
    >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
    ...     print("path,label\n2.jpg,brown", file=file, flush=True)
    ...     with_labels_from_csv(images, Path(file.name)).table.label[:]
    ['', 'brown']
    """
    if not csv.is_file():  # a pipe can be read once, and its lines are looked up again for messages
        raise LabelsError(f"no such CSV of labels: {csv}: give a file with the columns {_COLUMNS}")
    found = read_image_csv(csv)
    found.require_distinct(found.columns.path, as_files=False)
    paths, label, split, group = found.columns
    if not found.has("label"):
        raise LabelsError(
            f"{csv}: no column 'label' in its first line; a CSV of labels has {_COLUMNS}"
        )
    rows = _rows_of_paths(images, csv, paths)
    table = dataclasses.replace(
        images,
        label=_scatter(label, rows, len(images)),
        split=_scatter(split if found.has("split") else images.split.take(rows), rows, len(images)),
        group=_scatter(group, rows, len(images)) if found.has("group") else images.group,
    )
    summary = SourceSummary.from_table(table, SourceNotes(remarks=found.remarks))
    columns = tuple(filter(found.has, TEXT_COLUMNS))
    return LabelledImages(table, LabelSummary(csv, len(rows), columns, summary))


def _scatter(values: CategoricalColumn, rows: NDArray[np.int64], n: int) -> CategoricalColumn:
    """Return a column of n rows with these values in these rows, and empty text in the others."""
    index = np.full(n, -1)
    index[rows] = np.arange(len(values))
    return values.take_or_blank(index)


def _rows_of_paths(images: ImageTable, csv: Path, paths: Sequence[str]) -> NDArray[np.int64]:
    """Return the row of each path: of the same path, or else of its plain spelling."""
    # The cache's own paths may begin with ./ as well: they are stored as their CSV wrote them.
    row_of = {path.removeprefix("./"): row for row, path in enumerate(images.path)}
    row_of |= {path: row for row, path in enumerate(images.path)}
    rows = [row_of.get(path, row_of.get(_plain(path), -1)) for path in paths]
    unknown = [path for path, row in zip(paths, rows, strict=True) if row < 0]
    if unknown:
        near = {name_form(path): path for path in images.path}.get(name_form(unknown[0]))
        same = f"; {unknown[0]!r} is {near!r} but for case, blanks or Unicode form" if near else ""
        raise LabelsError(
            f"{csv}: {len(unknown)} of {len(paths)} paths are not in the cache: "
            f"{', '.join(map(repr, unknown[:3]))}{', …' if len(unknown) > 3 else ''}; paths must "
            f"be as in its images.csv, for example {images.path[0]!r}{same}"
        )
    _require_distinct(csv, paths, rows)
    return np.array(rows, dtype=np.int64)


def _plain(path: str) -> str:
    """Return a path without a leading ``./``, without blanks around it, and with ``/``."""
    return (path.strip() or path).replace("\\", "/").removeprefix("./")


def _require_distinct(csv: Path, paths: Sequence[str], rows: list[int]) -> None:
    first: dict[int, str] = {}
    for path, row in zip(paths, rows, strict=True):
        if row in first:
            raise LabelsError(
                f"{csv}: {first[row]!r} and {path!r} are the same image; an image is one row"
            )
        first[row] = path
