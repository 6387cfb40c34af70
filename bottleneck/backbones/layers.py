"""Layers: the name, shape and cost of each; the truncated tap that reads several in one pass."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bottleneck.errors import (
    USER_CODE_ERRORS,
    BackboneError,
    InvalidOptionError,
    UnknownNameError,
    format_error,
)

# A second look at another size tells space (which grows) from channels (which do not). Two
# strides of 32 pixels, the deepest stride in use, so that every map grows.
_PROBE_GROWTH = 64


@dataclass(frozen=True)
class Layer:
    """One output of one module in one forward pass.

    Attributes
    ----------
    name : str
        The module's dotted name. A module called more than once has a name for each call, as
        torchvision's feature extraction names them: ``relu``, ``relu_1``, ``relu_2``.
    module : str
        The module's dotted name, without the call.
    call : int
        Which call of the module, from 0.
    shape : tuple of int
        Of one image's output: (C, H, W), (H, W, C), (tokens, C) or (C,).
    channels_last : bool
        Whether the last axis holds the channels.
    cost : float
        Share of the whole network's multiply-adds that is done when this output is there.
    """

    name: str
    module: str
    call: int
    shape: tuple[int, ...]
    channels_last: bool
    cost: float

    @property
    def channels(self) -> int:
        """The number of channels."""
        return self.shape[-1 if self.channels_last else 0]

    def supports_pooling(self, pool: str) -> bool:
        """Whether this layer can be pooled so: a grid needs a height and a width."""
        return pool in ("avg", "max", "none") or len(self.shape) in (1, 3)

    def code_shape(self, pool: str) -> tuple[int, ...]:
        """The shape of one image's code, for ``"avg"``, ``"max"``, ``"none"`` or a grid's side.

        Raises
        ------
        InvalidOptionError
            A grid was asked of a layer that has no height and width.
        """
        if not self.supports_pooling(pool):
            raise InvalidOptionError(
                "pool",
                pool,
                f"avg, max or none at layer {self.name!r}",
                "a grid needs a map with height and width, and the layer gives "
                f"{' × '.join(map(str, self.shape))}",
            )
        if pool == "none" or len(self.shape) == 1:
            return self.shape
        if pool in ("avg", "max"):
            return (self.channels,)
        return (self.channels, int(pool), int(pool))

    def code_size(self, pool: str) -> int:
        """The number of values in one image's code."""
        return math.prod(self.code_shape(pool))


def check_pool(pool: str) -> str:
    """Return `pool` if it is ``avg``, ``max``, ``none`` or a grid's side, at least 1.

    Raises
    ------
    InvalidOptionError
        It is none of these.
    """
    if pool in ("avg", "max", "none") or (pool.isdecimal() and int(pool) > 0):
        return pool
    raise InvalidOptionError("pool", pool, "avg, max, none, or a whole number K for a K × K grid")


def list_layers(network: nn.Module, size: int) -> list[Layer]:
    """Every layer of a network that can be tapped, in the order in which they are done.

    Runs one forward pass of zeros, and as far as it goes a second one at a larger size.

    Parameters
    ----------
    network : nn.Module
        Frozen; on any device, ``"meta"`` included, where nothing is computed.
    size : int
        Height and width of the input in pixels.

    Returns
    -------
    list of Layer
        Outputs that are one tensor with the images first.

    Raises
    ------
    BackboneError
        The network does not take an image of that size.
    """
    seen: dict[str, _Output] = {}
    try:
        total = _observe(network, size, seen)
    except USER_CODE_ERRORS as error:
        raise BackboneError(
            f"the network does not take images of 3 × {size} × {size}: "
            f"{format_error(error)[:200]}; if the size is wrong, give the right one with `crop`"
        ) from error
    larger: dict[str, _Output] = {}
    with suppress(*USER_CODE_ERRORS):  # fixed-size networks: known as far as they go
        _observe(network, size + _PROBE_GROWTH, larger)
    return [
        Layer(
            name=name,
            module=output.module,
            call=output.call,
            shape=output.shape,
            channels_last=_channels_last(output, larger.get(name)),
            cost=output.flops / total if total else 1.0,
        )
        for name, output in seen.items()
    ]


def select_layers(layers: Sequence[Layer], names: Sequence[str]) -> list[Layer]:
    """The layers of the given names, in the network's order, each once.

    Raises
    ------
    UnknownNameError
        There is no such layer; the nearest names are suggested.
    """
    by_name = {layer.name: layer for layer in layers}
    for name in names:
        if name not in by_name:
            raise UnknownNameError(
                "layer", name, by_name, "(`bottleneck layers MODEL` lists them all)"
            )
    return [layer for layer in layers if layer.name in set(names)]


