"""ImageTable: one row per image, stored as ``images.csv`` in a cache."""

import csv
import hashlib
import io
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bottleneck.data.table.categorical_column import CategoricalColumn
from bottleneck.data.table.csv_chunks import (
    format_rows,
    iter_chunks,
    parse_int_column,
    split_unquoted,
)
from bottleneck.data.table.string_column import StringColumn
from bottleneck.errors import ImagesTableError
from bottleneck.runtime import atomic_write

TEXT_COLUMNS = ("path", "label", "split", "group")

_COLUMNS = (*TEXT_COLUMNS, "size", "mtime_ns")
_ROWS_AT_ONCE = 4096  # the whole text of ten million rows would take 800 MB

# Name of the last column, whose fields are empty: the digest of everything after the first line.
# Within the file it cannot be separated from the table, as a second file could between two renames.
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class TextColumns(NamedTuple):
    """Path, label, split and group of some images.

    Examples
    --------
    >>> columns = TextColumns.empty()
    >>> columns.extend([["1.jpg", "2.jpg"], ["cat", "dog"], ["train", "test"], ["", ""]])
    >>> columns.label[:]
    ['cat', 'dog']
    """

    path: StringColumn
    label: CategoricalColumn
    split: CategoricalColumn
    group: CategoricalColumn

    @classmethod
    def empty(cls) -> "TextColumns":
        """Return columns without rows, to be extended."""
        return cls(StringColumn(), CategoricalColumn(), CategoricalColumn(), CategoricalColumn())

    def extend(self, columns: Iterable[Iterable[str]]) -> None:
        """Append rows, given as four columns of equal length."""
        path, label, split, group = columns
        self.path.extend(path)
        self.label.extend(label)
        self.split.extend(split)
        self.group.extend(group)


