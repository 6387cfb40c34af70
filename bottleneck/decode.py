"""Decoding: from a file's bytes to the pixels that the network is given.

The rule by which any file becomes RGB (`DECODER` names it, the spec records it):

* the first frame or page; EXIF (or XMP) orientation applied, an unreadable block is upright;
* 16-bit values keep their high byte; 32-bit integers must lie in 0…65535 and do the same;
  floating-point pixels have no stated range and are rejected;
* transparency is laid over white, as a viewer would show it;
* grey is repeated, a palette is looked up, CMYK and YCCK are converted without their profiles;
  colour profiles are ignored, as every ImageNet pipeline does.
"""

import io
import stat
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from bottleneck.errors import FOREIGN_ERRORS, ImageError, one_line
from bottleneck.spec import Preprocess

DECODER = "pillow-1"

# Only these: Pillow's other readers cost safety (EPS starts a program) and serve nobody here.
# (JPEG's reader is also that of MPO, a camera's JPEG with more pictures behind the first.)
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM")

Image.init()  # here, once: Pillow would register its readers in the first thread to need one

# What Pillow's readers raise on hostile bytes; two of their errors are of no builtin kind.
_DECODER_ERRORS = (*FOREIGN_ERRORS, struct.error, zlib.error, Image.DecompressionBombError)

# EXIF orientation → what makes the image upright (EXIF 2.3, section 4.6.4, tag 0x0112).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def read_image(path: Path) -> bytes:
    """The bytes of an image file.

    Raises
    ------
    ImageError
        It is not there, not a regular file (a pipe would never end), or may not be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ImageError("not a regular file")
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or error}") from error


def decode_image(data: bytes) -> Image.Image:
    """Turn a file's bytes into an upright RGB image by the rule at the head of this module.

    Parameters
    ----------
    data : bytes
        JPEG, PNG, WebP, GIF, BMP, TIFF or PNM, whole.

    Returns
    -------
    PIL.Image.Image
        Mode ``"RGB"``.

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
            image.load()
            return _to_rgb(_upright(image))
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError("cannot be decoded: not an image of a known format") from error
    except _DECODER_ERRORS as error:
        raise ImageError(f"cannot be decoded: {one_line(error)}") from error


def _require_few_pixels(image: Image.Image) -> None:
    # Pillow itself only warns between once and twice its limit.
    if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise ImageError(
            f"cannot be decoded: {image.width} × {image.height} pixels are more than "
            f"{Image.MAX_IMAGE_PIXELS}"
        )


def _upright(image: Image.Image) -> Image.Image:
    # ImageOps.exif_transpose would also rewrite the EXIF block, and fail where it is broken.
    # After load(): Pillow turns a TIFF itself, and drops the tag.
    try:
        orientation = image.getexif().get(0x0112)
    except _DECODER_ERRORS:
        return image
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
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


def prepare_image(image: Image.Image, preprocess: Preprocess) -> NDArray[np.uint8]:
    """Resize the shorter side and cut out the centre, as torchvision's presets do.

    Parameters
    ----------
    image : PIL.Image.Image
        Mode ``"RGB"``.
    preprocess : Preprocess
        `resize`, `crop` and `interpolation` are used.

    Returns
    -------
    ndarray of uint8, shape (crop, crop, 3)
        Equal, bit by bit, to ``Resize`` and ``CenterCrop`` of torchvision on a PIL image.

    Raises
    ------
    ImageError
        So long and thin that the resized image would have too many pixels.
    """
    width, height = _resized(image.size, preprocess.resize)
    if Image.MAX_IMAGE_PIXELS and width * height > Image.MAX_IMAGE_PIXELS:
        raise ImageError(
            f"cannot be prepared: {image.width} × {image.height} pixels are too long and thin, "
            f"resizing would make {width} × {height}"
        )
    image = image.resize((width, height), _RESAMPLING[preprocess.interpolation])
    left, top = _offset(width, preprocess.crop), _offset(height, preprocess.crop)
    # Pillow fills what lies outside with zeros, which is torchvision's padding.
    cut = image.crop((left, top, left + preprocess.crop, top + preprocess.crop))
    return np.asarray(cut)


def _resized(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    # torchvision.transforms.functional._compute_resized_output_size truncates the longer side.
    width, height = size
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter


def _offset(length: int, crop: int) -> int:
    # torchvision.transforms.functional.center_crop: Python's round, and padding's floor.
    return round((length - crop) / 2) if length >= crop else -((crop - length) // 2)
