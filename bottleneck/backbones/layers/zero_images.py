"""Images of zeros, with which a network is run to see what it does."""

import torch
from torch import Tensor, nn

# One image would not tell images on the first axis from a single position table, or from windows;
# yet some networks take one image alone. So the second number is tried where the first fails.
IMAGE_COUNTS = (2, 1)


def zero_images(network: nn.Module, count: int, size: int) -> Tensor:
    """Return zeros in a network's own dtype and on its device.

    Parameters
    ----------
    network : nn.Module
    count : int
        Number of images.
    size : int
        Height and width in pixels.

    Returns
    -------
    Tensor, shape (count, 3, size, size)

    Examples
    --------
    >>> zero_images(nn.Conv2d(3, 8, 3).bfloat16(), 2, 16).dtype
    torch.bfloat16
    """
    numbers = (value for value in network.parameters() if value.is_floating_point())
    first = next(numbers, torch.zeros((), dtype=torch.float32, device="cpu"))
    return torch.zeros(count, 3, size, size, dtype=first.dtype, device=first.device)
