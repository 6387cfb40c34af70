"""Why a network does not take an image."""

import re

import pytest
import torch
from torch import Tensor, nn

from bottleneck.backbones.layers.forward_error import explain_forward_error, input_channels
from bottleneck.backbones.layers.listing import list_layers
from bottleneck.errors import BackboneError
from tests.helpers.brought_networks import TwoInputs


class Optional(nn.Module):
    def forward(self, x: Tensor, mask: Tensor | None = None, *more: Tensor) -> Tensor:
        raise ValueError("too small")


class ByKeyword(nn.Module):
    def forward(self, *, pixel_values: Tensor) -> Tensor:
        return pixel_values


class MuteError(Exception):
    def __str__(self) -> str:
        raise AttributeError("no such setting")


class Mute(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise MuteError


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (TwoInputs(), r"takes 2 inputs \(image, age\) and is given one"),
        (ByKeyword(), "takes images by the keyword 'pixel_values' alone"),
        (Mute(), r"3 × 32 × 32: MuteError \(test_forward_error.py, line"),
        (Optional(), r"3 × 32 × 32: ValueError: too small.*`crop`"),
        (nn.Sequential(nn.Conv2d(9, 4, 3)), "first convolution takes 9 channels, and images"),
    ],
)
def test_the_reason_and_the_next_step(network: nn.Module, words: str) -> None:
    with pytest.raises(BackboneError, match=words) as caught:
        list_layers(network.eval(), 32)
    assert "\n" not in str(caught.value)


def test_statistics_of_a_batch_of_one_are_explained() -> None:
    network = nn.BatchNorm1d(3, track_running_stats=False).eval()
    with pytest.raises(ValueError, match="more than 1 value") as caught:
        network(torch.zeros(1, 3))
    said = str(explain_forward_error(network, caught.value, 32))
    assert re.search("statistics of the batch.*track_running_stats", said)


def test_a_forward_pass_without_a_signature_has_no_inputs_to_name() -> None:
    network = nn.Identity()
    network.forward = torch.relu  # type: ignore[method-assign, assignment, unused-ignore]
    assert "`crop`" in str(explain_forward_error(network, ValueError("no"), 8))


def test_channels_of_the_first_convolution() -> None:
    assert input_channels(nn.Sequential(nn.ReLU(), nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 1))) == 2
    assert input_channels(nn.ReLU()) == 0
