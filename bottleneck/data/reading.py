"""Read the bytes of an image file."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bottleneck.errors import (
    MALFORMED_INPUT_ERRORS,
    BottleneckError,
    ImageError,
    ImagesTableError,
    format_error,
)

MAX_IMAGE_BYTES = 1 << 30  # twice the size, as 16-bit RGB, of the largest image that Pillow allows

_FIRST_TIME, _LAST_TIME = -(1 << 63), (1 << 63) - 1  # of 64 bits, in nanoseconds

# Errors of the storage, not of an image: if images were rejected for them, thousands would have to
# be retried by name.
_STORAGE_ERRORS = (
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.ENOTCONN,
    errno.ECONNRESET,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
)


def read_image_bytes(path: str | os.PathLike[str]) -> bytes:
    r"""Return the bytes of an image file, of whatever format.

    Raises
    ------
    ImageError
        The file does not exist, is not a regular file (a pipe might never end), must not be read,
        is larger than any image, or changed while it was read.
    OSError
        The storage fails. Other images cannot be read either.

    Examples
    --------
    >>> read_image_bytes("data/digits/test/5/0015.png")[:4]
    b'\x89PNG'
    """
    with rejecting_unreadable():
        # Without O_NONBLOCK, opening a pipe blocks until another process writes to it.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            before = _require_readable(os.fstat(handle))
            data = _read(handle, before.st_size)
            after = os.fstat(handle)
        finally:
            os.close(handle)
    if len(data) != before.st_size or before.st_mtime_ns != after.st_mtime_ns:
        raise ImageError("changed while it was being read: the same command tries it again")
    return data


@contextmanager
def rejecting_unreadable() -> Iterator[None]:
    """Turn errors of one file into `ImageError`; those of the storage pass through.

    Examples
    --------
    >>> with rejecting_unreadable():
    ...     open("gone.jpg")
    Traceback (most recent call last):
    bottleneck.errors.ImageError: cannot be read: No such file or directory
    """
    try:
        yield
    except OSError as error:
        if is_storage_error(error):
            raise
        raise ImageError(f"cannot be read: {error.strerror or error}") from error
    except UnicodeEncodeError as error:  # a locale without UTF-8
        raise ImageError(
            f"cannot be read: the file system's names are in {error.encoding} here, which cannot "
            "write this one"
        ) from error


@contextmanager
def refusing_damage(
    path: Path, kind: str, errors: tuple[type[Exception], ...] = MALFORMED_INPUT_ERRORS
) -> Iterator[None]:
    """Turn what a library raises on malformed bytes into one `ImagesTableError`.

    Parameters
    ----------
    path : Path
    kind : str
        What the file should be.
    errors : tuple of exception types
        What the library raises on such bytes.

    Examples
    --------
    >>> with refusing_damage(Path("a.h5"), "an HDF5 file"):
    ...     raise OSError("cut")
    Traceback (most recent call last):
    bottleneck.errors.ImagesTableError: a.h5 is not an HDF5 file, or a damaged one: OSError: cut
    """
    try:
        yield
    except BottleneckError:
        raise
    except errors as error:
        if is_storage_error(error):
            raise
        raise ImagesTableError(
            f"{path} is not {kind}, or a damaged one: {format_error(error)}"
        ) from error


def mtime_ns(status: os.stat_result) -> int:
    """Return the time of a file's last change in nanoseconds, as a table of images can hold it.

    64 bits are enough for the years 1678 to 2261. File systems give others: NTFS has 1601 for none.
    In a table -1 says that there is no time: a file of that time has the nanosecond before it.

    Examples
    --------
    >>> mtime_ns(os.stat("data/digits/test/5/0015.png")) > 10**18
    True
    """
    time = max(_FIRST_TIME, min(status.st_mtime_ns, _LAST_TIME))
    return time if time != -1 else -2


def is_storage_error(error: BaseException) -> bool:
    """Return whether an error says that the storage fails, and not only one file of it.

    Examples
    --------
    >>> is_storage_error(OSError(errno.ESTALE, "")), is_storage_error(FileNotFoundError())
    (True, False)
    """
    return isinstance(error, OSError) and error.errno in _STORAGE_ERRORS


def _read(handle: int, size: int) -> bytes:
    data = os.read(handle, size + 1)  # one more, to see whether it has grown
    while len(data) < size and (more := os.read(handle, size - len(data))):
        data += more  # some network file systems return a part
    return data


def _require_readable(status: os.stat_result) -> os.stat_result:
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("not a regular file")
    if status.st_size > MAX_IMAGE_BYTES:
        raise ImageError(f"cannot be read: {status.st_size} bytes, more than {MAX_IMAGE_BYTES}")
    return status
