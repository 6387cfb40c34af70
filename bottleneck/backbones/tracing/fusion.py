"""Fusion of convolutions with the batch norm, addition and activation that follow them.

On a CPU in bfloat16, half of a residual network's time is not spent in its convolutions: batch
norm, addition and ReLU each read and write a map. oneDNN does all of them while a convolution's
result is still in a register. A third of SqueezeNet's time is max pooling, number by number; after
a ReLU there is a faster way, `bottleneck.backbones.tracing.integer_max_pool`.
"""

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.fusion import fuse_conv_bn_weights

from bottleneck.backbones.parallelism import (
    arithmetic_threads,
    batches_at_a_time,
    threads_of_a_batch,
)
from bottleneck.backbones.tracing.integer_max_pool import IntegerMaxPool, as_pair
from bottleneck.backbones.tracing.module_calls import call_modules
from bottleneck.backbones.tracing.operations import ARITHMETIC, module_of, operation
from bottleneck.backbones.tracing.shapes import layouts_of

_Activation = tuple[str, list[float]]

# oneDNN's name of an activation, with its parameters (ATen/native/mkldnn/Utils.cpp).
_ACTIVATIONS: dict[Any, _Activation] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.Hardswish: ("hardswish", []),
    nn.SiLU: ("swish", []),
    **dict.fromkeys([F.relu, torch.relu, "relu"], ("relu", [])),
    F.relu6: ("hardtanh", [0.0, 6.0]),
    F.hardswish: ("hardswish", []),
    F.silu: ("swish", []),
}
_NO_ACTIVATION: _Activation = ("none", [])

# Batch size for which oneDNN lays out a convolution's weights. If another layout is better for the
# actual batch, oneDNN reorders the weights in each pass: up to two thirds of a pass in bfloat16.
_IMAGES = 16

_ADDITIONS = {operator.add, torch.add, "add"}

_FINITE = {
    *(*ARITHMETIC, nn.Flatten, nn.GELU, F.linear, *_ADDITIONS, *_ACTIVATIONS),
    *(operator.mul, operator.getitem, getattr, torch.mul, torch.cat, torch.flatten),
    *(torch.unsqueeze, torch.transpose, torch.chunk),
    *(F.adaptive_avg_pool2d, F.avg_pool2d, F.max_pool2d, F.hardsigmoid, torch.sigmoid),
    *("amax", "chunk", "clone", "contiguous", "flatten", "float", "mean", "movedim", "mul"),
    *("permute", "reshape", "sigmoid", "size", "squeeze", "transpose", "unsqueeze", "view"),
}


