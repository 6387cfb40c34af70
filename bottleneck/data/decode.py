"""Decoding: from a file's bytes to the pixels that the network is given.

The rule by which any file becomes RGB (`DECODER` names it, the spec records it):

* the first frame or page; EXIF (or XMP) orientation applied, an unreadable block is upright;
* 16-bit values keep their high byte; 32-bit integers must lie in 0…65535 and do the same;
  floating-point pixels have no stated range and are rejected;
* transparency is laid over white, as a viewer would show it;
* grey is repeated, a palette is looked up, CMYK and YCCK are converted without their profiles;
  colour profiles are ignored, as every ImageNet pipeline does.

That is RGB as Pillow gives it, bit by bit, whichever of two decoders produced it: torchvision's
is faster and does the usual JPEGs, Pillow does all others and has the last word on damage.
The pixels are then resized and cropped as torchvision's v2 transforms do with a uint8 tensor.
"""

import io
import re
import struct
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as v2

from bottleneck.errors import USER_CODE_ERRORS, ImageError, format_error
from bottleneck.spec import InputTransform

DECODER = "torchvision-1"

# Only these: Pillow's other readers cost safety (EPS starts a program) and serve nobody here.
# (JPEG's reader is also that of MPO, a camera's JPEG with more pictures behind the first.)
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM")

Image.init()  # here, once: Pillow would register its readers in the first thread to need one

# What Pillow's readers raise on hostile bytes; two of their errors are of no builtin kind.
_DECODER_ERRORS = (*USER_CODE_ERRORS, struct.error, zlib.error, Image.DecompressionBombError)

# EXIF orientation → what makes the image upright (EXIF 2.3, section 4.6.4, tag 0x0112).
_UPRIGHT: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels[::-1].transpose(1, 0, 2),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: pixels[:, ::-1].transpose(1, 0, 2),
}

# Markers of a JPEG (ITU-T T.81, table B.1). A frame of SOF0, SOF1 or SOF2 is Huffman-coded, and
# before it may stand DHT, DQT, DRI, COM and APP0 to APP15.
_HUFFMAN_FRAMES = (0xC0, 0xC1, 0xC2)
_BEFORE_A_FRAME = (0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0))

# A progressive JPEG is decoded once for each of its scans: ten or so, unless it is made to be slow.
_MOST_SCANS = 100
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")  # none stands among coded pixels

_READ_AS_RGB = 3  # torchvision.io.ImageReadMode.RGB


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """Turn a file's bytes into upright RGB pixels by the rule at the head of this module.

    Parameters
    ----------
    data : bytes
        JPEG, PNG, WebP, GIF, BMP, TIFF or PNM, whole.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        Red, green, blue; writable and contiguous.

    Raises
    ------
    ImageError
        The bytes are no such image, are cut short, or declare too many pixels.
    """
    if not data:
        raise ImageError("cannot be decoded: the file is empty")
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            _require_few_pixels(image)
            _require_few_scans(image, data)
            pixels = _pixels_of_usual_jpeg(image, data)
            if pixels is None:
                pixels = np.array(_to_rgb(image))
            return np.ascontiguousarray(_upright(pixels, image))
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError("cannot be decoded: not an image of a known format") from error
    except _DECODER_ERRORS as error:
        raise ImageError(f"cannot be decoded: {format_error(error)}") from error


def _require_few_pixels(image: Image.Image) -> None:
    # Pillow itself only warns between once and twice its limit.
    if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise ImageError(
            f"cannot be decoded: {image.width} × {image.height} pixels are more than "
            f"{Image.MAX_IMAGE_PIXELS}"
        )


def _require_few_scans(image: Image.Image, data: bytes) -> None:
    # The quick count also finds the two bytes in what follows a picture, such as a film.
    many = image.format in ("JPEG", "MPO") and data.count(b"\xff\xda") > _MOST_SCANS
    if many and _count_scans(data) > _MOST_SCANS:
        raise ImageError(f"cannot be decoded: more than {_MOST_SCANS} scans")


def _count_scans(data: bytes) -> int:
    """How many scans a JPEG has before its end."""
    count, place = 0, 2
    while (found := _MARKER.search(data, place)) and found[1] != b"\xd9":
        count += found[1] == b"\xda"
        place = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    return count


