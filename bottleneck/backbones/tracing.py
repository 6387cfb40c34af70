"""Graphs: the truncated network as one straight program.

The forward pass is traced once (torch.fx). As a program it holds no more than leads to the layers
asked for, any number of threads may run it, and on a CPU its convolutions take in what follows
them (`bottleneck.backbones.fusion`).

Nothing here is trusted: a network that cannot be traced, or whose graph gives other codes for two
probing images than its own forward pass, has no graph.
"""

import copy
import operator
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata
from torch.nn import functional as F  # noqa: N812

from bottleneck.backbones.fusion import ARITHMETIC, fuse, module_of, operation, supports_fusion
from bottleneck.backbones.truncated import TruncatedNetwork, suppress_early_exit
from bottleneck.errors import USER_CODE_ERRORS

Forward = Callable[[Tensor], dict[str, Tensor]]

# How far a layer's codes may be from those in float32, beside the length of all of them.
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.015, torch.float16: 0.005}

_IDLE = {nn.Identity, nn.Dropout, nn.Dropout2d}  # outside of training

# What makes memory of its own: no views, nothing that may return what it is given.
_FRESH = {
    *(*ARITHMETIC, nn.LayerNorm, nn.GroupNorm, nn.GELU, nn.LeakyReLU, nn.ConvTranspose2d),
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.neg),
    *(torch.add, torch.mul, torch.cat, torch.stack, torch.relu, torch.clone),
    *(F.relu, F.relu6, F.silu, F.gelu, F.max_pool2d, F.avg_pool2d),
    *("add", "sub", "mul", "div", "clone", "relu", "mean", "size", "dim"),
}

# What writes into its first argument, and what gives the same without.
_OUT_OF_PLACE: dict[Any, Any] = {
    torch.relu_: torch.relu,
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}


@dataclass(frozen=True)
class TracedNetwork:
    """A forward pass as a program, which any number of threads may run at a time.

    Attributes
    ----------
    program : fx.GraphModule
    largest : int
        Numbers in the largest of an image's maps.
    """

    program: fx.GraphModule
    largest: int

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """From images, as a `TruncatedNetwork` takes them, to codes, as it gives them."""
        return cast("dict[str, Tensor]", self.program(images))


def trace(
    tap: TruncatedNetwork, size: int, *, dtype: torch.dtype, device: torch.device
) -> TracedNetwork | None:
    """The tap's forward pass as a graph.

    Parameters
    ----------
    tap : TruncatedNetwork
        Of a network in float32 on the CPU, which is left as it is.
    size : int
        Height and width of the input in pixels.
    dtype : torch.dtype
        Of the graph's weights and activations; what is folded is folded before it is rounded.
    device : torch.device
        Where the graph runs.

    Returns
    -------
    TracedNetwork or None
        None where the network cannot be traced, or its graph would give other codes.
    """
    images = _probe(size)
    try:
        expected = tap(images.clone())
        program = _Tracer(tap).traced()
        _remove_identity_nodes(program)
        if not _make_functional(program):
            return None
        ShapeProp(program).propagate(images)
        graph = TracedNetwork(program, _largest_map(program))
        if supports_fusion(device, dtype):
            fuse(program, dtype)
        program.to(device, dtype).to(memory_format=torch.channels_last)
        with torch.inference_mode():
            found = graph(images.to(device, dtype))
    except (*USER_CODE_ERRORS, fx.proxy.TraceError):
        return None
    return graph if _alike(expected, found, _TOLERANCE[dtype]) else None


def _probe(size: int) -> Tensor:
    """Two images: one would hide what is broadcast over a batch."""
    noise = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, size, size, generator=noise)
    return images.to(memory_format=torch.channels_last)


def _largest_map(program: fx.GraphModule) -> int:
    metas = (node.meta.get("tensor_meta") for node in program.graph.nodes)
    return max(prod(meta.shape[1:]) for meta in metas if isinstance(meta, TensorMetadata))


def _alike(expected: dict[str, Tensor], found: dict[str, Tensor], tolerance: float) -> bool:
    def near(a: Tensor, b: Tensor) -> bool:
        a, b = a.double().cpu(), b.double().cpu()
        return a.shape == b.shape and float((a - b).norm()) <= tolerance * float(a.norm())

    return found.keys() == expected.keys() and all(
        near(expected[layer], found[layer]) for layer in expected
    )


# Tracing


