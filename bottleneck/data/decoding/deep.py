"""Pixels deeper than 8 bits: their values, and how they become 8 bits.

Pillow keeps the values of grey images in 16 or 32 bits or in floating point. Of 16-bit colour it
keeps the high byte of each sample; the low byte is decoded here as well where a range is given. In
AVIF, HEIC and the colours of JPEG 2000 and PNM, the decoders themselves give 8 bits.
"""

import io
import sys
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from bottleneck.data.decoding.decoder_errors import rejecting_undecodable
from bottleneck.data.decoding.formats import readers
from bottleneck.data.decoding.multiband import first_bands
from bottleneck.errors import ImageError

Range = tuple[float, ...]


def sample_values(data: bytes) -> NDArray[Any] | None:
    """Return the values of an image file whose pixels are deeper than 8 bits, without opacity.

    Parameters
    ----------
    data : bytes
        The file. Of an image of 8 bits, only the header is parsed.

    Returns
    -------
    ndarray, or None
        None for an image of 8 bits.

    Raises
    ------
    ImageError
        It cannot be decoded.
    """
    with rejecting_undecodable():
        try:
            with Image.open(io.BytesIO(data), formats=readers()) as image:
                if not is_deep(image):
                    return None
                values = deep_values(image, data)
        except UnidentifiedImageError:
            return _band_values(data)
        return values[..., :-1] if values.ndim == 3 and values.shape[2] in (2, 4) else values


def _band_values(data: bytes) -> NDArray[Any] | None:
    bands = first_bands(data)
    if bands is None:
        raise ImageError("cannot be decoded: not an image of a known format")
    return None if bands.values.dtype == np.uint8 else bands.values


def is_deep(image: Image.Image) -> bool:
    """Return whether an image that was opened has pixels deeper than 8 bits."""
    return image.mode.startswith("I") or image.mode == "F" or _sample_layout(image) is not None


def deep_values(image: Image.Image, data: bytes) -> NDArray[Any]:
    """Return the values of an image whose pixels are deeper than 8 bits.

    Parameters
    ----------
    image : Image
        As it was opened; it is loaded.
    data : bytes
        Its file.

    Returns
    -------
    ndarray of shape (height, width) or (height, width, channels)
        uint16 for 16-bit samples; int32 or float32 for others. The channels are grey and alpha, or
        red, green, blue and perhaps alpha.

    Raises
    ------
    ImageError
        The samples cannot be read with all of their bits.
    """
    layout = _sample_layout(image)
    if layout is None:
        values = np.asarray(image)
        return values.astype(np.uint16) if image.mode.startswith("I;16") else values
    if layout == "LA;16B":  # the four bytes of a pixel, as if they were four channels
        parts = _decode(data, "RGBA").astype(np.uint16)
        return parts[..., ::2] << 8 | parts[..., 1::2]
    if layout[:-1] not in ("RGB;16", "RGBA;16", "RGBX;16"):
        raise ImageError(f"cannot be decoded: 16-bit colour of the kind {layout} has no `range`")
    high = np.asarray(image)
    # With the byte order swapped, the decoder keeps the other byte of each sample.
    low = _decode(data, layout[:-1] + _OTHER_ORDER[layout[-1]])
    return high.astype(np.uint16) << 8 | low


def map_to_bytes(values: NDArray[Any], limits: Range) -> NDArray[np.uint8]:
    """Spread the values between two limits over 0…255; what is outside is clipped.

    Parameters
    ----------
    values : ndarray
    limits : tuple of 2 float
        The values that become 0 and 255.

    Returns
    -------
    ndarray of uint8, of the same shape
        Rounded in float64, halves to even.

    Raises
    ------
    ImageError
        A value is NaN.

    Examples
    --------
    >>> map_to_bytes(np.array([-5, 0, 2048, 4095, 9999]), (0, 4095)).tolist()
    [0, 0, 128, 255, 255]
    """
    if values.dtype == np.uint16:
        mapped: NDArray[np.uint8] = _table(limits)[values]
        return mapped
    return _map(values, limits)


def _map(values: NDArray[Any], limits: Range) -> NDArray[np.uint8]:
    low, high = limits
    numbers = values.astype(np.float64)
    if np.isnan(numbers).any():
        raise ImageError("cannot be decoded: pixels that are not a number")
    mapped: NDArray[np.uint8] = np.rint(
        255 * (np.clip(numbers, low, high) - low) / (high - low)
    ).astype(np.uint8)
    return mapped


@lru_cache(maxsize=4)
def _table(limits: Range) -> NDArray[np.uint8]:
    return _map(np.arange(1 << 16), limits)


# N is the machine's own order, in which libtiff gives its samples.
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def _sample_layout(image: Image.Image) -> str | None:
    """Return Pillow's name for the layout of 16-bit colour in the file; None for all else."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else None
    layout = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    is_colour = isinstance(layout, str) and not layout.startswith("I")
    return str(layout) if is_colour and ";16" in str(layout) else None


def _decode(data: bytes, layout: str) -> NDArray[np.uint8]:
    """Decode a file as if its samples had another layout."""
    with Image.open(io.BytesIO(data), formats=readers()) as image:
        assert isinstance(image, ImageFile.ImageFile)
        image.tile = [tile._replace(args=_replaced(tile.args, layout)) for tile in image.tile]
        return np.asarray(image)


def _replaced(arguments: Any, layout: str) -> Any:
    return (layout, *arguments[1:]) if isinstance(arguments, tuple) else layout
