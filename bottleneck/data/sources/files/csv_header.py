"""Understand the first line of a CSV of images: its separator, and what each column is."""

import codecs
import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bottleneck.data.sources.files.folder import is_image_name
from bottleneck.data.table.csv_chunks import split_header
from bottleneck.errors import ImagesTableError
from bottleneck.runtime import escape_unprintable

SEPARATORS = (",", ";", "\t")

# The usual names of each column, without blanks and underscores: where a table has several, the
# first in this order is taken. The name of the column itself goes before all others.
_NAMES: dict[str, tuple[str, ...]] = {
    "path": (
        *("path", "filepath", "imagepath", "imgpath", "fullpath", "relativepath", "relpath"),
        *("filename", "imagename", "imgname"),
        *("file", "image", "img", "imagefile", "imageid"),
    ),
    "label": ("label", "labels", "labelname", "class", "classname", "category", "target"),
    "split": ("split", "set", "subset", "partition", "usage", "fold"),
    "group": ("group", "groupid", "patient", "patientid", "subject", "subjectid"),
}
_COLUMNS = "path[,label][,split][,group]"
_MOST_CHARACTERS = 80


@dataclass(frozen=True)
class CsvHeader:
    r"""What the first line of a CSV says.

    Attributes
    ----------
    fields : tuple of str
        Names of the columns, as they are written.
    separator : str
        The character between fields.
    at : mapping of str to int
        The position of ``path``, ``label``, ``split`` and ``group``, as far as there are any.

    Examples
    --------
    >>> header, _ = read_csv_header(Path("list.csv"), "File Name;class;camera\n1.jpg;cat;2\n")
    >>> header.separator, header.at, header.remarks
    (';', {'path': 0, 'label': 1},
     ("columns by their usual names: 'File Name' is path, 'class' is label",))
    """

    fields: tuple[str, ...]
    separator: str
    at: Mapping[str, int]

    @property
    def remarks(self) -> tuple[str, ...]:
        """Remarks on columns whose names were translated."""
        renamed = [
            f"{self.name(column)!r} is {column}"
            for column in self.at
            if _plain(self.name(column)) != column
        ]
        return (f"columns by their usual names: {', '.join(renamed)}",) if renamed else ()

    @property
    def unused(self) -> list[int]:
        """The positions of the columns that are not used."""
        return [i for i in range(len(self.fields)) if i not in self.at.values()]

    def name(self, column: str) -> str:
        """Return the name of a column as it is written."""
        return self.fields[self.at[column]].strip()

    def without(self, column: str) -> "CsvHeader":
        """Return the header of a table in which a column is not used."""
        at = {name: position for name, position in self.at.items() if name != column}
        return CsvHeader(self.fields, self.separator, at)


def read_csv_header(path: Path, chunk: str) -> tuple[CsvHeader, str]:
    """Return the header of a CSV and the text of the other rows.

    Columns are found by their usual names in any case. The separator is that of the characters
    ``,``, ``;`` and tab which gives a column of paths.

    Parameters
    ----------
    path : Path
        For messages.
    chunk : str
        The beginning of the file, without a byte order mark.

    Raises
    ------
    ImagesTableError
        No column has paths, or two columns could be the labels or the splits.
    """
    try:
        splittings = [(separator, *split_header(chunk, separator)) for separator in SEPARATORS]
    except csv.Error as error:
        raise ImagesTableError(f"{path}: line 1: {error}") from error
    for separator, fields, rest in splittings:
        if _candidates(fields, "path"):
            at = {
                column: found
                for column in _NAMES
                if (found := _position(path, fields, column)) is not None
            }
            return CsvHeader(tuple(fields), separator, at), rest
    raise ImagesTableError(_no_paths(path, max((f for _, f, _ in splittings), key=len)))


def require_utf8(path: Path, start: bytes) -> None:
    """Refuse a file in another encoding, by its byte order mark or by zeros in its first bytes.

    Raises
    ------
    ImagesTableError
        It is UTF-16 or UTF-32.
    """
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in start:
        raise ImagesTableError(f"{path}: it is in UTF-16 or UTF-32: save it as CSV in UTF-8")


def _candidates(fields: Sequence[str], column: str) -> list[int]:
    """Return the positions of the fields that may be a column, the likeliest first."""
    names = _NAMES[column]
    plain = [_plain(field) for field in fields]
    found = [i for name in names for i, field in enumerate(plain) if field == name]
    if column == "split" and (not found or plain[found[0]] == "fold"):
        found = [i for i, field in enumerate(plain) if field.endswith("split")] or found
    return found


def _position(path: Path, fields: Sequence[str], column: str) -> int | None:
    found = _candidates(fields, column)
    if not found:
        return None
    plain = [_plain(fields[i]) for i in found]
    if column in ("label", "split") and plain[0] != column:  # a wrong choice would be silent
        rivals = [i for i, name in zip(found, plain, strict=True) if name != "fold"]
    else:
        rivals = [i for i, name in zip(found, plain, strict=True) if name == plain[0]]
    if len(rivals) > 1:
        names = ", ".join(repr(fields[i].strip()) for i in rivals)
        raise ImagesTableError(
            f"{path}: the columns {names} could each be the {column}: name one of them {column}"
        )
    return found[0]


def _no_paths(path: Path, fields: Sequence[str]) -> str:
    if not fields:
        fields = [""]
    shown = escape_unprintable(", ".join(map(repr, fields)))
    if len(shown) > _MOST_CHARACTERS:
        shown = f"{shown[:_MOST_CHARACTERS]}…"
    is_row = any(is_image_name(field.strip()) or "/" in field or "\\" in field for field in fields)
    hint = ": put a line with the columns' names before it" if is_row else ""
    return (
        f"{path}: no column 'path' in its first line, which has {shown}; a CSV of images has "
        f"{_COLUMNS}{hint}"
    )


def _plain(name: str) -> str:
    """Return a column's name in lower case, without blanks, underscores and other signs."""
    return re.sub(r"[\W_]+", "", name).casefold()
