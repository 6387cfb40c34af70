import torch
from torch import nn

from bottleneck.backbones.layers.zero_images import zero_images


def test_zeros_are_of_the_first_parameter_that_holds_numbers() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3))
    network.index = nn.Parameter(torch.zeros(1, dtype=torch.int64), requires_grad=False)
    images = zero_images(network.to(device="meta").half(), 2, 8)
    assert (images.shape, images.dtype, images.device.type) == ((2, 3, 8, 8), torch.half, "meta")


def test_a_network_without_parameters_gets_float32() -> None:
    assert zero_images(nn.ReLU(), 1, 4).dtype is torch.float32