def supports_fusion(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether `fuse` makes a network faster on this device and in this precision.

    It is not used in float16, where activations overflow: the overflow must be seen.
    """
    has_onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call, unused-ignore]
    return device.type == "cpu" and dtype in (torch.float32, torch.bfloat16) and has_onednn


def fuse(program: fx.GraphModule, dtype: torch.dtype) -> None:
    """Fuse each convolution with the operations that follow it, in place.

    Parameters
    ----------
    program : fx.GraphModule
        In float32. No node writes into another's result, and nodes know the shapes of their
        results (`bottleneck.backbones.tracing.shapes`).
    dtype : torch.dtype
        Of the fused weights. Batch norm is folded into them before they are rounded.
    """
    call_modules(program)
    # oneDNN's ReLU turns NaN into 0, and NaN must be detected: if there may be any, ReLUs stay.
    activations = _ACTIVATIONS if _stays_finite(program) else {}
    # As many threads as will compute a batch: how oneDNN lays weights out depends on it.
    with arithmetic_threads(threads_of_a_batch(batches_at_a_time(torch.device("cpu")))):
        for i, node in enumerate(list(program.graph.nodes)):
            conv = module_of(node)
            if type(conv) is nn.Conv2d and _is_plain(conv):
                _fuse_chain(program, node, dtype, activations, name=f"convolution{i}")
            elif operation(node) is nn.MaxPool2d and dtype is torch.bfloat16:
                _replace_max_pool(program, node, name=f"pool{i}")
    program.delete_all_unused_submodules()
    program.recompile()


class _Convolution(nn.Module):
    """A convolution and the operations after it, in one pass of oneDNN over the map."""

    def __init__(
        self, conv: nn.Conv2d, weight: Tensor, bias: Tensor | None, image: Sequence[int]
    ) -> None:
        super().__init__()
        self.geometry = ([*conv.padding], [*conv.stride], [*conv.dilation], conv.groups)
        self.activation = _NO_ACTIVATION
        # No buffers: Module.to cannot move a weight in oneDNN's layout.
        self.weight = torch.ops.aten.mkldnn_reorder_conv2d_weight(
            weight.to_mkldnn(), *self.geometry, [_IMAGES, *image]
        )
        self.bias = bias

    def forward(self, images: Tensor, other: Tensor | None = None) -> Tensor:
        name, parameters = self.activation
        if other is None:
            return cast(
                Tensor,
                torch.ops.mkldnn._convolution_pointwise(
                    images, self.weight, self.bias, *self.geometry, name, parameters, ""
                ),
            )
        unary = None if name == "none" else name
        return cast(
            Tensor,
            torch.ops.mkldnn._convolution_pointwise.binary(
                images, other, self.weight, self.bias, *self.geometry, "add", 1.0, unary, [], None
            ),
        )


@dataclass(frozen=True)
class _Chain:
    """A convolution and the nodes after it that can be computed with it.

    Attributes
    ----------
    last : fx.Node
        Last node of the chain.
    norm : nn.BatchNorm2d or None
    summand : fx.Node or None
        The other map of an addition.
    activation : tuple of str and list of float
        oneDNN's name and parameters.
    """

    last: fx.Node
    norm: nn.BatchNorm2d | None
    summand: fx.Node | None
    activation: _Activation


def _find_chain(node: fx.Node, activations: dict[Any, _Activation]) -> _Chain:
    """Find the operations after a convolution, each the only reader of the one before it."""
    last, follower = node, _only_reader(node)
    norm, summand, activation = None, None, _NO_ACTIVATION
    module = module_of(follower)
    if follower and type(module) is nn.BatchNorm2d and module.running_mean is not None:
        norm, last, follower = module, follower, _only_reader(follower)
    if follower and _adds_two_maps(follower):
        (summand,) = (arg for arg in follower.args if arg is not last)
        last, follower = follower, _only_reader(follower)
    candidate = activations.get(operation(follower))
    if follower and candidate and (summand is None or candidate[0] == "relu"):
        last, activation = follower, candidate
    return _Chain(last, norm, cast("fx.Node | None", summand), activation)


def _fuse_chain(
    program: fx.GraphModule,
    node: fx.Node,
    dtype: torch.dtype,
    activations: dict[Any, _Activation],
    *,
    name: str,
) -> None:
    """Replace a convolution and its chain by one module of the given name."""
    conv = cast(nn.Conv2d, module_of(node))
    chain = _find_chain(node, activations)
    weight, bias = conv.weight.detach(), conv.bias
    if chain.norm:
        weight, bias = _fold_batch_norm(weight, bias, chain.norm)
    if not torch.isfinite(weight).all():
        return  # a norm that divides by zero stays as it is
    (maps,) = node.all_input_nodes
    _, *image = layouts_of(maps)[0].shape
    fused = _Convolution(conv, weight.to(dtype), None if bias is None else bias.to(dtype), image)
    fused.activation = chain.activation
    program.add_submodule(name, fused)
    with program.graph.inserting_before(chain.last):
        inputs = (maps,) if chain.summand is None else (maps, chain.summand)
        new = program.graph.call_module(name, inputs)
    chain.last.replace_all_uses_with(new)
    new.meta = chain.last.meta
    for replaced in _from_last_to_first(node, chain.last):
        program.graph.erase_node(replaced)


def _replace_max_pool(program: fx.GraphModule, node: fx.Node, *, name: str) -> None:
    """Pool by integers if the map has no NaN and no negative numbers."""
    pool = cast(nn.MaxPool2d, module_of(node))
    plain = as_pair(pool.dilation) == (1, 1) and not pool.return_indices
    if plain and all(_is_rectified(source) for source in node.all_input_nodes):
        height, width = layouts_of(node)[0].shape[2:]
        program.add_submodule(name, IntegerMaxPool(pool, (height, width)))
        node.target = name


def _is_rectified(node: fx.Node) -> bool:
    """Return whether a map comes from fused ReLUs alone: no NaN, nothing below zero."""
    module = module_of(node)
    if isinstance(module, _Convolution):
        return module.activation[0] in ("relu", "hardtanh")
    keeps_values = isinstance(module, IntegerMaxPool) or node.target is torch.cat
    return keeps_values and all(_is_rectified(source) for source in node.all_input_nodes)


def _stays_finite(program: fx.GraphModule) -> bool:
    """Return whether finite images cannot give NaN, unless numbers exceed 1e38."""
    if not all(bool(torch.isfinite(value).all()) for value in program.state_dict().values()):
        return False
    return all(
        node.op in ("placeholder", "get_attr", "output")
        or not layouts_of(node)  # a number, a size
        or operation(node) in _FINITE
        or (node.target is F.pad and len(node.args) == 2 and not node.kwargs.get("value"))
        for node in program.graph.nodes
    )


def _is_plain(conv: nn.Conv2d) -> bool:
    return conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def _fold_batch_norm(weight: Tensor, bias: Any, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Fold batch norm's scale and shift into a convolution's weight and bias."""
    mean, var = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    folded = fuse_conv_bn_weights(weight, bias, mean, var, norm.eps, norm.weight, norm.bias)
    return folded[0].detach(), folded[1].detach()


def _only_reader(node: fx.Node) -> fx.Node | None:
    """Return the node that alone reads this one, and reads it once; or None."""
    users = list(node.users)
    if len(users) != 1 or users[0].op == "output":
        return None
    return users[0] if users[0].all_input_nodes.count(node) == 1 else None


def _adds_two_maps(node: fx.Node) -> bool:
    """Return whether a node adds two different maps of the same shape."""
    if node.target not in _ADDITIONS or len(node.args) != 2 or node.kwargs:
        return False
    a, b = node.args
    if not isinstance(a, fx.Node) or not isinstance(b, fx.Node) or a is b:
        return False
    return layouts_of(a) == layouts_of(b) == layouts_of(node)


def _from_last_to_first(first: fx.Node, last: fx.Node) -> Iterator[fx.Node]:
    """Yield the nodes of a chain in an order in which they can be erased."""
    chain = [first]
    while chain[-1] is not last:
        chain += list(chain[-1].users)
    yield from reversed(chain)
