"""Max pooling by integers is exact, and used only for maps without negative numbers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812

from bottleneck.backbones.layers.listing import list_layers, select_layers
from bottleneck.backbones.layers.truncated import Forward, TruncatedNetwork
from bottleneck.backbones.probing.probe import probe
from bottleneck.backbones.tracing.traced import trace
from tests.helpers.tiny_networks import Wired, frozen
from tests.helpers.tracing import (
    CPU,
    assert_alike,
    conv,
    fuses,
    images,
    in_bfloat16,
    norm,
    run,
    steps,
)

# Max pooling by bits


POOLS: dict[str, Callable[[], nn.Module]] = {
    "3, 2, 0, up": lambda: nn.MaxPool2d(3, 2, ceil_mode=True),  # SqueezeNet's
    "3, 2, 1": lambda: nn.MaxPool2d(3, 2, 1),  # ResNet's
    "3, 2, 1, up": lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True),
    "2": lambda: nn.MaxPool2d(2),
    "2, 1, 1": lambda: nn.MaxPool2d(2, 1, 1),  # no pixel is in every window
    "3, 1, 1, up": lambda: nn.MaxPool2d(3, 1, 1, ceil_mode=True),
    "1, 2": lambda: nn.MaxPool2d(1, 2),
    "5, 3, 2, up": lambda: nn.MaxPool2d(5, 3, 2, ceil_mode=True),
    "of two numbers": lambda: nn.MaxPool2d((2, 3), (1, 2), (1, 0)),
    "of lists": lambda: nn.MaxPool2d([2, 3], [1, 2], (1,)),  # type: ignore[arg-type]
    "dilated": lambda: nn.MaxPool2d(3, 1, 1, dilation=2),
}


def behind(activate: Callable[[Any, Tensor], Tensor], pool: nn.Module) -> nn.Module:
    return frozen(
        Wired(
            lambda m, x: m.pool(activate(m, x)),
            conv=conv(3, 6),
            bn=norm(),
            relu=nn.ReLU(True),
            again=conv(6, 6),
            pool=pool,
        )
    )


def pools_by_integers(graph: Forward | None) -> bool:
    assert isinstance(graph, fx.GraphModule)
    return "IntegerMaxPool" in steps(graph)


@in_bfloat16
@fuses
@pytest.mark.parametrize("size", [8, 13, 16])
@pytest.mark.parametrize("kind", POOLS)
def test_pooling_by_integers_equals_pytorchs_bit_by_bit(kind: str, size: int) -> None:
    network = behind(lambda m, x: m.relu(m.bn(m.conv(x))), POOLS[kind]())
    layers = select_layers(list_layers(network, size), ["relu", "pool"])
    truncated = TruncatedNetwork(network, layers, pool="none")
    graph = trace(truncated, probe(truncated, size), dtype=torch.bfloat16, device=CPU)
    assert graph
    assert pools_by_integers(graph.program) == (kind != "dilated")
    found = run(graph, images(3, size), torch.bfloat16)
    assert torch.equal(found["pool"], network.get_submodule("pool")(found["relu"]))


@in_bfloat16
@fuses
@pytest.mark.parametrize(
    ("activate", "expected"),
    [
        (lambda m, x: m.conv(x), False),
        (lambda m, x: m.bn(m.conv(x)), False),
        (lambda m, x: m.relu(m.conv(x)), True),
        (lambda m, x: F.silu(m.conv(x)), False),
        (lambda m, x: m.relu(m.conv(x)) - 1, False),
        (lambda m, x: torch.cat([y := m.relu(m.conv(x)), m.relu(m.again(y))], 1), True),
        (lambda m, x: torch.cat([y := m.relu(m.conv(x)), m.again(y)], 1), False),
        (lambda m, x: F.max_pool2d(m.relu(m.conv(x)), 2), False),
        (lambda m, x: m.relu(m.conv(x / x.abs().amax())), False),  # may be NaN
    ],
)
def test_only_maps_after_a_relu_are_pooled_by_integers(
    activate: Callable[[Any, Tensor], Tensor], expected: bool
) -> None:
    network = behind(activate, nn.MaxPool2d(3, 2, 1))
    graph = assert_alike(network, ["pool"], torch.bfloat16)
    assert pools_by_integers(graph) == expected


@fuses
def test_float32_is_pooled_by_pytorch() -> None:
    network = behind(lambda m, x: m.relu(m.conv(x)), nn.MaxPool2d(3, 2, 1))
    graph = assert_alike(network, ["pool"])
    assert "MaxPool2d" in steps(graph)
