"""Tracing of the truncated network into a straight program (torch.fx).

The program contains only what leads to the chosen layers, any number of threads may run it, and on
a CPU its convolutions are fused with what follows them (`bottleneck.backbones.tracing.fusion`).

The result of tracing is not trusted. A network that cannot be traced, or whose program gives other
codes for two random images than its own forward pass, is not traced.
"""

import copy
import operator
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import TensorMetadata
from torch.nn import functional as F  # noqa: N812

from bottleneck.backbones.inference.casting import cast_module
from bottleneck.backbones.inference.truncated import TruncatedNetwork, suppress_early_exit
from bottleneck.backbones.probing.probe import probe_images
from bottleneck.backbones.tracing.fusion import (
    ARITHMETIC,
    fuse,
    module_of,
    operation,
    supports_fusion,
)
from bottleneck.backbones.tracing.shapes import ShapeRecorder
from bottleneck.errors import USER_CODE_EXCEPTIONS

Forward = Callable[[Tensor], dict[str, Tensor]]

# Largest allowed difference of a layer's codes from those in float32, relative to their norm.
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.015, torch.float16: 0.005}

_IDENTITY_IN_EVAL = {nn.Identity, nn.Dropout, nn.Dropout2d}

# Operations whose result is in new memory: no views, nothing that may return its argument.
_NEW_MEMORY = {
    *(*ARITHMETIC, nn.LayerNorm, nn.GroupNorm, nn.GELU, nn.LeakyReLU, nn.ConvTranspose2d),
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.neg),
    *(torch.add, torch.mul, torch.cat, torch.stack, torch.relu, torch.clone),
    *(F.relu, F.relu6, F.silu, F.gelu, F.max_pool2d, F.avg_pool2d),
    *("add", "sub", "mul", "div", "clone", "relu", "mean", "size", "dim"),
}

# Operations that write into their first argument, and the same operation out of place.
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
        Number of values in the largest map of one image.
    """

    program: fx.GraphModule
    largest: int

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the codes of a batch.

        Parameters
        ----------
        images : Tensor, shape (n, 3, height, width)
            Normalised, on the program's device and in its precision.

        Returns
        -------
        dict of str to Tensor of float32, shape (n, *code_shape)
            By layer.
        """
        # Not by `__call__`: that of torch.fx prints a traceback when an operation fails.
        return cast("dict[str, Tensor]", self.program.forward(images))


def trace(
    truncated: TruncatedNetwork,
    size: int,
    *,
    dtype: torch.dtype,
    device: torch.device,
    expected: dict[str, Tensor] | None = None,
) -> TracedNetwork | None:
    """Trace the forward pass of a truncated network.

    Parameters
    ----------
    truncated : TruncatedNetwork
        Of a network in float32 on the CPU. The network is copied and stays as it is.
    size : int
        Height and width of the input in pixels.
    dtype : torch.dtype
        Of the program's weights and activations. Weights are folded before they are rounded.
    device : torch.device
        Of the program.
    expected : dict of str to Tensor, optional
        Codes of `probe_images` by the network itself, if they are known.

    Returns
    -------
    TracedNetwork or None
        None if the network cannot be traced, or its program would give other codes.

    Examples
    --------
    >>> from bottleneck.backbones.layers import list_layers
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten()).eval()
    >>> truncated = TruncatedNetwork(network, list_layers(network, size=8)[:2])
    >>> traced = trace(truncated, 8, dtype=torch.float32, device=torch.device("cpu"))
    >>> {layer: tuple(code.shape) for layer, code in traced(torch.zeros(2, 3, 8, 8)).items()}
    {'0': (2, 8), '1': (2, 8)}
    """
    images = probe_images(size).to(memory_format=torch.channels_last)
    try:
        if expected is None:
            expected = truncated(probe_images(size))
        program = _Tracer(truncated).trace_program()
        _remove_identity_nodes(program)
        if not _make_functional(program):
            return None
        _copy_where_needed(program)
        ShapeRecorder(program).run(images)
        traced = TracedNetwork(program, _largest_map(program))
        if supports_fusion(device, dtype):
            fuse(program, dtype)
        cast_module(program, device, dtype).to(memory_format=torch.channels_last)
        with torch.inference_mode():
            codes = traced(images.to(device, dtype))
    except USER_CODE_EXCEPTIONS:  # the network's own code, run on symbols
        return None
    return traced if _are_close(expected, codes, _TOLERANCE[dtype]) else None


def _largest_map(program: fx.GraphModule) -> int:
    metas = (node.meta.get("tensor_meta") for node in program.graph.nodes)
    return max(prod(meta.shape[1:]) for meta in metas if isinstance(meta, TensorMetadata))


