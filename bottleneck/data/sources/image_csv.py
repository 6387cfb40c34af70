"""A listing: a CSV in which a user names images, with what they are to be called."""

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
    """Read a CSV with the columns ``path[,label][,split][,group]``, in any order.

    Parameters
    ----------
    path : Path
        Only its text is read; the images need not be there.

    Returns
    -------
    names : list of str
        What its first line names.
    columns : TextColumns
        Empty text where a line has none.

    Raises
    ------
    ImagesTableError
        The CSV lacks a ``path`` column, names a file twice, or is damaged.
    """
    columns = TextColumns.empty()
    with path.open("rb") as file:
        if file.read(len(BOM_UTF8)) != BOM_UTF8:
            file.seek(0)
        blocks = iter_chunks(file)
        names, rest = _header(path, next(blocks, ""))
        line = 1
        for block in chain([rest], blocks):
            columns.extend(_texts(path, block, names, line))
            line += block.count("\n")
    _require_once(path, columns.path)
    return names, columns


def _header(path: Path, block: str) -> tuple[list[str], str]:
    try:
        names, rest = split_header(block)
    except csv.Error as error:
        raise ImagesTableError(f"{path}: line 1: {error}") from error
    if "path" not in names:
        raise ImagesTableError(
            f"{path}: no column 'path' in its first line; "
            "a CSV of images has path[,label][,split][,group]"
        )
    return names, rest


def _texts(path: Path, block: str, names: list[str], line: int) -> list[list[str]]:
    """Path, label, split and group of a block; `line` is how many lines stand before it."""
    place = {name: i for i, name in enumerate(names)}
    found = split_unquoted(block, len(names))
    if found is not None and "" not in found[place["path"]]:
        nothing = [""] * len(found[0])
        return [found[place[name]] if name in place else nothing for name in TEXT_COLUMNS]
    columns: list[list[str]] = [[] for _ in TEXT_COLUMNS]
    reader = csv.DictReader(io.StringIO(block, newline=""), names, restval="")
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


def _require_once(path: Path, names: StringColumn) -> None:
    # By their hashes, which take a tenth of the memory; equal ones are looked into.
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
                    f"{path}: {name!r} stands on lines {lines[name]} and {reader.line_num}; an "
                    "image is one row"
                )
