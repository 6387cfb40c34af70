"""What Pillow's readers raise on bytes that are no image, or a hostile one."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from bottleneck.errors import MALFORMED_INPUT_ERRORS, ImageError, format_error

DECODER_ERRORS = (*MALFORMED_INPUT_ERRORS, struct.error, zlib.error, Image.DecompressionBombError)


@contextmanager
def rejecting_undecodable() -> Iterator[None]:
    """Turn what readers raise into `ImageError`.

    Examples
    --------
    >>> with rejecting_undecodable():
    ...     struct.unpack("I", b"cut")
    Traceback (most recent call last):
    bottleneck.errors.ImageError: cannot be decoded: error: unpack requires a buffer of 4 bytes
    """
    try:
        yield
    except ImageError:
        raise
    except DECODER_ERRORS as error:
        raise ImageError(f"cannot be decoded: {format_error(error)}") from error
