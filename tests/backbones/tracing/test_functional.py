"""The rewritten program as it runs: nothing is written in place, views copy where they must."""

from typing import Any

import torch
from torch import Tensor, fx, nn

from bottleneck.backbones.tracing.functional import make_functional


class Shared(nn.Module):
    """Reads what the second call of a module wrote into its argument."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Any:
        maps = self.relu(images * 2) - 1
        return maps + self.relu(maps)


class InPlace(nn.Module):
    """Writes into its images, and views a map, which channels last in memory do not allow."""

    def forward(self, images: Tensor) -> Tensor:
        images = images.relu_()
        return images.view(images.size(0), -1)


def test_a_program_runs_as_it_was_rewritten() -> None:
    program = fx.symbolic_trace(InPlace())
    images = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    before = images.clone()
    assert make_functional(program)
    codes = program.forward(images)
    assert torch.equal(images, before)
    assert torch.equal(codes, before.clamp(min=0).flatten(1))


def test_each_call_of_a_module_that_writes_in_place_is_replaced() -> None:
    images = torch.randn(2, 3, 4, 4)
    program = fx.symbolic_trace(Shared())
    assert make_functional(program)
    maps = (images * 2).relu().sub(1).relu()
    assert torch.equal(program.forward(images), maps + maps)


class IntoAPart(nn.Module):
    """Writes into a view of its maps, and goes on with the maps."""

    def forward(self, images: Tensor) -> Tensor:
        maps = images * 2
        maps[:, :1].relu_()
        return maps


class IntoAView(nn.Module):
    """Writes into a view of its maps, which nothing else reads."""

    def forward(self, images: Tensor) -> Tensor:
        return (images * 2).flatten(1).relu_()


def test_writes_into_parts_of_a_map_are_not_made_functional() -> None:
    # The result of such a write is not that of its node alone.
    assert not make_functional(fx.symbolic_trace(IntoAPart()))
    assert make_functional(fx.symbolic_trace(IntoAView()))
