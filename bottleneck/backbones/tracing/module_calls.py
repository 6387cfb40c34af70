"""Functions that convolve and normalise by the network's own tensors, called as modules instead.

Networks of timm call ``F.batch_norm(x, self.running_mean, …)`` and ``F.conv2d(x, self.weight, …)``
in classes of their own. As PyTorch's modules they can be fused.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812

from bottleneck.backbones.tracing.operations import attribute_of
from bottleneck.backbones.tracing.shapes import layouts_of

_CONV2D = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_BATCH_NORM = (
    *("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
)


def call_modules(program: fx.GraphModule) -> None:
    """Let functions be modules where their tensors are the network's own, in place.

    The program runs as before until its caller recompiles it.

    Parameters
    ----------
    program : fx.GraphModule
        Whose nodes know the shapes of their results.

    Examples
    --------
    >>> import torch
    >>> from bottleneck.backbones.tracing.shapes import ShapeRecorder
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.kernel = nn.Parameter(torch.randn(8, 3, 3, 3))
    ...     def forward(self, images):
    ...         return F.conv2d(images, self.kernel, padding=1)
    >>> program = fx.symbolic_trace(Net())
    >>> _ = ShapeRecorder(program).run(torch.zeros(1, 3, 8, 8))
    >>> call_modules(program)
    >>> [node.op for node in program.graph.nodes]
    ['placeholder', 'call_module', 'output']
    """
    for i, node in enumerate(list(program.graph.nodes)):
        known = _MODULES.get(node.target) if node.op == "call_function" else None
        if known is None:
            continue
        names, make_module = known
        given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        images = given.pop("input")
        module = make_module(**{name: _tensor(value) for name, value in given.items()})
        if module is None or not _is_map(images):
            continue
        name = f"function{i}"
        program.add_submodule(name, module.eval().requires_grad_(False))
        with program.graph.inserting_before(node):
            new = program.graph.call_module(name, (images,))
        new.meta = node.meta
        node.replace_all_uses_with(new)
    program.graph.eliminate_dead_code()


def _convolution(weight: Any, bias: Any = None, **geometry: Any) -> nn.Module | None:
    if not isinstance(weight, Tensor) or isinstance(bias, fx.Node):
        return None
    outputs, inputs, *kernel = weight.shape
    inputs *= geometry.get("groups", 1)
    # On the meta device, because its first weights would be thrown away.
    conv = nn.Conv2d(inputs, outputs, (kernel[0], kernel[1]), device="meta", **geometry)
    conv.weight = nn.Parameter(weight, False)
    conv.bias = None if bias is None else nn.Parameter(bias, False)
    return conv


def _batch_norm(
    *, weight: Any = None, bias: Any = None, training: Any = False, eps: float = 1e-5, **kept: Any
) -> nn.Module | None:
    mean, var = kept["running_mean"], kept["running_var"]
    if training is not False or not all(isinstance(t, Tensor) for t in (mean, var, weight, bias)):
        return None
    norm = nn.BatchNorm2d(len(weight), eps, device="meta")
    norm.running_mean, norm.running_var, norm.num_batches_tracked = mean, var, None
    norm.weight, norm.bias = nn.Parameter(weight, False), nn.Parameter(bias, False)
    return norm


_MODULES: dict[Any, tuple[tuple[str, ...], Callable[..., nn.Module | None]]] = {
    F.conv2d: (_CONV2D, _convolution),
    F.batch_norm: (_BATCH_NORM, _batch_norm),
}


def _tensor(value: Any) -> Any:
    """Return the network's tensor that a node refers to; return other values unchanged."""
    return attribute_of(value) if isinstance(value, fx.Node) and value.op == "get_attr" else value


def _is_map(value: Any) -> bool:
    layouts = layouts_of(value) if isinstance(value, fx.Node) else ()
    return len(layouts) == 1 and len(layouts[0].shape) == 4
