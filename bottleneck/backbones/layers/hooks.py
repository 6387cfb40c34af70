"""Forward hooks of one forward pass: they know the number of a call, and are removed at its end."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

Hook = Callable[[nn.Module, Any, Any], None]  # as nn.Module.register_forward_hook takes it


def call_hooks(modules: Iterable[str], note: Callable[[str, int, Any], None]) -> dict[str, Hook]:
    """Return hooks of one forward pass that tell the calls of a module apart.

    Parameters
    ----------
    modules : iterable of str
        Dotted names.
    note : callable
        Called with a module's name, the number of the call, from 0, and its output.

    Examples
    --------
    >>> hooks = call_hooks(["relu"], lambda module, call, output: print(module, call, output))
    >>> for output in ("a", "b"):
    ...     hooks["relu"](nn.ReLU(), (), output)
    relu 0 a
    relu 1 b
    """
    calls: Counter[str] = Counter()

    def hook_of(module: str) -> Hook:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            call = calls[module]
            calls[module] += 1
            note(module, call, output)

        return hook

    return {module: hook_of(module) for module in modules}


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
