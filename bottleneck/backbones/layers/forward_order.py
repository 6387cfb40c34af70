"""The order of a forward pass: when it uses tensors of the network, and when modules give outputs.

A layer depends on every tensor that an operation has taken before the layer's output is there.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bottleneck.backbones.layers.hooks import call_hooks, forward_hooks
from bottleneck.backbones.layers.zero_images import IMAGE_COUNTS, zero_images
from bottleneck.backbones.sources.inspection.wrappers import without_wrappers
from bottleneck.errors import USER_CODE_EXCEPTIONS


@dataclass(frozen=True)
class ForwardOrder:
    """Steps of a forward pass at which tensors are first used and modules give outputs.

    What is never used has no entry.

    Attributes
    ----------
    tensors : dict of str to int
        First use of parameters and buffers, by their names in the state dict without wrappers.
    modules : dict of str to int
        First output of a module or of one inside of it, by its name without wrappers.
    outputs : dict of (str, int) to int
        Each output, by the module's name and the number of the call.
    """

    tensors: dict[str, int] = field(default_factory=dict)
    modules: dict[str, int] = field(default_factory=dict)
    outputs: dict[tuple[str, int], int] = field(default_factory=dict)


def observe_order(network: nn.Module, size: int) -> ForwardOrder:
    """Run a forward pass of zeros, and note in which order it uses tensors and modules.

    Parameters
    ----------
    network : nn.Module
        Frozen, on any device. An exception of it ends the pass; the order up to there is returned.
    size : int
        Height and width of the input in pixels.

    Examples
    --------
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.ReLU(), nn.Conv2d(8, 4, 3))
    >>> order = observe_order(network.eval(), 8)
    >>> [name for name, step in order.tensors.items() if step < order.outputs["1", 0]]
    ['0.weight']
    """
    for images in IMAGE_COUNTS:
        order = ForwardOrder()
        try:
            _observe(network, zero_images(network, images, size), order)
        except USER_CODE_EXCEPTIONS:
            continue
        break
    return order


def _observe(network: nn.Module, images: Tensor, order: ForwardOrder) -> None:
    """Fill `order` by a forward pass; what came before an error is kept."""
    steps = itertools.count()

    def note(module: str, call: int, _output: Any) -> None:
        step = next(steps)
        for outer in _with_outer(module):
            order.modules.setdefault(without_wrappers(outer), step)
        order.outputs[module, call] = step

    modules = [name for name, _ in network.named_modules() if name]
    with (
        torch.inference_mode(),
        forward_hooks(network, call_hooks(modules, note)),
        _FirstUse(network, order.tensors, steps),
    ):
        network(images)


def _with_outer(module: str) -> Iterator[str]:
    parts = module.split(".")
    return (".".join(parts[:k]) for k in range(len(parts), 0, -1))


class _FirstUse(TorchDispatchMode):  # type: ignore[no-untyped-call, unused-ignore]
    """Notes which of a network's tensors operations take.

    A tensor is known by its memory, for a network may use views of it (``weight.data``).
    """

    def __init__(self, network: nn.Module, first: dict[str, int], steps: Iterator[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self._first, self._steps = first, steps
        self._names: defaultdict[int, list[str]] = defaultdict(list)
        for name, tensor in network.state_dict(keep_vars=True).items():
            if isinstance(tensor, Tensor):
                self._names[_memory(tensor)].append(without_wrappers(name))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        step = next(self._steps)
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, Tensor):
                for name in self._names.get(_memory(value), ()):
                    self._first.setdefault(name, step)
        return func(*args, **(kwargs or {}))


def _memory(tensor: Tensor) -> int:
    """Return a key that identifies a tensor's memory, also on the meta device."""
    if tensor.layout != torch.strided:
        return id(tensor)
    return int(tensor.untyped_storage()._cdata)
