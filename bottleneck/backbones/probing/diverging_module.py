"""Find the module whose output for an image is not determined by the image alone."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bottleneck.backbones.layers.outputs import find_tensors
from bottleneck.backbones.probing.agreement import difference
from bottleneck.errors import USER_CODE_EXCEPTIONS

_TOLERANCE = 1e-4  # of a module's output, relative to its norm: finer than that of a code


def find_diverging_module(
    network: nn.Module,
    images: Tensor,
    others: Tensor,
    *,
    tries: Iterable[AbstractContextManager[Any]] = (nullcontext(),),
) -> str:
    """Find the first module whose inputs agree in two passes, and whose outputs do not.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode, as the codes are computed.
    images, others : Tensor, shape (n, 3, height, width)
        Inputs of the two passes, whose last images are the same.
    tries : iterable of context managers
        The second pass is tried in each: random numbers are drawn anew, and may agree.

    Returns
    -------
    str
        Its name and class, and the last of its own modules that still gave equal outputs, if any.

    Examples
    --------
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, track_running_stats=False))
    >>> images = torch.randn(2, 3, 8, 8)
    >>> find_diverging_module(network.eval(), images, images[1:])
    "'1' (BatchNorm2d)"
    """
    first = _record(network, images)
    for context in tries:
        with context:
            again = _record(network, others)
        pairs = list(zip(first, again, strict=False))
        for one, other in pairs:
            if one.name != other.name:  # a module was called in one of the passes alone
                called = {call.name for call in again}
                owner = (other if one.name in called else one).name.rpartition(".")[0]
                return _describe(owner, network.get_submodule(owner))
            same_inputs = _are_close(one.inputs, other.inputs)
            if same_inputs and not _are_close(one.outputs, other.outputs):
                return _describe(one.name, one.module, after=_last_close_part(one.name, pairs))
    return _describe("", network)


def _describe(name: str, module: nn.Module, *, after: str = "") -> str:
    kind = type(module).__name__
    where = f"{name!r} ({kind})" if name else f"{kind}.forward"
    return f"{where}, after {after!r}," if after else where


@dataclass(frozen=True)
class _Call:
    name: str
    module: nn.Module
    inputs: list[Tensor]
    outputs: list[Tensor]


def _record(network: nn.Module, images: Tensor) -> list[_Call]:
    """Run the network, and return the calls of its modules in the order in which they return."""
    calls: list[_Call] = []
    inputs: list[list[Tensor]] = []

    def before(_module: nn.Module, *arguments: Any) -> None:
        inputs.append(_last_image(arguments))

    def after(name: str) -> Any:
        def hook(module: nn.Module, *values: Any) -> None:
            calls.append(_Call(name, module, inputs.pop(), _last_image(values[-1])))

        return hook

    with ExitStack() as stack:
        for name, module in network.named_modules():
            handles = (
                module.register_forward_pre_hook(before, with_kwargs=True),
                module.register_forward_hook(after(name), with_kwargs=True),
            )
            for handle in handles:
                stack.callback(handle.remove)
        # An error ends the pass, but the calls before it are recorded.
        stack.enter_context(suppress(*USER_CODE_EXCEPTIONS))
        stack.enter_context(torch.inference_mode())
        network(images.clone())
    return calls


def _last_image(value: Any) -> list[Tensor]:
    """Copy the last image's part of each tensor, because later operations may overwrite it."""
    return [
        tensor[-1:].clone()
        for _, tensor in find_tensors(value)
        if tensor.ndim > 0 and tensor.is_floating_point()
    ]


def _are_close(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return len(some) == len(others) and all(
        a.shape == b.shape and not difference(a, b) > _TOLERANCE
        for a, b in zip(some, others, strict=True)
    )


def _last_close_part(name: str, pairs: list[tuple[_Call, _Call]]) -> str:
    prefix, last = f"{name}." if name else "", ""
    for one, other in pairs:
        if one.name == name or not one.name.startswith(prefix):
            continue
        if not _are_close(one.outputs, other.outputs):
            break
        last = one.name
    return last
