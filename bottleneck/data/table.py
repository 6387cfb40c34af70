"""The table of images: one row per image, stored as ``images.csv``."""

import csv
import hashlib
import io
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bottleneck.data.categorical_column import CategoricalColumn
from bottleneck.data.csv_chunks import format_rows, iter_chunks, parse_int_column, split_unquoted
from bottleneck.data.string_column import StringColumn
from bottleneck.errors import ImagesTableError
from bottleneck.runtime.files import atomic_write

TEXT_COLUMNS = ("path", "label", "split", "group")

_COLUMNS = (*TEXT_COLUMNS, "size", "mtime_ns")
_ROWS_AT_ONCE = 4096

# The name of one more column, which is empty: of all that follows the first line. There it cannot
# come apart from the table, as a file of its own would between two renames.
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class TextColumns(NamedTuple):
    """Path, label, split and group of some images."""

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
    """Images as columns; row i of every column, and of every layer's codes, is one image.

    Attributes
    ----------
    path : sequence of str
        Relative to the images' root, with forward slashes, each once.
    label, split, group : sequence of str
        Empty where there is none. These four are packed, whatever they are given as.
    size, mtime_ns : ndarray of int64, shape (n,)
        Bytes and nanoseconds; -1 where there is no such file, or none any more.
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

    def __eq__(self, other: object) -> bool:
        return self.digest == other.digest if isinstance(other, ImageTable) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    def take(self, rows: NDArray[np.int64]) -> "ImageTable":
        """Return a table of some rows, in the order of `rows`."""
        return ImageTable(
            [self.path[row] for row in rows.tolist()],
            self.label.take(rows),
            self.split.take(rows),
            self.group.take(rows),
            self.size[rows],
            self.mtime_ns[rows],
        )

    @property
    def texts(self) -> tuple[Sequence[str], ...]:
        """Path, label, split and group."""
        return self.path, self.label, self.split, self.group

    @property
    def exists(self) -> NDArray[np.bool_]:
        """Whether row i's file was there when the table was made, shape (n,)."""
        return self.size >= 0

    @property
    def has_label(self) -> NDArray[np.bool_]:
        """Whether row i has a label, shape (n,)."""
        return ~self.label.equals("")

    @cached_property
    def digest(self) -> str:
        """Of the rows as they stand in ``images.csv``: of two tables, whether they are equal."""
        digest = hashlib.sha256()
        for lines in self._lines():
            digest.update(lines)
        return digest.hexdigest()

    def write_csv(self, path: Path) -> None:
        """Publish ``images.csv``, whole or not at all; one that has these rows is left alone.

        Any file name survives the way there and back.

        Raises
        ------
        OSError
            The disk refused it.
        """
        if _stands(path, self.digest):
            return
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            file.write(f"{','.join(_COLUMNS)},sha256:{self.digest}\r\n".encode())
            file.writelines(self._lines())

    def _lines(self) -> Iterator[bytes]:
        """Some thousands of rows at a time: of ten million, the whole text would be 800 MB."""
        for start in range(0, len(self), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            size, mtime = (list(map(str, n[rows].tolist())) for n in (self.size, self.mtime_ns))
            lines = format_rows(
                [*(text[rows] for text in self.texts), size, mtime, [""] * len(size)]
            )
            yield lines.encode("utf-8", errors="surrogateescape")

    @classmethod
    def read_csv(cls, path: Path, *, known: Self | None = None) -> Self:
        """Read a file that `write_csv` wrote.

        Parameters
        ----------
        path : Path
        known : ImageTable, optional
            Given back in place of a second table where the file has just its rows.

        Raises
        ------
        ImagesTableError
            The file is not such a table, or was edited.
        """
        with path.open("rb") as file:
            digest = _require_digest(path, file)
            if known is not None and known.digest == digest:
                return known
            texts = TextColumns.empty()
            numbers = [array("q"), array("q")]  # 8 bytes a value, where a list of int has 40
            file.seek(0)
            file.readline()
            line = 1
            for block in iter_chunks(file):
                columns = _plain_columns(block) or _quoted_columns(path, block, line)
                texts.extend(columns.texts)
                for number, values in zip(numbers, columns.numbers, strict=True):
                    number.frombytes(values.tobytes())
                line += block.count("\n")
        size, mtime = (np.frombuffer(number, dtype=np.int64) for number in numbers)
        return cls(*texts, size, mtime)


def _categorical(texts: Sequence[str]) -> CategoricalColumn:
    return texts if isinstance(texts, CategoricalColumn) else CategoricalColumn(texts)


@dataclass(frozen=True)
class _Columns:
    """Of some rows: path, label, split and group; size and time."""

    texts: list[list[str]]
    numbers: list[NDArray[np.int64]]


def _plain_columns(block: str) -> _Columns | None:
    columns = split_unquoted(block, len(_COLUMNS) + 1)
    if columns is None:
        return None
    numbers = [found for column in columns[4:6] if (found := parse_int_column(column)) is not None]
    return _Columns(columns[:4], numbers) if len(numbers) == 2 else None


def _quoted_columns(path: Path, block: str, line: int) -> _Columns:
    """By the csv module, row by row; `line` is how many lines stand before the block."""
    texts: list[list[str]] = [[], [], [], []]
    numbers = [array("q"), array("q")]
    reader = csv.reader(io.StringIO(block, newline=""))
    try:
        for *row, size, mtime, _ in reader:
            for column, text in zip(texts, row, strict=True):
                column.append(text)
            numbers[0].append(int(size))
            numbers[1].append(int(mtime))
    except (ValueError, OverflowError, csv.Error) as error:
        raise ImagesTableError(f"{path}: line {line + reader.line_num}: {error}") from error
    return _Columns(texts, [np.array(number, dtype=np.int64) for number in numbers])


def _stands(path: Path, digest: str) -> bool:
    try:
        with path.open("rb") as file:
            return _require_digest(path, file) == digest
    except (FileNotFoundError, ImagesTableError):
        return False


def _require_digest(path: Path, file: BinaryIO) -> str:
    """The digest of a table's lines; one whose lines are not those that were written is refused."""
    *columns, name = file.readline(256).decode("utf-8", errors="replace").strip().split(",")
    if tuple(columns) != _COLUMNS or not _DIGEST.fullmatch(name):
        first = ",".join((*_COLUMNS, "sha256:…"))
        raise ImagesTableError(f"{path}: the first line must be {first}")
    found = hashlib.sha256()
    while block := file.read(1 << 20):
        found.update(block)
    if name != f"sha256:{found.hexdigest()}":
        raise ImagesTableError(
            f"{path}: its lines are not those that were written (sha256 differs)"
        )
    return found.hexdigest()
