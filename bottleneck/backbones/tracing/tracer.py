"""Symbolic tracing of a network: its forward pass and hooks, run on symbols (torch.fx).

Every image has one size, so the size of every map is known: a symbol tells it as numbers, and a
network may branch on it or compute padding from it. Only the number of images stays a symbol.
"""

import copy
import itertools
import operator
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.jit import ScriptModule

from bottleneck.backbones.layers.hooks import Hook
from bottleneck.backbones.layers.truncated import suppress_early_exit
from bottleneck.backbones.tracing.operations import has_hooks
from bottleneck.errors import USER_CODE_EXCEPTIONS, BackboneError

# The number of images by which sizes are computed, on the meta device: it costs nothing there. A
# size that is a multiple of this prime counts images. Should it be one by chance, the program is
# wrong for any other number of images, and is not used.
_MANY_IMAGES = 10_007

# While torch.fx traces, it replaces the call of every module of this process. Of two threads that
# do so at once, the one that ends last would leave the other's replacement for good.
_TRACING = threading.RLock()


class _EndsEarly(nn.Module):
    """A network that ends when all codes are known; only to be traced."""

    def __init__(self, network: nn.Module, codes: dict[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.codes = codes

    def forward(self, images: Tensor) -> dict[str, Any]:
        with suppress_early_exit():
            self.network(images)
        return self.codes


def _assigning(function: Callable[..., Any]) -> Callable[[fx.Proxy, Any], fx.Proxy]:
    return lambda self, other: self.tracer.create_proxy(
        "call_function", function, (self, other), {}
    )


class _Symbol(fx.Proxy):
    """A symbol that knows its size.

    Its ``x += y`` is traced as in-place; torch.fx would trace ``x = x + y``.
    """

    tracer: "NetworkTracer"

    __iadd__ = _assigning(operator.iadd)
    __isub__ = _assigning(operator.isub)
    __imul__ = _assigning(operator.imul)
    __itruediv__ = _assigning(operator.itruediv)

    @property
    def shape(self) -> Any:
        return self.tracer.shape_of(self.node) or fx.proxy.Attribute(self, "shape")

    @property
    def ndim(self) -> Any:
        shape = self.tracer.shape_of(self.node)
        return len(shape) if shape else fx.proxy.Attribute(self, "ndim")

    def dim(self) -> Any:
        return self.ndim

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]


class NetworkTracer(fx.Tracer):
    """Run a network and its hooks on symbols, as its forward pass runs them on tensors.

    Values are computed on the meta device, and only once a size is asked for: PyTorch imports its
    compiler for them. Modules that other threads call meanwhile run as they are.

    Parameters
    ----------
    network : nn.Module
        It is copied and stays as it is.
    hooks : callable
        Given an empty dictionary, returns the hooks that fill it, by the name of the module that
        they belong to; that of the network is empty. The program returns this dictionary.
    size : int
        Height and width of the input in pixels.

    Examples
    --------
    >>> def hooks(results):
    ...     return {"": lambda module, args, output: results.update(logits=output)}
    >>> program = NetworkTracer(nn.Flatten(), hooks, 8).trace_program()
    >>> program(torch.zeros(2, 3, 8, 8))["logits"].shape
    torch.Size([2, 192])
    """

    def __init__(
        self,
        network: nn.Module,
        hooks: Callable[[dict[str, Any]], Mapping[str, Hook]],
        size: int,
    ) -> None:
        super().__init__()
        self._codes: dict[str, Any] = {}
        self._hooks = hooks(self._codes)
        # A copy, because weights are folded and rounded, and others use the network's own.
        self._root = _EndsEarly(copy.deepcopy(network), self._codes)
        shape = (_MANY_IMAGES, 3, size, size)
        self._images = torch.empty(shape, dtype=torch.float32, device="meta")
        self._count: Any = None  # the symbol of the number of images
        self._values: _MetaInterpreter | None = None
        self._thread = threading.get_ident()

    def trace_program(self) -> fx.GraphModule:
        """Trace the network.

        Raises
        ------
        BackboneError
            It runs a TorchScript program.
        Exception
            Whatever the network raises when it is run on symbols.
        """
        with _TRACING:
            return fx.GraphModule(self._root, self.trace(self._root))

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """Return the symbol of a node."""
        return _Symbol(node, self)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Return the symbol of a parameter; to another thread, the attribute itself."""
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a module stays one, as PyTorch's do.

        Hooks in it are traced too. In a program they would be run by several threads at a time, and
        what one stores for another would be of another thread's images.
        """
        is_pytorchs = super().is_leaf_module(m, module_qualified_name)
        return is_pytorchs and not any(map(has_hooks, m.modules()))

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """Trace the call of a module; that of another thread runs as it is."""
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return self._trace_call(m, forward, args, kwargs)

    def _trace_call(
        self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """Trace the call of a module, then its hook."""
        if isinstance(m, ScriptModule):
            raise BackboneError(
                f"a TorchScript program ({m.original_name}) cannot be traced: it runs on tensors "
                "alone",
                hint="extract with the nn.Module that it was made from, into another cache",
            )
        if self._values and m in self._values.modules:
            return forward(*args, **kwargs)  # torch.fx traces the call of any module
        return self._run_hook(m, args, super().call_module(m, forward, args, kwargs))

    def _run_hook(self, module: nn.Module, args: Any, output: Any) -> Any:
        path = self.path_of_module(module).removeprefix("network").removeprefix(".")
        if hook := self._hooks.get(path):
            hook(module, args, output)
        return output

    def value_of(self, node: fx.Node) -> Any:
        """Return the value of a node on the meta device; None if it cannot be computed there."""
        if self._values is None:
            with suppress(*USER_CODE_EXCEPTIONS):  # not every kind of tensor can be on that device
                self._values = _MetaInterpreter(self._root, self.graph, self._images)
        return self._values and self._values.value_of(node)

    def shape_of(self, node: fx.Node) -> tuple[Any, ...] | None:
        """Return the shape of a tensor in numbers, but for that of the images; None if unknown."""
        value = self.value_of(node)
        if not isinstance(value, Tensor):
            return None
        return tuple(self._images_times(length) for length in value.shape)

    def _images_times(self, length: int) -> Any:
        times, remainder = divmod(length, _MANY_IMAGES)
        if remainder or not times:
            return length
        if self._count is None:
            images = next(iter(self.graph.nodes))
            self._count = self.create_proxy("call_method", "size", (_Symbol(images, self), 0), {})
        return self._count if times == 1 else self._count * times


class _MetaInterpreter(fx.Interpreter):
    """Computes the nodes of a graph on the meta device, while the graph grows."""

    def __init__(self, root: _EndsEarly, graph: fx.Graph, images: Tensor) -> None:
        tensors = itertools.chain(root.parameters(), root.buffers())
        # Not first copied and then moved: numbers are not copied to be thrown away. Detached, so
        # that none is a parameter of the network's own, which tracing takes for a symbol.
        on_meta = {id(tensor): tensor.detach().to("meta") for tensor in tensors}
        memo = {**on_meta, id(root.codes): {}}  # symbols, by which all of the graph would be copied
        super().__init__(copy.deepcopy(root, memo), garbage_collect_values=False, graph=graph)
        self._root, self._images, self.modules = root, images, set(self.module.modules())
        self._tried: set[fx.Node] = set()

    def value_of(self, node: fx.Node) -> Any:
        """Return the value of a node, having computed those before it; None if it has none."""
        new, each = [], node
        while each.op != "root" and each not in self._tried:
            new.append(each)
            each = each.prev
        self._tried.update(new)
        for each in reversed(new):
            with suppress(*USER_CODE_EXCEPTIONS):
                self.env[each] = self.run_node(each)
        return self.env.get(node)

    def placeholder(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Return the images."""
        return self._images

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Return a tensor of the network, or a constant that tracing has added to the root."""
        constant = vars(self._root).get(target)
        return super().get_attr(target, args, kwargs) if constant is None else constant.to("meta")
