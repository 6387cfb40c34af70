"""Small pictures of images, for people."""

import io

from PIL import Image

from bottleneck.data.decoding.decode import decode_image
from bottleneck.data.decoding.deep import Range
from bottleneck.input_transform import DECODERS, InputTransform

_QUALITY = 80
_EXACT_SIDE = 32  # up to this, without loss: few bytes, and each pixel can be seen


def make_thumbnail(data: bytes, side: int, limits: Range | None = None) -> bytes:
    r"""Return a small WebP of an image: the pixels that a network gets, before its own resizing.

    Parameters
    ----------
    data : bytes
        An image file, as `decode_image` reads it.
    side : int
        Most pixels of the longer side; a smaller image is not enlarged.
    limits : tuple of 2 float, optional
        `InputTransform.range`, for pixels deeper than 8 bits.

    Raises
    ------
    ImageError
        The image cannot be decoded.

    Examples
    --------
    >>> small = make_thumbnail(b"P6 4 2 255\n" + bytes(24), side=2)
    >>> Image.open(io.BytesIO(small)).size
    (2, 1)
    """
    # Large JPEGs at a fraction of their size, which leaves twice `side`.
    wanted = InputTransform(crop=side, fit="pad", range=limits, decoder=DECODERS["fast"])
    picture = Image.fromarray(decode_image(data, wanted))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    lossless = max(picture.size) <= _EXACT_SIDE
    picture.save(file, "WEBP", quality=_QUALITY, lossless=lossless)
    return file.getvalue()
