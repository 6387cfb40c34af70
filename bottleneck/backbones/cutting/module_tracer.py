"""Tracing of a whole network into a program that can still be trained.

Modules that do something else while they are trained stay modules: batch norm, dropout, stochastic
depth. So does a module that cannot be traced; what is inside of it cannot be told apart.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import fx, nn
from torch.jit import ScriptModule
from torch.nn.modules.batchnorm import _BatchNorm

from bottleneck.backbones.layers.layer import Layer
from bottleneck.backbones.layers.truncated import layer_hooks
from bottleneck.backbones.tracing.tracer import NetworkTracer
from bottleneck.errors import USER_CODE_EXCEPTIONS

NETWORK = "network"  # its path in the program
RESULT = ""  # what the whole network returns, beside the names of layers

_STOCHASTIC_DEPTH = {"DropPath", "StochasticDepth"}  # of timm, transformers and torchvision


class ModuleTracer(NetworkTracer):
    """Traces a network with all its layers.

    The program returns a dictionary: the output of each layer by name, copied the moment that its
    module returns, and under `RESULT` what the network returns. A node whose value can be computed
    on the meta device has it in ``node.meta["val"]``.

    Parameters
    ----------
    network : nn.Module
        Frozen. It is copied and stays as it is.
    layers : sequence of Layer
        Of that network.
    size : int
        Height and width of the input in pixels.

    Attributes
    ----------
    failures : dict of str to BaseException
        Why a module could not be traced, by its path in the program.

    Examples
    --------
    >>> from bottleneck.backbones.layers.listing import list_layers
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten()).eval()
    >>> tracer = ModuleTracer(network, list_layers(network, size=8), 8)
    >>> program = tracer.trace_program()
    >>> [node.name for node in program.graph.nodes if node.op == "call_module"]
    ['network_0', 'network_1']
    """

    def __init__(self, network: nn.Module, layers: Sequence[Layer], size: int) -> None:
        super().__init__(network, lambda codes: _hooks(layers, codes), size)
        self.failures: dict[str, BaseException] = {}

    def trace_program(self) -> fx.GraphModule:
        """Trace the network, and compute the values of all nodes."""
        program = super().trace_program()
        for node in program.graph.nodes:
            if (value := self.value_of(node)) is not None:
                node.meta["val"] = value
        return program

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a module stays one, and is not traced."""
        trains_otherwise = isinstance(m, _BatchNorm) or type(m).__name__ in _STOCHASTIC_DEPTH
        return trains_otherwise or super().is_leaf_module(m, module_qualified_name)

    def _trace_call(
        self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """Trace the call of a module; one that cannot be traced is called as it is.

        Of the network itself, what was traced stays.
        """
        before, stack = len(self.graph.nodes), self.module_stack.copy()
        try:
            return super()._trace_call(m, forward, args, kwargs)
        except USER_CODE_EXCEPTIONS as error:  # of the module's own code, run on symbols
            if isinstance(m, ScriptModule):
                raise  # it has no path: the module that runs it has, and stays whole
            path = self.path_of_module(m)
            self.failures[path] = error
            if path == NETWORK:
                return None
            self._forget(before)
            self.module_stack = stack
            return self._run_hook(m, args, self.create_proxy("call_module", path, args, kwargs))

    def _forget(self, count: int) -> None:
        """Remove all nodes but the first, and what the hooks have seen of them."""
        removed = list(self.graph.nodes)[count:]
        gone = set(removed)
        for name in [name for name, output in self._codes.items() if output.node in gone]:
            del self._codes[name]
        if self._count is not None and self._count.node in gone:
            self._count = None
        for node in reversed(removed):
            self.graph.erase_node(node)


def _hooks(layers: Sequence[Layer], codes: dict[str, Any]) -> dict[str, Any]:
    def keep(layer: Layer, output: Any) -> None:
        if isinstance(output, fx.Proxy):  # else it does not depend on the images
            codes[layer.name] = output.clone()

    def keep_result(_module: nn.Module, _args: Any, output: Any) -> None:
        codes[RESULT] = output

    return {**layer_hooks(layers, keep), RESULT: keep_result}
