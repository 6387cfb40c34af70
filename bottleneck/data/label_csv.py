"""Replace the labels of images by those of a CSV."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck.data.categorical_column import CategoricalColumn
from bottleneck.data.sources.files.image_csv import read_image_csv
from bottleneck.data.table import ImageTable
from bottleneck.errors import LabelsError

_COLUMNS = "path,label[,split][,group]"


def with_labels_from_csv(images: ImageTable, csv: Path) -> ImageTable:
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
    ImageTable
        The same rows in the same order.

    Raises
    ------
    ImagesTableError
        The CSV lacks a column of paths, names a path twice, or is not understood.
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
    found = read_image_csv(csv)
    found.require_distinct(found.columns.path, as_files=False)
    paths, label, split, group = found.columns
    if not found.has("label"):
        raise LabelsError(
            f"{csv}: no column 'label' in its first line; a CSV of labels has {_COLUMNS}"
        )
    rows = _rows_of_paths(images, csv, paths)
    return dataclasses.replace(
        images,
        label=_scatter(label, rows, len(images)),
        split=_scatter(split if found.has("split") else images.split.take(rows), rows, len(images)),
        group=_scatter(group, rows, len(images)) if found.has("group") else images.group,
    )


def _scatter(values: CategoricalColumn, rows: NDArray[np.int64], n: int) -> CategoricalColumn:
    """Return a column of n rows with these values in these rows, and empty text in the others."""
    codes = np.full(n, len(values))  # the row of an empty text behind the values
    codes[rows] = np.arange(len(values))
    return values.concatenate(CategoricalColumn([""])).take(codes)


def _rows_of_paths(images: ImageTable, csv: Path, paths: Sequence[str]) -> NDArray[np.int64]:
    """Return the row of each path: of the same path, or else of its plain spelling."""
    # The cache's own paths may begin with ./ as well: they are stored as their CSV wrote them.
    row_of = {path.removeprefix("./"): row for row, path in enumerate(images.path)}
    row_of |= {path: row for row, path in enumerate(images.path)}
    rows = [row_of.get(path, row_of.get(_plain(path), -1)) for path in paths]
    unknown = [path for path, row in zip(paths, rows, strict=True) if row < 0]
    if unknown:
        raise LabelsError(
            f"{csv}: {len(unknown)} of {len(paths)} paths are not in the cache: "
            f"{', '.join(map(repr, unknown[:3]))}{', …' if len(unknown) > 3 else ''}; paths must "
            f"be as in its images.csv, for example {images.path[0]!r}"
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
