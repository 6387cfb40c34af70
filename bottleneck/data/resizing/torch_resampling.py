"""Resize images with PyTorch, as torchvision's v2 transforms do with uint8 tensors."""

import platform
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate


def resample_by_torchvision(
    pixels: NDArray[np.uint8], height: int, width: int, interpolation: str
) -> NDArray[np.uint8]:
    """Resize an image as `bottleneck.data.resizing.resampling.resample` does, faster.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (h, w, 3)
        Writable; it is not changed.
    height, width : int
    interpolation : str
        ``"nearest"``, or antialiased ``"bilinear"`` or ``"bicubic"``.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)

    Examples
    --------
    >>> resample_by_torchvision(np.zeros((30, 40, 3), dtype=np.uint8), 6, 8, "bilinear").shape
    (6, 8, 3)
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    # Channels last in memory: torch resizes them fastest. By their strides it knows them, which
    # `np.newaxis` would not set.
    images = torch.from_numpy(pixels.reshape(1, *pixels.shape).transpose(0, 3, 1, 2))
    if _resizes_bytes():  # what torchvision calls as well, after much Python
        antialias = interpolation != "nearest"
        resized = interpolate(images, (height, width), mode=interpolation, antialias=antialias)
    else:
        resized = resize_by_torchvision(images, height, width, interpolation)
    result: NDArray[np.uint8] = resized.numpy()[0].transpose(1, 2, 0)
    return result


@cache
def _resizes_bytes() -> bool:
    # torchvision's rule for bilinear interpolation. Elsewhere it goes through floating point.
    fast = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    return fast or platform.machine() in ("aarch64", "arm64")


def resize_by_torchvision(
    images: torch.Tensor, height: int, width: int, interpolation: str
) -> torch.Tensor:
    """Resize images of one size, on any device.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, 3, h, w)
    height, width : int
    interpolation : str
        ``"nearest"``, or antialiased ``"bilinear"`` or ``"bicubic"``.

    Returns
    -------
    Tensor of uint8, shape (n, 3, height, width)
        On a GPU, rounded once, from sums in floating point.
    """
    from bottleneck.runtime import torchvision, torchvision_functional

    resized: torch.Tensor = torchvision_functional.resize(
        images,
        [height, width],
        interpolation=torchvision.transforms.InterpolationMode(interpolation),
        antialias=True,
    )
    return resized
