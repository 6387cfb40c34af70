"""Images: find them, with their labels, splits and groups; the table of rows that they become."""

import csv
import errno
import hashlib
import io
import os
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from bottleneck.data.csv_chunks import format_rows, iter_chunks, parse_int_column, split_unquoted
from bottleneck.data.image_csv import COLUMNS, read_image_csv
from bottleneck.data.string_column import StringColumn
from bottleneck.errors import ImagesNotFoundError, ImagesTableError
from bottleneck.runtime.files import atomic_write

SPLITS = ("train", "val", "test")

_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
_PNM = (".ppm", ".pgm", ".pbm", ".pnm")
SUFFIXES = frozenset((*_JPEG, ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", *_PNM))

_COLUMNS = (*COLUMNS, "size", "mtime_ns")
_ROWS_AT_ONCE = 4096

# The name of one more column, which is empty: of all that follows the first line. There it cannot
# come apart from the table, as a file of its own would between two renames.
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
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

    path: Sequence[str]
    label: Sequence[str]
    split: Sequence[str]
    group: Sequence[str]
    size: NDArray[np.int64]
    mtime_ns: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name in COLUMNS:
            column = getattr(self, name)
            if not isinstance(column, StringColumn):
                object.__setattr__(self, name, StringColumn(column))

    def __len__(self) -> int:
        return len(self.size)

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
        return np.fromiter(map(bool, self.label), dtype=bool, count=len(self))

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
            texts = [StringColumn() for _ in range(4)]
            numbers = [array("q"), array("q")]  # 8 bytes a value, where a list of int has 40
            file.seek(0)
            file.readline()
            line = 1
            for block in iter_chunks(file):
                columns = _plain_columns(block) or _quoted_columns(path, block, line)
                for text, some in zip(texts, columns.texts, strict=True):
                    text.extend(some)
                for number, values in zip(numbers, columns.numbers, strict=True):
                    number.frombytes(values.tobytes())
                line += block.count("\n")
        names, label, split, group = texts
        size, mtime = (np.frombuffer(number, dtype=np.int64) for number in numbers)
        return cls(names, label, split, group, size, mtime)


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


def open_images(source: Path) -> tuple[Path, ImageTable]:
    """Find the images of a directory or a CSV, in a fixed order.

    A directory of class folders gives labels; one with ``train/ val/ test/`` of class folders
    gives splits as well; a flat one gives neither. A CSV has the columns
    ``path[,label][,split][,group]``, paths relative to its own folder.

    Parameters
    ----------
    source : Path
        A directory or a CSV file.

    Returns
    -------
    root : Path
        The folder that paths are relative to.
    table : ImageTable
        Sorted by path (a directory) or in the file's order (a CSV).

    Raises
    ------
    ImagesNotFoundError
        There is no such place, or no image in it.
    ImagesTableError
        The CSV lacks a ``path`` column or names a file twice.
    """
    if source.is_dir():
        root, columns = source, _folder_columns(source)
    elif source.is_file() and source.suffix.lower() == ".csv":
        root, (_, columns) = source.parent, read_image_csv(source)
    elif source.exists():
        raise ImagesNotFoundError(f"{source} is neither a directory nor a .csv file of images")
    else:
        raise ImagesNotFoundError(
            f"no such directory or CSV of images: {source}: give a folder of class folders, a flat "
            "folder, or a .csv file"
        )
    if not columns[0]:
        raise ImagesNotFoundError(
            f"no images in {source}: looked for {' '.join(sorted(SUFFIXES))} in it and below"
        )
    return root, _table(root, columns)


_Inode = tuple[int, int]  # device, number


def _folder_columns(root: Path) -> list[StringColumn]:
    label_at = 1 if _has_splits(root) else 0

    def row(path: str) -> tuple[str, str, str, str]:
        folders = path.split("/")[:-1]
        label = folders[label_at] if len(folders) > label_at else ""
        return path, label, folders[0] if label_at and folders else "", ""

    columns = [StringColumn() for _ in range(4)]
    rows = map(row, _walk(str(root)))
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        for column, texts in zip(columns, zip(*some, strict=True), strict=True):
            column.extend(texts)
    return columns


def _has_splits(root: Path) -> bool:
    """Whether the first level names splits, and not classes one of which is called "train"."""
    folders = [path for path in root.iterdir() if path.is_dir() and not _hidden(path.name)]
    named = [path for path in folders if path.name in SPLITS]
    return bool(named) and (
        len(named) == len(folders)
        or any(
            child.is_dir() and not _hidden(child.name)
            for folder in named
            for child in folder.iterdir()
        )
    )


def _walk(folder: str, prefix: str = "", above: frozenset[_Inode] = frozenset()) -> Iterator[str]:
    """Every image file below a folder, relative to it, in the order of these paths.

    Links are followed, but not back up.
    """
    status = os.stat(folder)  # noqa: PTH116  (a Path for each of a million files is slow)
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    with os.scandir(folder) as entries:
        # A folder's place among its neighbours is that of the paths in it.
        shown = [entry for entry in entries if not _hidden(entry.name)]
    named = sorted((f"{e.name}/" if _is_folder(e) else e.name, e.path) for e in shown)
    for name, path in named:
        if name.endswith("/"):
            yield from _walk(path, prefix + name, above | {here})
        elif is_image_name(name):
            yield prefix + name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link that leads nowhere; if it is named like an image, its row says so


def is_image_name(name: str) -> bool:
    """Whether a file's name ends like an image's."""
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122  (millions of names)


def _hidden(name: str) -> bool:
    return name.startswith(".")


def _table(root: Path, columns: list[StringColumn]) -> ImageTable:
    size, mtime = array("q"), array("q")
    for name in columns[0]:
        found = _size_and_mtime(os.path.join(root, name))  # noqa: PTH118  (as `_walk`)
        size.append(found[0])
        mtime.append(found[1])
    path, label, split, group = columns
    sizes, times = (np.frombuffer(number, dtype=np.int64) for number in (size, mtime))
    return ImageTable(path, label, split, group, sizes, times)


# There is no such file: absent, below a file, a link to itself, a name longer than names can be.
_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def _size_and_mtime(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116  (as `_walk`)
    except OSError as error:
        if error.errno not in _NOWHERE:
            raise  # a disk that fails for a moment must not make every image look removed
        return -1, -1  # named in a CSV, a broken link, or gone since: its row says so
    return status.st_size, status.st_mtime_ns
