"""Operations of a traced program: what a node calls, and what it computes."""

from typing import Any

from torch import fx, nn

# Modules whose result is finite if their input is, and in memory of its own.
ARITHMETIC = {
    *(nn.Conv2d, nn.BatchNorm2d, nn.Linear),
    *(nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.Sigmoid),
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
}


def module_of(program: fx.GraphModule, node: fx.Node | None) -> nn.Module | None:
    """Return the module that a node calls, or None."""
    if node is None or node.op != "call_module":
        return None
    return program.get_submodule(str(node.target))


def operation(program: fx.GraphModule, node: fx.Node | None) -> Any:
    """Return what a node computes: the type of its module, its function, or its method's name.

    It is None for a module with hooks, which may compute anything.
    """
    module = module_of(program, node)
    if module is not None:
        return None if has_hooks(module) else type(module)
    return node and node.target


def has_hooks(module: nn.Module) -> bool:
    """Return whether a module has hooks, which are the user's and must be run."""
    return bool(module._forward_hooks or module._forward_pre_hooks)
