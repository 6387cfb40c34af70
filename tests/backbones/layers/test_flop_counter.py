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
from tests.helpers.brought_networks import small_transformer


class Attention(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        tokens = images.flatten(2)
        return F.scaled_dot_product_attention(tokens, tokens, tokens) @ tokens.mT


def short_swin() -> nn.Module:
    network: nn.Module = torchvision.models.SwinTransformer(
        [4, 4], embed_dim=12, depths=[2, 1], num_heads=[2, 4], window_size=[4, 4], num_classes=5
    )
    return network


BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "vit": lambda: small_transformer(224).requires_grad_(),
    "swin": short_swin,
    "resnet18": torchvision.models.resnet18,
    # Of the same kinds of layers, in full.
    "vit_b_16": torchvision.models.vit_b_16,
    "swin_t": torchvision.models.swin_t,
    "efficientnet_b0": torchvision.models.efficientnet_b0,
}
FULL = ("vit_b_16", "swin_t", "efficientnet_b0")
MODES = (torch.inference_mode, torch.no_grad, torch.enable_grad)


@pytest.mark.parametrize(
    ("model", "mode"),
    [
        pytest.param(model, mode, marks=[pytest.mark.slow] if model in FULL else [])
        for model in BUILDERS
        # What an operation is broken up into depends on the mode; that of networks' own is one.
        for mode in MODES
    ],
)
def test_a_network_has_as_many_as_pytorch_counts(
    model: str, mode: Callable[[], AbstractContextManager[None]]
) -> None:
    with torch.device("meta"):
        network, images = BUILDERS[model]().eval(), torch.zeros(2, 3, 224, 224)
    with mode():
        with FlopCounterMode(display=False) as expected:
            network(images)
        with FlopCounter() as counter:
            network(images)
    assert counter.total == expected.get_total_flops() > 0


@pytest.mark.parametrize("hooked", [False, True], ids=["whole", "by its parts"])
@pytest.mark.parametrize("kind", ["vit", "encoder", "function"])
def test_attention_on_a_cpu_has_as_many_as_on_the_meta_device(kind: str, hooked: bool) -> None:
    """A CPU fuses it, and all of an encoder's layer where no part of it has hooks."""
    encoder = nn.Sequential(nn.Flatten(2), nn.TransformerEncoderLayer(256, 2, 24, batch_first=True))
    networks = {"vit": small_transformer(16), "encoder": encoder, "function": Attention()}
    network, images = networks[kind].eval(), torch.rand(2, 3, 16, 16)
    if hooked:
        for part in network.modules():
            part.register_forward_hook(lambda *_: None)
    with torch.inference_mode():
        with FlopCounter() as counter:
            result = network(images)
        assert torch.equal(result, network(images))
        with FlopCounterMode(display=False) as expected:
            network.to("meta")(images.to("meta"))
    assert counter.total == expected.get_total_flops() > 0
