"""What is noted of each result: the layouts of its tensors."""

from typing import Any

import torch
from torch import Tensor, fx, nn

from bottleneck.backbones.tracing.shapes import Layout, ShapeRecorder, layouts_of


class Everything(nn.Module):
    """Results of every kind: maps, several at once, a number, a sparse tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Any:
        maps = self.conv(images)
        first, second = maps.chunk(2, 1)
        return first + second, maps.size(1), maps.flatten(1).to_sparse()


def test_layouts_are_those_of_the_tensors_as_they_lie_in_memory() -> None:
    network = Everything().to(memory_format=torch.channels_last)
    images = torch.rand(2, 3, 8, 8).to(memory_format=torch.channels_last)
    program = fx.symbolic_trace(network)
    assert not any(layouts_of(node) for node in program.graph.nodes)
    ShapeRecorder(program).run(images)
    found = {node.name: layouts_of(node) for node in program.graph.nodes}
    maps = network.conv(images)
    assert maps.is_contiguous(memory_format=torch.channels_last)
    assert found["conv"] == (Layout((2, 4, 6, 6), maps.stride()),)
    assert found["chunk"] == (Layout((2, 2, 6, 6), maps.stride()),) * 2
    total = network(images)[0]
    assert found["add"] == (Layout((2, 2, 6, 6), total.stride()),)
    assert found["size"] == ()
    assert found["to_sparse"] == (Layout((2, 144), ()),)
    assert len(found["output"]) == 2
