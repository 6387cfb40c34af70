"""Tell whether a layer's maps are known to be non-negative, so that a ReLU changes nothing."""

import operator
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.modules.batchnorm import _BatchNorm

from bottleneck.backbones.cutting.layer_graph import LayerGraph
from bottleneck.backbones.tracing.operations import module_of, operation

_RELUS: set[Any] = {nn.ReLU, nn.ReLU6, F.relu, F.relu6, torch.relu, "relu"}

_NON_NEGATIVE: set[Any] = {
    *(*_RELUS, nn.Sigmoid, nn.Hardsigmoid, nn.Softmax, nn.Softplus),
    *(torch.sigmoid, torch.softmax, torch.abs, torch.exp, F.sigmoid, F.hardsigmoid, F.softmax),
    *("sigmoid", "softmax", "abs", "exp"),
}

# Not below zero where none of their inputs is.
_KEEPING: set[Any] = {
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.ChannelShuffle),
    *(nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten),
    *(F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d, F.dropout),
    *(torch.cat, torch.stack, torch.mean, torch.sum),
    *(torch.flatten, torch.reshape, torch.permute, torch.transpose, torch.unsqueeze),
    *(torch.squeeze, torch.chunk, torch.split, operator.getitem),
    *("mean", "sum", "amax", "flatten", "view", "reshape", "permute", "transpose"),
    *("squeeze", "unsqueeze", "chunk", "split", "contiguous", "clone", "movedim"),
}
_SUMS: set[Any] = {torch.add, torch.mul, operator.add, operator.mul, "add", "mul"}


def survives_relu(graph: LayerGraph, value: fx.Node, end: fx.Node) -> bool:
    """Return whether what is computed from a value stays the same if it first goes through a ReLU.

    So it does if the value is known to be non-negative, or if nothing but ReLUs read it. A code
    goes through a ReLU in any case.

    Parameters
    ----------
    graph : LayerGraph
    value : fx.Node
    end : fx.Node
        The layer whose codes are computed from it.

    Examples
    --------
    >>> from bottleneck.backbones.cutting.layer_graph import trace_layers
    >>> from bottleneck.backbones.layers.listing import list_layers
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU(), nn.Conv2d(8, 4, 1))
    >>> graph = trace_layers(network, list_layers(network.eval(), size=8), 8)
    >>> end = graph.values["2"]
    >>> {name: survives_relu(graph, node, end) for name, node in graph.values.items()}
    {'0': False, '1': False, '2': True}
    """
    behind = graph.ancestors(end, start=value)
    readers = [node for node in behind if value in node.all_input_nodes]
    only_relus = all(operation(node) in _RELUS for node in readers)
    return only_relus or _is_non_negative(graph, value)


def _is_non_negative(graph: LayerGraph, value: fx.Node) -> bool:
    known: dict[fx.Node, bool] = {}
    for node in graph.ancestors(value):
        summands = [each for each in node.all_input_nodes if not _is_count(each)]
        known[node] = _gives_no_negatives(node) or (
            _keeps_sign(node) and all(known[each] for each in summands)
        )
    return known[value]


def _gives_no_negatives(node: fx.Node) -> bool:
    module = module_of(node)
    if isinstance(module, _BatchNorm):  # timm's have an activation
        return type(getattr(module, "act", None)) in _NON_NEGATIVE
    return _is_any(node, _NON_NEGATIVE)


def _keeps_sign(node: fx.Node) -> bool:
    if _is_any(node, _SUMS):
        given = (*node.args, *node.kwargs.values())
        return not any(isinstance(each, (int, float)) and each < 0 for each in given)
    return _is_any(node, _KEEPING)


def _is_count(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, int) and value >= 0


def _is_any(node: fx.Node, operations: set[Any]) -> bool:
    return operation(node) in operations and "alpha" not in node.kwargs
