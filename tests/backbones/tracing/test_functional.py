"""The rewritten program as it runs: nothing is written in place, views copy where they must."""

import torch
from torch import Tensor, fx, nn

from bottleneck.backbones.tracing.functional import make_functional


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
