"""Make an image the square that a network gets: resize it, and crop or pad it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bottleneck.data.resizing.resampling import Resample, resample
from bottleneck.errors import ImageError
from bottleneck.input_transform import InputTransform


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
    plan = plan_square(height, width, transform)
    resized = resample(pixels, plan.height, plan.width, transform.interpolation)
    if plan.fills:
        return resized[plan.taken]
    square = np.broadcast_to(fill_colour(transform), (transform.crop, transform.crop, 3)).copy()
    square[plan.target] = resized[plan.taken]
    return square


_Region = tuple[slice, slice]  # of rows, of columns


class SquarePlan(NamedTuple):
    """How an image becomes the square that a network gets, for arrays of any library.

    Attributes
    ----------
    height, width : int
        Of the image once it is resized.
    taken : tuple of 2 slice
        Rows and columns of the resized image that are in the square.
    target : tuple of 2 slice
        Rows and columns of the square where these are.
    fills : bool
        Whether that is all of the square; else the rest has the `fill_colour`.
    """

    height: int
    width: int
    taken: _Region
    target: _Region
    fills: bool


def plan_square(height: int, width: int, transform: InputTransform) -> SquarePlan:
    """Plan how an image is made a square, as `InputTransform.fit` says.

    Parameters
    ----------
    height, width : int
        Of the image.
    transform : InputTransform
        `resize`, `crop` and `fit` are used.

    Raises
    ------
    ImageError
        The image is so long and thin that it would have too many pixels when resized.

    Examples
    --------
    >>> plan_square(300, 400, InputTransform(resize=30, crop=20)).taken
    (slice(5, 25, None), slice(10, 30, None))
    """
    side = transform.crop
    down, across = _resized_size(height, width, transform)
    (rows, into_rows), (columns, into_columns) = (_middle(each, side) for each in (down, across))
    fills = min(down, across) >= side
    return SquarePlan(down, across, (rows, columns), (into_rows, into_columns), fills)


def fill_colour(transform: InputTransform) -> NDArray[np.uint8]:
    """Return the colour around an image that does not fill its square, shape (3,).

    Parameters
    ----------
    transform : InputTransform
        `mean` is used for ``fit="pad"``; torchvision's crop pads with black.

    Examples
    --------
    >>> fill_colour(InputTransform(fit="pad", mean=(0.0, 0.5, 1.0))).tolist()
    [0, 128, 255]
    """
    mean = transform.mean if transform.fit == "pad" else (0.0, 0.0, 0.0)
    colour: NDArray[np.uint8] = np.rint(255 * np.clip(mean, 0, 1)).astype(np.uint8)
    return colour


def _resized_size(height: int, width: int, transform: InputTransform) -> tuple[int, int]:
    side = transform.crop
    if transform.fit == "squash":
        return side, side
    if transform.fit == "pad":
        longer = max(height, width)
        return max(1, side * height // longer), max(1, side * width // longer)
    _require_few_resized_pixels(width, height, transform.resize)
    # In torchvision's order of operations, which decides how a half is rounded.
    longer = int(transform.resize * max(height, width) / min(height, width))
    return (transform.resize, longer) if height <= width else (longer, transform.resize)


def _middle(length: int, side: int) -> tuple[slice, slice]:
    """Return which part of a length is in a square's side, and where, as torchvision rounds."""
    if length <= side:
        start = (side - length) // 2
        return slice(0, length), slice(start, start + length)
    start = round((length - side) / 2)
    return slice(start, start + side), slice(0, side)


def _require_few_resized_pixels(width: int, height: int, shorter: int) -> None:
    longer = shorter * max(width, height) // min(width, height)
    if Image.MAX_IMAGE_PIXELS and shorter * longer > Image.MAX_IMAGE_PIXELS:
        raise ImageError(
            f"cannot be prepared: {width} × {height} pixels are too long and thin, the longer "
            f"side would become {longer}"
        )
