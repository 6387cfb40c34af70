"""Graphs: the truncated network as one straight program, convolutions with what follows them.

On a CPU in bfloat16, half of a residual network's time is not spent in its convolutions: batch
norm, addition and ReLU each read and write whole maps. oneDNN does all of them while a
convolution's result is still in a register. So the forward pass is traced once (torch.fx), and
each convolution takes in the batch norm, the addition and the activation that follow it alone.

Nothing here is trusted: a graph that cannot be traced, or whose codes on two probing images are
not those of the network's own forward pass, is not used.
"""

import copy
import operator
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.utils.fusion import fuse_conv_bn_weights

from bottleneck.errors import FOREIGN_ERRORS
from bottleneck.layers import Tap, catching

Forward = Callable[[Tensor], dict[str, Tensor]]

_LEAST_COSINE = {torch.float32: 0.999999, torch.bfloat16: 0.999, torch.float16: 0.9999}

_FUSED = (torch.float32, torch.bfloat16)  # float16 overflows, and that must be seen

# What oneDNN calls an activation, with its numbers (ATen/native/mkldnn/Utils.cpp).
_ACTIVATIONS: dict[Any, tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.Hardswish: ("hardswish", []),
    nn.SiLU: ("swish", []),
    nn.functional.relu: ("relu", []),
    torch.relu: ("relu", []),
    "relu": ("relu", []),
    "relu_": ("relu", []),
}
_ADDITIONS = {operator.add, operator.iadd, torch.add, "add", "add_"}

# What gives finite values for finite ones, beside the modules of torch.nn. Where a network does
# anything else, its ReLUs stay: oneDNN's makes 0 of NaN, and NaN must be found.
_FINITE = (
    _ADDITIONS
    | _ACTIVATIONS.keys()
    | {
        *(
            operator.mul,
            operator.imul,
            operator.getitem,
            getattr,
            torch.mul,
            torch.cat,
            torch.flatten,
        ),
        *(torch.unsqueeze, torch.transpose, torch.chunk, nn.functional.adaptive_avg_pool2d),
        *(nn.functional.avg_pool2d, nn.functional.max_pool2d, nn.functional.dropout),
        *("amax", "chunk", "clone", "contiguous", "flatten", "float", "mean", "movedim", "mul"),
        *("permute", "reshape", "size", "squeeze", "transpose", "unsqueeze", "view"),
    }
)
_STOCHASTIC_DEPTH = "stochastic_depth"  # torchvision's, which does nothing outside of training


def trace(tap: Tap, size: int, *, dtype: torch.dtype, device: torch.device) -> Forward | None:
    """The tap's forward pass as a graph, which any number of threads may run at a time.

    Parameters
    ----------
    tap : Tap
        Of a network in float32 on the CPU, which is left as it is.
    size : int
        Height and width of the input in pixels.
    dtype : torch.dtype
        Of the graph's weights and activations; what is folded is folded before it is rounded.
    device : torch.device
        Where the graph runs.

    Returns
    -------
    callable or None
        From images, as a `Tap` takes them, to codes, as it gives them. None where the network
        cannot be traced, or the graph would give other codes.
    """
    images = _probe(size)
    try:
        graph = _Tracer(tap).traced()
        if device.type == "cpu" and dtype in _FUSED and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call, unused-ignore]
            _fuse(graph, images, dtype)
        graph.to(device, dtype).to(memory_format=torch.channels_last)
        with torch.inference_mode():
            found = graph(images.to(device, dtype))
    except (*FOREIGN_ERRORS, fx.proxy.TraceError):
        return None
    return cast(Forward, graph) if _alike(tap(images), found, dtype) else None


def _probe(size: int) -> Tensor:
    """Two images: one would hide what is broadcast over a batch."""
    noise = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, size, size, generator=noise)
    return images.to(memory_format=torch.channels_last)


def _alike(expected: dict[str, Tensor], found: dict[str, Tensor], dtype: torch.dtype) -> bool:
    def cosine(layer: str) -> float:
        a, b = (codes[layer].flatten().double().cpu() for codes in (expected, found))
        scale = float(a.norm() * b.norm())
        return float(a @ b) / scale if scale else float(torch.equal(a, b))

    return found.keys() == expected.keys() and all(
        found[layer].shape == expected[layer].shape and cosine(layer) >= _LEAST_COSINE[dtype]
        for layer in expected
    )


# Tracing


class _Truncated(nn.Module):
    """A network that ends where its tap has all codes; only to be traced."""

    def __init__(self, network: nn.Module, codes: dict[str, Any]) -> None:
        super().__init__()
        self.network = network
        self._codes = codes

    def forward(self, images: Tensor) -> dict[str, Any]:
        with catching():
            self.network(images)
        return self._codes


class _Tracer(fx.Tracer):
    """Runs the tap's hooks on symbols, as the network's own forward pass runs them on tensors."""

    def __init__(self, tap: Tap) -> None:
        super().__init__()
        self._codes: dict[str, Any] = {}
        self._hooks = tap.hooks(self._codes)
        # A copy: its weights are folded and rounded, and another tap may want the network's own.
        self._truncated = _Truncated(copy.deepcopy(tap.network), self._codes)

    def traced(self) -> fx.GraphModule:
        return fx.GraphModule(self._truncated, self.trace(self._truncated))

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> Any:
        output = super().call_module(m, forward, args, kwargs)
        hook = self._hooks.get(self.path_of_module(m).removeprefix("network."))
        if hook:
            hook(m, args, output)
        return output


