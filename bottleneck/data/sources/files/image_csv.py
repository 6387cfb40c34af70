"""Read a CSV that lists images, with labels, splits and groups."""

import csv
import io
import posixpath
import re
from codecs import BOM_UTF8
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np

from bottleneck.data.sources.files.csv_header import CsvHeader, read_csv_header, require_utf8
from bottleneck.data.sources.files.csv_unused import UnusedColumns
from bottleneck.data.split_names import canonical_split, parse_split, translations
from bottleneck.data.table.blocks import in_blocks
from bottleneck.data.table.categorical_column import CategoricalColumn
from bottleneck.data.table.csv_chunks import iter_chunks, split_unquoted
from bottleneck.data.table.image_table import TEXT_COLUMNS, TextColumns
from bottleneck.data.table.string_column import StringColumn
from bottleneck.data.table.text_matching import find_repeats
from bottleneck.errors import ImagesTableError

_MOST_VALUES = 4  # in a message
_BEFORE_HEADER = re.compile(r"(?:[ \t]*\r?\n)*(?:sep=.\r?\n)?")  # the latter is Excel's
_ESCAPED = re.compile("[\udc80-\udcff]")  # bytes that are not UTF-8


@dataclass(frozen=True)
class ImageCsv:
    """The rows of a CSV of images.

    Attributes
    ----------
    path : Path
        The CSV.
    header : CsvHeader
        What its columns are.
    columns : TextColumns
        Empty text for columns that the CSV does not have. Splits have their canonical names.
    remarks : tuple of str
        Columns that are not used, and names that were translated.
    """

    path: Path
    header: CsvHeader
    columns: TextColumns
    remarks: tuple[str, ...]

    def has(self, column: str) -> bool:
        """Return whether the CSV has a column, under whatever name."""
        return column in self.header.at

    def require_distinct(self, paths: StringColumn, *, as_files: bool) -> None:
        """Require that each row is another image.

        Parameters
        ----------
        paths : StringColumn
            The path of each row.
        as_files : bool
            Whether other spellings of a path, such as ``./a.jpg`` of ``a.jpg``, are the same image;
            a relative one is below the folder of the CSV.

        Raises
        ------
        ImagesTableError
            Two rows are one image. The message has their lines.
        """
        for first, second, _ in find_repeats(
            lambda: _normal(paths, self.path.parent) if as_files else paths, len(paths)
        ):
            one, other = paths[first], paths[second]
            if self._same_file(one, other):
                lines = _lines_of_rows(self.path, self.header, {first, second})
                alike = "" if one == other else f", as {other!r}"
                raise ImagesTableError(
                    f"{self.path}: {one!r} is on lines {lines[first]} and {lines[second]}{alike}; "
                    "an image is one row"
                )

    def _same_file(self, one: str, other: str) -> bool:
        """Return whether two spellings of a path are one file: behind links, they may be two."""
        if one == other:
            return True
        files = [self.path.parent / one, self.path.parent / other]
        return not all(file.exists() for file in files) or files[0].samefile(files[1])


def read_image_csv(path: Path) -> ImageCsv:
    r"""Read a CSV with the columns ``path[,label][,split][,group]``, in any order.

    `bottleneck.data.sources.files.csv_header` has the other names of these columns. Blanks around
    labels, splits and groups are no part of them.

    Parameters
    ----------
    path : Path
        The CSV. The images that it lists are not looked for.

    Returns
    -------
    ImageCsv

    Raises
    ------
    ImagesTableError
        The CSV lacks a column of paths, is not understood, or is damaged; or it has no column of
        splits, but one that is not used tells them.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
    ...     print("path;Class;set\n1.jpg;cat;Training", file=file, flush=True)
    ...     found = read_image_csv(Path(file.name))
    >>> found.has("label"), found.columns.label[:], found.columns.split[:]
    (True, ['cat'], ['train'])
    """
    columns = TextColumns.empty()
    with path.open("rb") as file:
        chunks = iter_chunks(file)
        header, rest, line = _read_header(path, file, chunks)
        unused = UnusedColumns(header)
        for chunk in chain([rest], chunks):
            columns.extend(_parse_columns(path, chunk, header, line, unused))
            line += chunk.count("\n")
    header, columns, splits = _understand_splits(header, columns)
    remarks = (*header.remarks, *unused.remarks(path, header), *splits, *_damaged_values(columns))
    return ImageCsv(path, header, columns, remarks)


def _read_header(path: Path, file: BinaryIO, chunks: Iterator[str]) -> tuple[CsvHeader, str, int]:
    """Return the header, the text of the rows in the first chunk, and the lines before them."""
    start = file.read(len(BOM_UTF8))
    require_utf8(path, start)
    if start != BOM_UTF8:
        file.seek(0)
    chunk = next(chunks, "")
    before = _BEFORE_HEADER.match(chunk)
    skipped = before.end() if before else 0
    header, rest = read_csv_header(path, chunk[skipped:])
    return header, rest, chunk.count("\n", 0, skipped) + 1


