"""Move a network to a device, round its numbers to a precision, and lay out its kernels."""

from typing import Any, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def cast_module(module: M, device: torch.device, dtype: torch.dtype) -> M:
    """Move a module, and round its floating-point numbers, in place.

    Integers, complex and quantised numbers keep their type. `torch.nn.Module.to` would discard
    imaginary parts.

    Examples
    --------
    >>> module = torch.nn.Conv2d(3, 8, 3)
    >>> cast_module(module, torch.device("cpu"), torch.bfloat16).weight.dtype
    torch.bfloat16
    """
    module.to(device)
    apply: Any = module._apply
    apply(lambda value: value.to(dtype) if value.is_floating_point() else value)
    return module


def use_channels_last(module: M) -> M:
    """Lay out the kernels of a module with channels last in memory, in place.

    They have four axes. `torch.nn.Module.to` would fail at parameters of five.

    Examples
    --------
    >>> kernel = use_channels_last(torch.nn.Conv2d(3, 8, 3)).weight
    >>> kernel.is_contiguous(memory_format=torch.channels_last)
    True
    """
    last = torch.channels_last
    apply: Any = module._apply
    apply(lambda value: value.to(memory_format=last) if value.ndim == 4 else value)
    return module
