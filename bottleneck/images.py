"""Images: find them, with their labels, splits and groups; the table of rows that they become."""

import csv
import errno
import hashlib
import io
import os
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ImagesNotFoundError, ImagesTableError
from bottleneck.files import sha256

SPLITS = ("train", "val", "test")

_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
_PNM = (".ppm", ".pgm", ".pbm", ".pnm")
SUFFIXES = frozenset((*_JPEG, ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", *_PNM))

_COLUMNS = ("path", "label", "split", "group", "size", "mtime_ns")

# The name of one more column, which is empty: of all that follows the first line. There it cannot
# come apart from the table, as a file of its own would between two renames.
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class ImageTable:
    """Images as columns; row i of every column, and of every layer's codes, is one image.

    Attributes
    ----------
    path : list of str
        Relative to the images' root, with forward slashes, each once.
    label, split, group : list of str
        Empty where there is none.
    size, mtime_ns : ndarray of int64, shape (n,)
        Bytes and nanoseconds; -1 where there is no such file, or none any more.
    """

    path: list[str]
    label: list[str]
    split: list[str]
    group: list[str]
    size: NDArray[np.int64]
    mtime_ns: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.path)

    @property
    def exists(self) -> NDArray[np.bool_]:
        """Whether row i's file was there when the table was made, shape (n,)."""
        return self.size >= 0

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Whether row i has a label, shape (n,)."""
        return np.array([bool(label) for label in self.label], dtype=bool)

    def to_csv(self) -> str:
        """The text of ``images.csv``; any file name survives the way there and back."""
        out = io.StringIO()
        writer = csv.writer(out)  # RFC 4180: Python 3.11 quotes a \r only where lines end in one
        writer.writerows(self._rows())
        rows = out.getvalue()
        digest = sha256(rows.encode("utf-8", errors="surrogateescape"))
        return f"{','.join(_COLUMNS)},sha256:{digest}\r\n{rows}"

    @classmethod
    def read_csv(cls, path: Path) -> Self:
        """Read a file with the text of `to_csv`.

        Raises
        ------
        ImagesTableError
            The file is not such a table, or was edited.
        """
        _require_digest(path)
        columns: list[list[str]] = [[], [], [], []]
        size, mtime = array("q"), array("q")  # 8 bytes a value, where a list of int has 40
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            reader = csv.reader(file)
            try:
                next(reader)
                for *texts, size_text, mtime_text, _ in reader:
                    for column, text in zip(columns, texts, strict=True):
                        column.append(text)
                    size.append(int(size_text))
                    mtime.append(int(mtime_text))
            except (ValueError, OverflowError, csv.Error) as error:
                raise ImagesTableError(f"{path}: line {reader.line_num}: {error}") from error
        paths, label, split, group = columns
        return cls(paths, label, split, group, np.array(size), np.array(mtime))

    def _rows(self) -> Iterator[tuple[str, str, str, str, int, int, str]]:
        return zip(
            self.path,
            self.label,
            self.split,
            self.group,
            self.size.tolist(),
            self.mtime_ns.tolist(),
            repeat("", len(self)),
            strict=True,
        )


def _require_digest(path: Path) -> None:
    """Refuse a table whose lines are not those that were written."""
    with path.open("rb") as file:
        *columns, name = file.readline(256).decode("utf-8", errors="replace").strip().split(",")
        if tuple(columns) != _COLUMNS or not _DIGEST.fullmatch(name):
            first = ",".join((*_COLUMNS, "sha256:…"))
            raise ImagesTableError(f"{path}: the first line must be {first}")
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    if name != f"sha256:{digest.hexdigest()}":
        raise ImagesTableError(
            f"{path}: its lines are not those that were written (sha256 differs)"
        )


def find_images(source: Path) -> tuple[Path, ImageTable]:
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
        root, rows = source, _folder_rows(source)
    elif source.is_file() and source.suffix.lower() == ".csv":
        root, (_, rows) = source.parent, read_rows(source)
    elif source.exists():
        raise ImagesNotFoundError(f"{source} is neither a directory nor a .csv file of images")
    else:
        raise ImagesNotFoundError(
            f"no such directory or CSV of images: {source}: give a folder of class folders, a flat "
            "folder, or a .csv file"
        )
    if not rows:
        raise ImagesNotFoundError(
            f"no images in {source}: looked for {' '.join(sorted(SUFFIXES))} in it and below"
        )
    return root, _table(root, rows)


Row = tuple[str, str, str, str]  # path, label, split, group
_Inode = tuple[int, int]  # device, number


def _folder_rows(root: Path) -> list[Row]:
    paths = sorted(_walk(str(root)))
    label_at = 1 if _has_splits(root) else 0
    rows = []
    for path in paths:
        folders = path.split("/")[:-1]
        label = folders[label_at] if len(folders) > label_at else ""
        split = folders[0] if label_at and folders else ""
        rows.append((path, label, split, ""))
    return rows


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
    """Every image file below a folder, relative to it; links are followed, but not back up."""
    status = os.stat(folder)  # noqa: PTH116  (a Path for each of a million files is slow)
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if _hidden(entry.name):
                continue
            if _is_folder(entry):
                yield from _walk(entry.path, f"{prefix}{entry.name}/", above | {here})
            elif is_image_name(entry.name):
                yield prefix + entry.name


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


def read_rows(path: Path) -> tuple[list[str], list[Row]]:
    """Read a CSV with the columns ``path[,label][,split][,group]``, in any order.

    Parameters
    ----------
    path : Path
        Only its text is read; the images need not be there.

    Returns
    -------
    columns : list of str
        What its first line names.
    rows : list of tuple of str
        Each line's path, label, split and group; empty where it has none.

    Raises
    ------
    ImagesTableError
        The CSV lacks a ``path`` column, names a file twice, or is damaged.
    """
    lines: dict[str, int] = {}
    rows = []
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = csv.DictReader(file, restval="")
        try:
            columns = list(reader.fieldnames or [])
            if "path" not in columns:
                raise ImagesTableError(
                    f"{path}: no column 'path' in its first line; "
                    "a CSV of images has path[,label][,split][,group]"
                )
            for record in reader:
                row = _csv_row(path, record, reader.line_num)
                if row[0] in lines:
                    raise ImagesTableError(
                        f"{path}: {row[0]!r} stands on lines {lines[row[0]]} and "
                        f"{reader.line_num}; an image is one row"
                    )
                lines[row[0]] = reader.line_num
                rows.append(row)
        except csv.Error as error:
            raise ImagesTableError(f"{path}: line {reader.line_num}: {error}") from error
    return columns, rows


def _csv_row(path: Path, record: dict[str, str], line: int) -> Row:
    name, label, split, group = (
        record.get(key) or "" for key in ("path", "label", "split", "group")
    )
    if not name or "\0" in name + label + split + group:
        raise ImagesTableError(f"{path}: line {line} has no path, or a NUL character in a value")
    return name, label, split, group


def _table(root: Path, rows: list[Row]) -> ImageTable:
    path, label, split, group = (list(column) for column in zip(*rows, strict=True))
    stats = np.array([_size_and_mtime(root / name) for name in path], dtype=np.int64)
    return ImageTable(path, label, split, group, stats[:, 0], stats[:, 1])


# There is no such file: absent, below a file, a link to itself, a name longer than names can be.
_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def _size_and_mtime(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        if error.errno not in _NOWHERE:
            raise  # a disk that fails for a moment must not make every image look removed
        return -1, -1  # named in a CSV, a broken link, or gone since: its row says so
    return status.st_size, status.st_mtime_ns
