"""List the layers of a network with their shape and cost, and select them by name."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from bottleneck.backbones.layers.class_token import count_prefix_tokens, has_class_token
from bottleneck.backbones.layers.flop_counter import FlopCounter
from bottleneck.backbones.layers.forward_error import explain_forward_error
from bottleneck.backbones.layers.hooks import call_hooks, forward_hooks
from bottleneck.backbones.layers.layer import Layer
from bottleneck.backbones.layers.outputs import OutputPath, find_tensors, format_path
from bottleneck.backbones.layers.zero_images import IMAGE_COUNTS, zero_images
from bottleneck.backbones.sources.inspection.wrappers import without_wrappers
from bottleneck.errors import USER_CODE_EXCEPTIONS, InvalidOptionError, UnknownNameError
from bottleneck.pooling import check_pool, split_pooled_name

# A second pass at another input size tells space (which grows) from channels (which do not). Two
# strides of 32 pixels, the deepest stride in use, so that every map grows.
_PROBE_GROWTH = 64

# Whether modules of exactly these classes put the channels on the last axis, whatever the others
# are. A subclass may permute, as torchvision's LayerNorm2d does.
_CHANNELS_LAST = {nn.Linear: True, nn.LayerNorm: True, nn.Conv2d: False, nn.BatchNorm2d: False}


def list_layers(network: nn.Module, size: int) -> list[Layer]:
    """List every layer whose codes can be extracted, in the order of computation.

    Runs one forward pass of zeros, and a second one at a larger size, which may fail.

    Parameters
    ----------
    network : nn.Module
        Frozen; on any device, including ``"meta"``, where nothing is computed.
    size : int
        Height and width of the input in pixels.

    Returns
    -------
    list of Layer
        Every floating-point or quantised tensor of two axes or more that a module returns; the
        images must be its first axis.

    Raises
    ------
    BackboneError
        The network does not take an image of that size.

    Examples
    --------
    >>> from torch import nn
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3))
    >>> [(layer.name, layer.shape) for layer in list_layers(network.eval(), size=32)]
    [('0', (8, 15, 15)), ('1', (8, 15, 15)), ('2', (16, 13, 13))]
    """
    seen, total, images = _observe_counted(network, size)
    larger: dict[str, _Output] = {}
    # Networks of a fixed size fail: the layers before the error are known.
    with suppress(*USER_CODE_EXCEPTIONS):
        _observe(network, images, size + _PROBE_GROWTH, larger, FlopCounter())
    stated: dict[tuple[int, ...], set[bool]] = {}
    for output in seen.values():
        if output.channels_last is not None:
            stated.setdefault(output.shape, set()).add(output.channels_last)
    prefix_tokens = count_prefix_tokens(network)
    return [
        Layer(
            name=name,
            module=output.module,
            call=output.call,
            shape=output.shape,
            channels_last=_channels_last(output, larger.get(name), stated.get(output.shape, set())),
            cost=output.flops / total if total else None,
            class_token=has_class_token(output.shape, prefix_tokens),
            path=output.path,
        )
        for name, output in seen.items()
    ]


def select_layers(layers: Sequence[Layer], names: Iterable[str]) -> list[Layer]:
    """Return the layers of the given names, in the order of `layers`, each once.

    A name may end in a pooling of the layer's own (``layer3@2x2``). A layer may also be named as in
    a wrapper of the network (``module.layer1``, ``_orig_mod.layer1``), and the first of a module's
    several outputs with its key (``block:0``). It is returned with the name that is asked for.

    Raises
    ------
    UnknownNameError
        There is no such layer; the nearest names are suggested.
    InvalidOptionError
        There is no such pooling, a layer does not support the pooling of its own, or a module's own
        name ends in one.

    Examples
    --------
    >>> layers = [Layer(name, name, 0, (8, 4, 4), False, 0.5) for name in ("a", "b", "c")]
    >>> [layer.name for layer in select_layers(layers, ["module.c", "a", "b@2x2", "a"])]
    ['a', 'b@2x2', 'module.c']
    """
    known = {layer.name: layer for layer in layers}
    order = {layer.source: i for i, layer in enumerate(layers)}
    found = dict.fromkeys(_find_layer(name, known) for name in names)
    return sorted(found, key=lambda layer: order[layer.source])


def _find_layer(name: str, known: Mapping[str, Layer]) -> Layer:
    if layer := _find_alias(name, known):  # first, as a layer's own name may have an @
        return replace(_without_pooling(layer), name=name)
    plain, _, pool = name.rpartition("@")
    if layer := _find_alias(plain, known):
        return replace(_without_pooling(layer), name=plain).pooled(check_pool(pool))
    hint, (plain, _) = "(`bottleneck.layers` lists them all)", split_pooled_name(name)
    raise UnknownNameError("layer", without_wrappers(plain), known, hint)


def _without_pooling(layer: Layer) -> Layer:
    """Refuse a layer whose own name ends in a pooling, for which its codes would be taken."""
    if split_pooled_name(layer.name)[1]:
        allowed = "a module whose own name does not end in a pooling"
        raise InvalidOptionError("layers", layer.name, allowed, "rename it in the network")
    return layer


def _find_alias(name: str, known: Mapping[str, Layer]) -> Layer | None:
    """Return the layer of a name, which may be one in a wrapper, with the key of a first output."""
    if name in known:
        return known[name]
    name = without_wrappers(name)
    layer = known.get(name) or known.get(name.partition(":")[0])
    return layer if layer and name in (layer.name, layer.name + format_path(layer.path)) else None


@dataclass(frozen=True)
class _Output:
    module: str
    call: int
    shape: tuple[int, ...]
    flops: int
    path: OutputPath
    channels_last: bool | None  # as the module's class states; None if it does not


def _observe_counted(network: nn.Module, size: int) -> tuple[dict[str, _Output], int, int]:
    """Return every output of a forward pass, the network's multiply-adds, and how many images.

    The multiply-adds are 0 if an operation cannot be counted.
    """
    failures: list[BaseException] = []
    for images, counts in itertools.product(IMAGE_COUNTS, (True, False)):
        seen, counter = dict[str, _Output](), FlopCounter()
        try:
            with counter if counts else nullcontext():  # outside of it, the total stays 0
                _observe(network, images, size, seen, counter)
        except USER_CODE_EXCEPTIONS as error:  # of the network, or an operation is not counted
            failures.append(error)
        else:
            return seen, counter.total, images
    raise explain_forward_error(network, failures[-1], size) from failures[-1]


def _observe(
    network: nn.Module,
    images: int,
    size: int,
    seen: dict[str, _Output],
    counter: FlopCounter,
) -> None:
    """Fill `seen` with every output of a forward pass, with what has been counted until then.

    The caller passes `seen` in, so that it has the outputs that came before an error.
    """
    modules = {name: module for name, module in network.named_modules() if name}

    def note(module: str, call: int, output: Any) -> None:
        name = f"{module}_{call}" if call else module
        if call and name in modules:
            return  # a module has that name already
        codes = [found for found in find_tensors(output) if _has_codes(found[1], images)]
        for i, (path, tensor) in enumerate(codes):
            shape, key = tuple(tensor.shape[1:]), format_path(path) if i else ""
            stated = _CHANNELS_LAST.get(type(modules[module]))
            seen[name + key] = _Output(module, call, shape, counter.total, path, stated)

    with torch.inference_mode(), forward_hooks(network, call_hooks(modules, note)):
        network(zero_images(network, images, size))


def _has_codes(tensor: Tensor, images: int) -> bool:
    """Return whether a tensor holds numbers, with an image in each row."""
    is_number = tensor.is_floating_point() or tensor.is_quantized
    return tensor.ndim > 1 and is_number and len(tensor) == images and tensor.numel() > 0


def _channels_last(output: _Output, larger: _Output | None, stated: set[bool]) -> bool:
    """Return whether the last axis has the channels.

    The class of the module states it. Otherwise they are on the end that stays as it is while a
    larger image makes the other one longer. Otherwise they are where all modules that state it have
    them in outputs of the same shape: a block of windows ends in a linear layer, as it begins.
    """
    shape = output.shape
    if len(shape) == 1:
        return False
    if output.channels_last is not None:
        return output.channels_last
    if larger and (shape[0] == larger.shape[0]) != (shape[-1] == larger.shape[-1]):
        return shape[-1] == larger.shape[-1]
    if len(stated) == 1:
        return True in stated
    # A network of one size, or a map of one, as pooling makes it: of a square image, it is square.
    is_fixed = larger is None or larger.shape == shape
    return is_fixed and (len(shape) == 2 or (len(shape) == 3 and shape[0] == shape[1] != shape[2]))
