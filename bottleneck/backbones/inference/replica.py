"""A truncated network ready to run on one device: from pixels to codes."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bottleneck.backbones.layers.truncated import Forward
from bottleneck.input_transform import InputTransform


class Replica(Protocol):
    """A truncated network on a device, which one thread at a time may call.

    Attributes
    ----------
    device : torch.device
    """

    device: torch.device

    def __call__(self, images: Tensor) -> dict[str, NDArray[np.float32]]:
        """Compute the codes of a batch of uint8 pixels, of shape (n, height, width, 3)."""


class FixedBatchReplica:
    """A program that computes a batch of one size, in memory of its own.

    Smaller batches are filled up with images of former ones, and larger ones divided.

    Parameters
    ----------
    compute : callable
        Computes the codes of the pixels.
    pixels : Tensor of uint8, shape (images, height, width, 3)
        Where it takes them from.
    codes : dict of str to Tensor of float32, shape (images, ...)
        Where it puts the codes of each layer.

    Attributes
    ----------
    device : torch.device

    Examples
    --------
    >>> pixels, codes = torch.zeros(2, 1, 1, 3, dtype=torch.uint8), torch.zeros(2)
    >>> replica = FixedBatchReplica(
    ...     lambda: codes.copy_(pixels.sum((1, 2, 3))), pixels, {"sum": codes}
    ... )
    >>> replica(torch.arange(9, dtype=torch.uint8).view(3, 1, 1, 3))["sum"]
    array([ 3., 12., 21.], dtype=float32)
    """

    def __init__(
        self, compute: Callable[[], object], pixels: Tensor, codes: dict[str, Tensor]
    ) -> None:
        self.device = pixels.device
        self._compute, self._pixels, self._codes = compute, pixels, codes

    def __call__(self, images: Tensor) -> dict[str, NDArray[np.float32]]:
        """Compute the codes of a batch, as `TorchReplica` does."""
        codes = {
            layer: np.empty((len(images), *code.shape[1:]), dtype=np.float32)
            for layer, code in self._codes.items()
        }
        with torch.inference_mode():
            for start in range(0, len(images), len(self._pixels)):
                part = images[start : start + len(self._pixels)]
                self._pixels[: len(part)].copy_(part, non_blocking=True)
                self._compute()
                for layer, code in self._codes.items():
                    codes[layer][start : start + len(part)] = code[: len(part)].cpu().numpy()
        return codes


class TorchReplica:
    """A forward pass by PyTorch, and the normalisation of its input.

    Parameters
    ----------
    forward : callable
        Takes normalised images of shape (n, 3, height, width), and returns codes by layer.
    transform : InputTransform
        Its `mean` and `std` are used, and `crop`, the width of images.
    dtype : torch.dtype
        Of the normalised images.
    device : torch.device
        Of the forward pass.

    Attributes
    ----------
    forward, transform, dtype, device
        As given.

    Examples
    --------
    >>> transform = InputTransform(mean=(0, 0, 0), std=(1, 1, 1), crop=8, resize=8)
    >>> replica = TorchReplica(
    ...     lambda images: {"mean": images.mean((2, 3))}, transform, torch.float32,
    ...     torch.device("cpu")
    ... )
    >>> replica(torch.full((1, 8, 8, 3), 255, dtype=torch.uint8))["mean"]
    array([[1., 1., 1.]], dtype=float32)
    """

    def __init__(
        self,
        forward: Forward,
        transform: InputTransform,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.forward, self.transform = forward, transform
        self.dtype, self.device = dtype, device
        self._mean = _repeat_channels(transform.mean, transform.crop, device)
        self._std = _repeat_channels(transform.std, transform.crop, device)

    def __call__(self, images: Tensor) -> dict[str, NDArray[np.float32]]:
        """Compute the codes of a batch.

        Parameters
        ----------
        images : Tensor of uint8, shape (n, height, width, 3)
            On any device.

        Returns
        -------
        dict of str to ndarray of float32, shape (n, ...)
            By layer.
        """
        with torch.inference_mode():
            codes = self.compute(images.to(self.device, non_blocking=True))
            return {layer: code.cpu().numpy() for layer, code in codes.items()}

    def compute(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the codes of a batch on its device, and leave them there."""
        # In torchvision's order of operations, so that the input is equal bit by bit.
        normalised = images.flatten(2).float().div_(255).sub_(self._mean).div_(self._std)
        batch = normalised.to(self.dtype).view(images.shape).permute(0, 3, 1, 2)
        return self.forward(batch)


def _repeat_channels(values: Sequence[float], width: int, device: torch.device) -> Tensor:
    """Repeat one value a channel for each pixel of a row: arithmetic is fast on long rows."""
    return torch.tensor(values, dtype=torch.float32, device=device).repeat(width)
