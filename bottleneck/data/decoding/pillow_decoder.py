"""Decode image files of all kinds with Pillow, by the rule in `bottleneck.data.decoding.decode`."""

import io
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from bottleneck.data.decoding.decoder_errors import DECODER_ERRORS, rejecting_undecodable
from bottleneck.data.decoding.deep import Range, deep_values, is_deep, map_to_bytes
from bottleneck.data.decoding.formats import explain_unidentified, readers
from bottleneck.data.decoding.jpeg_header import MAX_SCANS, has_many_scans
from bottleneck.data.decoding.multiband import first_bands
from bottleneck.data.decoding.orientation import upright
from bottleneck.data.decoding.scaled import draft_scaled
from bottleneck.errors import ImageError
from bottleneck.input_transform import InputTransform
from bottleneck.runtime import SharedContext

# During the first decoding, as Pillow would do it, neither is thread-safe.
Image.init()
_READERS = readers()

_NO_RANGE = (
    "cannot be decoded: floating-point pixels have no stated range: `range` of "
    "`bottleneck.extract` gives one"
)


def decode_by_pillow(
    data: bytes, transform: InputTransform = InputTransform()
) -> NDArray[np.uint8]:
    r"""Decode an image file by Pillow, as `bottleneck.data.decoding.decode.decode_image` does.

    Raises
    ------
    ImageError
        The bytes are no image, are truncated, or declare too many pixels.

    Examples
    --------
    >>> decode_by_pillow(b"P6 2 1 255\n" + bytes([255, 0, 0, 0, 0, 255])).tolist()
    [[[255, 0, 0], [0, 0, 255]]]
    """
    if not data:
        raise ImageError("cannot be decoded: the file is empty")
    limits = transform.range
    with rejecting_undecodable():
        try:
            with Image.open(io.BytesIO(data), formats=_READERS) as image:
                _require_few_pixels(image)
                _require_few_scans(image, data)
                draft_scaled(image, transform)
                return upright(np.array(_to_rgb(image, data, limits)), _orientation(image))
        except UnidentifiedImageError as error:
            if (pixels := _decode_bands(data, limits)) is not None:
                return pixels
            why = explain_unidentified(data) or "not an image of a known format"
            raise ImageError(f"cannot be decoded: {why}") from error
        except Image.DecompressionBombError as error:  # beyond twice the limit
            if count := re.search(r"(\d+) pixels", str(error)):
                raise ImageError(_too_many(count[0], int(count[1]))) from error
            raise


def _decode_bands(data: bytes, limits: Range | None) -> NDArray[np.uint8] | None:
    """Decode a TIFF with more samples than Pillow reads; None if it is no such file."""
    bands = first_bands(data)
    if bands is None:
        return None
    values = bands.values
    if values.dtype != np.uint8:
        if limits is None and values.dtype != np.uint16:
            raise ImageError(_NO_RANGE)
        values = values >> 8 if limits is None else map_to_bytes(values, limits)
    pixels = values.astype(np.uint8)
    return upright(pixels, bands.orientation)


@cache
def pixel_limit(most: int | None) -> AbstractContextManager[None]:
    """Allow images of so many pixels while a block runs; None: as many as are allowed already.

    The limit is Pillow's own, and thus that of all threads of the process: runs with the same limit
    may overlap, as those of a worker's threads do.
    """
    return nullcontext() if most is None else SharedContext(partial(_limited, most))


@contextmanager
def _limited(most: int) -> Iterator[None]:
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, most
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _require_few_pixels(image: Image.Image) -> None:
    # Pillow itself only warns between once and twice its limit.
    pixels = image.width * image.height
    if Image.MAX_IMAGE_PIXELS and pixels > Image.MAX_IMAGE_PIXELS:
        raise ImageError(_too_many(f"{image.width} × {image.height} pixels", pixels))


def _too_many(what: str, pixels: int) -> str:
    return (
        f"cannot be decoded: {what} are more than {Image.MAX_IMAGE_PIXELS}: "
        f"`max_pixels={pixels}` allows it; for a cache, `retry_rejected` tries it again"
    )


def _require_few_scans(image: Image.Image, data: bytes) -> None:
    if image.format in ("JPEG", "MPO") and has_many_scans(data):
        raise ImageError(f"cannot be decoded: more than {MAX_SCANS} scans")


def _orientation(image: Image.Image) -> int:
    # ImageOps.exif_transpose would also rewrite the EXIF block, and fail if it is broken. The tag
    # is read after decoding, since Pillow rotates a TIFF itself and then removes the tag.
    try:
        orientation = image.getexif().get(0x0112)
    except DECODER_ERRORS:
        return 0
    return orientation if isinstance(orientation, int) else 0


def _to_rgb(image: Image.Image, data: bytes, limits: Range | None) -> Image.Image:
    if limits is not None and is_deep(image):
        image = _mapped(image, data, limits)
    image.load()
    if image.mode.startswith("I"):  # "I", "I;16", "I;16B": grey deeper than 8 bits
        image = _high_byte(image)
    elif image.mode == "F":
        raise ImageError(_NO_RANGE)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def _mapped(image: Image.Image, data: bytes, limits: Range) -> Image.Image:
    transparent = image.info.get("transparency")
    values = deep_values(image, data)
    mapped = map_to_bytes(values, limits)
    if values.ndim == 3 and values.shape[2] in (2, 4):
        mapped[..., -1] = values[..., -1] >> 8  # opacity
    result = Image.fromarray(mapped)
    if isinstance(transparent, (int, tuple)):  # a PNG may declare one grey or colour transparent
        hidden = values == transparent if values.ndim == 2 else (values == transparent).all(axis=-1)
        result.putalpha(Image.fromarray(np.where(hidden, 0, 255).astype(np.uint8)))
    return result


def _high_byte(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ImageError("cannot be decoded: integer pixels outside of 0…65535")
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    transparent = image.info.get("transparency")  # a PNG may declare one grey as transparent
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey
