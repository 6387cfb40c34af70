"""Prepare a network for use: without wrappers, in float32, every parameter with its shape."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bottleneck.backbones.layers.forward_error import explain_forward_error, input_channels
from bottleneck.backbones.sources.inspection.torchscript import open_torchscript
from bottleneck.backbones.sources.inspection.wrappers import unwrap, unwrap_parts
from bottleneck.backbones.user_code import errors_in_one_line
from bottleneck.errors import USER_CODE_EXCEPTIONS, BackboneError

_ONE_CHANNEL = (
    "the network takes one channel: it gets the mean of an image's normalised red, green and blue"
)


def materialise(network: nn.Module, size: int) -> None:
    """Give lazy modules their shapes, by one forward pass; without any, do nothing.

    Their initial weights are drawn by PyTorch's random numbers.

    Parameters
    ----------
    network : nn.Module
        On the CPU; it is changed.
    size : int
        Height and width of the input in pixels.

    Raises
    ------
    BackboneError
        The network does not take an image of that size, or does not call one of them; or it cannot
        be put into eval mode.

    Examples
    --------
    >>> network = nn.Sequential(nn.Flatten(), nn.LazyLinear(10))
    >>> materialise(network, 8)
    >>> network[1].weight.shape
    torch.Size([10, 192])
    """
    inner = unwrap(network)
    with errors_in_one_line("the network cannot be put into eval mode"):
        inner.eval()  # a user's own `train` may return nothing
    if not _lazy_modules(inner):
        return
    _to_float32_on_cpu(inner)
    _first_pass(inner, size)
    if left := _lazy_modules(inner):
        raise BackboneError(
            f"lazy module {left[0]!r} has no shape: a forward pass does not call it",
            hint="remove it, or give it a shape",
        )


def prepare_network(network: nn.Module, size: int) -> nn.Module:
    """Take wrappers off a network, and give it float32 and an input of three channels.

    A forward pass is only made if the network seems to take images of one channel.

    Parameters
    ----------
    network : nn.Module
        With its weights; it is changed.
    size : int
        Height and width of the input in pixels.

    Returns
    -------
    nn.Module
        In eval mode, without gradients.

    Raises
    ------
    BackboneError
        The network takes neither three channels nor one, or is TorchScript that calls no modules.

    Examples
    --------
    >>> network = prepare_network(nn.DataParallel(nn.Sequential(nn.Conv2d(1, 8, 3))), 16)
    >>> type(network).__name__
    'Sequential'
    >>> network(torch.zeros(2, 3, 16, 16)).shape
    torch.Size([2, 8, 14, 14])
    """
    inner = open_torchscript(unwrap(network))
    inner.eval()
    unwrap_parts(inner)
    _to_float32_on_cpu(inner)
    if _seems_to_take_one_channel(inner, size):
        _first_pass(inner, size)
    inner.requires_grad_(False)
    return inner


def network_notes(network: nn.Module) -> tuple[str, ...]:
    """Return notes on changes to a network's input that its user may not expect.

    Examples
    --------
    >>> network_notes(prepare_network(nn.Sequential(nn.Conv2d(1, 8, 3)), 16))[0][:30]
    'the network takes one channel:'
    """
    one_channel = _mean_of_channels in network._forward_pre_hooks.values()
    return (_ONE_CHANNEL,) if one_channel else ()


def _first_pass(network: nn.Module, size: int) -> None:
    """Run a network on an image; if that fails and one channel does not, let it have one."""
    image = torch.zeros(1, 3, size, size, dtype=torch.float32, device="cpu")
    try:
        with torch.no_grad():
            network(image)
    except USER_CODE_EXCEPTIONS as error:
        handle = network.register_forward_pre_hook(_mean_of_channels)
        try:
            with torch.no_grad():
                network(image)
        except USER_CODE_EXCEPTIONS:
            handle.remove()
            raise explain_forward_error(network, error, size) from error


def _mean_of_channels(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, ...]:
    """Give a network the mean of the three normalised channels: of a grey image, any of them."""
    return (inputs[0].mean(1, keepdim=True), *inputs[1:])


def _seems_to_take_one_channel(network: nn.Module, size: int) -> bool:
    channels = input_channels(network)
    if channels:
        return channels == 1
    first = next((part for part in network.modules() if isinstance(part, nn.Linear)), None)
    return first is not None and first.in_features == size * size


def _to_float32_on_cpu(network: nn.Module) -> None:
    # A network whose first parameter is in float32 takes images in it. Other parts may differ.
    first = next((value for value in network.parameters() if value.is_floating_point()), None)
    if first is None:
        return
    if first.device.type not in ("cpu", "meta"):
        network.cpu()
    if first.dtype is not torch.float32:
        network.float()


def _lazy_modules(network: nn.Module) -> list[str]:
    values = (*network.named_parameters(), *network.named_buffers())
    return [name.rpartition(".")[0] for name, value in values if is_lazy(value)]
