"""Make an image the square that a network gets: resize it, and crop or pad it."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bottleneck.data.resizing.resampling import Resample, resample
from bottleneck.errors import ImageError
from bottleneck.spec import InputTransform


def resize_and_crop(
    pixels: NDArray[np.uint8], transform: InputTransform, *, resample: Resample = resample
) -> NDArray[np.uint8]:
    """Make an image the square that a network gets, as `InputTransform.fit` says.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (height, width, 3)
        Writable, from `decode_image`; it is not changed.
    transform : InputTransform
        `resize`, `crop`, `fit`, `interpolation`, and for ``fit="pad"`` `mean` are used.
    resample : callable
        What resizes; all give the same bits.

    Returns
    -------
    ndarray of uint8, shape (crop, crop, 3)
        A part of the resized image, or all of it. Equal, bit by bit, to ``Resize`` and
        ``CenterCrop`` of ``torchvision.transforms.v2`` on a uint8 tensor; for the other fits, to
        ``Resize`` to both sides.

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
    side, interpolation = transform.crop, transform.interpolation
    if transform.fit == "squash":
        return resample(pixels, side, side, interpolation)
    if transform.fit == "pad":
        longer = max(height, width)
        down, across = max(1, side * height // longer), max(1, side * width // longer)
        return _pad(resample(pixels, down, across, interpolation), transform)
    _require_few_resized_pixels(width, height, transform.resize)
    # In torchvision's order of operations, which decides how a half is rounded.
    longer = int(transform.resize * max(height, width) / min(height, width))
    down, across = (transform.resize, longer) if height <= width else (longer, transform.resize)
    return _centre(resample(pixels, down, across, interpolation), side)


def _centre(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Cut a square out of the middle, as torchvision's `center_crop` rounds; pad with black."""
    height, width, _ = pixels.shape
    if min(height, width) < side:
        missing = (max(0, side - height), max(0, side - width))
        around = [(each // 2, (each + 1) // 2) for each in missing]
        pixels = np.pad(pixels, [*around, (0, 0)])
        height, width, _ = pixels.shape
    top, left = round((height - side) / 2), round((width - side) / 2)
    return pixels[top : top + side, left : left + side]


def _pad(pixels: NDArray[np.uint8], transform: InputTransform) -> NDArray[np.uint8]:
    """Put an image into the middle of a square of the mean colour."""
    side = transform.crop
    colour = np.rint(255 * np.clip(transform.mean, 0, 1)).astype(np.uint8)
    square = np.broadcast_to(colour, (side, side, 3)).copy()
    height, width, _ = pixels.shape
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square


def _require_few_resized_pixels(width: int, height: int, shorter: int) -> None:
    longer = shorter * max(width, height) // min(width, height)
    if Image.MAX_IMAGE_PIXELS and shorter * longer > Image.MAX_IMAGE_PIXELS:
        raise ImageError(
            f"cannot be prepared: {width} × {height} pixels are too long and thin, the longer "
            f"side would become {longer}"
        )
