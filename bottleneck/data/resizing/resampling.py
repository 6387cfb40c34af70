"""Resize images in NumPy, to the bits that torchvision gives for uint8 tensors.

torch's kernel for uint8 is that of Pillow-SIMD: the filter is widened by the factor by which an
image becomes smaller (antialiasing), its weights are rounded to 16-bit integers, and rows are
resized first, then columns, each to whole numbers of 0…255. Integers make it reproducible to the
bit (torch: `aten/src/ATen/native/cpu/UpSampleKernel.cpp`).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# Of an image, to a height and a width, by an interpolation.
Resample = Callable[[NDArray[np.uint8], int, int, str], NDArray[np.uint8]]

_RADIUS = {"bilinear": 1.0, "bicubic": 2.0}  # of the filter, in pixels
_MOST_BITS = 22  # of the weights' fractions, as in torch and Pillow


def resample(
    pixels: NDArray[np.uint8], height: int, width: int, interpolation: str
) -> NDArray[np.uint8]:
    """Resize an image.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (h, w, 3)
        It is not changed.
    height, width : int
    interpolation : str
        ``"nearest"``, or antialiased ``"bilinear"`` or ``"bicubic"``.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)

    Examples
    --------
    >>> row = np.repeat(np.array([[[0], [100], [200], [40]]], dtype=np.uint8), 3, axis=2)
    >>> resample(row, 1, 2, "bilinear")[0, :, 0].tolist()
    [71, 117]
    """
    if width != pixels.shape[1]:
        columns = np.ascontiguousarray(pixels.transpose(1, 0, 2))
        pixels = _resample_rows(columns, width, interpolation).transpose(1, 0, 2)
    if height != pixels.shape[0]:
        pixels = _resample_rows(pixels, height, interpolation)
    return pixels


def _resample_rows(pixels: NDArray[np.uint8], count: int, interpolation: str) -> NDArray[np.uint8]:
    """Return so many rows, each a weighted sum of rows of the image."""
    n = len(pixels)
    if interpolation == "nearest":
        # In float32, as torch computes it.
        rows = np.arange(count, dtype=np.float32) * np.float32(n / count)
        return pixels[np.minimum(rows.astype(np.int64), n - 1)]
    first, weights, bits = _integer_weights(n, count, interpolation)
    sums = np.full((count, *pixels.shape[1:]), 1 << (bits - 1), dtype=np.int32)  # rounds
    for tap, weight in enumerate(weights.T):
        sums += pixels[np.minimum(first + tap, n - 1)] * weight[:, None, None]
    return np.asarray(np.clip(sums >> bits, 0, 255).astype(np.uint8))


def _integer_weights(
    n: int, count: int, interpolation: str
) -> tuple[NDArray[np.int64], NDArray[np.int32], int]:
    """Return the first row of each sum, the weights of the rows from there, and their scale.

    Returns
    -------
    first : ndarray of int64, shape (count,)
    weights : ndarray of int32, shape (count, taps)
        0 for rows that are not in the sum; those may be beyond the last row.
    bits : int
        Weights are multiples of 2 to the power of minus `bits`.
    """
    scale = n / count
    stretch = max(scale, 1.0)
    radius = _RADIUS[interpolation] * stretch
    centre = scale * (np.arange(count) + 0.5)
    first = np.maximum((centre - radius + 0.5).astype(np.int64), 0)
    taken = np.minimum((centre + radius + 0.5).astype(np.int64), n) - first
    taps = np.arange(taken.max())
    distance = np.abs((taps + first[:, None] - centre[:, None] + 0.5) * (1 / stretch))
    values = np.where(taps < taken[:, None], _filter(distance, interpolation), 0)
    values /= values.sum(axis=1, keepdims=True)
    most, bits = float(values.max()), 0
    while bits < _MOST_BITS and int(0.5 + most * (1 << (bits + 1))) < 1 << 15:
        bits += 1
    scaled = values * (1 << bits)
    return first, np.trunc(scaled + np.copysign(0.5, scaled)).astype(np.int32), bits


def _filter(x: NDArray[np.float64], interpolation: str) -> NDArray[np.float64]:
    """Return a filter's weight at a distance of x pixels, x not negative."""
    if interpolation == "bilinear":
        return np.maximum(1 - x, 0)
    a = -0.5  # R. Keys, "Cubic convolution interpolation for digital image processing" (1981)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
