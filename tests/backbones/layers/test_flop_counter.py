"""Floating-point operations, against PyTorch's own counter."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.flop_counter import FlopCounterMode

from bottleneck.backbones.layers.flop_counter import FlopCounter


class Attention(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        tokens = images.flatten(2)
        return F.scaled_dot_product_attention(tokens, tokens, tokens) @ tokens.mT


@pytest.mark.parametrize(
    ("model", "mode"),
    [
        # What an operation is broken up into depends on the mode; that of networks' own is one.
        *(("vit_b_16", mode) for mode in (torch.inference_mode, torch.no_grad, torch.enable_grad)),
        *((model, torch.inference_mode) for model in ("resnet18", "swin_t")),
        *(
            pytest.param(model, mode, marks=pytest.mark.slow)
            for model in ("resnet18", "swin_t", "efficientnet_b0")
            for mode in (torch.no_grad, torch.enable_grad)
        ),
        pytest.param("efficientnet_b0", torch.inference_mode, marks=pytest.mark.slow),
    ],
)
def test_a_network_has_as_many_as_pytorch_counts(
    model: str, mode: Callable[[], AbstractContextManager[None]]
) -> None:
    with torch.device("meta"):
        network, images = torchvision.models.get_model(model).eval(), torch.zeros(2, 3, 224, 224)
    with mode():
        with FlopCounterMode(display=False) as expected:
            network(images)
        with FlopCounter() as counter:
            network(images)
    assert counter.total == expected.get_total_flops() > 0


def test_functions_are_counted_as_well() -> None:
    images = torch.rand(1, 3, 8, 8)
    with torch.inference_mode():
        with FlopCounterMode(display=False) as expected:
            Attention()(images)
        with FlopCounter() as counter:
            result = Attention()(images)
    assert counter.total == expected.get_total_flops() > 0
    assert torch.equal(result, Attention()(images))