# Fusing


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


def _fuse(graph: fx.GraphModule, images: Tensor, dtype: torch.dtype) -> None:
    """Let each convolution take in what follows it alone."""
    ShapeProp(graph).propagate(images)
    activations = _ACTIVATIONS if _stays_finite(graph) else {}
    for i, node in enumerate(list(graph.graph.nodes)):
        conv = _module(graph, node)
        if type(conv) is nn.Conv2d and _is_plain(conv):
            _absorb(graph, node, conv, dtype, activations, name=f"convolution{i}")
    graph.delete_all_unused_submodules()
    graph.recompile()


def _stays_finite(graph: fx.GraphModule) -> bool:
    """Whether finite images cannot give NaN, short of numbers above 1e38."""
    computed = (node for node in graph.graph.nodes if "tensor_meta" in node.meta)
    called = (node for node in computed if node.op in ("call_function", "call_method"))
    return all(bool(torch.isfinite(value).all()) for value in graph.state_dict().values()) and all(
        node.target in _FINITE or _STOCHASTIC_DEPTH in str(node.target) for node in called
    )


def _is_plain(conv: nn.Conv2d) -> bool:
    return conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def _absorb(
    graph: fx.GraphModule,
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
    norm = _module(graph, follower)
    if follower and type(norm) is nn.BatchNorm2d and norm.running_mean is not None:
        weight, bias = _normed(weight, bias, norm)
        last, follower = follower, _follower(follower)
    if follower and _adds(follower, last):
        (other,) = (arg for arg in follower.args if arg is not last)
        last, follower = follower, _follower(follower)
    activation = activations.get(_operation(graph, follower))
    if follower and activation and (other is None or activation[0] == "relu"):
        last = follower
    else:
        activation = None
    if _rewritten(graph, cast(fx.Node, node.args[0]), after=node, before=last):
        return
    fused = _Convolution(conv, weight.to(dtype), None if bias is None else bias.to(dtype))
    fused.activation = activation or fused.activation
    graph.add_submodule(name, fused)
    with graph.graph.inserting_before(last):
        inputs = (node.args[0],) if other is None else (node.args[0], other)
        new = graph.graph.call_module(name, inputs)
    last.replace_all_uses_with(new)
    new.meta = last.meta
    for dead in _chain(node, last):
        graph.graph.erase_node(dead)


def _normed(weight: Tensor, bias: Any, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Batch norm's scale and shift in the convolution's weights."""
    mean, var = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    found = fuse_conv_bn_weights(weight, bias, mean, var, norm.eps, norm.weight, norm.bias)
    return found[0].detach(), found[1].detach()


def _module(graph: fx.GraphModule, node: fx.Node | None) -> nn.Module | None:
    if node is None or node.op != "call_module":
        return None
    return graph.get_submodule(str(node.target))


def _operation(graph: fx.GraphModule, node: fx.Node | None) -> Any:
    module = _module(graph, node)
    return type(module) if module else node and node.target


def _follower(node: fx.Node) -> fx.Node | None:
    """The only node that reads this one, once."""
    users = list(node.users)
    if len(users) != 1 or users[0].op == "output":
        return None
    return users[0] if users[0].all_input_nodes.count(node) == 1 else None


def _adds(node: fx.Node, summand: fx.Node) -> bool:
    """Whether it adds another map of the same shape, and writes into no map but `summand`."""
    if node.target not in _ADDITIONS or len(node.args) != 2 or node.kwargs:
        return False
    a, b = node.args
    in_place = node.target in (operator.iadd, "add_")
    if not isinstance(a, fx.Node) or not isinstance(b, fx.Node) or a is b:
        return False
    return _shape(a) == _shape(b) == _shape(node) and (a is summand or not in_place)


def _shape(node: fx.Node) -> tuple[Any, ...]:
    meta = node.meta.get("tensor_meta")
    return (tuple(meta.shape), meta.memory_format) if meta else ()


def _rewritten(graph: fx.GraphModule, node: fx.Node, *, after: fx.Node, before: fx.Node) -> bool:
    """Whether something between two nodes may write into another's result."""
    between, inside = set(), False
    for each in graph.graph.nodes:
        inside = (inside or each is after) and each is not before
        if inside and each is not after:
            between.add(each)
    return any(user in between and _writes(graph, user) for user in node.users)


def _writes(graph: fx.GraphModule, node: fx.Node) -> bool:
    module = _module(graph, node)
    if module:
        return bool(getattr(module, "inplace", False))
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return bool(node.kwargs.get("inplace")) or name.endswith("_") or name.startswith("i")


def _chain(first: fx.Node, last: fx.Node) -> Iterator[fx.Node]:
    """From the last back to the first, each the only one that read the one before it."""
    chain = [first]
    while chain[-1] is not last:
        chain += list(chain[-1].users)
    yield from reversed(chain)