def _are_close(expected: dict[str, Tensor], codes: dict[str, Tensor], tolerance: float) -> bool:
    def is_close(a: Tensor, b: Tensor) -> bool:
        a, b = a.double().cpu(), b.double().cpu()
        return a.shape == b.shape and float((a - b).norm()) <= tolerance * float(a.norm())

    return codes.keys() == expected.keys() and all(
        is_close(expected[layer], codes[layer]) for layer in expected
    )


# Tracing


class _EndsEarly(nn.Module):
    """A network that ends when all codes are known; only to be traced."""

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
    """A symbol whose ``x += y`` is traced as in-place; torch.fx would trace ``x = x + y``."""

    __iadd__ = _assigning(operator.iadd)
    __isub__ = _assigning(operator.isub)
    __imul__ = _assigning(operator.imul)
    __itruediv__ = _assigning(operator.itruediv)


class _Tracer(fx.Tracer):
    """Run a truncated network's hooks on symbols, as its forward pass runs them on tensors."""

    def __init__(self, truncated: TruncatedNetwork) -> None:
        super().__init__()
        self._codes: dict[str, Any] = {}
        self._hooks = truncated.hooks(self._codes)
        # A copy, because weights are folded and rounded, and others use the network's own.
        self._root = _EndsEarly(copy.deepcopy(truncated.network), self._codes)

    def trace_program(self) -> fx.GraphModule:
        return fx.GraphModule(self._root, self.trace(self._root))

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


# Making the program functional, so that nodes can be moved or removed independently


def _remove_identity_nodes(program: fx.GraphModule) -> None:
    """Remove nodes that do nothing in eval mode, and would prevent the fusion of others."""
    for node in list(program.graph.nodes):
        if _is_identity(program, node):
            node.replace_all_uses_with(node.all_input_nodes[0])
            program.graph.erase_node(node)


def _is_identity(program: fx.GraphModule, node: fx.Node) -> bool:
    if getattr(node.target, "__name__", "") == "stochastic_depth":  # torchvision's
        return node.args[-1] is False  # training
    module = module_of(program, node)
    known = operation(program, node) in _IDENTITY_IN_EVAL
    return module is not None and known and not module.training


def _copy_where_needed(program: fx.GraphModule) -> None:
    """Let a view copy where it must: maps lie in memory with channels last.

    Nothing writes in place any more, so that a copy is as good as a view.
    """
    for node in program.graph.nodes:
        to_dtype = any(isinstance(argument, torch.dtype) for argument in node.args)
        if node.op == "call_method" and node.target == "view" and not (to_dtype or node.kwargs):
            node.target = "reshape"
    program.recompile()


def _make_functional(program: fx.GraphModule) -> bool:
    """Replace in-place operations; return False if that is impossible or its effect unknown.

    Nodes that read a result after it was overwritten read the new result of the writer instead.
    """
    nodes = list(program.graph.nodes)
    for i, node in enumerate(nodes):
        if not _is_in_place(program, node):
            continue
        target, before = node.args[0], set(nodes[:i])
        is_known = isinstance(target, fx.Node) and all(
            _owns_memory(program, each) for each in (target, *(before & target.users.keys()))
        )
        if not is_known or not _make_out_of_place(program, node):
            return False
        later = set(nodes[i + 1 :])
        target.replace_all_uses_with(node, delete_user_cb=later.__contains__)
    program.recompile()
    return True


def _is_in_place(program: fx.GraphModule, node: fx.Node) -> bool:
    """Return whether a node writes into its first argument."""
    if node.op not in ("call_module", "call_function", "call_method"):
        return False
    if module := module_of(program, node):
        return bool(getattr(module, "inplace", False))
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    in_place = name.endswith("_") or node.target in _OUT_OF_PLACE or name == "setitem"
    return in_place or bool(node.kwargs.get("inplace")) or "out" in node.kwargs


def _owns_memory(program: fx.GraphModule, node: fx.Node) -> bool:
    """Return whether no other result shares this one's memory."""
    if node.op == "placeholder" or operation(program, node) in _NEW_MEMORY:
        return True
    sources = node.all_input_nodes
    is_only_reader = all([*source.users] == [node] for source in sources)
    return (
        node.op != "get_attr"
        and is_only_reader
        and all(_owns_memory(program, source) for source in sources)
    )


def _make_out_of_place(program: fx.GraphModule, node: fx.Node) -> bool:
    """Let an in-place node return a new result; return False if there is no such operation."""
    if module := module_of(program, node):
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
