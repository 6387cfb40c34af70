"""Read the bytes of an image file, whatever it turns out to be. No torch is needed for it."""

import errno
import os
import stat
from pathlib import Path

from bottleneck.errors import ImageError

_MOST_BYTES = 1 << 30  # of a file: 16-bit pixels, as many as Pillow allows, uncompressed, twice

# No fault of an image's: rejected for it, thousands would have to be tried again by name.
_OUTAGES = (
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


def read_image_bytes(path: Path) -> bytes:
    """The bytes of an image file.

    Raises
    ------
    ImageError
        It is not there, not a regular file (a pipe would never end), may not be read, is larger
        than any image, or changed meanwhile.
    OSError
        The disk that it is on is out of reach.
    """
    try:
        # A pipe that nobody writes to would keep whoever opens it waiting, but for O_NONBLOCK.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            before = _require_sensible(os.fstat(handle))
            with open(handle, "rb", closefd=False) as file:
                data = file.read(before.st_size + 1)
            after = os.fstat(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno in _OUTAGES:
            raise
        raise ImageError(f"cannot be read: {error.strerror or error}") from error
    if len(data) != before.st_size or before.st_mtime_ns != after.st_mtime_ns:
        raise ImageError("changed while it was being read: the same command tries it again")
    return data


def _require_sensible(status: os.stat_result) -> os.stat_result:
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("not a regular file")
    if status.st_size > _MOST_BYTES:
        raise ImageError(f"cannot be read: {status.st_size} bytes, more than {_MOST_BYTES}")
    return status
