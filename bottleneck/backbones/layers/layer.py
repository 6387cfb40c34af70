"""A layer of a network: which output it is, and the shape of its codes."""

import math
from dataclasses import dataclass, replace
from typing import Self

from bottleneck.backbones.layers.outputs import OutputPath
from bottleneck.errors import InvalidOptionError
from bottleneck.pooling import POOLINGS, pooled_name


@dataclass(frozen=True)
class Layer:
    """One output of one module in a forward pass.

    Attributes
    ----------
    name : str
        The module's dotted name. A module that is called more than once has a name for each call,
        as in torchvision's feature extraction: ``relu``, ``relu_1``, ``relu_2``. If a module
        returns several tensors, its name is the first one's, and the others' have their keys after
        a colon: ``block``, ``block:1``; ``encoder``, ``encoder:tokens``. The name of a layer with a
        pooling of its own ends in that: ``layer3@2x2``.
    module : str
        The module's dotted name, without the call.
    call : int
        Number of the call of this module, from 0.
    shape : tuple of int
        Of the output for one image: (C, H, W), (H, W, C), (tokens, C) or (C,).
    channels_last : bool
        Whether the last axis holds the channels.
    cost : float or None
        Fraction of the network's multiply-adds that is needed to compute this output, 0…1; None
        where none can be counted, as of a quantised network.
    class_token : bool
        Whether the output is tokens, of which the first is a transformer's class token.
    path : tuple of int or str
        Keys that lead from what the module returns to this output; empty if that is a tensor.
    pool : str or None
        Its own pooling; None where it is pooled as the spec says.

    Examples
    --------
    >>> layer = Layer("conv2", "conv2", 0, (64, 14, 14), channels_last=False, cost=0.5)
    >>> layer.channels, layer.code_shape("avg"), layer.code_shape("2"), layer.code_size("2")
    (64, (64,), (64, 2, 2), 256)
    >>> layer.pooled("7").name, layer.pooled("7").code_shape("avg")
    ('conv2@7x7', (64, 7, 7))
    """

    name: str
    module: str
    call: int
    shape: tuple[int, ...]
    channels_last: bool
    cost: float | None
    class_token: bool = False
    path: OutputPath = ()
    pool: str | None = None

    @property
    def channels(self) -> int:
        """The number of channels."""
        return self.shape[-1 if self.channels_last else 0]

    @property
    def source(self) -> tuple[str, int, OutputPath]:
        """The module, its call and the keys of the output: the layer, whatever its name."""
        return self.module, self.call, self.path

    def pooled(self, pool: str) -> Self:
        """Return this layer with a pooling of its own.

        Raises
        ------
        InvalidOptionError
            The layer does not support it, or it would repeat values: the layer has one position, or
            fewer than the grid.
        """
        name, shape = pooled_name(self.name, pool), " × ".join(map(str, self.shape))
        sides = self.shape[:-1] if self.channels_last else self.shape[1:]
        why = f"the layer gives {shape}"
        if math.prod(sides) == 1 and (pool != "none" or not sides):
            raise InvalidOptionError("layers", name, f"{self.name!r} without a pooling", why)
        layer = replace(self, name=name, pool=pool)
        layer.code_shape(pool)
        if pool.isdecimal() and int(pool) > min(sides):
            allowed = f"a grid of at most {min(sides)} × {min(sides)}"
            raise InvalidOptionError("layers", name, allowed, why)
        return layer

    def supports_pooling(self, pool: str) -> bool:
        """Return whether this layer can be pooled so.

        A grid needs a height and a width, and ``cls`` a class token.
        """
        if pool == "cls":
            return self.class_token
        return pool in POOLINGS or len(self.shape) in (1, 3)

    def code_shape(self, pool: str) -> tuple[int, ...]:
        """Return the shape of one image's code.

        Parameters
        ----------
        pool : str
            One of `bottleneck.pooling.POOLINGS`, or a grid's side. A pooling of the layer's own
            takes its place.

        Raises
        ------
        InvalidOptionError
            `pool` is a grid, and the layer has no height and width; or it is ``"cls"``, and the
            layer has no class token.
        """
        pool = self.pool or pool
        if not self.supports_pooling(pool):
            shape = " × ".join(map(str, self.shape))
            raise InvalidOptionError(
                "pool",
                pool,
                f"{self._poolings()} at layer {self.name!r}",
                f"the layer gives {shape}, which has no class token"
                if pool == "cls"
                else f"a grid needs a map with height and width, and the layer gives {shape}",
            )
        if pool == "none" or len(self.shape) == 1:
            return self.shape
        return (self.channels,) if pool in POOLINGS else (self.channels, int(pool), int(pool))

    def code_size(self, pool: str) -> int:
        """Return the number of values in one image's code, with `pool` as for `code_shape`."""
        return math.prod(self.code_shape(pool))

    def _poolings(self) -> str:
        names = list(filter(self.supports_pooling, POOLINGS))
        if self.supports_pooling("1"):
            names.append("a grid's side")
        return f"{', '.join(names[:-1])} or {names[-1]}"
