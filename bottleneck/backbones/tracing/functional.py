"""Rewriting of a traced program into one whose nodes can be moved, removed and fused independently.

No node writes into another's result any more.
"""

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812

from bottleneck.backbones.tracing.operations import ARITHMETIC, module_of, operation

_IDENTITY_IN_EVAL = {nn.Identity, nn.Dropout, nn.Dropout2d}

# Operations whose result is in new memory: no views, nothing that may return its argument.
_NEW_MEMORY = {
    *(*ARITHMETIC, nn.LayerNorm, nn.GroupNorm, nn.GELU, nn.LeakyReLU, nn.ConvTranspose2d),
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.neg),
    *(torch.add, torch.mul, torch.cat, torch.stack, torch.relu, torch.clone),
    *(F.relu, F.relu6, F.silu, F.gelu, F.hardswish, F.hardsigmoid, F.max_pool2d, F.avg_pool2d),
    *(F.conv2d, F.linear, F.batch_norm, F.group_norm, F.layer_norm, F.normalize),
    *("add", "sub", "mul", "div", "clone", "relu", "mean", "sigmoid", "size", "dim"),
}

# Operations that write into their first argument, and the same operation out of place.
_OUT_OF_PLACE: dict[Any, Any] = {
    torch.relu_: torch.relu,
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}


def make_functional(program: fx.GraphModule) -> bool:
    """Replace in-place operations, and remove what is not used; change the program in place.

    Parameters
    ----------
    program : fx.GraphModule
        Of a network in eval mode.

    Returns
    -------
    bool
        False if an in-place operation cannot be replaced, or its effect is unknown.

    Examples
    --------
    >>> program = fx.symbolic_trace(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True)).eval())
    >>> make_functional(program), program.get_submodule("1")
    (True, ReLU())
    """
    if not _replace_in_place_operations(program):
        return False
    program.graph.eliminate_dead_code()  # the number of images, where only the other sizes are used
    _copy_where_needed(program)
    program.recompile()
    return True


def remove_identity_nodes(program: fx.GraphModule) -> None:
    """Remove nodes that do nothing in eval mode, and would prevent the fusion of others.

    Parameters
    ----------
    program : fx.GraphModule
        Of a network in eval mode; it is changed.

    Examples
    --------
    >>> program = fx.symbolic_trace(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Dropout()).eval())
    >>> remove_identity_nodes(program)
    >>> [node.name for node in program.graph.nodes]
    ['input_1', '_0', 'output']
    """
    for node in list(program.graph.nodes):
        if _is_identity(node):
            node.replace_all_uses_with(node.all_input_nodes[0])
            program.graph.erase_node(node)


def _is_identity(node: fx.Node) -> bool:
    if getattr(node.target, "__name__", "") in ("dropout", "stochastic_depth"):  # torchvision's
        return node.kwargs.get("training", _arguments(node)[-1]) is False
    module = module_of(node)
    known = operation(node) in _IDENTITY_IN_EVAL
    return module is not None and known and not module.training


def _arguments(node: fx.Node) -> list[Any]:
    return [*node.args, *node.kwargs.values()]


def _copy_where_needed(program: fx.GraphModule) -> None:
    """Let a view copy where it must: maps lie in memory with channels last.

    Nothing writes in place any more, so that a copy is as good as a view.
    """
    for node in program.graph.nodes:
        to_dtype = any(isinstance(argument, torch.dtype) for argument in node.args)
        if node.op == "call_method" and node.target == "view" and not (to_dtype or node.kwargs):
            node.target = "reshape"


def _replace_in_place_operations(program: fx.GraphModule) -> bool:
    """Replace in-place operations; return False if that is impossible or its effect unknown.

    Nodes that read a result after it was overwritten read the new result of the writer instead.
    """
    nodes = list(program.graph.nodes)
    # Before any is changed: a module that is called again no longer writes after its first call.
    writers = [(i, node) for i, node in enumerate(nodes) if _is_in_place(node)]
    for i, node in writers:
        target, before = _arguments(node)[0], set(nodes[:i])
        is_known = isinstance(target, fx.Node) and all(
            _owns_memory(each, before) for each in (target, *(before & target.users.keys()))
        )
        if not is_known or not _make_out_of_place(node):
            return False
        later = set(nodes[i + 1 :])
        target.replace_all_uses_with(node, delete_user_cb=later.__contains__)
    return True


def _is_in_place(node: fx.Node) -> bool:
    """Return whether a node writes into its first argument."""
    if node.op not in ("call_module", "call_function", "call_method"):
        return False
    if module := module_of(node):
        return bool(getattr(module, "inplace", False))
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    in_place = name.endswith("_") or node.target in _OUT_OF_PLACE or name == "setitem"
    return in_place or bool(node.kwargs.get("inplace")) or node.kwargs.get("out") is not None


def _owns_memory(node: fx.Node, before: set[fx.Node]) -> bool:
    """Return whether a write into a node's result changes no other result that is read later.

    Results in new memory that were computed `before` the write are not changed by it.
    """
    if node.op == "placeholder" or operation(node) in _NEW_MEMORY:
        return True
    sources = node.all_input_nodes
    is_only_reader = all(
        user is node or (user in before and operation(user) in _NEW_MEMORY)
        for source in sources
        for user in source.users
    )
    return (
        node.op != "get_attr"
        and is_only_reader
        and all(_owns_memory(source, before) for source in sources)
    )


def _make_out_of_place(node: fx.Node) -> bool:
    """Let an in-place node return a new result; return False if there is no such operation."""
    if module := module_of(node):
        setattr(module, "inplace", False)  # noqa: B010  (nn.Module declares no such attribute)
    elif "inplace" in node.kwargs:
        node.update_kwarg("inplace", False)
    elif node.target in _OUT_OF_PLACE:
        node.target = _OUT_OF_PLACE[node.target]
    elif isinstance(node.target, str) and hasattr(Tensor, node.target.removesuffix("_")):
        node.target = node.target.removesuffix("_")
    else:
        return False
    return True
