"""Read images from Parquet files, as Hugging Face's datasets write them.

This is the only module that imports pyarrow.
"""

import posixpath
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bottleneck.data.reading import (
    MAX_IMAGE_BYTES,
    mtime_ns,
    read_image_bytes,
    refusing_damage,
    rejecting_unreadable,
)
from bottleneck.data.sources.container import ContainerSource, require_distinct
from bottleneck.data.sources.container_names import split_of_container
from bottleneck.data.sources.files.file_source import FileSource
from bottleneck.data.sources.notes import SourceNotes
from bottleneck.data.sources.parts import locate
from bottleneck.data.sources.random_access import FileStamp, RandomAccessFile, open_unchanged
from bottleneck.data.sources.tables.parquet_columns import ParquetColumns, find_columns, label_texts
from bottleneck.data.sources.unused import note_unused
from bottleneck.data.split_names import canonical_split
from bottleneck.data.table.categorical_column import CategoricalColumn
from bottleneck.data.table.image_table import ImageTable, TextColumns
from bottleneck.data.table.string_column import StringColumn
from bottleneck.errors import ImageError, ImagesTableError
from bottleneck.runtime import optional_package

_KIND = "a Parquet file"
_MOST_GROUP = 1 << 30  # bytes of a row group, which is read as a whole
_KEPT_BYTES = 1 << 28  # of row groups; but two are kept in any case
_KEPT_OPEN = 16  # files


def open_parquet_images(root: Path, names: tuple[str, ...]) -> ContainerSource | FileSource:
    """Return the images of Parquet files, in the order of their rows.

    Parameters
    ----------
    root : Path
    names : tuple of str
        The files, relative to `root`.

    Returns
    -------
    ContainerSource or FileSource
        The latter where the files hold the paths of images in place of the images. Paths are
        relative to the folder of the Parquet file.

    Raises
    ------
    ImagesNotFoundError
        A file does not exist.
    ImagesTableError
        A file is not Parquet, has no column of images, or names an image twice; or some hold images
        and others paths.
    MissingPackageError
        pyarrow is not installed.
    OSError
        The storage fails.
    """
    found = [_look_through(root, name) for name in names]
    with_images = [file for file in found if file.columns.data]
    if not with_images:
        columns = _concatenate(found)
        require_distinct(root, StringColumn(map(posixpath.normpath, columns.path)))
        return FileSource.from_columns(root, columns, _notes(found))
    if len(with_images) < len(found):
        paths = next(file for file in found if not file.columns.data)
        raise ImagesTableError(
            f"{with_images[0].stamp.path} holds images, and {paths.stamp.path} their paths: give "
            "them one at a time"
        )
    return ContainerSource.open(root, names, open_parquets)


def open_parquets(root: Path, names: tuple[str, ...]) -> "ParquetMembers":
    """Look through Parquet files that hold images; see `open_parquet_images`."""
    return ParquetMembers([_look_through(root, name) for name in names])


class _File(NamedTuple):
    """What was found in a file.

    Attributes
    ----------
    stamp : FileStamp
    columns : ParquetColumns
    texts : TextColumns
        Path, label, split and group of its rows.
    ends : ndarray of int64
        The row behind each row group.
    size, mtime_ns : ndarray of int64
        By row; see `_sizes_and_times`.
    remarks : tuple of str
        What is not used.
    """

    stamp: FileStamp
    columns: ParquetColumns
    texts: TextColumns
    ends: NDArray[np.int64]
    size: NDArray[np.int64]
    mtime_ns: NDArray[np.int64]
    remarks: tuple[str, ...]


class ParquetMembers:
    """The images of Parquet files, in the order of their rows.

    The sizes of images in the files are not known before they are read: the table has 0.

    Parameters
    ----------
    files : list
        What was found in each file.

    Attributes
    ----------
    table : ImageTable
    notes : SourceNotes
        What was found beside the images.
    """

    def __init__(self, files: list[_File]) -> None:
        counts = [len(file.texts.path) for file in files]
        self._files = files
        self._ends = np.cumsum(counts)
        self._groups = _RowGroups(files)
        size = np.concatenate([file.size for file in files])
        mtime = np.concatenate([file.mtime_ns for file in files])
        self.table = ImageTable(*_concatenate(files), size, mtime)
        self.notes = _notes(files)

    def read(self, member: int) -> bytes:
        """Return the bytes of an image; see `bottleneck.data.image_source.ImageReader`."""
        number, row = locate(self._ends, member)
        file = self._files[number]
        group, place = locate(file.ends, row)
        data = self._groups.value(number, group, file.columns.data, place)
        if data is None and file.columns.path:
            path = self._groups.value(number, group, file.columns.path, place)
            if path and "\0" not in path:
                return read_image_bytes(file.stamp.path.parent / path)
        if data is None:
            raise ImageError("cannot be read: the row has no image")
        if len(data) > MAX_IMAGE_BYTES:
            raise ImageError(f"cannot be read: {len(data)} bytes, more than {MAX_IMAGE_BYTES}")
        return bytes(data)


