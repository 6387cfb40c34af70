"""Read a CSV that lists images, with labels, splits and groups."""

import csv
import io
from codecs import BOM_UTF8
from itertools import chain
from pathlib import Path

import numpy as np

from bottleneck.data.csv_chunks import iter_chunks, split_header, split_unquoted
from bottleneck.data.string_column import StringColumn
from bottleneck.data.table import TEXT_COLUMNS, TextColumns
from bottleneck.errors import ImagesTableError


def read_image_csv(path: Path) -> tuple[list[str], TextColumns]:
    r"""Read a CSV with the columns ``path[,label][,split][,group]``, in any order.

    Parameters
    ----------
    path : Path
        The CSV. The images that it lists are not looked for.

    Returns
    -------
    names : list of str
        The fields of the first line.
    columns : TextColumns
        Empty text for columns that the CSV does not have.

    Raises
    ------
    ImagesTableError
        The CSV lacks a ``path`` column, names a file twice, or is damaged.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
    ...     print("path,label\n1.jpg,cat", file=file, flush=True)
    ...     names, columns = read_image_csv(Path(file.name))
    >>> names, columns.label[:]
    (['path', 'label'], ['cat'])
    """
    columns = TextColumns.empty()
    with path.open("rb") as file:
        if file.read(len(BOM_UTF8)) != BOM_UTF8:
            file.seek(0)
        chunks = iter_chunks(file)
        names, rest = _read_header(path, next(chunks, ""))
        line = 1
        for chunk in chain([rest], chunks):
            columns.extend(_parse_columns(path, chunk, names, line))
            line += chunk.count("\n")
    _require_distinct(path, columns.path)
    return names, columns


def _read_header(path: Path, chunk: str) -> tuple[list[str], str]:
    try:
        names, rest = split_header(chunk)
    except csv.Error as error:
        raise ImagesTableError(f"{path}: line 1: {error}") from error
    if "path" not in names:
        raise ImagesTableError(
            f"{path}: no column 'path' in its first line; "
            "a CSV of images has path[,label][,split][,group]"
        )
    return names, rest


def _parse_columns(path: Path, chunk: str, names: list[str], line: int) -> list[list[str]]:
    """Return path, label, split and group of a chunk; `line` is the number of lines before it."""
    columns = split_unquoted(chunk, len(names))
    if columns is not None:
        by_name = dict(zip(names, columns, strict=True))
        if "" not in by_name["path"]:
            empty = [""] * len(columns[0])
            return [by_name.get(name, empty) for name in TEXT_COLUMNS]
    columns = [[] for _ in TEXT_COLUMNS]
    reader = csv.DictReader(io.StringIO(chunk, newline=""), names, restval="")
    try:
        for record in reader:
            row = [record.get(name) or "" for name in TEXT_COLUMNS]
            if not row[0] or "\0" in "".join(row):
                raise ImagesTableError(
                    f"{path}: line {line + reader.line_num} has no path, or a NUL character in a "
                    "value"
                )
            for column, text in zip(columns, row, strict=True):
                column.append(text)
    except csv.Error as error:
        raise ImagesTableError(f"{path}: line {line + reader.line_num}: {error}") from error
    return columns


def _require_distinct(path: Path, names: StringColumn) -> None:
    # Hashes take a tenth of the memory of a set of paths; paths of equal hashes are compared.
    hashes = np.fromiter(map(hash, names), dtype=np.int64, count=len(names))
    hashes.sort()
    suspects = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    if not suspects:
        return
    lines: dict[str, int] = {}
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = csv.DictReader(file)
        for name in (record["path"] for record in reader):
            if (
                hash(name) in suspects
                and lines.setdefault(name, reader.line_num) != reader.line_num
            ):
                raise ImagesTableError(
                    f"{path}: {name!r} is on lines {lines[name]} and {reader.line_num}; an "
                    "image is one row"
                )
