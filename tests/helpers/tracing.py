"""Compare traced networks with hooks on the same network, run untraced and to its end."""

import itertools
from collections import Counter
from collections.abc import Collection
from typing import Any
from weakref import WeakKeyDictionary

import pytest
import torch
from torch import Tensor, fx, nn

from bottleneck.backbones.layers.layer import Layer
from bottleneck.backbones.layers.listing import list_layers, select_layers
from bottleneck.backbones.layers.truncated import Forward, TruncatedNetwork
from bottleneck.backbones.probing.probe import Probe, probe_images
from bottleneck.backbones.tracing.traced import trace
from bottleneck.runtime import native_precision

CPU = torch.device("cpu")
SIZE = 16
TOLERANCE = 1e-4  # of the largest code: another order of summation, and no more
COSINE = 0.999  # in bfloat16

fuses = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(),  # type: ignore[no-untyped-call, unused-ignore]
    reason="oneDNN is not part of this torch",
)
# Where a processor has no bfloat16, oneDNN refuses it, and there is no graph.
in_bfloat16 = pytest.mark.skipif(
    native_precision("bfloat16", CPU) != "bfloat16",
    reason="the processor has no bfloat16",
)
PRECISIONS = [torch.float32, pytest.param(torch.bfloat16, marks=in_bfloat16)]


def mostly_float32(
    cases: Collection[Any], *, rounded: Collection[Any] = (), slow: Collection[Any] = ()
) -> list[Any]:
    """Each case with each precision; of those in bfloat16, all but the `rounded` ones are slow.

    A network is rewritten alike in both: only kernels of oneDNN's differ. The `slow` ones are slow
    in float32 too.
    """
    params = []
    for case in cases:
        params.append(
            pytest.param(case, torch.float32, marks=[pytest.mark.slow] if case in slow else [])
        )
        marks = [in_bfloat16] if case in rounded else [in_bfloat16, pytest.mark.slow]
        params.append(pytest.param(case, torch.bfloat16, marks=marks))
    return params


def images(count: int = 3, size: int = SIZE) -> Tensor:
    return torch.randn(count, 3, size, size)


def layers_of(network: nn.Module) -> list[Layer]:
    """All layers of a network; listed once, because that takes as long as tracing it."""
    if network not in _LAYERS:
        _LAYERS[network] = list_layers(network, SIZE)
    return _LAYERS[network]


_LAYERS: WeakKeyDictionary[nn.Module, list[Layer]] = WeakKeyDictionary()


def every_module(network: nn.Module) -> list[str]:
    return [layer.name for layer in layers_of(network)]


def truncated(network: nn.Module, names: list[str], **options: Any) -> TruncatedNetwork:
    return TruncatedNetwork(network, select_layers(layers_of(network), names), **options)


def traced(
    network: nn.Module, names: list[str], dtype: torch.dtype = torch.float32, **options: Any
) -> Forward | None:
    whole, batch = truncated(network, names, **options), probe_images(SIZE)
    probed = Probe(batch, whole(batch.clone()), takes_batches=True)  # whatever `probe` may refuse
    graph = trace(whole, probed, dtype=dtype, device=CPU)
    return graph and graph.program


def run(graph: Forward, batch: Tensor, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    with torch.inference_mode():
        return graph(batch.clone().to(dtype))


def truth(
    network: nn.Module, names: list[str], batch: Tensor, *, relu: bool, pool: str
) -> dict[str, Tensor]:
    """Codes from a full forward pass of the network, by hooks that copy."""
    layers = select_layers(layers_of(network), names)
    outputs: dict[tuple[str, int], Tensor] = {}
    calls: Counter[str] = Counter()

    def keep(module: str) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Tensor) -> None:
            outputs[module, calls[module]] = output.clone()
            calls[module] += 1

        return hook

    handles = [
        network.get_submodule(module).register_forward_hook(keep(module))
        for module in {layer.module for layer in layers}
    ]
    with torch.inference_mode():
        network(batch.clone())
    for handle in handles:
        handle.remove()
    return {
        layer.name: code(outputs[layer.module, layer.call], relu=relu, pool=pool)
        for layer in layers
    }


def code(output: Tensor, *, relu: bool, pool: str) -> Tensor:
    if relu:
        output = output.clamp(min=0)
    if pool == "none" or output.ndim == 2:
        return output
    if pool in ("avg", "max"):
        return output.mean((2, 3)) if pool == "avg" else output.flatten(2).max(2).values
    (height, width), k = output.shape[2:], int(pool)
    bounds = [
        [(i * side // k, -(-(i + 1) * side // k)) for i in range(k)] for side in (height, width)
    ]
    cells = [output[:, :, a:b, c:d].mean((2, 3)) for (a, b), (c, d) in itertools.product(*bounds)]
    return torch.stack(cells, 2).reshape(*output.shape[:2], k, k)


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], dtype: torch.dtype) -> None:
    assert found.keys() == expected.keys()
    for layer, code_ in expected.items():
        assert found[layer].shape == code_.shape
        assert found[layer].dtype == torch.float32
        scale = float(code_.nan_to_num().abs().max())
        if dtype == torch.float32:
            torch.testing.assert_close(
                found[layer],
                code_,
                rtol=0,
                atol=TOLERANCE * scale,
                equal_nan=True,
            )
            continue
        a, b = found[layer].flatten().double(), code_.flatten().double()
        if scale:
            assert float(a @ b / a.norm() / b.norm()) >= COSINE, layer
            assert float(a.norm() / b.norm()) == pytest.approx(1, abs=0.03), layer
        else:
            assert not a.any(), layer


def assert_alike(
    network: nn.Module,
    names: list[str],
    dtype: torch.dtype = torch.float32,
    *,
    relu: bool = False,
    pool: str = "none",
) -> fx.GraphModule:
    """That there is a graph, and that it gives the codes of the network; in any batch."""
    graph = traced(network, names, dtype, relu=relu, pool=pool)
    assert isinstance(graph, fx.GraphModule)
    for count in (1, 3):
        batch = images(count)
        expected = truth(network, names, batch, relu=relu, pool=pool)
        assert_close(run(graph, batch, dtype), expected, dtype)
    return graph


def steps(graph: fx.GraphModule) -> list[str]:
    """What a graph does, step by step, without what only makes codes of a map."""
    names = []
    for node in graph.graph.nodes:
        if node.op == "call_module":
            names.append(type(graph.get_submodule(str(node.target))).__name__.lstrip("_"))
        elif node.op in ("call_function", "call_method"):
            names.append(getattr(node.target, "__name__", str(node.target)))
    return [name for name in names if name not in ("clone", "float")]


def conv(inputs: int = 6, outputs: int = 6, size: int = 3, **options: Any) -> nn.Conv2d:
    padding = options.pop("padding", size // 2)
    return nn.Conv2d(inputs, outputs, size, padding=padding, **options)


def norm(channels: int = 6, **options: Any) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, **options)
