"""Cuts: layers that split a network, so that all behind them is computed from them alone.

A layer is a cut if every path from the images to the network's result passes it. Inside of a
residual block none is: the block's input goes past it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import fx, nn

from bottleneck.backbones.cutting.classifier import dropout_rate, find_classifier, last_weight
from bottleneck.backbones.cutting.layer_graph import LayerGraph, trace_layers
from bottleneck.backbones.layers.layer import Layer
from bottleneck.errors import BackboneError


@dataclass(frozen=True)
class Cuts:
    """Where a network can be cut.

    Attributes
    ----------
    layers : tuple of str
        The cuts in order of the forward pass. The last ones are of the same value as `output`.
    output : str
        The penultimate layer: the last cut before the network's own classifier, dropout aside;
        where it has no classifier, its last layer.
    dropout : float
        The rate of the network's own dropout between `output` and its classifier.
    """

    layers: tuple[str, ...]
    output: str
    dropout: float


def list_cuts(network: nn.Module, layers: Sequence[Layer], size: int) -> Cuts:
    """List the cuts of a network.

    Parameters
    ----------
    network : nn.Module
        Frozen; on any device, including ``"meta"``, where nothing is computed.
    layers : sequence of Layer
        Of that network, in the order of computation.
    size : int
        Height and width of the input in pixels.

    Raises
    ------
    BackboneError
        The network cannot be cut; the message says why.

    Examples
    --------
    >>> from bottleneck.backbones.layers.listing import list_layers
    >>> network = nn.Sequential(
    ...     nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(288, 5)
    ... ).eval()
    >>> list_cuts(network, list_layers(network, size=8), 8)
    Cuts(layers=('0', '1', '2'), output='2', dropout=0.2)
    """
    return find_cuts(trace_layers(network, layers, size), layers, network)


def find_cuts(graph: LayerGraph, layers: Sequence[Layer], network: nn.Module) -> Cuts:
    """Find the cuts of a network in its graph, as `list_cuts` does.

    Parameters
    ----------
    graph : LayerGraph
    layers : sequence of Layer
        In the order of computation.
    network : nn.Module
        Whose graph and layers these are.

    Raises
    ------
    BackboneError
        No layer is a cut, or there are weights between the last one and the classifier.
    """
    nodes = {layer: graph.values[layer.name] for layer in layers if layer.name in graph.values}
    if not nodes:
        raise BackboneError("the network cannot be cut: none of its layers is traced")
    classifier = find_classifier(graph, network)
    if classifier:
        cuts = _cut_nodes(graph, classifier.result) & classifier.before
    else:
        cuts = _cut_nodes(graph, [*nodes.values()][-1])
    passed = {layer: node for layer, node in nodes.items() if node in cuts}
    outputs = [layer for layer, node in passed.items() if dropout_rate(node) is None]
    if not outputs:
        raise BackboneError(
            "the network cannot be cut: none of its layers is on every path to its result"
        )
    value = nodes[outputs[-1]]
    last = graph.order[value]
    names = tuple(layer.name for layer, node in passed.items() if graph.order[node] <= last)
    same = [layer for layer in outputs if nodes[layer] is value]
    output, rate = _outermost_block(same, network).name, 0.0
    if classifier:
        between = [node for node in classifier.before if graph.order[node] > last]
        _require_no_weights(graph, between, output)
        rate = max((dropout_rate(node) or 0.0 for node in between), default=0.0)
    return Cuts(names, output, rate)


def _require_no_weights(graph: LayerGraph, between: list[fx.Node], output: str) -> None:
    """Refuse layers between the last cut and the classifier: no tail would have them."""
    names = {node: name for name, node in graph.values.items()}
    lost = [
        names.get(node, node.name)
        for node in sorted(graph.dependent.intersection(between), key=graph.order.__getitem__)
        if (weight := last_weight(node)) is not None and weight.ndim > 1
    ]
    if lost:
        ends = " to ".join(map(repr, dict.fromkeys([lost[0], lost[-1]])))
        raise BackboneError(
            f"the network cannot be cut: {output!r} is its last cut, and the weights of {ends} "
            "between it and the classifier would be left out",
            hint="let a module return what the classifier reads",
        )


def _outermost_block(layers: list[Layer], network: nn.Module) -> Layer:
    """Return the last of some layers of one value that is no mere sequence, which ends with it."""
    kinds = {layer.name: type(network.get_submodule(layer.module)) for layer in layers}
    blocks = [layer for layer in layers if kinds[layer.name] is not nn.Sequential]
    return (blocks or layers)[-1]


def _cut_nodes(graph: LayerGraph, end: fx.Node) -> set[fx.Node]:
    """Return the nodes that every path from the images to a node passes, that node among them.

    One pass over the nodes in the order of computation: behind a cut, no value is alive but the
    cut's own. Parameters, constants and the number of images are no paths.
    """
    path = [node for node in graph.ancestors(end) if node in graph.dependent]
    on_path = set(path)
    found: set[fx.Node] = set()
    last_read = 0
    for node in path:
        if last_read <= graph.order[node]:
            found.add(node)
        reads = [graph.order[user] for user in node.users if user in on_path]
        last_read = max([last_read, *reads])
    return found
