"""Operations of a traced program: what a node calls, and what it computes."""

from operator import attrgetter
from typing import Any

from torch import fx, nn

# Modules whose result is finite if their input is, and in memory of its own.
ARITHMETIC = {
    *(nn.Conv2d, nn.BatchNorm2d, nn.Linear),
    *(nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.Sigmoid),
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
}


def attribute_of(node: fx.Node) -> Any:
    """Return what a node names in its program: the module that it calls, or a tensor."""
    return attrgetter(str(node.target))(node.graph.owning_module)


def module_of(node: fx.Node | None) -> nn.Module | None:
    """Return the module that a node calls, or None."""
    return attribute_of(node) if node and node.op == "call_module" else None


def operation(node: fx.Node | None) -> Any:
    """Return what a node computes: the type of its module, its function, or its method's name.

    It is None for a module with hooks, which may compute anything.
    """
    module = module_of(node)
    if module is not None:
        return None if has_hooks(module) else type(module)
    return node and node.target


def has_hooks(module: nn.Module) -> bool:
    """Return whether a module has hooks, which are the user's and must be run."""
    return bool(module._forward_hooks or module._forward_pre_hooks)