class _Truncated(nn.Module):
    """A network that ends where its tap has all codes; only to be traced."""

    def __init__(self, network: nn.Module, codes: dict[str, Any]) -> None:
        super().__init__()
        self.network = network
        self._codes = codes

    def forward(self, images: Tensor) -> dict[str, Any]:
        with suppress_early_exit():
            self.network(images)
        return self._codes


def _assigning(function: Callable[..., Any]) -> Callable[[fx.Proxy, Any], fx.Proxy]:
    return lambda self, other: self.tracer.create_proxy(
        "call_function", function, (self, other), {}
    )


class _Symbol(fx.Proxy):
    """Takes ``x += y`` for what it is to a tensor, where torch.fx would have ``x = x + y``."""

    __iadd__ = _assigning(operator.iadd)
    __isub__ = _assigning(operator.isub)
    __imul__ = _assigning(operator.imul)
    __itruediv__ = _assigning(operator.itruediv)


class _Tracer(fx.Tracer):
    """Runs the tap's hooks on symbols, as the network's own forward pass runs them on tensors."""

    def __init__(self, tap: TruncatedNetwork) -> None:
        super().__init__()
        self._codes: dict[str, Any] = {}
        self._hooks = tap.hooks(self._codes)
        # A copy: its weights are folded and rounded, and another tap may want the network's own.
        self._truncated = _Truncated(copy.deepcopy(tap.network), self._codes)

    def traced(self) -> fx.GraphModule:
        return fx.GraphModule(self._truncated, self.trace(self._truncated))

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Symbol(node, self)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> Any:
        output = super().call_module(m, forward, args, kwargs)
        hook = self._hooks.get(self.path_of_module(m).removeprefix("network."))
        if hook:
            hook(m, args, output)
        return output


# Making it functional: a step may then move, or be left out, without another's noticing


def _remove_identity_nodes(program: fx.GraphModule) -> None:
    """Leave out what does nothing outside of training, and would stand between others."""
    for node in list(program.graph.nodes):
        if _is_idle(program, node):
            node.replace_all_uses_with(node.all_input_nodes[0])
            program.graph.erase_node(node)


def _is_idle(program: fx.GraphModule, node: fx.Node) -> bool:
    if getattr(node.target, "__name__", "") == "stochastic_depth":  # torchvision's
        return node.args[-1] is False  # training
    module = module_of(program, node)
    return module is not None and operation(program, node) in _IDLE and not module.training


def _make_functional(program: fx.GraphModule) -> bool:
    """Let no step write into another's result; False where that cannot be done, or not be known.

    Who read the result after it was written into, reads the writer's own from now on.
    """
    nodes = list(program.graph.nodes)
    for i, node in enumerate(nodes):
        if not _writes(program, node):
            continue
        old, before = node.args[0], set(nodes[:i])
        known = isinstance(old, fx.Node) and all(
            _owns_memory(program, each) for each in (old, *(before & old.users.keys()))
        )
        if not known or not _turn(program, node):
            return False
        later = set(nodes[i + 1 :])
        old.replace_all_uses_with(node, delete_user_cb=later.__contains__)
    program.recompile()
    return True


def _writes(program: fx.GraphModule, node: fx.Node) -> bool:
    """Whether it writes into its first argument."""
    if node.op not in ("call_module", "call_function", "call_method"):
        return False
    if module := module_of(program, node):
        return bool(getattr(module, "inplace", False))
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    in_place = name.endswith("_") or node.target in _OUT_OF_PLACE or name == "setitem"
    return in_place or bool(node.kwargs.get("inplace")) or "out" in node.kwargs


def _owns_memory(program: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a result is in memory that no other result has a name for."""
    if node.op == "placeholder" or operation(program, node) in _FRESH:
        return True
    sources = node.all_input_nodes
    alone = all([*source.users] == [node] for source in sources)
    return node.op != "get_attr" and alone and all(_owns_memory(program, each) for each in sources)


def _turn(program: fx.GraphModule, node: fx.Node) -> bool:
    """Have a writer give a result of its own, if there is such an operation."""
    if module := module_of(program, node):
        setattr(module, "inplace", False)  # noqa: B010  (no module's type has one)
    elif "inplace" in node.kwargs:
        node.update_kwarg("inplace", False)
    elif node.target in _OUT_OF_PLACE:
        node.target = _OUT_OF_PLACE[node.target]
    elif isinstance(node.target, str) and hasattr(Tensor, node.target.removesuffix("_")):
        node.target = node.target.removesuffix("_")
    else:
        return False
    return True
