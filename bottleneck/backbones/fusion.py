"""Fusion: convolutions that take in the batch norm, the addition and the activation after them.

On a CPU in bfloat16, half of a residual network's time is not spent in its convolutions: batch
norm, addition and ReLU each read and write whole maps. oneDNN does all of them while a
convolution's result is still in a register. A third of SqueezeNet's time is max pooling, number by
number; behind a ReLU there is a faster way.
"""

import functools
import operator
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.fusion import fuse_conv_bn_weights

# What oneDNN calls an activation, with its numbers (ATen/native/mkldnn/Utils.cpp).
_ACTIVATIONS: dict[Any, tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.Hardswish: ("hardswish", []),
    nn.SiLU: ("swish", []),
    **dict.fromkeys([F.relu, torch.relu, "relu"], ("relu", [])),
}
_ADDITIONS = {operator.add, torch.add, "add"}

# Modules whose result is finite where their input is, and in memory of its own.
ARITHMETIC = {
    *(nn.Conv2d, nn.BatchNorm2d, nn.Linear),
    *(nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.Sigmoid),
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
}
_FINITE = {
    *(*ARITHMETIC, nn.Flatten, *_ADDITIONS, *_ACTIVATIONS),
    *(operator.mul, operator.getitem, getattr, torch.mul, torch.cat, torch.flatten),
    *(torch.unsqueeze, torch.transpose, torch.chunk),
    *(F.adaptive_avg_pool2d, F.avg_pool2d, F.max_pool2d),
    *("amax", "chunk", "clone", "contiguous", "flatten", "float", "mean", "movedim", "mul"),
    *("permute", "reshape", "size", "squeeze", "transpose", "unsqueeze", "view"),
}


