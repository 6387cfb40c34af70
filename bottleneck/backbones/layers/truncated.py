"""The truncated network: run a network up to the last of some layers and pool their outputs."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from bottleneck.backbones.layers.hooks import Hook, call_hooks, forward_hooks
from bottleneck.backbones.layers.layer import Layer
from bottleneck.backbones.layers.outputs import follow
from bottleneck.errors import BackboneError
from bottleneck.pooling import check_pool

Forward = Callable[[Tensor], dict[str, Tensor]]  # from normalised images to codes by layer


class TruncatedNetwork:
    """A network that ends as soon as the codes of some layers are known.

    Codes are taken the moment that a module returns, so that no later in-place operation can
    overwrite them.

    Parameters
    ----------
    network : nn.Module
        Frozen: in eval mode, without gradients.
    layers : sequence of Layer
        Layers of this network, from `bottleneck.backbones.layers.listing.list_layers`.
    relu : bool
        Whether to set negative activations to zero, before pooling.
    pool : str
        Of layers without a pooling of their own: ``"avg"`` or ``"max"`` over space; ``"none"``; a
        grid's side, for adaptive average pooling; or ``"cls"``, a transformer's class token.

    Raises
    ------
    InvalidOptionError
        A layer does not support this pooling.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from bottleneck.backbones.layers.listing import list_layers
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    >>> layers = list_layers(network.eval(), size=32)
    >>> codes = TruncatedNetwork(network, layers[:2], pool="2")(torch.zeros(5, 3, 32, 32))
    >>> {layer: tuple(code.shape) for layer, code in codes.items()}
    {'0': (5, 8, 2, 2), '1': (5, 8, 2, 2)}
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
        """Compute the codes of a batch.

        Parameters
        ----------
        images : Tensor, shape (n, 3, height, width)
            Normalised, on the network's device and in its precision.

        Returns
        -------
        dict of str to Tensor of float32, shape (n, *code_shape)
            By layer; shares no memory with the network's activations.

        Raises
        ------
        BackboneError
            The forward pass ended without calling one of the layers.
        """
        codes: dict[str, Tensor] = {}
        with (
            forward_hooks(self.network, self.hooks(codes)),
            torch.inference_mode(),
            suppress_early_exit(),
        ):
            self.network(images)
        missed = [layer.name for layer in self.layers if layer.name not in codes]
        if missed:
            raise BackboneError(f"the forward pass did not reach layer {', '.join(missed)}")
        return codes

    def hooks(self, codes: dict[str, Tensor]) -> dict[str, Hook]:
        """Return the hooks of one forward pass, by the name of the module that they belong to.

        They put the codes into `codes`. The last of them ends the forward pass, which must be run
        inside of `suppress_early_exit`.
        """

        def keep(layer: Layer, output: Any) -> None:
            codes[layer.name] = layer_code(output, layer, relu=self.relu, pool=self.pool)
            if len(codes) == len(self.layers):
                raise _EarlyExit

        return layer_hooks(self.layers, keep)


def layer_hooks(layers: Sequence[Layer], keep: Callable[[Layer, Any], None]) -> dict[str, Hook]:
    """Return the hooks of one forward pass that call `keep` with each layer's output.

    Parameters
    ----------
    layers : sequence of Layer
    keep : callable
        Called with a layer and its output, the moment that its module returns.

    Returns
    -------
    dict of str to callable
        By the module's name.

    Examples
    --------
    >>> from bottleneck.backbones.layers.listing import list_layers
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval()
    >>> hooks = layer_hooks(
    ...     list_layers(network, size=8), lambda layer, output: print(layer.name, output.shape)
    ... )
    >>> with forward_hooks(network, hooks):
    ...     _ = network(torch.zeros(2, 3, 8, 8))
    0 torch.Size([2, 8, 6, 6])
    1 torch.Size([2, 8, 6, 6])
    """
    wanted: defaultdict[tuple[str, int], list[Layer]] = defaultdict(list)
    for layer in layers:  # several where a module returns several tensors
        wanted[layer.module, layer.call].append(layer)

    def note(module: str, call: int, output: Any) -> None:
        for layer in wanted.get((module, call), []):
            keep(layer, follow(output, layer.path))

    return call_hooks((layer.module for layer in layers), note)


def layer_code(output: Tensor, layer: Layer, *, relu: bool, pool: str) -> Tensor:
    """Apply ReLU to a layer's output, then pool it, into new memory.

    Parameters
    ----------
    output : Tensor, shape (n, *layer.shape)
        Or the symbol of one.
    layer : Layer
        It supports this pooling.
    relu : bool
    pool : str
        As of a `TruncatedNetwork`.

    Returns
    -------
    Tensor of float32, shape (n, *code_shape)

    Examples
    --------
    >>> layer = Layer("conv", "conv", 0, (8, 6, 6), channels_last=False, cost=1.0)
    >>> layer_code(torch.ones(2, 8, 6, 6), layer, relu=True, pool="avg").shape
    torch.Size([2, 8])
    """
    if isinstance(output, Tensor) and output.is_quantized:
        output = output.dequantize()
    pool = layer.pool or pool
    if pool == "cls":
        output = output[:, 0]
    output = torch.relu(output) if relu else output.clone()
    if pool in ("none", "cls") or len(layer.shape) == 1:
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
    """Ends a forward pass. Not an Exception, because a user's network may catch those."""


def suppress_early_exit() -> AbstractContextManager[None]:
    """Suppress the exception with which the hooks of a `TruncatedNetwork` end a forward pass."""
    return suppress(_EarlyExit)
