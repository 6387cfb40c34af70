"""PyTorch's global defaults while a network is built: type, device, gradients, seed."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from bottleneck.runtime import SharedContext

_SEED = 0  # so that `weights="none"` is the same network every time


@contextmanager
def pytorch_defaults() -> Iterator[None]:
    """Create tensors in float32 on the CPU, from the same random numbers each time.

    A network that is built in another process then has the same weights, of the same types. The
    caller's defaults and random numbers are as before afterwards, whatever a user's file sets: one
    for inference may switch gradients off, which `tune` needs.

    Examples
    --------
    >>> with pytorch_defaults():
    ...     torch.rand(1)
    tensor([0.4963])
    """
    device = torch.get_default_device()
    on_cpu = torch.device("cpu") if device.type != "cpu" else nullcontext()
    try:
        with _FLOAT32, on_cpu, torch.enable_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            yield
    finally:
        if torch.get_default_device() != device:
            torch.set_default_device(None if device.type == "cpu" else device)


@contextmanager
def _float32() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


_FLOAT32 = SharedContext(_float32)  # the type is that of all threads