def supports_fusion(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether `fuse` is of use; in float16 it is not: activations overflow, which must be seen."""
    has_onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call, unused-ignore]
    return device.type == "cpu" and dtype in (torch.float32, torch.bfloat16) and has_onednn


def fuse(program: fx.GraphModule, dtype: torch.dtype) -> None:
    """Let each convolution take in what follows it alone.

    Parameters
    ----------
    program : fx.GraphModule
        In float32, in which no step writes into another's result; its steps know the shapes of
        what they make (`torch.fx.passes.shape_prop`).
    dtype : torch.dtype
        Of the convolutions' weights; batch norm is folded into them before they are rounded.
    """
    # oneDNN's ReLU makes 0 of NaN, and NaN must be found: where there may be any, ReLUs stay.
    activations = _ACTIVATIONS if _stays_finite(program) else {}
    for i, node in enumerate(list(program.graph.nodes)):
        conv = module_of(program, node)
        if type(conv) is nn.Conv2d and _is_plain(conv):
            _fuse_chain(program, node, conv, dtype, activations, name=f"convolution{i}")
        elif operation(program, node) is nn.MaxPool2d and dtype is torch.bfloat16:
            _pool_by_bits(program, node, name=f"pool{i}")
    program.delete_all_unused_submodules()
    program.recompile()


def module_of(program: fx.GraphModule, node: fx.Node | None) -> nn.Module | None:
    """The module that a step calls, if it calls one."""
    if node is None or node.op != "call_module":
        return None
    return program.get_submodule(str(node.target))


def operation(program: fx.GraphModule, node: fx.Node | None) -> Any:
    """What a step does: the type of its module, its function, or its method's name."""
    module = module_of(program, node)
    if module is not None:
        return None if _hooked(module) else type(module)
    return node and node.target


class _Convolution(nn.Module):
    """A convolution and what follows it, in one pass of oneDNN's over the map."""

    def __init__(self, conv: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.place = ([*conv.padding], [*conv.stride], [*conv.dilation], conv.groups)
        self.activation: tuple[str, list[float]] = ("none", [])
        # No buffers: Module.to does not know how to move what oneDNN has laid out.
        self.weight = torch.ops.aten.mkldnn_reorder_conv2d_weight(weight.to_mkldnn(), *self.place)
        self.bias = bias

    def forward(self, images: Tensor, other: Tensor | None = None) -> Tensor:
        name, numbers = self.activation
        if other is None:
            return cast(
                Tensor,
                torch.ops.mkldnn._convolution_pointwise(
                    images, self.weight, self.bias, *self.place, name, numbers, ""
                ),
            )
        unary = None if name == "none" else name
        return cast(
            Tensor,
            torch.ops.mkldnn._convolution_pointwise.binary(
                images, other, self.weight, self.bias, *self.place, "add", 1.0, unary, [], None
            ),
        )


class _MaxPool(nn.Module):
    """Max pooling of a map in bfloat16 with nothing below zero: its bits are ordered as integers.

    Integers a processor compares 32 at a time; in rows first, of those the columns.
    """

    def __init__(self, pool: nn.MaxPool2d, size: tuple[int, int]) -> None:
        super().__init__()
        kernel, stride, padding = map(_pair, (pool.kernel_size, pool.stride, pool.padding))
        self.windows = list(zip(kernel, stride, padding, strict=True))
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        bits = images.permute(0, 2, 3, 1).view(torch.int16)
        for axis in (0, 1):
            bits = _largest(bits, axis + 1, window=self.windows[axis], size=self.size[axis])
        return bits.view(torch.bfloat16).permute(0, 3, 1, 2)


def _largest(bits: Tensor, axis: int, *, window: tuple[int, int, int], size: int) -> Tensor:
    """The largest of each window along one axis."""
    kernel, stride, padding = window
    whole: list[Tensor] = []
    partial: list[tuple[int, Tensor]] = []
    for offset in range(-padding, kernel - padding):
        # The windows that have a number here, and no padding.
        low = max(0, -(offset // stride))
        high = min(size, (bits.shape[axis] - 1 - offset) // stride + 1)
        place = slice(low * stride + offset, (high - 1) * stride + offset + 1, stride)
        part = bits[(slice(None),) * axis + (place,)]
        if high - low == size:
            whole.append(part)
        elif low < high:
            partial.append((low, part))
    if not whole:  # each window has padding; nothing is less than zero
        whole.append(bits.new_zeros([*bits.shape[:axis], size, *bits.shape[axis + 1 :]]))
    found = functools.reduce(torch.maximum, whole[1:], whole[0])
    if partial and len(whole) == 1:
        found = found.clone()
    for low, part in partial:
        some = found.narrow(axis, low, part.shape[axis])
        torch.maximum(some, part, out=some)
    return found


def _fuse_chain(
    program: fx.GraphModule,
    node: fx.Node,
    conv: nn.Conv2d,
    dtype: torch.dtype,
    activations: dict[Any, tuple[str, list[float]]],
    *,
    name: str,
) -> None:
    last, other = node, None
    weight, bias = conv.weight.detach(), conv.bias
    follower = _follower(last)
    norm = module_of(program, follower)
    if follower and type(norm) is nn.BatchNorm2d and _is_frozen(norm):
        weight, bias = _fold_batch_norm(weight, bias, norm)
        last, follower = follower, _follower(follower)
    if follower and _adds_a_map(follower):
        (other,) = (arg for arg in follower.args if arg is not last)
        last, follower = follower, _follower(follower)
    activation = activations.get(operation(program, follower))
    if follower and activation and (other is None or activation[0] == "relu"):
        last = follower
    else:
        activation = None
    if not torch.isfinite(weight).all():
        return  # a norm that divides by zero: as it was
    fused = _Convolution(conv, weight.to(dtype), None if bias is None else bias.to(dtype))
    fused.activation = activation or fused.activation
    program.add_submodule(name, fused)
    with program.graph.inserting_before(last):
        inputs = (node.args[0],) if other is None else (node.args[0], other)
        new = program.graph.call_module(name, inputs)
    last.replace_all_uses_with(new)
    new.meta = last.meta
    for dead in _chain(node, last):
        program.graph.erase_node(dead)


def _pool_by_bits(program: fx.GraphModule, node: fx.Node, *, name: str) -> None:
    pool = cast(nn.MaxPool2d, module_of(program, node))
    plain = _pair(pool.dilation) == (1, 1) and not pool.return_indices
    if plain and all(_is_activated(program, source) for source in node.all_input_nodes):
        program.add_submodule(name, _MaxPool(pool, _shape(node)[0][2:]))
        node.target = name


def _is_activated(program: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a map is of fused convolutions that end in a ReLU: no NaN, nothing below zero."""
    module = module_of(program, node)
    if isinstance(module, _Convolution):
        return module.activation[0] in ("relu", "hardtanh")
    sources = node.all_input_nodes
    through = isinstance(module, _MaxPool) or node.target is torch.cat
    return through and all(_is_activated(program, source) for source in sources)


def _stays_finite(program: fx.GraphModule) -> bool:
    """Whether finite images cannot give NaN, short of numbers above 1e38."""
    if not all(bool(torch.isfinite(value).all()) for value in program.state_dict().values()):
        return False
    return all(
        node.op in ("placeholder", "output")
        or "tensor_meta" not in node.meta  # a number, a size
        or operation(program, node) in _FINITE
        for node in program.graph.nodes
    )


def _pair(value: Any) -> tuple[Any, Any]:
    return value if isinstance(value, tuple) else (value, value)


def _is_plain(conv: nn.Conv2d) -> bool:
    return conv.padding_mode == "zeros" and not isinstance(conv.padding, str) and not _hooked(conv)


def _is_frozen(norm: nn.BatchNorm2d) -> bool:
    return norm.running_mean is not None and not _hooked(norm)


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)  # a user's, who wants them run


def _fold_batch_norm(weight: Tensor, bias: Any, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Batch norm's scale and shift in the convolution's weights."""
    mean, var = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    found = fuse_conv_bn_weights(weight, bias, mean, var, norm.eps, norm.weight, norm.bias)
    return found[0].detach(), found[1].detach()


def _follower(node: fx.Node) -> fx.Node | None:
    """The only node that reads this one, and once."""
    users = list(node.users)
    if len(users) != 1 or users[0].op == "output":
        return None
    return users[0] if users[0].all_input_nodes.count(node) == 1 else None


def _adds_a_map(node: fx.Node) -> bool:
    """Whether it adds two maps of the same shape."""
    if node.target not in _ADDITIONS or len(node.args) != 2 or node.kwargs:
        return False
    a, b = node.args
    if not isinstance(a, fx.Node) or not isinstance(b, fx.Node) or a is b:
        return False
    return _shape(a) == _shape(b) == _shape(node)


def _shape(node: fx.Node) -> tuple[Any, ...]:
    meta = node.meta.get("tensor_meta")
    return (tuple(meta.shape), meta.memory_format) if meta else ()


def _chain(first: fx.Node, last: fx.Node) -> Iterator[fx.Node]:
    """From the last back to the first, each the only one that read the one before it."""
    chain = [first]
    while chain[-1] is not last:
        chain += list(chain[-1].users)
    yield from reversed(chain)
