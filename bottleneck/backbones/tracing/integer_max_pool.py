"""Max pooling in bfloat16 by integer comparisons, which a CPU does many at a time."""

import functools
from typing import Any

import torch
from torch import Tensor, nn


class IntegerMaxPool(nn.Module):
    """Max pooling of a map in bfloat16 without negative values.

    Numbers in bfloat16 that are not negative have the order of their bits as integers. A processor
    compares 32 integers of 16 bits at a time. Windows are reduced along the columns of the map
    first, then along its rows.

    Parameters
    ----------
    pool : nn.MaxPool2d
        With dilation 1, and without indices.
    size : tuple of 2 int
        Height and width of the result.

    Examples
    --------
    >>> images = torch.relu(torch.randn(2, 8, 9, 9)).to(torch.bfloat16)
    >>> pool = nn.MaxPool2d(3, 2, padding=1)
    >>> torch.equal(IntegerMaxPool(pool, (5, 5))(images), pool(images))
    True
    """

    def __init__(self, pool: nn.MaxPool2d, size: tuple[int, int]) -> None:
        super().__init__()
        kernel, stride, padding = map(as_pair, (pool.kernel_size, pool.stride, pool.padding))
        self.windows = list(zip(kernel, stride, padding, strict=True))
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """Pool a batch of shape (n, channels, height, width)."""
        bits = images.permute(0, 2, 3, 1).view(torch.int16)
        for axis in (0, 1):
            bits = _window_max(bits, axis + 1, window=self.windows[axis], size=self.size[axis])
        return bits.view(torch.bfloat16).permute(0, 3, 1, 2)


def as_pair(value: Any) -> tuple[Any, Any]:
    """Return one value for height and one for width, as PyTorch's layers read their arguments.

    Examples
    --------
    >>> as_pair(2), as_pair((2, 3)), as_pair([2, 3]), as_pair((2,))
    ((2, 2), (2, 3), (2, 3), (2, 2))
    """
    return (value[0], value[-1]) if isinstance(value, (tuple, list)) else (value, value)


def _window_max(bits: Tensor, axis: int, *, window: tuple[int, int, int], size: int) -> Tensor:
    """Return the largest value of each window along one axis."""
    kernel, stride, padding = window
    complete: list[Tensor] = []
    partial: list[tuple[int, Tensor]] = []
    for offset in range(-padding, kernel - padding):
        # The windows whose value at this offset is not padding.
        low = max(0, -(offset // stride))
        high = min(size, (bits.shape[axis] - 1 - offset) // stride + 1)
        positions = slice(low * stride + offset, (high - 1) * stride + offset + 1, stride)
        part = bits[(slice(None),) * axis + (positions,)]
        if high - low == size:
            complete.append(part)
        elif low < high:
            partial.append((low, part))
    if not complete:  # each window has padding; nothing is less than zero
        complete.append(bits.new_zeros([*bits.shape[:axis], size, *bits.shape[axis + 1 :]]))
    largest = functools.reduce(torch.maximum, complete[1:], complete[0])
    if partial and len(complete) == 1:
        largest = largest.clone()  # it is a view of `bits` so far
    for low, part in partial:
        some = largest.narrow(axis, low, part.shape[axis])
        torch.maximum(some, part, out=some)
    return largest
