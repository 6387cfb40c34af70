"""Random networks: steps that hypothesis draws, and the module that follows them."""

import operator
from collections.abc import Callable
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


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


MODULES: dict[str, Callable[[Step], nn.Module]] = {
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
            if step.kind in MODULES:
                self.add_module(f"step{i}", MODULES[step.kind](step))

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
