"""TorchScript networks: their program is opened, so that their modules' outputs can be taken.

TorchScript runs a network as one program, and calls no hooks inside of it. Here the calls of its
modules are inlined into the program, and the results of those that are wanted become its outputs;
what leads to none of them is not computed.
"""

import copy
import re
from collections.abc import Iterator
from functools import reduce
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.jit import ScriptModule

from bottleneck.errors import BackboneError
from bottleneck.runtime import sha256

_Graph = Any  # torch._C.Graph, whose methods PyTorch declares in part


class _Scripted(nn.Module):
    """A TorchScript program whose tensors have their names in it, without a prefix."""

    script: Any  # a ScriptModule, whose attributes are known when it runs

    def __init__(self, script: ScriptModule) -> None:
        super().__init__()
        object.__setattr__(self, "script", script)  # not as a module of its own name

    def state_dict(self, *arguments: Any, **options: Any) -> Any:
        """Return the state of the program."""
        return self.script.state_dict(*arguments, **options)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self.script._apply(fn)
        return self

    def _copy_of_script(self, memo: dict[int, Any]) -> Any:
        with torch.no_grad():  # else the copy's parameters would be results of a computation
            return copy.deepcopy(self.script, memo)


class ScriptedNetwork(_Scripted):
    """A TorchScript network whose modules can have hooks.

    It has a module without any computation for each module of the network, of the same name. A
    forward pass computes the outputs of those that have hooks, and calls them with it.

    Parameters
    ----------
    script : ScriptModule
        As torch.jit.script, torch.jit.trace or torch.jit.load give it.

    Raises
    ------
    BackboneError
        Its program calls no modules.

    Examples
    --------
    >>> import warnings
    >>> warnings.simplefilter("ignore")
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Conv2d(8, 4, 3))
    >>> opened = ScriptedNetwork(torch.jit.script(network))
    >>> seen = []
    >>> _ = opened.get_submodule("0").register_forward_hook(lambda m, x, y: seen.append(y))
    >>> images = torch.randn(2, 3, 8, 8)
    >>> opened(images)
    >>> torch.equal(seen[0], network[0](images))
    True
    """

    def __init__(self, script: ScriptModule) -> None:
        super().__init__(script)
        self.preprocess = getattr(script, "preprocess", None)
        self._programs: dict[tuple[int, ...], Any] = {}
        _, calls = _open_graph(script)
        self._calls = [name for name, _ in calls]
        if not calls:
            raise BackboneError(
                f"a TorchScript network ({script.original_name}) calls no modules: it was frozen, "
                "and no layer can be told",
                hint="give it as it was before torch.jit.freeze, or the nn.Module that it was made "
                "from",
            )
        for name in self._calls:
            _add_module(self, name)

    def forward(self, images: Tensor) -> None:
        """Compute the outputs of the modules with hooks, and call these."""
        wanted = tuple(
            i for i, name in enumerate(self._calls) if self.get_submodule(name)._forward_hooks
        )
        if not wanted:
            self.script(images)  # no output is wanted, but errors are
            return
        if wanted not in self._programs:
            self._programs[wanted] = _program(self.script, wanted)
        outputs = self._programs[wanted](self.script, images, *_defaults(self.script))
        for i, output in zip(wanted, outputs, strict=True):
            self.get_submodule(self._calls[i])(output)

    def load_state_dict(self, *arguments: Any, **options: Any) -> Any:
        """Load a state into the TorchScript network."""
        return self.script.load_state_dict(*arguments, **options)

    def parameters(self, recurse: bool = True) -> Any:
        """Yield the parameters of the TorchScript network."""
        return self.script.parameters(recurse)

    def train(self, mode: bool = True) -> "ScriptedNetwork":
        """Set the mode of the TorchScript network."""
        self.script.train(mode)
        return super().train(mode)

    def code_digest(self) -> str:
        """Return the SHA-256 over the program of every module."""
        code = [
            f"{name}\n{getattr(part, 'code', '')}" for name, part in self.script.named_modules()
        ]
        return sha256("\n".join(code).encode())

    def __deepcopy__(self, memo: dict[int, Any]) -> "ScriptedNetwork":
        copied = ScriptedNetwork(self._copy_of_script(memo))
        copied.preprocess = self.preprocess
        for key, hook in self._forward_pre_hooks.items():
            copied._forward_pre_hooks[key] = hook
        return copied.train(self.training)


class ScriptedPart(_Scripted):
    """A part of a network in Python that is a TorchScript program: a layer, and none inside of it.

    The program itself takes no hooks.

    Parameters
    ----------
    script : ScriptModule
        It is kept, and not copied.

    Examples
    --------
    >>> import warnings
    >>> warnings.simplefilter("ignore")
    >>> part = ScriptedPart(torch.jit.script(nn.Conv2d(3, 8, 3)))
    >>> list(part.state_dict()), part(torch.zeros(1, 3, 8, 8)).shape
    (['weight', 'bias'], torch.Size([1, 8, 6, 6]))
    """

    def forward(self, *arguments: Any, **options: Any) -> Any:
        """Run the program."""
        return self.script(*arguments, **options)

    def __deepcopy__(self, memo: dict[int, Any]) -> "ScriptedPart":
        return ScriptedPart(self._copy_of_script(memo)).train(self.training)


