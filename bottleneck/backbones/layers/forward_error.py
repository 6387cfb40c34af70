"""Explain why a network does not take an image."""

import inspect

from torch import nn

from bottleneck.backbones.sources.inspection.torchscript import ScriptedNetwork
from bottleneck.backbones.user_code import describe_error
from bottleneck.errors import BackboneError, full_message


def explain_forward_error(network: nn.Module, error: BaseException, size: int) -> BackboneError:
    """Return the error that says why a network does not take an image, and what to do.

    Parameters
    ----------
    network : nn.Module
    error : BaseException
        What its forward pass raised.
    size : int
        Height and width of the image in pixels.

    Examples
    --------
    >>> network = nn.Bilinear(3, 3, 4)
    >>> print(explain_forward_error(network, TypeError("missing argument"), 32))
    the network's forward takes 2 inputs (input1, input2) and is given one, the images: return a \
module that takes images alone and fills in the others
    """
    inputs = _required_inputs(network)
    if len(inputs) > 1:
        return BackboneError(
            f"the network's forward takes {len(inputs)} inputs ({', '.join(inputs)}) and is given "
            "one, the images",
            hint="return a module that takes images alone and fills in the others",
        )
    if keyword := _required_keyword(network):
        return BackboneError(
            f"the network's forward takes images by the keyword {keyword!r} alone, and is given "
            "them by position",
            hint="return a module whose forward(images) calls it so",
        )
    what = f"the network does not take images of 3 × {size} × {size}: {describe_error(error)}"
    if "more than 1 value per channel" in full_message(error):  # torch.nn.functional.batch_norm
        return BackboneError(
            f"{what}; it normalises with statistics of the batch",
            hint="use running statistics: track_running_stats=True, and weights that have them",
        )
    channels = input_channels(network)
    if channels not in (0, 3):
        return BackboneError(
            f"{what}; its first convolution takes {channels} channels, and images have 3",
            hint="return a module that makes its channels of red, green and blue",
        )
    return BackboneError(f"{what}; if the size is wrong, give the right one with `crop`")


def input_channels(network: nn.Module) -> int:
    """Return the channels that a network's first convolution takes; 0 if it has none.

    Examples
    --------
    >>> input_channels(nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3)))
    1
    """
    if isinstance(network, ScriptedNetwork):
        kernels = (value for value in network.parameters() if value.ndim == 4)
        return next((kernel.shape[1] for kernel in kernels), 0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels
    return 0


def _required_inputs(network: nn.Module) -> list[str]:
    """Return the names of the arguments that a forward pass cannot do without."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        parameter.name
        for parameter in _parameters(network)
        if parameter.kind not in kinds and parameter.default is inspect.Parameter.empty
    ]


def _required_keyword(network: nn.Module) -> str:
    """Return the keyword of a forward pass that takes nothing by position, or an empty text."""
    keywords = [each for each in _parameters(network) if each.kind is each.KEYWORD_ONLY]
    is_alone = len(keywords) == len(_parameters(network)) > 0
    return keywords[0].name if is_alone else ""


def _parameters(network: nn.Module) -> list[inspect.Parameter]:
    try:
        return [*inspect.signature(network.forward).parameters.values()]
    except (TypeError, ValueError):  # of compiled code
        return []
