"""Shapes of the results in a traced program."""

from typing import Any

from torch import Tensor, fx
from torch.fx.node import map_aggregate
from torch.fx.passes.shape_prop import _extract_tensor_metadata


class ShapeRecorder(fx.Interpreter):
    """Run a program node by node, and note the shape of each result in ``node.meta``.

    It notes what `torch.fx.passes.shape_prop.ShapeProp` does. That prints a traceback when an
    operation fails, although the caller has another way to run the network.

    Examples
    --------
    >>> import torch
    >>> program = fx.symbolic_trace(torch.nn.Sequential(torch.nn.Flatten()))
    >>> _ = ShapeRecorder(program).run(torch.zeros(2, 3, 4))
    >>> [tuple(node.meta["tensor_meta"].shape) for node in program.graph.nodes]
    [(2, 3, 4), (2, 12), (2, 12)]
    """

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, and note its shape."""
        result = super().run_node(n)
        found: list[Tensor] = []

        def describe(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            found.append(value)
            return _extract_tensor_metadata(value)

        meta = map_aggregate(result, describe)
        if found:
            n.meta["tensor_meta"] = meta
        return result
