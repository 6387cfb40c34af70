"""The tail: the part of a network behind a cut, as a module that can be trained."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from bottleneck.backbones.cutting.cuts import Cuts, find_cuts
from bottleneck.backbones.cutting.layer_graph import LayerGraph, trace_layers
from bottleneck.backbones.cutting.sign import survives_relu
from bottleneck.backbones.layers.flop_counter import FlopCounter
from bottleneck.backbones.layers.layer import Layer
from bottleneck.backbones.layers.truncated import TruncatedNetwork, layer_code
from bottleneck.backbones.probing.agreement import difference
from bottleneck.backbones.probing.probe import probe_images
from bottleneck.backbones.tracing.operations import attribute_of
from bottleneck.backbones.user_code import errors_in_one_line
from bottleneck.errors import USER_CODE_EXCEPTIONS, BackboneError, InvalidOptionError

# Largest difference between the tail's codes and the network's, relative to their norm: rounding.
_TOLERANCE = 1e-4


class Tail(nn.Module):
    """What a network computes behind a boundary, up to its penultimate layer.

    Its parameters are copies, ready to be trained. Batch norm, dropout and stochastic depth are
    modules, in eval mode at first.

    Parameters
    ----------
    program : fx.GraphModule
        Takes the boundary's maps, and returns the penultimate layer's output.
    output : Layer
        The penultimate layer.
    boundary : str or None
        The layer whose maps the tail takes; None if it takes images.
    in_shape : tuple of int
        Of one row of its input.
    dropout : float
    non_negative : bool

    Attributes
    ----------
    boundary : str or None
        The layer whose maps it takes; None if it takes normalised images.
    output : str
        The penultimate layer, whose codes it returns: the last before the network's own
        classifier.
    in_shape : tuple of int
        Of one row's maps (C, H, W) or codes (D,), or of an image.
    features : int
        Number of values D of a code.
    dropout : float
        Rate of the network's own dropout between `output` and its classifier; 0 if there is none.
    non_negative : bool
        Whether the boundary's codes after a ReLU are as good as its maps: they are not negative,
        or the tail begins with a ReLU.
    multiply_adds : int
        Of the tail, for one image; 0 if they cannot be counted.
    frozen_multiply_adds : int
        Of the frozen part before the tail, for one image.

    Examples
    --------
    >>> from bottleneck.backbones.layers.listing import list_layers
    >>> network = nn.Sequential(
    ...     nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(64, 5)
    ... ).eval()
    >>> layers = list_layers(network, size=8)
    >>> tail = make_tail(network, layers, 8, layers[1])
    >>> tail.boundary, tail.in_shape, tail.output, tail.features, tail.non_negative
    ('1', (8, 6, 6), '3', 64, True)
    >>> tail(torch.zeros(2, 8, 6, 6)).shape
    torch.Size([2, 64])
    """

    def __init__(
        self,
        program: fx.GraphModule,
        output: Layer,
        *,
        boundary: str | None,
        in_shape: tuple[int, ...],
        dropout: float,
        non_negative: bool,
    ) -> None:
        super().__init__()
        self.program, self._output = program, output
        self.boundary, self.output = boundary, output.name
        self.in_shape, self.features = in_shape, output.code_size("avg")
        self.dropout, self.non_negative = dropout, non_negative
        self.multiply_adds = self.frozen_multiply_adds = 0
        self.eval()
        for parameter in self.parameters():
            parameter.requires_grad_(parameter.is_floating_point())

    def __str__(self) -> str:
        """Describe the layer after which the tail begins, and its share of the multiply-adds."""
        where = f"tail behind {self.boundary}" if self.boundary else "whole network"
        count = sum(parameter.numel() for parameter in self.parameters())
        text = f"{where}: {count} parameters"
        whole = self.multiply_adds + self.frozen_multiply_adds
        if self.frozen_multiply_adds:
            text += f", {self.multiply_adds / whole:.0%} of the multiply-adds"
        return text

    def forward(self, maps: Tensor) -> Tensor:
        """Compute the codes of a batch.

        Parameters
        ----------
        maps : Tensor, shape (n, *in_shape)
            On the tail's device. Of images: normalised.

        Returns
        -------
        Tensor of float32, shape (n, features)
            After a ReLU, averaged over space or tokens: what is extracted at `output`.
        """
        # Not by `__call__`: that of torch.fx prints a traceback when an operation fails.
        output = self.program.forward(maps)
        return layer_code(output, self._output, relu=True, pool="avg")


def make_tail(
    network: nn.Module, layers: Sequence[Layer], size: int, boundary: Layer | None
) -> Tail:
    """Make the tail of a network behind a layer, and prove that it computes the network's codes.

    Parameters
    ----------
    network : nn.Module
        Frozen, in float32, on the CPU. It stays as it is.
    layers : sequence of Layer
        Of that network.
    size : int
        Height and width of the input in pixels.
    boundary : Layer or None
        A cut; None for the whole network, which takes images.

    Raises
    ------
    InvalidOptionError
        The layer is no cut; the message names the nearest cuts before and behind it.
    BackboneError
        The network cannot be cut, or the part of it gives other codes than the whole.
    """
    graph = trace_layers(network, layers, size)
    cuts = find_cuts(graph, layers, network)
    output = next(layer for layer in layers if layer.name == cuts.output)
    start = graph.images
    if boundary:
        name = next(layer.name for layer in layers if layer.source == boundary.source)
        if name not in cuts.layers:
            raise _no_cut(name, cuts, layers)
        start = graph.values[name]
    end = graph.values[output.name]
    tail = Tail(
        _program_behind(graph, start, end),
        output,
        boundary=boundary.name if boundary else None,
        in_shape=boundary.shape if boundary else (3, size, size),
        dropout=cuts.dropout,
        non_negative=boundary is not None and survives_relu(graph, start, end),
    )
    with errors_in_one_line(f"the part of the network behind {_spell(boundary)} fails"):
        _prove(tail, network, boundary, output, size)
    return tail


def _program_behind(graph: LayerGraph, start: fx.Node, end: fx.Node) -> fx.GraphModule:
    """Copy what leads from one node to another, with modules named as in the network."""
    copied = fx.Graph()
    maps = copied.placeholder("maps")
    new = {start: copied.call_method("clone", (maps,)) if _may_write(graph, start) else maps}
    kept: dict[str, Any] = {}
    behind = graph.ancestors(end, start=start)
    for node in behind:
        if node in new:
            continue
        if graph.counts_images(node):
            new[node] = copied.call_method("size", (maps, 0))
            continue
        new[node] = copied.node_copy(node, new.__getitem__)
        if node.op in ("call_module", "get_attr"):
            name = new[node].target = str(node.target).removeprefix("network.")
            kept[name] = attribute_of(node)
    copied.output(new[end])
    return fx.GraphModule(kept, copied)


def _may_write(graph: LayerGraph, start: fx.Node) -> bool:
    """Return whether a module that could not be traced reads the maps, and may write into them."""
    return any(node.op == "call_module" and node.target in graph.opaque for node in start.users)


def _prove(
    tail: Tail, network: nn.Module, boundary: Layer | None, output: Layer, size: int
) -> None:
    """Compare the tail with the network on two random images, and count multiply-adds."""
    images = probe_images(size)
    wanted = list({layer.name: layer for layer in (boundary, output) if layer}.values())
    truncated = TruncatedNetwork(network, wanted, relu=False, pool="none")
    outputs, total = _counted(lambda: truncated(images.clone()))
    maps = outputs[boundary.name] if boundary else images
    with torch.no_grad():  # the last image first: what was kept of a pass would be the other's
        codes, own = _counted(lambda: tail(maps.flip(0)))
    expected = layer_code(outputs[output.name], output, relu=True, pool="avg").flip(0)
    same = codes.shape == expected.shape and difference(codes, expected) <= _TOLERANCE
    if not same:
        raise BackboneError(
            f"the part of the network behind {_spell(boundary)} gives other codes at "
            f"{output.name!r} than the whole network",
            hint="take a later layer",
        )
    if own is not None and total is not None:
        tail.multiply_adds = own // 2 // len(images)
        tail.frozen_multiply_adds = (total - own) // 2 // len(images)


def _counted(run: Callable[[], Any]) -> tuple[Any, int | None]:
    """Run a function; return its result, and its floating-point operations if they are known."""
    try:
        with FlopCounter() as counter:
            return run(), counter.total
    except USER_CODE_EXCEPTIONS:  # of the network, or because an operation cannot be counted
        return run(), None


def _no_cut(name: str, cuts: Cuts, layers: Sequence[Layer]) -> InvalidOptionError:
    names = [layer.name for layer in layers]
    place = names.index(name)
    before = [each for each in names[:place] if each in cuts.layers]
    behind = [each for each in names[place:] if each in cuts.layers]
    if not behind:
        last = f"a layer up to {before[-1]!r}, the last one before the network's own classifier"
        return InvalidOptionError("layer", name, last)
    nearest = [f"{before[-1]!r} before it"] * bool(before) + [f"{behind[0]!r} behind it"]
    return InvalidOptionError(
        "layer",
        name,
        "a cut, which every path through the network passes",
        f"there is {' and '.join(nearest)}",
    )


def _spell(boundary: Layer | None) -> str:
    return repr(boundary.name) if boundary else "its images"
