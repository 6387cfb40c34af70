"""Random networks give their own codes after tracing."""

import copy
import operator
from collections.abc import Callable
from dataclasses import dataclass

import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from bottleneck.backbones.layers.listing import list_layers, select_layers
from bottleneck.backbones.layers.truncated import TruncatedNetwork
from bottleneck.backbones.tracing.traced import trace
from tests.helpers.tiny_networks import frozen
from tests.helpers.tracing import (
    CPU,
    assert_close,
    images,
    run,
    truth,
)

# Any network


@dataclass(frozen=True)
class Step:
    """What makes one more map out of one map or two."""

    kind: str
    source: int
    other: int = 0
    how: str = ""
    channels: int = 0
    outputs: int = 0
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    bias: bool = True


_RELUS: dict[str, Callable[[Tensor], Tensor]] = {
    "F.relu": F.relu,
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "torch.relu": torch.relu,
    "relu_": lambda x: x.relu_(),
}
_SUMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "+": operator.add,
    "+=": operator.iadd,
    "torch.add": torch.add,
    "add_": lambda a, b: a.add_(b),
}
_MODULES: dict[str, Callable[[Step], nn.Module]] = {
    "relu": lambda _step: nn.ReLU(),
    "relu in place": lambda _step: nn.ReLU(inplace=True),
    "relu6": lambda _step: nn.ReLU6(),
    "silu": lambda _step: nn.SiLU(inplace=True),
    "max": lambda _step: nn.MaxPool2d(2, ceil_mode=True),
    "avg": lambda _step: nn.AvgPool2d(3, 1, 1),
    "bn": lambda step: nn.BatchNorm2d(step.channels),
    "conv": lambda step: nn.Conv2d(
        step.channels,
        step.outputs,
        step.kernel,
        step.stride,
        step.kernel // 2,
        groups=step.groups,
        bias=step.bias,
    ),
}


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[Step], int]:
    """Steps of a network whose maps are read by any step after them, and its images' size."""
    size = draw(st.integers(8, 24))
    made: list[Step] = []
    shapes = [(3, size)]  # channels and side of each map

    def recent(among: list[int]) -> int:
        """Often the newest, so that chains come about."""
        return among[-1 - min(draw(st.sampled_from([0, 0, 0, 1, 2, 5])), len(among) - 1)]

    def convolution(source: int) -> Step:
        channels = shapes[source][0]
        alike = draw(st.booleans())  # so that there is something to add to
        outputs = channels if alike else draw(st.integers(1, 20))
        stride = 1 if alike else draw(st.sampled_from([1, 1, 2]))
        return Step(
            "conv",
            source,
            channels=channels,
            outputs=outputs,
            kernel=draw(st.sampled_from([1, 3])),
            stride=stride,
            groups=draw(st.sampled_from([1, channels])) if alike else 1,
            bias=draw(st.booleans()),
        )

    for _ in range(draw(st.integers(2, 10))):
        source = recent(list(range(len(shapes))))
        channels, side = shapes[source]
        same = [i for i, shape in enumerate(shapes) if shape == shapes[source] and i != source]
        beside = [i for i, shape in enumerate(shapes) if shape[1] == side]
        kinds = ["conv", "conv", "bn", "relu", "relu in place", "functional", "silu", "relu6"]
        kinds += ["max", "avg", "cat"] + ["add"] * 4 * bool(same)
        kind = draw(st.sampled_from(kinds)) if made else "conv"
        if kind == "conv":
            step = convolution(source)
            channels, side = step.outputs, -(-side // step.stride)
        elif kind == "add":
            step = Step(kind, source, recent(same), how=draw(st.sampled_from(sorted(_SUMS))))
        elif kind == "cat":
            step = Step(kind, source, recent(beside))
            channels += shapes[step.other][0]
        elif kind == "functional":
            step = Step(kind, source, how=draw(st.sampled_from(sorted(_RELUS))))
        else:
            step = Step(kind, source, channels=channels)
            side = -(-side // 2) if kind == "max" else side
        made.append(step)
        shapes.append((channels, side))
    return made, size


class Planned(nn.Module):
    def __init__(self, plan: list[Step]) -> None:
        super().__init__()
        self.plan = plan
        for i, step in enumerate(plan):
            if step.kind in _MODULES:
                self.add_module(f"step{i}", _MODULES[step.kind](step))

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for i, step in enumerate(self.plan):
            one, other = maps[step.source], maps[step.other]
            if step.kind == "add":
                maps.append(_SUMS[step.how](one, other))
            elif step.kind == "cat":
                maps.append(torch.cat([one, other], 1))
            elif step.kind == "functional":
                maps.append(_RELUS[step.how](one))
            else:
                maps.append(self.get_submodule(f"step{i}")(one))
        return maps[-1]


@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    plan=plans(),
    relu=st.booleans(),
    pool=st.sampled_from(["avg", "max", "none", "2"]),
    data=st.data(),
)
def test_any_network_gives_the_same_codes_when_traced(
    plan: tuple[list[Step], int], relu: bool, pool: str, data: st.DataObject
) -> None:
    steps_, size = plan
    torch.manual_seed(0)
    network = frozen(Planned(steps_))
    layers = list_layers(network, size)
    names = data.draw(
        st.lists(st.sampled_from([layer.name for layer in layers]), min_size=1, unique=True)
    )
    caught = TruncatedNetwork(network, select_layers(layers, names), relu=relu, pool=pool)
    batch = images(3, size)
    expected = truth(network, names, batch, relu=relu, pool=pool)
    for dtype in (torch.float32, torch.bfloat16):
        graph = trace(caught, size, dtype=dtype, device=CPU)
        event(f"{dtype}: {'a graph' if graph else 'none'}")
        if graph is None:
            assert dtype == torch.bfloat16  # which may be far from the network's codes
        elif dtype == torch.float32:
            assert_close(run(graph, batch), expected, dtype)
        else:
            rounded = copy.deepcopy(network).to(dtype)
            plain = TruncatedNetwork(rounded, caught.layers, relu=relu, pool=pool)(batch.to(dtype))
            found = run(graph, batch, dtype)
            for name in names:
                error = float((plain[name] - expected[name]).norm())
                allowed = max(3 * error, 0.03 * float(expected[name].norm()))
                assert float((found[name] - expected[name]).norm()) <= allowed