@dataclass(frozen=True, eq=False, init=False)
class ImageTable:
    """Images as columns. Row i of every column, and of every layer's codes, is one image.

    Two tables are equal if all their columns are.

    Parameters
    ----------
    path : sequence of str
        Relative to the folder of the images, with forward slashes; each path once.
    label, split, group : sequence of str
        Empty text means none.
    size, mtime_ns : ndarray of int64, shape (n,)
        Bytes, and the time of the last change in nanoseconds; -1 if the file does not exist.

    Attributes
    ----------
    path : StringColumn
    label, split, group : CategoricalColumn
    size, mtime_ns : ndarray of int64, shape (n,)

    Examples
    --------
    >>> n = np.zeros(2, dtype=np.int64)
    >>> images = ImageTable(["1.jpg", "2.jpg"], ["cat", ""], ["", ""], ["", ""], n, n)
    >>> images.label.categories, images.has_label.tolist(), images.exists.tolist()
    (['cat', ''], [True, False], [True, True])
    >>> images.take(np.array([1])).path[:]
    ['2.jpg']
    """

    path: StringColumn
    label: CategoricalColumn
    split: CategoricalColumn
    group: CategoricalColumn
    size: NDArray[np.int64]
    mtime_ns: NDArray[np.int64]

    def __init__(  # noqa: PLR0917  (the columns of images.csv in their order)
        self,
        path: Sequence[str],
        label: Sequence[str],
        split: Sequence[str],
        group: Sequence[str],
        size: NDArray[np.int64],
        mtime_ns: NDArray[np.int64],
    ) -> None:
        columns = {
            "path": path if isinstance(path, StringColumn) else StringColumn(path),
            "label": _categorical(label),
            "split": _categorical(split),
            "group": _categorical(group),
            "size": size,
            "mtime_ns": mtime_ns,
        }
        self.__dict__.update(columns)  # the class is frozen

    def __len__(self) -> int:
        return len(self.size)

    def __repr__(self) -> str:
        """Return a short description."""
        return f"<ImageTable of {len(self)} images>"

    def __eq__(self, other: object) -> bool:
        return self.digest == other.digest if isinstance(other, ImageTable) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    def take(self, rows: NDArray[np.int64]) -> "ImageTable":
        """Return a table of some rows, in the order of `rows`."""
        return ImageTable(
            StringColumn(self.path.iter_rows(rows)),
            self.label.take(rows),
            self.split.take(rows),
            self.group.take(rows),
            self.size[rows],
            self.mtime_ns[rows],
        )

    @property
    def texts(self) -> TextColumns:
        """Path, label, split and group."""
        return TextColumns(self.path, self.label, self.split, self.group)

    @property
    def exists(self) -> NDArray[np.bool_]:
        """Whether each image's file existed when the table was made, shape (n,)."""
        return self.size >= 0

    @property
    def has_label(self) -> NDArray[np.bool_]:
        """Whether each image has a label, shape (n,)."""
        return ~self.label.equals("")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the rows as they are written to ``images.csv``, in hexadecimal."""
        digest = hashlib.sha256()
        for lines in self._lines():
            digest.update(lines)
        return digest.hexdigest()

    def write_csv(self, path: Path) -> None:
        """Write ``images.csv`` atomically; a file that has these rows already is not touched.

        `read_csv` restores any file name, also one that is not UTF-8.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        if _has_digest(path, self.digest):
            return
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            file.write(f"{','.join(_COLUMNS)},sha256:{self.digest}\r\n".encode())
            file.writelines(self._lines())

    def _lines(self) -> Iterator[bytes]:
        for start in range(0, len(self), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            size, mtime = (list(map(str, n[rows].tolist())) for n in (self.size, self.mtime_ns))
            texts = (column[rows] for column in self.texts)
            lines = format_rows([*texts, size, mtime, [""] * len(size)])
            yield lines.encode("utf-8", errors="surrogateescape")

    @classmethod
    def read_csv(cls, path: Path, *, known: Self | None = None) -> Self:
        """Read a file that `write_csv` wrote.

        Parameters
        ----------
        path : Path
        known : ImageTable, optional
            A table that may be the same: if the file has its digest, it is returned, and the file
            is not parsed.

        Raises
        ------
        ImagesTableError
            The file is not such a table, or its digest is wrong.
        FileNotFoundError
            The file does not exist.
        """
        with path.open("rb") as file:
            digest = _require_digest(path, file)
            if known is not None and known.digest == digest:
                return known
            texts = TextColumns.empty()
            numbers = [array("q"), array("q")]  # 8 bytes per value, where a list of int takes 40
            file.seek(0)
            file.readline()
            line = 1
            for chunk in iter_chunks(file):
                some, values = _split_columns(chunk) or _parse_columns(path, chunk, line)
                texts.extend(some)
                for number, column in zip(numbers, values, strict=True):
                    number.frombytes(column.tobytes())
                line += chunk.count("\n")
        size, mtime = (np.frombuffer(number, dtype=np.int64) for number in numbers)
        return cls(*texts, size, mtime)


def is_storable(text: str) -> bool:
    r"""Return whether a text can be written to ``images.csv`` and to shards.

    A NUL cannot, nor half of a surrogate pair, which JSON and arrays may hold. Escaped bytes can,
    as in file names that are not UTF-8 (``surrogateescape``).

    Examples
    --------
    >>> is_storable("bee"), is_storable("\udcff"), is_storable("\ud83d"), is_storable("a\0")
    (True, True, False, False)
    """
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _categorical(texts: Sequence[str]) -> CategoricalColumn:
    return texts if isinstance(texts, CategoricalColumn) else CategoricalColumn(texts)


# Some rows of a table: path, label, split and group; size and time.
_Columns = tuple[list[list[str]], list[NDArray[np.int64]]]


def _split_columns(chunk: str) -> _Columns | None:
    columns = split_unquoted(chunk, len(_COLUMNS) + 1)
    if columns is None:
        return None
    size, mtime = (parse_int_column(column) for column in columns[4:6])
    return None if size is None or mtime is None else (columns[:4], [size, mtime])


def _parse_columns(path: Path, chunk: str, line: int) -> _Columns:
    """Parse a chunk with the csv module; `line` is the number of lines before it."""
    texts: list[list[str]] = [[], [], [], []]
    numbers = [array("q"), array("q")]
    reader = csv.reader(io.StringIO(chunk, newline=""))
    try:
        for *row, size, mtime, _ in reader:
            for column, text in zip(texts, row, strict=True):
                column.append(text)
            numbers[0].append(int(size))
            numbers[1].append(int(mtime))
    except (ValueError, OverflowError, csv.Error) as error:
        raise ImagesTableError(f"{path}: line {line + reader.line_num}: {error}") from error
    return texts, [np.array(number, dtype=np.int64) for number in numbers]


def _has_digest(path: Path, digest: str) -> bool:
    try:
        with path.open("rb") as file:
            return _require_digest(path, file) == digest
    except (FileNotFoundError, ImagesTableError):
        return False


def _require_digest(path: Path, file: io.BufferedReader) -> str:
    """Return the digest of a table's rows, which must be the one in its first line."""
    *columns, name = file.readline(256).decode("utf-8", errors="replace").strip().split(",")
    if tuple(columns) != _COLUMNS or not _DIGEST.fullmatch(name):
        first = ",".join((*_COLUMNS, "sha256:…"))
        raise ImagesTableError(f"{path}: the first line must be {first}")
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    if name != f"sha256:{digest}":
        raise ImagesTableError(
            f"{path}: its lines are not those that were written (sha256 differs)"
        )
    return digest