def _damaged_values(columns: TextColumns) -> Iterator[str]:
    """Yield a sentence on values that no user writes: with a line break, or in another encoding."""
    values = [value for column in columns[1:] for value in column.categories]
    if broken := [value for value in values if "\n" in value]:
        yield f"a value goes over several lines, {broken[0][:60]!r}: is a quote missing?"
    if foreign := [value for value in values if _ESCAPED.search(value)]:
        yield f"{foreign[0][:60]!r} is not UTF-8: save the file in UTF-8"


def _understand_splits(
    header: CsvHeader, columns: TextColumns
) -> tuple[CsvHeader, TextColumns, tuple[str, ...]]:
    """Give splits their canonical names; a column `fold` of numbers tells no splits."""
    if "split" not in header.at:
        return header, columns, ()
    values = columns.split.categories
    if header.name("split").casefold() == "fold" and not any(map(parse_split, values)):
        shown = ", ".join([*map(repr, values[:_MOST_VALUES]), *["…"][: len(values) > _MOST_VALUES]])
        none = CategoricalColumn.blank(len(columns.path))
        remark = f"the values of {header.name('split')!r} are no splits: {shown}"
        return header.without("split"), columns._replace(split=none), (remark,)
    names = [(value, canonical_split(value)) for value in values]
    if all(value == name for value, name in names):
        return header, columns, ()
    canonical = list(dict.fromkeys(name for _, name in names))
    codes = np.array([canonical.index(name) for _, name in names], dtype=np.int64)
    split = CategoricalColumn.from_codes(codes[columns.split.codes], canonical)
    return header, columns._replace(split=split), translations(names)


def _parse_columns(
    path: Path, chunk: str, header: CsvHeader, line: int, unused: UnusedColumns
) -> list[Sequence[str]]:
    """Return path, label, split and group of a chunk; `line` is the number of lines before it."""
    fields = split_unquoted(chunk, len(header.fields), header.separator)
    if fields is not None:
        empty = [""] * len(fields[0])
        at = [header.at.get(name) for name in TEXT_COLUMNS]
        columns = [empty if i is None else fields[i] for i in at]
        if "" not in columns[0]:
            for i in unused.positions:
                unused.add(i, fields[i])
            return [columns[0], *(_without_blanks(column, chunk) for column in columns[1:])]
    columns = [[] for _ in TEXT_COLUMNS]
    reader = csv.reader(io.StringIO(chunk, newline=""), delimiter=header.separator)
    try:
        for record in reader:
            row = [_field(record, header.at.get(name)) for name in TEXT_COLUMNS]
            if record and (not row[0] or "\0" in "".join(row)):
                raise ImagesTableError(
                    f"{path}: line {line + reader.line_num} has no path, or a NUL character in a "
                    "value"
                )
            for column, text in zip(columns, row if record else [], strict=False):
                column.append(text)
            for i in unused.positions:
                unused.add(i, record[i : i + 1])
            if any(record[len(header.fields) :]):
                unused.count_long_row()
    except csv.Error as error:
        raise ImagesTableError(f"{path}: line {line + reader.line_num}: {error}") from error
    return [columns[0], *(_without_blanks(column, " ") for column in columns[1:])]


def _field(record: Sequence[str], position: int | None) -> str:
    """Return a field of a row, which may be short; empty if the CSV lacks the column."""
    return record[position] if position is not None and position < len(record) else ""


def _without_blanks(column: list[str], chunk: str) -> list[str]:
    """Remove blanks around values. Most chunks have no blank at all; some blanks are not ASCII."""
    may_have = " " in chunk or "\t" in chunk or not chunk.isascii()
    return [text.strip() for text in column] if may_have else column


def _normal(paths: StringColumn, folder: Path) -> Iterator[str]:
    """Yield each path in its shortest spelling: below `folder` a relative one.

    Most blocks have no other.
    """
    tops = tuple(f"{top}/" for top in {folder.absolute(), folder.resolve()})
    for block in in_blocks(paths):
        text = "\n".join(block)
        if "./" in text or "//" in text or "\n/" in f"\n{text}":
            for name in map(posixpath.normpath, block):
                yield next((name.removeprefix(top) for top in tops if name.startswith(top)), name)
        else:
            yield from block


def _lines_of_rows(path: Path, header: CsvHeader, rows: Collection[int]) -> dict[int, int]:
    """Return the line on which each of some rows ends."""
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = csv.reader(file, delimiter=header.separator)
        while tuple(next(reader)) != header.fields:
            pass
        records = (reader.line_num for record in reader if record)
        return {row: line for row, line in enumerate(records) if row in rows}
