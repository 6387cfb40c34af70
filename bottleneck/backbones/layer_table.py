"""The table of a network's layers: what `bottleneck layers` prints."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, overload

from torch import nn

from bottleneck.backbones.backbone import build_skeleton
from bottleneck.backbones.cutting.cuts import list_cuts
from bottleneck.backbones.layers.layer import Layer
from bottleneck.backbones.layers.listing import list_layers
from bottleneck.backbones.preparation import network_notes
from bottleneck.errors import BackboneError, InvalidOptionError
from bottleneck.pooling import POOLINGS, check_pool
from bottleneck.runtime import (
    PreformattedText,
    format_shape,
    format_size,
    format_table,
    require_one_of,
    require_positive_or_none,
)

_CUT = "cut: all that follows is computed from this layer alone, and can be trained from its maps"

_ITEM_SIZES = {"float16": 2, "float32": 4}


@dataclass(frozen=True)
class LayerTable(Sequence[Layer], PreformattedText):
    """The layers of a network that support a pooling, in the order of computation.

    Attributes
    ----------
    layers : tuple of Layer
    pool : str
        One of `bottleneck.pooling.POOLINGS`, or a grid's side.
    dtype : str
        Of stored codes: ``"float16"`` or ``"float32"``.
    notes : tuple of str
        What was done to feed the network that its user may not expect, and why it cannot be cut, a
        sentence each.
    cuts : tuple of str
        The layers at which the network parts in two, so that what follows can be trained from their
        codes alone: `bottleneck.backbones.backbone.Backbone.cuts`.
    why_empty : str
        Why there are no layers; empty where there are some.

    Examples
    --------
    >>> conv = Layer("conv", "conv", 0, (8, 5, 5), channels_last=False, cost=0.5)
    >>> tokens = Layer("norm", "norm", 0, (197, 16), channels_last=True, cost=1.0)
    >>> table = LayerTable((conv, tokens), pool="avg", dtype="float16", cuts=("norm",))
    >>> print(table)
    layer   shape  code  bytes/image    work  cut
    conv    8×5×5     8         16 B   50.0%
    norm   197×16    16         32 B  100.0%  yes
    cut: all that follows is computed from this layer alone, and can be trained from its maps
    >>> table[0].name, table.to_list()[0]["bytes"]
    ('conv', 16)
    """

    layers: tuple[Layer, ...]
    pool: str
    dtype: str
    notes: tuple[str, ...] = ()
    cuts: tuple[str, ...] = ()
    why_empty: str = ""

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    @overload
    def __getitem__(self, index: int) -> Layer: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Layer, ...]: ...
    def __getitem__(self, index: int | slice) -> Layer | tuple[Layer, ...]:
        return self.layers[index]

    def __str__(self) -> str:
        if self.why_empty:
            return self.why_empty
        table = format_table(
            ["layer", "shape", "code", "bytes/image", "work", "cut"],
            (
                [
                    layer.name,
                    format_shape(layer.shape),
                    format_shape(layer.code_shape(self.pool)),
                    format_size(self._code_bytes(layer)),
                    "-" if layer.cost is None else f"{layer.cost:.1%}",
                    "yes" if layer.name in self.cuts else "",
                ]
                for layer in self.layers
            ),
        )
        return f"{table}\n{_CUT}" if self.cuts else table

    def __repr__(self) -> str:
        """Return a short description."""
        return f"<LayerTable of {len(self)} layers, pool {self.pool}>"

    def to_list(self) -> list[dict[str, Any]]:
        """Return a row of plain values for each layer, for JSON.

        Returns
        -------
        list of dict
            With the keys ``layer``, ``shape``, ``code_shape``, ``size`` (values of a code),
            ``bytes`` (of a stored code), ``work`` (`Layer.cost`) and ``cut``.
        """
        return [
            {
                "layer": layer.name,
                "shape": list(layer.shape),
                "code_shape": list(layer.code_shape(self.pool)),
                "size": layer.code_size(self.pool),
                "bytes": self._code_bytes(layer),
                "work": layer.cost,
                "cut": layer.name in self.cuts,
            }
            for layer in self.layers
        ]

    def _code_bytes(self, layer: Layer) -> int:
        return layer.code_size(self.pool) * _ITEM_SIZES[self.dtype]


def layers(
    model: str | nn.Module,
    *,
    weights: str | PathLike[str] = "DEFAULT",
    pool: str = "avg",
    dtype: str = "float16",
    crop: int | None = None,
) -> LayerTable:
    """List the layers whose codes can be extracted, with shape, code size and cost.

    A layer is a cut if every path from the images to the network's penultimate layer passes it.
    No weights are downloaded.

    Parameters
    ----------
    model : str or nn.Module
        A torchvision classification model's name; ``timm:NAME`` or ``hf-hub:org/name``;
        ``path/to/file.py:factory``, which is executed; or a network, which is copied.
    weights : str or PathLike
        ``"DEFAULT"``, a torchvision weights name, ``"none"`` or a weights file: decides nothing
        but the size of the input.
    pool : str
        ``"avg"`` or ``"max"`` over space, ``"none"``, a grid's side, or ``"cls"``: a transformer's
        class token. Layers that do not support it are left out.
    dtype : str
        Of stored codes: ``"float16"`` or ``"float32"``.
    crop : int, optional
        Height and width of the input in pixels; what the weights expect unless given.

    Returns
    -------
    LayerTable

    Raises
    ------
    UnknownNameError
        No model or weights of that name.
    BackboneError
        The network cannot be built, or does not take an input of that size.
    InvalidOptionError
        `pool`, `dtype` or `crop` is not allowed; or `pool` is ``"cls"``, and no layer has a class
        token.

    Examples
    --------
    >>> from torch import nn
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2))
    >>> print(layers(network, crop=32))
    layer     shape  code  bytes/image    work  cut
    0       8×30×30     8         16 B   46.3%  yes
    1       8×30×30     8         16 B   46.3%  yes
    2      16×14×14    16         32 B  100.0%  yes
    cut: all that follows is computed from this layer alone, and can be trained from its maps
    """
    pool = check_pool(pool)
    require_one_of("dtype", dtype, _ITEM_SIZES)
    require_positive_or_none("crop", crop)
    network, transform = build_skeleton(model, weights, crop=crop)
    found = list_layers(network, crop or transform.crop)
    listed = tuple(layer for layer in found if layer.supports_pooling(pool))
    if pool == "cls" and not listed:
        hint = "no layer of this network has a class token"
        allowed = ", ".join(name for name in POOLINGS if name != pool)
        raise InvalidOptionError("pool", pool, f"{allowed} or a grid's side", hint)
    notes = network_notes(network)
    if not listed:
        return LayerTable((), pool, dtype, notes, why_empty=_why_empty(network, found, pool))
    try:
        cuts = list_cuts(network, found, crop or transform.crop).layers
    except BackboneError as error:
        cuts, notes = (), (*notes, f"no layer is marked as a cut: {error}")
    return LayerTable(listed, pool, dtype, notes, cuts)


def _why_empty(network: nn.Module, found: Sequence[Layer], pool: str) -> str:
    """Say why no layer of a network can be chosen."""
    if found:
        return f"no layer of the network supports `pool={pool}`"
    if next(network.children(), None) is None:
        return (
            "the network has no modules in it, so that it has no layers to choose: "
            "`nn.Sequential(network)` has one"
        )
    return "no module of the network returns values for each image, so that it has no layers"
