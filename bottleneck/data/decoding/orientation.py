"""Make images upright: read the EXIF orientation, and turn pixels by it."""

import struct

import numpy as np
from numpy.typing import NDArray

# Tags and types of a TIFF directory (TIFF 6.0, sections 2 and 8; EXIF 2.3, section 4.6.4).
_ORIENTATION, _X_RESOLUTION, _RESOLUTION_UNIT = 0x0112, 0x011A, 0x0128
_SHORT, _RATIONAL = 3, 5
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_SIZES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8)  # in bytes, of a value of each type

# What Pillow reads of a directory: the orientation, and the resolution, of any type, not always
# without an error.
_USUAL = {
    _ORIENTATION: (_SHORT, 1),
    _X_RESOLUTION: (_RATIONAL, 1),
    _RESOLUTION_UNIT: (_SHORT, 1),
}

# What makes an image of each orientation upright: the axes to reverse, of rows and columns, and
# whether these change places afterwards.
_TURNS: dict[int, tuple[tuple[int, ...], bool]] = {
    2: ((1,), False),
    3: ((0, 1), False),
    4: ((0,), False),
    5: ((), True),
    6: ((0,), True),
    7: ((0, 1), True),
    8: ((1,), True),
}


def turn_of(orientation: int) -> tuple[tuple[int, ...], bool]:
    """Return what makes an image upright, for arrays of any library.

    Parameters
    ----------
    orientation : int
        By EXIF, 1 to 8. By any other number the image is upright.

    Returns
    -------
    reversed : tuple of int
        The axes to reverse: 0 are rows, 1 columns.
    swapped : bool
        Whether rows and columns change places afterwards.

    Examples
    --------
    >>> turn_of(6)
    ((0,), True)
    """
    return _TURNS.get(orientation, ((), False))


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn and mirror an image by its EXIF orientation.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (height, width, 3)
    orientation : int
        1 to 8. By any other number the image is upright.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3) or (width, height, 3)
        Contiguous.

    Examples
    --------
    >>> upright(np.zeros((2, 5, 3), dtype=np.uint8), 6).shape
    (5, 2, 3)
    """
    axes, swapped = turn_of(orientation)
    turned = np.flip(pixels, axes)
    return np.ascontiguousarray(turned.swapaxes(0, 1) if swapped else turned)


def read_orientation(exif: bytes) -> int | None:
    r"""Return the orientation of a sound EXIF block, as Pillow reads it.

    Parameters
    ----------
    exif : bytes
        A TIFF file, which is what follows ``Exif\0\0``.

    Returns
    -------
    int or None
        The tag of the first directory, or 0 if it is not there. None if anything in this directory
        is unusual, damaged, or out of reach: readers differ in what they make of it.

    Examples
    --------
    >>> entry = struct.pack("<HHII", 0x0112, 3, 1, 6)
    >>> read_orientation(b"II*\0\x08\0\0\0\x01\0" + entry + bytes(4))
    6
    >>> read_orientation(b"II*\0\x08\0\0\0\x02\0" + entry) is None
    True
    """
    order, entries = _first_directory(exif)
    found, elsewhere = [], 0
    for tag, kind, count, value in struct.iter_unpack(f"{order}HHLL", entries):
        size = count * _SIZES[kind] if kind < len(_SIZES) else 0
        if not size or _USUAL.get(tag, (kind, count)) != (kind, count):
            return None
        if size > 4:  # `value` is where the values are
            elsewhere += size
            if value + size > len(exif):
                return None
        elif tag == _ORIENTATION:
            found.append(value >> 16 if order == ">" else value & 0xFFFF)
    if not entries or len(found) > 1 or elsewhere > len(exif):
        return None
    return found[0] if found else 0


def _first_directory(exif: bytes) -> tuple[str, bytes]:
    """Return the byte order and the entries of a TIFF's first directory; none if it is cut."""
    order = _ORDERS.get(exif[:4])
    if order is None or len(exif) < 8:
        return "<", b""
    (start,) = struct.unpack_from(f"{order}L", exif, 4)
    if start + 2 > len(exif):
        return order, b""
    (count,) = struct.unpack_from(f"{order}H", exif, start)
    end = start + 2 + 12 * count
    complete = end + 4 <= len(exif)  # behind the entries is where the next directory begins
    return order, exif[start + 2 : end] if complete else b""
