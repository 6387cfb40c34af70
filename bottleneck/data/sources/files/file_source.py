"""FileSource: images that are files below one folder."""

import errno
import os
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from bottleneck.data.reading import mtime_ns, read_image_bytes
from bottleneck.data.sources.notes import SourceNotes
from bottleneck.data.table.categorical_column import CategoricalColumn
from bottleneck.data.table.image_table import ImageTable, TextColumns
from bottleneck.data.table.string_column import StringColumn

# The file does not exist: absent, below a file, a link to itself, or a name longer than allowed.
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


@dataclass(frozen=True)
class FileSource:
    """Images that are files below one folder.

    Parameters
    ----------
    root : Path
        The folder that the paths of `table` are relative to.
    table : ImageTable
    notes : SourceNotes
        What was found beside the images. Other processes do not get it.

    Examples
    --------
    >>> source = FileSource.from_paths(["photos/ants/1.jpg", "/data/2.jpg"])
    >>> source.path(0), len(source.table)
    ('photos/ants/1.jpg', 2)
    """

    root: Path
    table: ImageTable
    notes: SourceNotes = field(default=SourceNotes(), compare=False)

    @classmethod
    def from_columns(
        cls, root: Path, columns: TextColumns, notes: SourceNotes = SourceNotes()
    ) -> Self:
        """Return the source of a path, label, split and group column; sizes and times are read.

        Raises
        ------
        OSError
            The disk fails. A file that does not exist is not an error.
        """
        size, mtime = array("q"), array("q")  # 8 bytes per value, where a list of int takes 40
        for name in columns.path:
            status = _size_and_mtime(os.path.join(root, name))  # noqa: PTH118  (a Path is slow)
            size.append(status[0])
            mtime.append(status[1])
        sizes, times = (np.frombuffer(number, dtype=np.int64) for number in (size, mtime))
        return cls(root, ImageTable(*columns, sizes, times), notes)

    @classmethod
    def from_paths(cls, paths: Iterable[str | os.PathLike[str]]) -> Self:
        """Return the source of single files, without labels, splits and groups."""
        path = StringColumn(os.fspath(path) for path in paths)
        empty = CategoricalColumn.blank(len(path))
        return cls.from_columns(Path(), TextColumns(path, empty, empty, empty))

    def read(self, row: int) -> bytes:
        """Return the bytes of an image file; see `bottleneck.data.reading.read_image_bytes`."""
        # To make a `Path` of each image takes microseconds in which no other thread decodes.
        return read_image_bytes(os.path.join(self.root, self.table.path[row]))  # noqa: PTH118

    def path(self, row: int) -> str:
        """Return the path of an image, to be used in messages."""
        return str(self.root / self.table.path[row])

    def with_table(self, table: ImageTable) -> Self:
        """Return the source of the same images, numbered by the rows of another table."""
        return replace(self, table=table)

    def stat(self, name: str) -> tuple[int, int]:
        """Return size and time of the last change of a file below the folder; -1 if absent."""
        return _size_and_mtime(os.path.join(self.root, name))  # noqa: PTH118

    def missing_here(self) -> str:
        """Return the path of an image that should exist but is not visible to this process.

        Only the first image that existed when the table was made is looked for. Empty if it is
        visible, or if no image existed.
        """
        exists = self.table.exists
        row = int(exists.argmax()) if exists.any() else -1
        return self.path(row) if row >= 0 and not Path(self.path(row)).is_file() else ""

    def __reduce__(self) -> Any:
        # Another process may have another working directory.
        return type(self), (self.root.resolve(), self.table)


def _size_and_mtime(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116  (a Path for each of a million files is slow)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise  # a disk that fails for a moment must not make every image look removed
        return -1, -1  # named in a CSV, a broken link, or removed since the folder was listed
    return status.st_size, mtime_ns(status)