class _Output(nn.Module):
    """Stands for a module of a TorchScript network, and passes its output on."""

    def forward(self, output: Tensor) -> Tensor:
        return output


def open_torchscript(network: nn.Module) -> nn.Module:
    """Return a network whose modules can have hooks: TorchScript is opened, others stay.

    Raises
    ------
    BackboneError
        It is a TorchScript network that calls no modules.

    Examples
    --------
    >>> network = nn.ReLU()
    >>> open_torchscript(network) is network
    True
    """
    return ScriptedNetwork(network) if isinstance(network, ScriptModule) else network


def module_types(network: nn.Module) -> Iterator[str]:
    """Yield the qualified name of each module's class, also of those that TorchScript was made of.

    Examples
    --------
    >>> list(module_types(nn.Sequential(nn.ReLU())))
    ['torch.nn.modules.container.Sequential', 'torch.nn.modules.activation.ReLU']
    """
    for module in network.modules():
        yield f"{type(module).__module__}.{type(module).__qualname__}"
        if isinstance(module, _Scripted):
            for part in module.script.modules():
                yield part._c._type().qualified_name()


def _add_module(network: nn.Module, name: str) -> None:
    for part in name.split("."):
        if part not in network._modules:
            network.add_module(part, _Output())
        network = network.get_submodule(part)


def _defaults(script: ScriptModule) -> list[Any]:
    """Return the values of the arguments of forward after the images."""
    arguments = script._c._get_method("forward").schema.arguments[2:]
    return [argument.default_value for argument in arguments]


def _program(script: ScriptModule, wanted: tuple[int, ...]) -> Any:
    """Compile the part of a network that leads to the results of some calls."""
    graph, calls = _open_graph(script)
    none = graph.create("prim::Constant", [], 1)
    none.output().setType(torch._C.NoneType.get())
    graph.prependNode(none)
    while list(graph.outputs()):
        graph.eraseOutput(0)
    for i in wanted:
        value = calls[i][1]
        # A copy at that moment, because a later operation may write into the result.
        clone = graph.create("aten::clone", [value, none.output()], 1)
        clone.insertAfter(value.node())
        graph.registerOutput(clone.output())
    graph.makeMultiOutputIntoTuple()
    torch._C._jit_pass_dce(graph)
    return torch._C._create_function_from_graph("codes", graph)


def _open_graph(script: ScriptModule) -> tuple[_Graph, list[tuple[str, Any]]]:
    """Inline the calls of modules; return the program, and each call's module and result.

    The calls are in the order in which they return. Those inside of branches and loops stay.
    """
    graph: _Graph = script._c._get_method("forward").graph.copy()
    calls: list[tuple[str, Any]] = []
    while (found := _next_call(graph)) is not None:
        node, module = found
        method = node.s("name")
        part = reduce(getattr, module.split("."), script) if module else script
        callee = part._c._get_method(method).graph
        with graph.insert_point_guard(node):
            results = graph.insertGraph(callee, list(node.inputs()))
        replaced = dict(zip((old.debugName() for old in node.outputs()), results, strict=True))
        for old, new in zip(list(node.outputs()), results, strict=True):
            old.replaceAllUsesWith(new)
        # A module may return what a module inside of it returned.
        calls = [(name, replaced.get(value.debugName(), value)) for name, value in calls]
        node.destroy()
        # torch.jit.trace calls a module a second time by `forward1`.
        is_forward = re.fullmatch(r"forward\d*", method) is not None
        if is_forward and module and results[0].type().kind() == "TensorType":
            calls.append((module, results[0]))
    position = {
        value.debugName(): i for i, node in enumerate(graph.nodes()) for value in node.outputs()
    }
    # An outer call is found before the inner one whose result it returns, and returns after it.
    numbered = sorted(
        enumerate(calls), key=lambda item: (position.get(item[1][1].debugName(), -1), -item[0])
    )
    return graph, [call for _, call in numbered]


def _next_call(graph: _Graph) -> tuple[Any, str] | None:
    """Return the first call of a method of a known module, and the module's name."""
    names = {next(iter(graph.inputs())).debugName(): ""}
    for node in graph.nodes():
        if node.kind() == "prim::GetAttr" and node.input().debugName() in names:
            owner = names[node.input().debugName()]
            name = node.s("name")
            names[node.output().debugName()] = f"{owner}.{name}" if owner else name
        elif node.kind() == "prim::CallMethod":
            owner_value = next(iter(node.inputs())).debugName()
            if owner_value in names:
                return node, names[owner_value]
    return None
