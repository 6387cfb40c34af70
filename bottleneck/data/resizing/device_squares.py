"""Make images that lie on a device the squares that a network gets, without leaving it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from bottleneck.data.resizing.resize import SquarePlan, fill_colour, plan_square
from bottleneck.data.resizing.torch_resampling import resize_by_torchvision
from bottleneck.errors import ImageError
from bottleneck.input_transform import InputTransform

# Pixels that are resized together: in floating point they take three quarters of a GiB. A launch
# is as long for many as for one.
_PIXELS = 64 << 20


def make_squares(images: Sequence[Tensor | None], transform: InputTransform) -> list[Tensor | None]:
    """Resize images and cut out or fill up squares, as `bottleneck.data.resize_and_crop` does.

    Parameters
    ----------
    images : sequence of Tensor of uint8, shape (3, height, width), or None
        On one device.
    transform : InputTransform
        `resize`, `crop`, `fit`, `interpolation`, and for ``fit="pad"`` `mean` are used.

    Returns
    -------
    list of Tensor of uint8, shape (crop, crop, 3), or None
        On that device. None where there is no image, where it would have too many pixels when
        resized, or where the device cannot resize it.

    Examples
    --------
    >>> images = [torch.zeros(3, 30, 40, dtype=torch.uint8), None]
    >>> [square.shape if square is not None else None
    ...  for square in make_squares(images, InputTransform(resize=20, crop=16))]
    [torch.Size([16, 16, 3]), None]
    """
    squares: list[Tensor | None] = [None] * len(images)
    for alike, plan in _of_one_size(images, transform):
        try:
            made = _make(torch.stack([image for _, image in alike]), plan, transform)
        except RuntimeError:  # memory is short, or the filter is too wide for the device
            continue
        for (i, _), square in zip(alike, made, strict=True):
            squares[i] = square
    return squares


def _of_one_size(
    images: Sequence[Tensor | None], transform: InputTransform
) -> Iterator[tuple[list[tuple[int, Tensor]], SquarePlan]]:
    """Yield images of the same size with their indices, not too many at a time."""
    by_size: defaultdict[tuple[int, int], list[tuple[int, Tensor]]] = defaultdict(list)
    for i, image in enumerate(images):
        if image is not None:
            by_size[image.shape[1], image.shape[2]].append((i, image))
    for (height, width), alike in by_size.items():
        try:
            plan = plan_square(height, width, transform)
        except ImageError:
            continue
        most = max(1, _PIXELS // (height * width))
        for start in range(0, len(alike), most):
            yield alike[start : start + most], plan


def _make(images: Tensor, plan: SquarePlan, transform: InputTransform) -> Tensor:
    """Return squares, shape (n, crop, crop, 3), of images of one size."""
    size = (plan.height, plan.width)
    if images.shape[2:] != size:
        images = resize_by_torchvision(images, *size, transform.interpolation)
    taken = images.permute(0, 2, 3, 1)[(slice(None), *plan.taken)]
    if plan.fills:
        return taken.contiguous()
    colour = torch.from_numpy(fill_colour(transform)).to(images.device)
    squares = colour.repeat(len(images), transform.crop, transform.crop, 1)
    squares[(slice(None), *plan.target)] = taken
    return squares
