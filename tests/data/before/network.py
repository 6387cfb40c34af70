"""A network of two convolutions, which made the caches and heads of this folder. Never to be edited."""

import torch
from torch import Tensor, nn


class Network(nn.Module):
    preprocess = {"resize": 16, "crop": 16, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU())
        self.layer2 = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU())
        self.fc = nn.Linear(8, 2)

    def forward(self, images: Tensor) -> Tensor:
        return torch.as_tensor(self.fc(self.layer2(self.layer1(images)).mean((2, 3))))


def build() -> nn.Module:
    return Network()
