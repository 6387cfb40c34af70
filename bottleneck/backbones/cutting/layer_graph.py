"""The graph of a network: which value each layer gives, and which values a value depends on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import getitem

from torch import Tensor, fx, nn

from bottleneck.backbones.cutting.module_tracer import NETWORK, RESULT, ModuleTracer
from bottleneck.backbones.layers.layer import Layer
from bottleneck.backbones.tracing.functional import make_functional
from bottleneck.backbones.user_code import errors_in_one_line
from bottleneck.errors import BackboneError


@dataclass(frozen=True)
class LayerGraph:
    """A network as a program in which no node writes into another's result.

    Attributes
    ----------
    program : fx.GraphModule
        Its modules are copies, in eval mode.
    values : dict of str to fx.Node
        The node of which a layer is the result, by the layer's name. Layers inside of a module
        that could not be traced are not in it.
    vectors : tuple of fx.Node
        Those results of the network that are one vector for each image.
    opaque : frozenset of str
        Paths of the modules that could not be traced.

    Examples
    --------
    >>> from bottleneck.backbones.layers.listing import list_layers
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True)).eval()
    >>> graph = trace_layers(network, list_layers(network, size=8), 8)
    >>> {layer: node.name for layer, node in graph.values.items()}
    {'0': 'network_0', '1': 'network_1'}
    """

    program: fx.GraphModule
    values: dict[str, fx.Node]
    vectors: tuple[fx.Node, ...]
    opaque: frozenset[str]

    @property
    def images(self) -> fx.Node:
        """The node of the images."""
        node: fx.Node = next(iter(self.program.graph.nodes))
        return node

    @cached_property
    def order(self) -> dict[fx.Node, int]:
        """The number of each node in the order of computation."""
        return {node: i for i, node in enumerate(self.program.graph.nodes)}

    @cached_property
    def dependent(self) -> frozenset[fx.Node]:
        """The nodes that depend on the images themselves, and not on their number alone."""
        found = {self.images}
        for node in self.program.graph.nodes:
            if not self.counts_images(node) and not found.isdisjoint(node.all_input_nodes):
                found.add(node)
        return frozenset(found)

    def counts_images(self, node: fx.Node) -> bool:
        """Return whether a node is the number of images."""
        return (node.op, node.target) == ("call_method", "size") and node.args == (self.images, 0)

    def ancestors(self, end: fx.Node, *, start: fx.Node | None = None) -> list[fx.Node]:
        """Return a node and all that it depends on, in the order of computation.

        With `start`, what that depends on is left out, and the number of images is a start too.
        """
        found: set[fx.Node] = set()
        left = [end]
        while left:
            node = left.pop()
            if node in found:
                continue
            found.add(node)
            ends_here = start is not None and (node is start or self.counts_images(node))
            left.extend(() if ends_here else node.all_input_nodes)
        return sorted(found, key=self.order.__getitem__)


def trace_layers(network: nn.Module, layers: Sequence[Layer], size: int) -> LayerGraph:
    """Trace a network with all its layers.

    Parameters
    ----------
    network : nn.Module
        Frozen, on any device. It is copied and stays as it is.
    layers : sequence of Layer
        Of that network.
    size : int
        Height and width of the input in pixels.

    Raises
    ------
    BackboneError
        The network cannot be traced; the message says why.
    """
    tracer = ModuleTracer(network, layers, size)
    with errors_in_one_line("the network cannot be cut"):
        program = tracer.trace_program()
    output = next(node for node in reversed(program.graph.nodes) if node.op == "output")
    failure = tracer.failures.get(NETWORK)
    if failure and not (layers and layers[-1].name in output.args[0]):
        with errors_in_one_line("the network cannot be cut: its forward pass is not traced"):
            raise failure
    if not make_functional(program):
        raise BackboneError(
            "the network cannot be cut: it writes into its maps in a way that is not followed"
        )
    _merge_items(program)
    found = dict(output.args[0])
    result = found.pop(RESULT, None)
    copies = {name: copy for name, copy in found.items() if isinstance(copy, fx.Node)}
    values = {name: copy.all_input_nodes[0] for name, copy in copies.items()}
    results: list[fx.Node] = []
    # Where the functions behind the last layer cannot be traced, the last layer is the result.
    fx.node.map_arg(values[layers[-1].name] if failure else result, results.append)
    # The values behind a module that is not traced are unknown, but the shapes of layers are known.
    shapes = {values[layer.name]: layer.shape for layer in layers if layer.name in values}
    vectors = tuple(node for node in results if _axes(node, shapes.get(node, ())) == 1)
    return LayerGraph(program, values, vectors, frozenset(tracer.failures))


def _axes(node: fx.Node, shape: tuple[int, ...]) -> int:
    """Return the number of axes of an image in a tensor, or in the layer that it is."""
    value = node.meta.get("val")
    return value.ndim - 1 if isinstance(value, Tensor) else len(shape)


def _merge_items(program: fx.GraphModule) -> None:
    """Let the same item of the same result be one node: a layer may be one, and is taken twice."""
    first: dict[tuple[object, ...], fx.Node] = {}
    for node in program.graph.nodes:
        if node.target is getitem and isinstance(node.args[1], (int, str)):
            same = first.setdefault(node.args, node)
            if same is not node:
                node.replace_all_uses_with(same)
    program.graph.eliminate_dead_code()
