"""Decode image files to RGB pixels, and resize and crop them for a network.

The rule by which any file becomes RGB (`DECODER` names it, and the spec records it):

* The first frame or page is used. EXIF (or XMP) orientation is applied; if it cannot be read, the
  image is taken as upright.
* Without a range, 16-bit values keep their high byte. 32-bit integers must be in 0…65535 and do the
  same. Floating-point pixels are rejected. With a range, all of these are spread over 0…255
  between its limits; see `bottleneck.data.decoding.deep`.
* Transparent pixels are blended with white, as a viewer shows them.
* Grey is repeated, palettes are looked up, CMYK and YCCK are converted without their profiles.
  Colour profiles are ignored, as in every ImageNet pipeline.
* Of a TIFF with more than three samples, the first three are red, green and blue. A fourth of four
  is transparency, unless the file says that it is none.

Two decoders give the same bits: torchvision decodes the usual JPEGs, faster; Pillow decodes all
other files, and decides whether a file is damaged (`bottleneck.data.decoding.pillow_decoder`).
Pixels are resized as torchvision's v2 transforms do with a uint8 tensor: by torchvision, or to the
same bits by NumPy (`bottleneck.data.decoding.resampling`).
"""

import io
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as v2

from bottleneck.data.decoding.deep import Range
from bottleneck.data.decoding.pillow_decoder import decode_by_pillow

# Markers of a JPEG (ITU-T T.81, table B.1). SOF0, SOF1 and SOF2 begin a Huffman-coded frame; DHT,
# DQT, DRI, COM and APP0 to APP15 may come before it.
_HUFFMAN_FRAMES = (0xC0, 0xC1, 0xC2)
_BEFORE_A_FRAME = (0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0))

_READ_AS_RGB = 3  # torchvision.io.ImageReadMode.RGB


def decode_image(data: bytes, limits: Range | None = None) -> NDArray[np.uint8]:
    r"""Decode an image file to upright RGB pixels, by the rule in this module's docstring.

    Parameters
    ----------
    data : bytes
        A complete JPEG, PNG, WebP, GIF, BMP, TIFF or PNM file, or one of those formats in
        `bottleneck.data.decoding.formats` that this installation reads.
    limits : tuple of 2 float, optional
        Values of pixels deeper than 8 bits that become 0 and 255: `InputTransform.range`.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        Red, green, blue; writable and contiguous.

    Raises
    ------
    ImageError
        The bytes are not such a file, are truncated, or declare too many pixels.

    Examples
    --------
    >>> decode_image(b"P6 2 1 255\n" + bytes([255, 0, 0, 0, 0, 255])).tolist()
    [[[255, 0, 0], [0, 0, 255]]]
    """
    return decode_by_pillow(data, limits, other=_pixels_of_usual_jpeg)


def resample_by_torchvision(
    pixels: NDArray[np.uint8], height: int, width: int, interpolation: str
) -> NDArray[np.uint8]:
    """Resize an image as `bottleneck.data.decoding.resampling.resample` does, faster.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (h, w, 3)
        Writable; it is not changed.
    height, width : int
    interpolation : str
        ``"nearest"``, or antialiased ``"bilinear"`` or ``"bicubic"``.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)

    Examples
    --------
    >>> resample_by_torchvision(np.zeros((30, 40, 3), dtype=np.uint8), 6, 8, "bilinear").shape
    (6, 8, 3)
    """
    # Channels last in memory: torch resizes them fastest.
    resized: torch.Tensor = v2.resize(
        torch.from_numpy(pixels).permute(2, 0, 1),
        [height, width],
        interpolation=InterpolationMode(interpolation),
        antialias=True,
    )
    return resized.permute(1, 2, 0).numpy()


def _pixels_of_usual_jpeg(image: Image.Image, data: bytes) -> NDArray[np.uint8] | None:
    """Decode by torchvision if the result is that of Pillow; None if Pillow has to decode."""
    usual = (
        image.format == "JPEG"
        and image.mode in ("RGB", "L")
        and _is_huffman_coded(data)
        and _decoders_agree()
    )
    return _decode_by_torchvision(data) if usual else None


def _is_huffman_coded(data: bytes) -> bool:
    # Pillow cannot decode more than 64 KiB of arithmetic coding, but torchvision can. Pillow has to
    # accept or refuse those, and any header that is not a plain sequence of segments.
    offset = 2
    while data[offset : offset + 1] == b"\xff" and offset + 4 <= len(data):
        if data[offset + 1] not in _BEFORE_A_FRAME:
            return data[offset + 1] in _HUFFMAN_FRAMES
        offset += 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")
    return False


@cache
def _decoders_agree() -> bool:
    # The usual builds of both use libjpeg-turbo. A build with another libjpeg rounds differently;
    # then only Pillow is used.
    probe = Image.fromarray((np.arange(41 * 59 * 3) ** 2 % 251).astype(np.uint8).reshape(41, 59, 3))
    for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
        file = io.BytesIO()
        probe.save(file, "JPEG", subsampling=subsampling)
        pixels = _decode_by_torchvision(file.getvalue())
        if pixels is None or not np.array_equal(pixels, np.asarray(Image.open(file))):
            return False
    return True


def _decode_by_torchvision(data: bytes) -> NDArray[np.uint8] | None:
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)  # bytes are not writable
    try:
        # torchvision.io.decode_jpeg warns since 0.29, at each call, that it will be removed.
        pixels: torch.Tensor = torch.ops.image.decode_jpeg(encoded, _READ_AS_RGB)
    except (RuntimeError, AttributeError):  # refused, or this build lacks the operator
        return None
    return pixels.permute(1, 2, 0).numpy()
