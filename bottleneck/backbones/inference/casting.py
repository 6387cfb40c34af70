"""Move a network to a device, and round its numbers to a precision."""

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
