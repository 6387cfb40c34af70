"""Decode image files to RGB pixels, and resize and crop them for a network.

The rule by which any file becomes RGB (``"torchvision-1"`` in a spec):

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

Two decoders give the same bits: simplejpeg decodes the usual JPEGs, faster and without Python's
lock; Pillow decodes all other files, and whatever simplejpeg refuses
(`bottleneck.data.decoding.pillow_decoder`).
"""

import io
from functools import cache
from itertools import product, starmap

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from bottleneck.data.decoding.jpeg_header import JpegHeader, has_many_scans, read_usual_header
from bottleneck.data.decoding.orientation import upright
from bottleneck.data.decoding.pillow_decoder import decode_by_pillow
from bottleneck.data.decoding.scaled import draft_scaled, scale_of
from bottleneck.input_transform import DECODERS, InputTransform


def decode_image(data: bytes, transform: InputTransform = InputTransform()) -> NDArray[np.uint8]:
    r"""Decode an image file to upright RGB pixels, by the rule in this module's docstring.

    Parameters
    ----------
    data : bytes
        A complete JPEG, PNG, WebP, GIF, BMP, TIFF or PNM file, or one of those formats in
        `bottleneck.data.decoding.formats` that this installation reads.
    transform : InputTransform
        Its `decoder`, and for pixels deeper than 8 bits its `range`, are used. The fast decoder
        also uses the size that the image is resized to.

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
    pixels = _decode_usual_jpeg(data, transform)
    return decode_by_pillow(data, transform) if pixels is None else pixels


def read_accepted_header(data: bytes) -> JpegHeader | None:
    """Return the header of a JPEG that needs no look by Pillow; None if Pillow has to decode.

    Parameters
    ----------
    data : bytes
        A file of any kind. It is usual, has not too many pixels, and not too many scans.
    """
    header = read_usual_header(data)
    most = Image.MAX_IMAGE_PIXELS
    if header is None or (most and header.width * header.height > most):
        return None
    return None if not header.one_scan and has_many_scans(data) else header


def decoding_notes() -> tuple[str, ...]:
    """Return notes on the installed decoders, a sentence each.

    Examples
    --------
    >>> decoding_notes()  # the usual builds agree
    ()
    """
    if _decoders_agree():
        return ()
    return ("JPEGs are decoded by Pillow, more slowly: here simplejpeg gives other pixels",)


def _decode_usual_jpeg(data: bytes, transform: InputTransform) -> NDArray[np.uint8] | None:
    """Decode by simplejpeg if the result is that of Pillow; None if Pillow has to decode."""
    header = read_accepted_header(data)
    if header is None or not _decoders_agree():
        return None
    pixels = _decode_by_simplejpeg(data, header, transform)
    return None if pixels is None else upright(pixels, header.orientation)


@cache
def _decoders_agree() -> bool:
    # The usual builds of both use libjpeg-turbo. A build with another libjpeg rounds differently;
    # then only Pillow is used.
    return all(starmap(_agree_on, product(("4:4:4", "4:2:2", "4:2:0"), ("exact", "fast"))))


def _agree_on(subsampling: str, rule: str) -> bool:
    pixels = (np.arange(41 * 59 * 3) ** 2 % 251).astype(np.uint8).reshape(41, 59, 3)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", subsampling=subsampling)
    data, transform = file.getvalue(), InputTransform(resize=1, crop=1, decoder=DECODERS[rule])
    header = read_usual_header(data)
    found = header and _decode_by_simplejpeg(data, header, transform)
    # What is found is kept: without Image.open, it does not depend on how many pixels are allowed.
    expected = JpegImageFile(io.BytesIO(data))
    draft_scaled(expected, transform)
    return found is not None and np.array_equal(found, np.asarray(expected.convert("RGB")))


def _decode_by_simplejpeg(
    data: bytes, header: JpegHeader, transform: InputTransform
) -> NDArray[np.uint8] | None:
    scale = scale_of(header.width, header.height, transform)
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data,
            min_height=-(-header.height // scale),  # rounded up, as libjpeg-turbo does
            min_width=-(-header.width // scale),
        )
    except ValueError:  # damaged, be it so little that libjpeg-turbo only warns
        return None
    return pixels
