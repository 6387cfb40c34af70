"""Shapes of the results in a traced program."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch.fx.node import map_aggregate


class Layout(NamedTuple):
    """The shape of a tensor, and how far apart its numbers lie in memory, by axis.

    There is no stride where most numbers are not in memory: a sparse tensor.
    """

    shape: tuple[int, ...]
    stride: tuple[int, ...]


class ShapeRecorder(fx.Interpreter):
    """Run a program node by node, and note the layout of each result in ``node.meta``.

    `layouts_of` returns it. `torch.fx.passes.shape_prop` would import SymPy, and print a traceback
    when an operation fails, although the caller has another way to run the network.

    Examples
    --------
    >>> program = fx.symbolic_trace(torch.nn.Sequential(torch.nn.Flatten()))
    >>> _ = ShapeRecorder(program).run(torch.zeros(2, 3, 4))
    >>> [layout.shape for node in program.graph.nodes for layout in layouts_of(node)]
    [(2, 3, 4), (2, 12), (2, 12)]
    """

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, and note the layouts of the tensors in its result."""
        result = super().run_node(n)
        found: list[Layout] = []

        def note(value: Any) -> None:
            if isinstance(value, Tensor):
                stride = value.stride() if value.layout is torch.strided else ()
                found.append(Layout(tuple(value.shape), stride))

        map_aggregate(result, note)
        n.meta["layouts"] = tuple(found)
        return result


def layouts_of(node: fx.Node) -> tuple[Layout, ...]:
    """Return the layouts of the tensors in a node's result; none if they were not recorded."""
    layouts: tuple[Layout, ...] = node.meta.get("layouts", ())
    return layouts
