"""Forward hooks that exist for the duration of one forward pass."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

Hook = Callable[[nn.Module, Any, Any], None]  # as nn.Module.register_forward_hook takes it


@contextmanager
def forward_hooks(network: nn.Module, hooks: Mapping[str, Hook]) -> Iterator[None]:
    """Register a forward hook on each named module, and remove them all at the end.

    Parameters
    ----------
    network : nn.Module
    hooks : mapping of str to callable
        By the module's dotted name; called with the module, its arguments and its output.

    Examples
    --------
    >>> import torch
    >>> network, names = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Flatten()), []
    >>> with forward_hooks(network, {"0": lambda module, args, output: names.append("relu")}):
    ...     output = network(torch.zeros(1, 3, 2, 2))
    >>> names
    ['relu']
    """
    handles = [
        network.get_submodule(name).register_forward_hook(hook) for name, hook in hooks.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