def _pixels_of_usual_jpeg(image: Image.Image, data: bytes) -> NDArray[np.uint8] | None:
    """What torchvision decodes where that is what Pillow would; None leaves it to Pillow."""
    usual = (
        image.format == "JPEG"
        and image.mode in ("RGB", "L")
        and _is_huffman_coded(data)
        and _decoders_agree()
    )
    return _decoded_by_torchvision(data) if usual else None


def _is_huffman_coded(data: bytes) -> bool:
    # Pillow cannot decode more than 64 KiB of arithmetic coding, torchvision can: those, and any
    # header that is not plainly one segment behind another, are Pillow's to accept or refuse.
    place = 2
    while data[place : place + 1] == b"\xff" and place + 4 <= len(data):
        if data[place + 1] not in _BEFORE_A_FRAME:
            return data[place + 1] in _HUFFMAN_FRAMES
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return False


@cache
def _decoders_agree() -> bool:
    # Both are libjpeg-turbo in their usual builds. One that was built with another libjpeg rounds
    # in another way, and must not decide what an image looks like.
    probe = Image.fromarray((np.arange(41 * 59 * 3) ** 2 % 251).astype(np.uint8).reshape(41, 59, 3))
    for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
        file = io.BytesIO()
        probe.save(file, "JPEG", subsampling=subsampling)
        found = _decoded_by_torchvision(file.getvalue())
        if found is None or not np.array_equal(found, np.asarray(Image.open(file))):
            return False
    return True


def _decoded_by_torchvision(data: bytes) -> NDArray[np.uint8] | None:
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)  # bytes are not writable
    try:
        # Not torchvision.io.decode_jpeg: since 0.29 that warns, each time, that it will be removed.
        pixels: torch.Tensor = torch.ops.image.decode_jpeg(encoded, _READ_AS_RGB)
    except (RuntimeError, AttributeError):  # refused; no such operator in this build
        return None
    return pixels.permute(1, 2, 0).numpy()


def _upright(pixels: NDArray[np.uint8], image: Image.Image) -> NDArray[np.uint8]:
    # ImageOps.exif_transpose would also rewrite the EXIF block, and fail where it is broken.
    # Where Pillow decodes, after that: it turns a TIFF itself, and drops the tag.
    try:
        orientation = image.getexif().get(0x0112)
    except _DECODER_ERRORS:
        return pixels
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return pixels if turn is None else turn(pixels)


def _to_rgb(image: Image.Image) -> Image.Image:
    image.load()
    if image.mode.startswith("I"):  # "I", "I;16", "I;16B": grey deeper than 8 bits
        image = _high_byte(image)
    elif image.mode == "F":
        raise ImageError("cannot be decoded: floating-point pixels have no stated range")
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    return image.convert("RGB")


def _high_byte(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ImageError("cannot be decoded: integer pixels outside of 0…65535")
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    transparent = image.info.get("transparency")  # a PNG may name one grey that is not there
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def resize_and_crop(pixels: NDArray[np.uint8], transform: InputTransform) -> NDArray[np.uint8]:
    """Resize the shorter side and cut out the centre, as torchvision does with tensors.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (height, width, 3)
        Writable, as `decode_image` gives it; not changed.
    transform : InputTransform
        `resize`, `crop` and `interpolation` are used.

    Returns
    -------
    ndarray of uint8, shape (crop, crop, 3)
        Contiguous. Equal, bit by bit, to ``Resize`` and ``CenterCrop`` of
        ``torchvision.transforms.v2`` on a uint8 tensor.

    Raises
    ------
    ImageError
        So long and thin that the resized image would have too many pixels.
    """
    height, width, _ = pixels.shape
    _require_few_resized_pixels(width, height, transform.resize)
    # Channels last in memory, which is what torch resizes fastest.
    resized = v2.resize(
        torch.from_numpy(pixels).permute(2, 0, 1),
        [transform.resize],
        interpolation=InterpolationMode(transform.interpolation),
        antialias=True,
    )
    cut = v2.center_crop(resized, [transform.crop])
    # NumPy copies: torch would start more threads for it, in each of the decoding threads.
    return np.ascontiguousarray(cut.permute(1, 2, 0).numpy())


def _require_few_resized_pixels(width: int, height: int, shorter: int) -> None:
    longer = shorter * max(width, height) // min(width, height)
    if Image.MAX_IMAGE_PIXELS and shorter * longer > Image.MAX_IMAGE_PIXELS:
        raise ImageError(
            f"cannot be prepared: {width} × {height} pixels are too long and thin, the longer "
            f"side would become {longer}"
        )
