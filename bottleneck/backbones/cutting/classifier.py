"""The classifier of a network: the last linear layer, which gives its logits."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.modules.dropout import _DropoutNd

from bottleneck.backbones.cutting.layer_graph import LayerGraph
from bottleneck.backbones.tracing.operations import attribute_of, module_of, operation

# Activations, which follow a hidden layer and never logits.
_ACTIVATIONS = {
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Tanh),
    *(F.relu, F.relu6, F.leaky_relu, F.elu, F.gelu, F.silu, F.hardswish, "relu", "tanh"),
}
_LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d)


@dataclass(frozen=True)
class ClassifierLayer:
    """The classifier of a network.

    Attributes
    ----------
    result : fx.Node
        The logits, or the network's function of them, such as a softmax.
    before : frozenset of fx.Node
        All that the classifier depends on.
    """

    result: fx.Node
    before: frozenset[fx.Node]


def find_classifier(graph: LayerGraph, network: nn.Module) -> ClassifierLayer | None:
    """Find the classifier of a network: the last parameters on the path to its logits.

    They are those of a linear layer or a convolution. If an activation follows, it is a hidden
    layer, unless the network says that it has so many classes, as SqueezeNet does.

    Parameters
    ----------
    graph : LayerGraph
    network : nn.Module

    Returns
    -------
    ClassifierLayer or None
        None if the network does not return one vector an image, or has no classifier.
    """
    classes = getattr(network, "num_classes", None)
    if not graph.vectors or classes == 0:  # timm's word for a network without classifier
        return None
    result = max(graph.vectors, key=graph.order.__getitem__)
    path = [node for node in graph.ancestors(result) if node in graph.dependent]
    weights = {node: weight for node in path if (weight := last_weight(node)) is not None}
    if not weights:
        return None
    node, weight = list(weights.items())[-1]
    behind = path[path.index(node) + 1 :]
    is_hidden = any(operation(each) in _ACTIVATIONS for each in behind)
    if weight.ndim < 2 or (is_hidden and len(weight) != classes):
        return None
    return ClassifierLayer(result, frozenset(graph.ancestors(node)) - {node})


def dropout_rate(node: fx.Node) -> float | None:
    """Return the rate of a node that is dropout; None if it is something else."""
    module = module_of(node)
    if isinstance(module, _DropoutNd):
        return module.p
    if node.op == "call_function" and getattr(node.target, "__name__", "") == "dropout":
        rate: Any = node.kwargs.get("p", node.args[1] if len(node.args) > 1 else 0.5)
        return float(rate)
    return None


def last_weight(node: fx.Node) -> Tensor | None:
    """Return the weight of the last parameters that a node computes with.

    Single numbers, as a scale of logits, are none.
    """
    module = module_of(node)
    if module is not None:
        parts = [part for part in module.modules() if any(map(_counts, part.parameters(False)))]
        if not parts:
            return None
        weight = getattr(parts[-1], "weight", None)
        linear = isinstance(parts[-1], _LINEAR) and isinstance(weight, Tensor)
        return weight if linear else next(parts[-1].parameters(False)).flatten()
    given = [attribute_of(each) for each in node.all_input_nodes if each.op == "get_attr"]
    found = [each for each in given if isinstance(each, nn.Parameter) and _counts(each)]
    return max(found, key=lambda tensor: tensor.ndim, default=None)


def _counts(parameter: Tensor) -> bool:
    return parameter.numel() > 1
