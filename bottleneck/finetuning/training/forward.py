"""Run a module over images that are judged: in order, without gradients, in eval mode."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bottleneck.finetuning.loading.batches import Examples
from bottleneck.finetuning.options import TuneOptions
from bottleneck.linear import ArrayMatrix, TrainingSet
from bottleneck.runtime import EXACT_FLOAT32, choose_device

_BLOCK = 16  # channels that oneDNN takes at a time


def logits(module: nn.Module, examples: Examples, options: TuneOptions) -> NDArray[np.float64]:
    """Return the logits of each image, their mean over its views.

    Parameters
    ----------
    module : nn.Module
        From maps to logits, on any device; it is moved to that of the options.
    examples : Examples
    options : TuneOptions
        Device, precision and batch size.

    Returns
    -------
    ndarray of float64, shape (n, k)
    """
    values = _run(module, examples, options, options.precision)
    by_view = values.reshape(len(examples), examples.batches.views, -1)
    return np.asarray(by_view.mean(axis=1, dtype=np.float64))


def tail_codes(tail: nn.Module, examples: Examples, options: TuneOptions) -> TrainingSet:
    """Return the codes that a tail gives, to fit a linear head to them.

    Parameters
    ----------
    tail : nn.Module
        From maps to codes.
    examples : Examples
    options : TuneOptions
        Device and batch size. The precision is float32, whatever that of the training.

    Returns
    -------
    TrainingSet
        A row for each view of each image, in memory.
    """
    codes = _run(tail, examples, options, "float32")
    return TrainingSet(
        ArrayMatrix(codes),
        examples.targets,
        examples.classes,
        examples.groups,
        examples.batches.views,
    )


def _run(
    module: nn.Module, examples: Examples, options: TuneOptions, precision: str
) -> NDArray[np.float32]:
    """Return what a module gives for each view of each image, shape (n · views, q)."""
    device = choose_device(options.device)
    was_training = module.training
    module.to(device).eval()
    parts, indices, order = [], [], memory_format(module, precision)
    with torch.inference_mode(), autocast(device, precision), EXACT_FLOAT32:
        for maps, index in examples.batches.ordered(examples.rows, batch_size=options.batch_size):
            values = module(to_device(maps, device, order))
            parts.append(values.float().cpu().numpy())
            indices.append(index)
    module.train(was_training)
    every = np.repeat(np.arange(len(examples)), examples.batches.views)
    assert np.array_equal(np.concatenate(indices), every), "a view of an image is missing"
    return np.concatenate(parts)


def memory_format(module: nn.Module, precision: str) -> torch.memory_format:
    """Return the order in memory in which a network gets its maps.

    In float32 channels come last. A step of EfficientNet-lite0's last blocks takes a quarter less
    time on a CPU so, and one of SqueezeNet's as long; with bfloat16 both take more.

    With channels last, oneDNN writes beyond its memory in the backward pass of a strided 1×1
    convolution, on several threads (seen with 8 and with 12 channels, in PyTorch 2.14). A network
    that has one whose channels are no multiple of its block gets its maps as they are stored.

    Parameters
    ----------
    module : nn.Module
    precision : str
    """
    fragile = any(
        isinstance(part, nn.Conv2d)
        and set(part.kernel_size) == {1}
        and set(part.stride) != {1}
        and part.in_channels % _BLOCK
        for part in module.modules()
    )
    last = precision == "float32" and not fragile
    return torch.channels_last if last else torch.contiguous_format


def to_device(maps: Tensor, device: torch.device, order: torch.memory_format) -> Tensor:
    """Return maps as a network computes with them: float32, on its device.

    Parameters
    ----------
    maps : Tensor, shape (b, C, H, W)
        Codes of shape (b, D) stay as they are.
    device : torch.device
    order : torch.memory_format
        See `memory_format`.
    """
    moved = maps.to(device, torch.float32, non_blocking=True)
    return moved.contiguous(memory_format=order) if moved.ndim == 4 else moved


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which a network computes in a precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