class TruncatedNetwork:
    """The truncated network: images in, the codes of some layers out.

    The forward pass ends as soon as the last of the layers is there. Codes are taken the moment
    that a module returns, so that no in-place operation further on can rewrite them.

    Parameters
    ----------
    network : nn.Module
        Frozen: in eval mode, without gradients.
    layers : sequence of Layer
        As `list_layers` gave them for this network.
    relu : bool
        Whether negative activations become zero, before pooling.
    pool : str
        ``"avg"`` or ``"max"`` over space, ``"none"``, or a grid's side: adaptive average.
    """

    def __init__(
        self, network: nn.Module, layers: Sequence[Layer], *, relu: bool = True, pool: str = "avg"
    ) -> None:
        for layer in layers:
            layer.code_shape(check_pool(pool))  # refuse before any image is read
        self.network = network
        self.layers = tuple(layers)
        self.relu = relu
        self.pool = pool

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """The codes of a batch.

        Parameters
        ----------
        images : Tensor, shape (n, 3, H, W)
            Normalised, on the network's device and in its precision.

        Returns
        -------
        dict of str to Tensor
            For each layer's name float32, shape (n, *code_shape), sharing no memory with the
            network's activations.

        Raises
        ------
        BackboneError
            The forward pass ended without calling one of the layers.
        """
        codes: dict[str, Tensor] = {}
        with (
            _hooked(self.network, self.hooks(codes)),
            torch.inference_mode(),
            suppress_early_exit(),
        ):
            self.network(images)
        missed = [layer.name for layer in self.layers if layer.name not in codes]
        if missed:
            raise BackboneError(f"the forward pass did not reach layer {', '.join(missed)}")
        return codes

    def hooks(self, codes: dict[str, Tensor]) -> "dict[str, Hook]":
        """For one forward pass: what to call with the output of each module that has a layer.

        They put the codes into `codes`, and end the forward pass (see `catching`) with the last.
        """
        wanted = {(layer.module, layer.call): layer for layer in self.layers}
        calls: Counter[str] = Counter()

        def hook_of(module: str) -> Hook:
            def hook(_module: nn.Module, _args: Any, output: Any) -> None:
                layer = wanted.get((module, calls[module]))
                calls[module] += 1
                if layer is None:
                    return
                codes[layer.name] = _code(output, layer, relu=self.relu, pool=self.pool)
                if len(codes) == len(wanted):
                    _stop()

            return hook

        return {layer.module: hook_of(layer.module) for layer in self.layers}


def _code(output: Tensor, layer: Layer, *, relu: bool, pool: str) -> Tensor:
    """Relu, then pool, in memory of its own."""
    output = torch.relu(output) if relu else output.clone()
    if pool == "none" or len(layer.shape) == 1:
        return output.float()
    if layer.channels_last:
        output = output.movedim(-1, 1)
    space = tuple(range(2, len(layer.shape) + 1))
    if pool == "avg":
        return output.mean(space, dtype=torch.float32)
    if pool == "max":
        return output.amax(space).float()
    return nn.functional.adaptive_avg_pool2d(output.float(), int(pool))


class _EarlyExit(BaseException):
    """The way out of a forward pass; no Exception, which a network of one's own might catch."""


def _stop() -> NoReturn:
    raise _EarlyExit


Hook = Callable[[nn.Module, Any, Any], None]  # as nn.Module.register_forward_hook takes it


def suppress_early_exit() -> AbstractContextManager[None]:
    """Around a forward pass that a tap's hooks may end."""
    return suppress(_EarlyExit)


@contextmanager
def _hooked(network: nn.Module, hooks: dict[str, Hook]) -> Iterator[None]:
    handles = [
        network.get_submodule(name).register_forward_hook(hook) for name, hook in hooks.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class _Output:
    module: str
    call: int
    shape: tuple[int, ...]
    flops: int


def _observe(network: nn.Module, size: int, seen: dict[str, _Output]) -> int:
    """Fill `seen` with every output of one forward pass; return its multiply-adds.

    Filled as the pass goes, so that what came before an error is known.
    """
    modules = {name for name, _ in network.named_modules() if name}
    calls: Counter[str] = Counter()
    parameter = next(network.parameters(), torch.zeros(()))
    image = torch.zeros(1, 3, size, size, dtype=parameter.dtype, device=parameter.device)

    def hook_of(module: str) -> Hook:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            call = calls[module]
            calls[module] += 1
            name = f"{module}_{call}" if call else module
            if call and name in modules:
                return  # a module of that very name exists, and has the better claim to it
            if isinstance(output, Tensor) and output.ndim > 1 and output.is_floating_point():
                shape = tuple(output.shape[1:])
                seen[name] = _Output(module, call, shape, counter.get_total_flops())

        return hook

    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        with _hooked(network, {name: hook_of(name) for name in modules}):
            network(image)
        return int(counter.get_total_flops())


def _channels_last(output: _Output, larger: _Output | None) -> bool:
    if len(output.shape) == 2:
        return True  # tokens
    if len(output.shape) != 3 or larger is None:
        return False
    return output.shape[0] != larger.shape[0] and output.shape[-1] == larger.shape[-1]
