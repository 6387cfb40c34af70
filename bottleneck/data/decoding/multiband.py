"""Read the first three samples of a TIFF with more of them than Pillow reads.

Satellites and microscopes write four, eight or a dozen samples for each pixel. Pillow refuses them.
Samples of one pixel lie beside each other, so that the same bytes are also a grey image that is as
many times wider. With a directory that says so, Pillow reads it, whatever its compression.
"""

import io
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bottleneck.errors import ImageError

# Tags of TIFF 6.0, and the sizes of their types.
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_FILL_ORDER, _ORIENTATION, _SAMPLES, _PLANAR, _PREDICTOR = 266, 274, 277, 284, 317
_TILE_WIDTH, _SAMPLE_FORMAT = 322, 339
_PLACES = (273, 278, 279, 323, 324, 325)  # of strips and tiles
_TYPES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_SHORT, _LONG = 3, 4

_MOST_SAMPLES = 512
_LOSSLESS = (1, 5, 8, 32773, 32946, 34925, 50000)
_KINDS = ((8, 1), (16, 1), (32, 3))  # bits and format: unsigned integers, floating point
_GREY_OR_RGB = (1, 2)


@dataclass(frozen=True)
class Bands:
    """The first three samples of each pixel, as they are stored.

    Attributes
    ----------
    values : ndarray of uint8, uint16 or float32, shape (height, width, 3)
    orientation : int
        As in EXIF; 1 is upright.
    """

    values: NDArray[Any]
    orientation: int


def first_bands(data: bytes) -> Bands | None:
    """Return the first three samples of a TIFF with at least three; None for any other file.

    Parameters
    ----------
    data : bytes
        A file. Samples of 8 or 16 bits, or of 32 bits in floating point, are read if those of a
        pixel lie beside each other and are compressed without loss.

    Raises
    ------
    ImageError
        It declares too many pixels.
    OSError, ValueError, struct.error
        The file is damaged.
    """
    directory = _Directory.of(data)
    if directory is None:
        return None
    samples = directory.number(_SAMPLES, 1)
    kind = (directory.number(_BITS, 1), directory.number(_SAMPLE_FORMAT, 1))
    predictor = directory.number(_PREDICTOR, 1)
    readable = (
        3 <= samples <= _MOST_SAMPLES
        and kind in _KINDS
        and predictor in ((1,) if kind[1] == 3 else (1, 2))
        and (directory.number(_PLANAR, 1), directory.number(_FILL_ORDER, 1)) == (1, 1)
        and directory.number(_PHOTOMETRIC, 0) in _GREY_OR_RGB
        and directory.number(_COMPRESSION, 1) in _LOSSLESS
    )
    if not readable:
        return None
    width, height = directory.number(_WIDTH, 0), directory.number(_HEIGHT, 0)
    _require_few_values(width, height, samples)
    file = io.BytesIO(directory.as_wide_grey(samples))
    with Image.open(file, formats=("TIFF",)) as image:
        values = np.asarray(image).reshape(height, width, samples)
    if predictor == 2:
        values = _accumulate(values, directory.number(_TILE_WIDTH, width))
    values = values[..., :3]
    if image.mode.startswith("I"):
        values = values.astype(np.uint16)
    return Bands(np.ascontiguousarray(values), directory.number(_ORIENTATION, 1))


def _require_few_values(width: int, height: int, samples: int) -> None:
    values = width * height * samples
    if Image.MAX_IMAGE_PIXELS and values > Image.MAX_IMAGE_PIXELS:
        raise ImageError(
            f"cannot be decoded: {width} × {height} pixels of {samples} samples are more than "
            f"{Image.MAX_IMAGE_PIXELS}: `max_pixels={values}` allows it; for a cache, "
            "`retry_rejected` tries it again"
        )


def _accumulate(values: NDArray[Any], tile_width: int) -> NDArray[Any]:
    """Add up differences between neighbours, anew in each tile: TIFF 6.0, section 14."""
    parts = [
        np.cumsum(values[:, start : start + tile_width], axis=1, dtype=values.dtype)
        for start in range(0, values.shape[1], tile_width)
    ]
    return np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class _Directory:
    """The first directory of a classic TIFF."""

    data: bytes
    order: str  # of bytes, for struct
    entries: dict[int, tuple[int, int, bytes]]  # by tag: type, count, and the value or its place

    @classmethod
    def of(cls, data: bytes) -> "_Directory | None":
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
        if order is None:
            return None
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        entries = {}
        for i in range(count):
            tag, kind, length, value = struct.unpack_from(f"{order}HHI4s", data, start + 2 + 12 * i)
            entries[tag] = (kind, length, value)
        return cls(data, order, entries)

    def number(self, tag: int, default: int) -> int:
        """Return the first value of a tag; 0 if its values differ or are no whole numbers."""
        if tag not in self.entries:
            return default
        kind, count, value = self.entries[tag]
        if kind not in (_SHORT, _LONG) or not 1 <= count <= _MOST_SAMPLES:
            return 0
        length = count * _TYPES[kind]
        (place,) = struct.unpack(f"{self.order}I", value)
        content = value if length <= 4 else self.data[place : place + length]
        letter = "H" if kind == _SHORT else "I"
        numbers = struct.unpack_from(f"{self.order}{count}{letter}", content)
        return int(numbers[0]) if len(set(numbers)) == 1 else 0

    def as_wide_grey(self, samples: int) -> bytes:
        """Return a file of the same pixels that is a grey image, `samples` times wider."""
        bits, kind = self.number(_BITS, 1), self.number(_SAMPLE_FORMAT, 1)
        numbers = {
            _WIDTH: self.number(_WIDTH, 0) * samples,
            _HEIGHT: self.number(_HEIGHT, 0),
            _BITS: bits,
            _COMPRESSION: self.number(_COMPRESSION, 1),
            _PHOTOMETRIC: 1,
            _SAMPLES: 1,
            _SAMPLE_FORMAT: kind,
        }
        if _TILE_WIDTH in self.entries:
            numbers[_TILE_WIDTH] = self.number(_TILE_WIDTH, 0) * samples
        entries = {tag: self._entry(tag, number) for tag, number in numbers.items()}
        entries |= {tag: self.entries[tag] for tag in _PLACES if tag in self.entries}
        packed = b"".join(
            struct.pack(f"{self.order}HHI4s", tag, *entry) for tag, entry in sorted(entries.items())
        )
        padded = self.data + bytes(len(self.data) % 2)  # a directory begins at an even place
        head = padded[:4] + struct.pack(f"{self.order}I", len(padded))
        count = struct.pack(f"{self.order}H", len(entries))
        return head + padded[8:] + count + packed + bytes(4)

    def _entry(self, tag: int, number: int) -> tuple[int, int, bytes]:
        if tag in (_WIDTH, _HEIGHT, _TILE_WIDTH):
            return _LONG, 1, struct.pack(f"{self.order}I", number)
        return _SHORT, 1, struct.pack(f"{self.order}HH", number, 0)
