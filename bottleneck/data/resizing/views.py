"""Make views of an image: randomly cropped, turned, mirrored and coloured copies.

View 0 is the image itself. View v is a function of the image's bytes, v and the recipe alone. Its
random numbers come from SHA-256 in counter mode. They need no rounding that differs between
machines, so that a view is the same on every machine, in whatever order views are made:

* ``crop``: a random part of 0.5 to 1 of the area, with sides in the ratio 3:4 to 4:3, becomes the
  square that the network gets, as torchvision's RandomResizedCrop does. It is cut out of the image
  at full resolution, and resized once. With ``fit="pad"`` it keeps its proportions.
* ``rotate``: a turn by 0, 1, 2 or 3 quarters.
* ``flip``: mirrored left to right, or not.
* ``color``: brightness, contrast and saturation times 0.8 to 1.2 each, in this order.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bottleneck.data.decoding.decode import decode_image
from bottleneck.data.resizing.resampling import Resample, resample
from bottleneck.data.resizing.resize import plan_square, resize_and_crop
from bottleneck.data.resizing.view_recipe import ViewRecipe
from bottleneck.input_transform import InputTransform
from bottleneck.runtime import sha256

_SMALLEST_CROP = 0.5  # of the area; torchvision's default of 0.08 is for training from scratch
_TRIES = 10  # as torchvision's
_JITTER = 0.2


@dataclass(frozen=True)
class ViewSet:
    """The views to make of each image.

    Attributes
    ----------
    numbers : sequence of int
        View 0 is the image itself.
    recipe : ViewRecipe or None
        How views are made, if there are others than view 0.
    """

    numbers: Sequence[int] = (0,)
    recipe: ViewRecipe | None = None


@dataclass(frozen=True)
class _Draws:
    """Random numbers of one view of one image."""

    key: str

    def __call__(self, name: str, number: int = 0) -> float:
        """Return a number of [0, 1), a multiple of 2⁻⁵³."""
        first = sha256(f"{self.key} {name} {number}".encode())[:16]
        return (int(first, 16) >> 11) / (1 << 53)


def decode_views(
    data: bytes,
    transform: InputTransform,
    views: ViewSet = ViewSet(),
    *,
    image_sha256: str,
    resample: Resample = resample,
) -> Iterator[NDArray[np.uint8]]:
    r"""Decode an image file once, and make each of its views in the size that a network gets.

    Parameters
    ----------
    data : bytes
        An image file, as `bottleneck.data.decode_image` reads it.
    transform : InputTransform
        See `bottleneck.data.resize_and_crop`, which makes view 0.
    views : ViewSet
        The default is the image itself.
    image_sha256 : str
        Digest of the file's bytes, hexadecimal.
    resample : callable
        What resizes; all give the same bits.

    Yields
    ------
    ndarray of uint8, shape (crop, crop, 3)
        A view, in the order of `views`. View 0 may be a part of the resized image.

    Raises
    ------
    ImageError
        The bytes are no image, or it has too many pixels, or is so long and thin that it would have
        too many when resized: whichever views are made.

    Examples
    --------
    >>> data, views = b"P6 2 1 255\n" + bytes(6), ViewSet((0, 1), ViewRecipe())
    >>> made = decode_views(data, InputTransform(crop=64), views, image_sha256=sha256(data))
    >>> [view.shape for view in made]
    [(64, 64, 3), (64, 64, 3)]
    """
    resize = partial(resize_and_crop, resample=resample)
    pixels = decode_image(data, transform)
    height, width, _ = pixels.shape
    plan_square(height, width, transform)  # an image that it refuses has no other view either
    for view in views.numbers:
        if view == 0:
            yield resize(pixels, transform)
        else:
            recipe = views.recipe
            assert recipe is not None
            draw = _Draws(f"{image_sha256} {recipe.seed} {view}")
            yield _make_view(pixels, transform, recipe, draw, resize)


def _make_view(
    pixels: NDArray[np.uint8],
    transform: InputTransform,
    recipe: ViewRecipe,
    draw: _Draws,
    resize: Callable[[NDArray[np.uint8], InputTransform], NDArray[np.uint8]],
) -> NDArray[np.uint8]:
    """Make a view of decoded pixels, which other views are made of as well."""
    if "crop" in recipe.augmentations:
        pixels = _crop(pixels, draw)
        transform = replace(transform, fit="pad" if transform.fit == "pad" else "squash")
    return _change(resize(pixels, transform), recipe, draw)


def _crop(pixels: NDArray[np.uint8], draw: _Draws) -> NDArray[np.uint8]:
    """Cut a random part out of an image."""
    height, width, _ = pixels.shape
    for number in range(0, 4 * _TRIES, 4):
        area = height * width * (_SMALLEST_CROP + (1 - _SMALLEST_CROP) * draw("crop", number))
        ratio = _ratio(draw("crop", number + 1))
        across, down = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < across <= width and 0 < down <= height:
            break
    else:  # a long and thin image: its largest part of an allowed ratio, but not always the middle
        across, down = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    top = int(draw("crop", number + 2) * (height - down + 1))
    left = int(draw("crop", number + 3) * (width - across + 1))
    return pixels[top : top + down, left : left + across]


def _ratio(uniform: float) -> float:
    """Return a ratio from 3/4 to 4/3; each is as likely as its inverse.

    torchvision draws its logarithm. Logarithms differ in the last bit from machine to machine.
    """
    signed = 2 * uniform - 1
    longer = 1 + abs(signed) / 3
    return longer if signed >= 0 else 1 / longer


def _change(square: NDArray[np.uint8], recipe: ViewRecipe, draw: _Draws) -> NDArray[np.uint8]:
    """Do to a square what commutes with resizing, and costs less on its fewer pixels."""
    if "rotate" in recipe.augmentations:
        square = np.rot90(square, int(4 * draw("rotate")))
    if "flip" in recipe.augmentations and draw("flip") < 0.5:
        square = square[:, ::-1]
    square = np.ascontiguousarray(square)
    return _change_colors(square, draw) if "color" in recipe.augmentations else square


def _change_colors(square: NDArray[np.uint8], draw: _Draws) -> NDArray[np.uint8]:
    # The other changes need no PyTorch. The mean of a grey image, for contrast, is torch's sum.
    import torch

    from bottleneck.runtime import torchvision_functional as v2

    # Laid out as planes, since colours are computed fastest so.
    image = torch.from_numpy(square).permute(2, 0, 1).contiguous()
    changes = (v2.adjust_brightness, v2.adjust_contrast, v2.adjust_saturation)
    for number, change in enumerate(changes):
        image = change(image, 1 - _JITTER + 2 * _JITTER * draw("color", number))
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())