class _RowGroups:
    """Columns of row groups; those that were read last are kept.

    Threads read rows that are close together, so that they share the groups: each by itself would
    read all of them.
    """

    def __init__(self, files: list[_File]) -> None:
        self._files = files
        self._open = lru_cache(_KEPT_OPEN)(lambda file: _Opened(files[file].stamp.path))
        self._kept: OrderedDict[tuple[int, int, str], Any] = OrderedDict()
        self._lock = threading.Lock()
        self._loading: dict[tuple[int, int, str], threading.Lock] = {}

    def value(self, file: int, group: int, column: str, place: int) -> Any:
        """Return one value of a column, by its place in a row group of a file."""
        values = self._column(file, group, column)
        return values[place].as_py() if place < len(values) else None

    def _column(self, file: int, group: int, column: str) -> Any:
        key = (file, group, column)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            loading = self._loading.setdefault(key, threading.Lock())
        with loading:  # of the threads that need a group, one reads it
            with self._lock:
                if key in self._kept:
                    return self._kept[key]
            values = self._load(file, group, column)
            with self._lock:
                self._kept[key] = values
                self._loading.pop(key, None)
                self._drop()
        return values

    def _drop(self) -> None:
        total = sum(values.nbytes for values in self._kept.values())
        while total > _KEPT_BYTES and len(self._kept) > 2:
            total -= self._kept.popitem(last=False)[1].nbytes

    def _load(self, file: int, group: int, column: str) -> Any:
        stamp = self._files[file].stamp
        try:
            with rejecting_unreadable():
                open_unchanged(stamp)
                with refusing_damage(stamp.path, _KIND):
                    values = self._open(file).read_group(group, column)
                open_unchanged(stamp)
                return values
        except ImagesTableError as error:
            raise ImageError(f"cannot be read: row group {group}: {error}") from error
        except ImageError:
            self._open.cache_clear()  # else it keeps the file that was replaced
            raise


class _Opened:
    """A Parquet file that is open; one thread reads at a time."""

    def __init__(self, path: Path) -> None:
        with optional_package("parquet", needed_by=path):
            import pyarrow.parquet

        self._lock = threading.Lock()
        self.file = pyarrow.parquet.ParquetFile(path, page_checksum_verification=True)

    def read_group(self, group: int, column: str) -> Any:
        """Return a column of a row group as one array; a field of a struct by ``a.b``."""
        with self._lock:
            table = self.file.read_row_group(group, columns=[column], use_threads=False)
        return _single_array(table, column)


def _single_array(table: Any, column: str) -> Any:
    values = table.column(0).combine_chunks()
    if hasattr(values, "chunks"):  # a column without rows stays in chunks
        values = values.chunk(0) if values.num_chunks else values
    parent, _, field = column.rpartition(".")
    is_field = parent and str(values.type).startswith("struct<")
    return values.field(field) if is_field else values


def _look_through(root: Path, name: str) -> _File:
    path = root / name
    stamp = RandomAccessFile(path).stamp
    with refusing_damage(path, _KIND):
        opened = _Opened(path)
        columns = find_columns(path, opened.file.schema_arrow)
        ends = _row_groups(stamp, opened.file.metadata, columns.data)
        unused = _extremes(opened.file.metadata, columns.unused)
        remarks = note_unused(path, "column", unused.items(), has_splits=bool(columns.split))
        texts = _texts(name, path, opened, columns)
        if len(ends) and int(ends[-1]) != len(texts.path):
            raise ImagesTableError(f"{path}: it claims {ends[-1]} rows and has {len(texts.path)}")
        size, mtime = _sizes_and_times(stamp, opened, columns)
    return _File(stamp, columns, texts, ends, size, mtime, remarks)


