"""Read files at any offset, from any thread, and notice when they change."""

import os
import stat
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from bottleneck.data.reading import MAX_IMAGE_BYTES, mtime_ns, rejecting_unreadable
from bottleneck.errors import ContainerError, ImageError, ImagesNotFoundError, ImagesTableError

_KEPT_OPEN = 64  # files: a process may often have no more than 1024, and a set has 1281 archives


class FileStamp(NamedTuple):
    """A file as it was at some time: another size or time means that it has changed."""

    path: Path
    size: int
    mtime_ns: int


class RandomAccessFile:
    """A regular file that is open for reading. It closes itself when nothing refers to it.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    stamp : FileStamp
        Its path, size and time when it was opened.

    Raises
    ------
    ImagesNotFoundError
        The file does not exist.
    ImagesTableError
        The path is not a regular file.
    OSError
        The file cannot be opened.

    Examples
    --------
    >>> file = RandomAccessFile(Path("data/digits/test/5/0015.png"))
    >>> file.read(1, 3), len(file.read(file.stamp.size - 1, 100))
    (b'PNG', 1)
    """

    _handle = -1

    def __init__(self, path: Path) -> None:
        try:
            # Without O_NONBLOCK, opening a pipe blocks until another process writes to it.
            self._handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise ImagesNotFoundError(f"no such file of images: {path}") from error
        status = os.fstat(self._handle)
        if not stat.S_ISREG(status.st_mode):
            raise ImagesTableError(f"{path} is not a regular file")
        self.stamp = FileStamp(path, status.st_size, mtime_ns(status))

    def __del__(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)

    def read(self, offset: int, count: int) -> bytes:
        """Return `count` bytes from an offset, or those that there are before the file's end."""
        count = min(count, self.stamp.size - offset)
        if offset < 0 or count <= 0:
            return b""
        data = os.pread(self._handle, count, offset)
        # One call may give less: after a signal, and where more than 2 GiB are asked for.
        while len(data) < count and (
            more := os.pread(self._handle, count - len(data), offset + len(data))
        ):
            data += more
        return data

    def require_unchanged(self, stamp: FileStamp) -> None:
        """Require that this is the file of an earlier stamp, as it was then.

        Raises
        ------
        ContainerError
            It has changed, before or after it was opened.
        """
        status = os.fstat(self._handle)
        if self.stamp != stamp or stamp[1:] != (status.st_size, mtime_ns(status)):
            raise ContainerError(
                f"{stamp.path.name} changed while it was in use: the same command tries it again"
            )


def open_unchanged(stamp: FileStamp) -> RandomAccessFile:
    """Open a file that was looked through before.

    Raises
    ------
    ContainerError
        It has changed, or cannot be opened any more.
    OSError
        The storage fails.

    Examples
    --------
    >>> file = RandomAccessFile(Path("data/digits/test/5/0015.png"))
    >>> open_unchanged(file.stamp).stamp == file.stamp
    True
    """
    try:
        with rejecting_unreadable():
            file = RandomAccessFile(stamp.path)
    except ImageError as error:
        raise ContainerError(*error.args) from error
    file.require_unchanged(stamp)
    return file


class PartReader:
    """Read parts of files that were looked through before; a few of the files stay open.

    Parameters
    ----------
    files : sequence of FileStamp
        The files as they were when their parts were found.

    Examples
    --------
    >>> reader = PartReader([RandomAccessFile(Path("data/digits/test/5/0015.png")).stamp])
    >>> reader.read(0, 1, 3)
    b'PNG'
    """

    def __init__(self, files: Sequence[FileStamp]) -> None:
        self._files = files
        self._open = lru_cache(_KEPT_OPEN)(lambda file: open_unchanged(files[file]))

    def read(self, file: int, offset: int, count: int) -> bytes:
        """Return a part of a file.

        Parameters
        ----------
        file : int
            Number of the file.
        offset, count : int
            The part's first byte, and how many it has.

        Raises
        ------
        ImageError
            The part is larger than any image, or the file ends before it does.
        ContainerError
            The file has changed, or cannot be opened any more.
        OSError
            The storage fails.
        """
        if count > MAX_IMAGE_BYTES:
            raise ImageError(f"cannot be read: {count} bytes, more than {MAX_IMAGE_BYTES}")
        with rejecting_unreadable():
            opened = self._open(file)
            data = opened.read(offset, count)
            try:
                opened.require_unchanged(self._files[file])
            except ImageError:
                self._open.cache_clear()
                raise
        if len(data) < count:
            name, size = opened.stamp.path.name, opened.stamp.size
            raise ImageError(f"cannot be read: {name} ends at byte {size}, before this image does")
        return data
