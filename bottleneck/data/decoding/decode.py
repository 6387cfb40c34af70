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
other files, and decides whether a file is damaged. Pixels are resized and cropped as torchvision's
v2 transforms do with a uint8 tensor.
"""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as v2

from bottleneck.data.decoding.decoder_errors import DECODER_ERRORS
from bottleneck.data.decoding.deep import Range, deep_values, is_deep, map_to_bytes
from bottleneck.data.decoding.formats import explain_unidentified, readers
from bottleneck.data.decoding.multiband import first_bands
from bottleneck.errors import ImageError, format_error
from bottleneck.spec import InputTransform

DECODER = "torchvision-1"

# During the first decoding, as Pillow would do it, neither is thread-safe.
Image.init()
_READERS = readers()

# The operation that makes an image of each EXIF orientation upright (EXIF 2.3, section 4.6.4,
# tag 0x0112).
_UPRIGHT: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels[::-1].transpose(1, 0, 2),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: pixels[:, ::-1].transpose(1, 0, 2),
}

# Markers of a JPEG (ITU-T T.81, table B.1). SOF0, SOF1 and SOF2 begin a Huffman-coded frame; DHT,
# DQT, DRI, COM and APP0 to APP15 may come before it.
_HUFFMAN_FRAMES = (0xC0, 0xC1, 0xC2)
_BEFORE_A_FRAME = (0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0))

# Decoding a progressive JPEG takes time for each scan. Usual files have about ten of them.
_MAX_SCANS = 100
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")  # does not occur within coded pixels

_READ_AS_RGB = 3  # torchvision.io.ImageReadMode.RGB

_NO_RANGE = "cannot be decoded: floating-point pixels have no stated range: `range` gives one"


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
    if not data:
        raise ImageError("cannot be decoded: the file is empty")
    try:
        with Image.open(io.BytesIO(data), formats=_READERS) as image:
            _require_few_pixels(image)
            _require_few_scans(image, data)
            pixels = _pixels_of_usual_jpeg(image, data)
            if pixels is None:
                pixels = np.array(_to_rgb(image, data, limits))
            return np.ascontiguousarray(_upright(pixels, image))
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        if (pixels := _decode_bands(data, limits)) is not None:
            return pixels
        why = explain_unidentified(data) or "not an image of a known format"
        raise ImageError(f"cannot be decoded: {why}") from error
    except Image.DecompressionBombError as error:  # beyond twice the limit
        count = re.search(r"(\d+) pixels", str(error))
        why = (
            _too_many(count[0], int(count[1]))
            if count
            else f"cannot be decoded: {format_error(error)}"
        )
        raise ImageError(why) from error
    except DECODER_ERRORS as error:
        raise ImageError(f"cannot be decoded: {format_error(error)}") from error


def _decode_bands(data: bytes, limits: Range | None) -> NDArray[np.uint8] | None:
    """Decode a TIFF with more samples than Pillow reads; None if it is no such file."""
    try:
        bands = first_bands(data)
    except ImageError:
        raise
    except DECODER_ERRORS as error:
        raise ImageError(f"cannot be decoded: {format_error(error)}") from error
    if bands is None:
        return None
    values = bands.values
    if values.dtype != np.uint8:
        if limits is None and values.dtype != np.uint16:
            raise ImageError(_NO_RANGE)
        values = values >> 8 if limits is None else map_to_bytes(values, limits)
    pixels = values.astype(np.uint8)
    operation = _UPRIGHT.get(bands.orientation)
    return np.ascontiguousarray(pixels if operation is None else operation(pixels))


@contextmanager
def pixel_limit(most: int | None) -> Iterator[None]:
    """Allow images of so many pixels while the block runs; None: as many as Pillow does.

    The limit is Pillow's own, and thus that of all threads of the process.
    """
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = before if most is None else most
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
        f"`max_pixels={pixels}` allows it, and `retry_rejected` tries it again"
    )


def _require_few_scans(image: Image.Image, data: bytes) -> None:
    # The fast count includes these two bytes in data after the picture, such as a film.
    many = image.format in ("JPEG", "MPO") and data.count(b"\xff\xda") > _MAX_SCANS
    if many and _count_scans(data) > _MAX_SCANS:
        raise ImageError(f"cannot be decoded: more than {_MAX_SCANS} scans")


def _count_scans(data: bytes) -> int:
    """Return the number of scans of a JPEG before its end marker."""
    count, offset = 0, 2
    while (marker := _MARKER.search(data, offset)) and marker[1] != b"\xd9":
        count += marker[1] == b"\xda"
        offset = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return count


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


def _upright(pixels: NDArray[np.uint8], image: Image.Image) -> NDArray[np.uint8]:
    # ImageOps.exif_transpose would also rewrite the EXIF block, and fail if it is broken. The tag
    # is read after decoding, since Pillow rotates a TIFF itself and then removes the tag.
    try:
        orientation = image.getexif().get(0x0112)
    except DECODER_ERRORS:
        return pixels
    operation = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return pixels if operation is None else operation(pixels)


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


def resize_and_crop(pixels: NDArray[np.uint8], transform: InputTransform) -> NDArray[np.uint8]:
    """Make an image the square that a network gets, as `InputTransform.fit` says.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (height, width, 3)
        Writable, from `decode_image`; it is not changed.
    transform : InputTransform
        `resize`, `crop`, `fit`, `interpolation`, and for ``fit="pad"`` `mean` are used.

    Returns
    -------
    ndarray of uint8, shape (crop, crop, 3)
        Contiguous. Equal, bit by bit, to ``Resize`` and ``CenterCrop`` of
        ``torchvision.transforms.v2`` on a uint8 tensor; for the other fits, to ``Resize`` to
        both sides.

    Raises
    ------
    ImageError
        The image is so long and thin that it would have too many pixels when resized.

    Examples
    --------
    >>> pixels = np.zeros((300, 400, 3), dtype=np.uint8)
    >>> resize_and_crop(pixels, InputTransform(resize=256, crop=224)).shape
    (224, 224, 3)
    """
    height, width, _ = pixels.shape
    side = transform.crop
    if transform.fit == "squash":
        fitted = _resize(pixels, [side, side], transform)
    elif transform.fit == "pad":
        longer = max(height, width)
        size = [max(1, side * height // longer), max(1, side * width // longer)]
        fitted = _pad(_resize(pixels, size, transform), transform)
    else:
        _require_few_resized_pixels(width, height, transform.resize)
        fitted = v2.center_crop(_resize(pixels, [transform.resize], transform), [side])
    # Copied by NumPy, since torch would start more threads in each of the decoding threads.
    return np.ascontiguousarray(fitted.permute(1, 2, 0).numpy())


def _resize(pixels: NDArray[np.uint8], size: list[int], transform: InputTransform) -> torch.Tensor:
    # Channels last in memory: torch resizes them fastest.
    resized: torch.Tensor = v2.resize(
        torch.from_numpy(pixels).permute(2, 0, 1),
        size,
        interpolation=InterpolationMode(transform.interpolation),
        antialias=True,
    )
    return resized


def _pad(image: torch.Tensor, transform: InputTransform) -> torch.Tensor:
    """Put an image into the middle of a square of the mean colour."""
    side = transform.crop
    colour = np.rint(255 * np.clip(transform.mean, 0, 1)).astype(np.uint8)
    square = torch.from_numpy(np.broadcast_to(colour, (side, side, 3)).copy()).permute(2, 0, 1)
    _, height, width = image.shape
    top, left = (side - height) // 2, (side - width) // 2
    square[:, top : top + height, left : left + width] = image
    return square


def _require_few_resized_pixels(width: int, height: int, shorter: int) -> None:
    longer = shorter * max(width, height) // min(width, height)
    if Image.MAX_IMAGE_PIXELS and shorter * longer > Image.MAX_IMAGE_PIXELS:
        raise ImageError(
            f"cannot be prepared: {width} × {height} pixels are too long and thin, the longer "
            f"side would become {longer}"
        )