def _row_groups(stamp: FileStamp, metadata: Any, data: str) -> NDArray[np.int64]:
    """Return the row behind each row group; refuse what claims too much."""
    counts = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        counts.append(group.num_rows)
        parts = (group.column(i) for i in range(group.num_columns))
        size = sum(part.total_uncompressed_size for part in parts if part.path_in_schema == data)
        if size > _MOST_GROUP:
            raise ImagesTableError(
                f"{stamp.path}: row group {number} holds {size} bytes of images, which must be "
                f"read at once: write row groups of at most {_MOST_GROUP} bytes, such as 100 rows"
            )
    rows = sum(counts)
    if min(counts, default=0) < 0 or rows > stamp.size:
        raise ImagesTableError(f"{stamp.path}: it claims {rows} rows in {stamp.size} bytes")
    return np.cumsum(counts, dtype=np.int64)


def _sizes_and_times(
    stamp: FileStamp, opened: "_Opened", columns: ParquetColumns
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return size and time of each row's image: 0, and the table's time, where it is in the table.

    A row without bytes names a file beside the table, which may change while the table does not.
    """
    rows = opened.file.metadata.num_rows
    size, mtime = np.zeros(rows, dtype=np.int64), np.full(rows, stamp.mtime_ns)
    named = list(_rows_without_bytes(opened.file.metadata, columns.data)) if columns.path else []
    paths = _column(opened, columns.path) if named else []
    for row in named:
        with suppress(ImageError), rejecting_unreadable():  # else it is rejected when it is read
            if paths[row] and "\0" not in paths[row]:
                status = (stamp.path.parent / paths[row]).stat()
                size[row], mtime[row] = status.st_size, max(stamp.mtime_ns, mtime_ns(status))
    return size, mtime


def _rows_without_bytes(metadata: Any, data: str) -> Iterator[int]:
    """Yield the rows of row groups in which some have no bytes, or which do not tell."""
    end = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        start, end = end, end + group.num_rows
        parts = (group.column(i) for i in range(group.num_columns))
        nulls = [_null_count(part) for part in parts if part.path_in_schema == data]
        if nulls != [0]:
            yield from range(start, end)


def _null_count(part: Any) -> int | None:
    known = part.is_stats_set and part.statistics.has_null_count
    return int(part.statistics.null_count) if known else None


def _extremes(metadata: Any, columns: Sequence[str]) -> dict[str, set[str]]:
    """Return the least and greatest values in each row group of some columns, where it tells."""
    values: dict[str, set[str]] = {column: set() for column in columns}
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for column in (group.column(i) for i in range(group.num_columns)):
            if column.path_in_schema in values and column.is_stats_set:
                extremes = (column.statistics.min, column.statistics.max)
                values[column.path_in_schema].update(map(str, extremes))
    return values


def _notes(files: list[_File]) -> SourceNotes:
    return SourceNotes().with_remarks(remark for file in files for remark in file.remarks)


def _texts(name: str, path: Path, opened: _Opened, columns: ParquetColumns) -> TextColumns:
    rows = opened.file.metadata.num_rows
    read = {column: _column(opened, column) for column in columns.beside_images}
    if any(len(values) != rows for values in read.values()):
        raise ImagesTableError(f"{path}: it claims {rows} rows, and its columns have others")

    def texts(column: str, names: tuple[str, ...] = ()) -> CategoricalColumn:
        if not column:
            return CategoricalColumn.blank(rows)
        return CategoricalColumn(label_texts(path, column, read[column], names))

    split = CategoricalColumn(map(canonical_split, texts(columns.split)))
    if split.is_blank:
        split = CategoricalColumn([split_of_container(name)] * rows)
    stored = read.get(columns.path, [])
    paths = _paths(path, name, rows, stored, is_path=not columns.data)
    return TextColumns(paths, texts(columns.label, columns.names), split, texts(columns.group))


def _column(opened: _Opened, column: str) -> list[Any]:
    table = opened.file.read(columns=[column], use_threads=False)
    return list(_single_array(table, column).to_pylist())


def _paths(file: Path, name: str, rows: int, stored: list[Any], *, is_path: bool) -> StringColumn:
    """Return the paths of the rows: as they are stored if that tells rows apart, else numbers."""
    usable = all(isinstance(text, str) and text and "\0" not in text for text in stored)
    if is_path:
        if not usable:
            raise ImagesTableError(f"{file}: a row has no path")
        above = posixpath.dirname(name)
        return StringColumn(posixpath.join(above, text.replace("\\", "/")) for text in stored)
    names = {text.lstrip("/"): None for text in stored} if usable else {}  # in their order
    if len(names) == rows:
        return StringColumn(f"{name}/{text}" for text in names)
    return StringColumn(f"{name}/{row:06d}" for row in range(rows))


def _concatenate(files: list[_File]) -> TextColumns:
    columns = TextColumns.empty()
    for file in files:
        columns.extend(file.texts)
    return columns
