"""Decode large JPEGs at a fraction of their size, for the decoder ``"fast"``.

The format codes blocks of 8 × 8 pixels as frequencies. libjpeg-turbo makes blocks of 4 × 4, 2 × 2
or 1 × 1 of the lower ones, for less work, and the rest need not be resized either. That is not the
average of the pixels: codes differ a little from those of the exact decoder, which is why the
decoder is part of the spec.
"""

from PIL import Image

from bottleneck.input_transform import DECODERS, InputTransform

_SCALES = (8, 4, 2)
_LEFT = 2  # times what the image is resized to: the resizing still has something to average


def draft_scaled(image: Image.Image, transform: InputTransform) -> bool:
    """Let an image be decoded at a fraction of its size, where that can be.

    Parameters
    ----------
    image : Image
        As opened; nothing of it has been decoded.
    transform : InputTransform
        What becomes of the image.

    Returns
    -------
    bool
        Whether it will be smaller: the decoder is the fast one, and it is a JPEG, and large enough.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO()
    >>> Image.new("RGB", (4000, 3000)).save(file, "JPEG")
    >>> image = Image.open(file)
    >>> draft_scaled(image, InputTransform(decoder=DECODERS["fast"])), image.size
    (True, (1000, 750))
    """
    scale = scale_of(image.width, image.height, transform)
    if scale == 1 or image.format != "JPEG" or image.mode not in ("RGB", "L"):
        return False
    image.draft(None, (image.width // scale, image.height // scale))
    return True


def scale_of(width: int, height: int, transform: InputTransform) -> int:
    """Return by how much the sides of a JPEG are divided: 8, 4, 2 or 1.

    Parameters
    ----------
    width, height : int
    transform : InputTransform
        What becomes of the image; with the exact decoder, 1.

    Examples
    --------
    >>> scale_of(4000, 3000, InputTransform(decoder=DECODERS["fast"]))
    4
    """
    if transform.decoder != DECODERS["fast"]:
        return 1
    if transform.fit == "pad":
        side, target = max(width, height), transform.crop
    else:
        side = min(width, height)
        target = transform.crop if transform.fit == "squash" else transform.resize
    shorter = min(width, height)
    allowed = (s for s in _SCALES if side // s >= _LEFT * target and shorter >= s)
    return next(allowed, 1)
