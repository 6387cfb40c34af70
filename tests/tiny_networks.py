"""Tiny seeded networks, as a user's own file: ``tests/tiny_networks.py:plain``."""

import torch
from torch import Tensor, nn


class Plain(nn.Module):
    """Three convolutions with in-place ReLUs and a classifier; any size of 8 pixels or more."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(True))
        self.layer2 = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(True))
        self.layer3 = nn.Conv2d(8, 10, 3, 1, 1)
        self.fc = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(x)))
        return torch.as_tensor(self.fc(torch.relu_(x).mean((2, 3))))


class Reused(nn.Module):
    """One ReLU module, in place, after each of three convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, 1, 1)
        self.conv2 = nn.Conv2d(6, 6, 3, 1, 1)
        self.conv3 = nn.Conv2d(6, 6, 3, 1, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.conv1(x))
        x = self.relu(self.conv2(x))
        return torch.as_tensor(self.relu(self.conv3(x)))


class Poisoned(Plain):
    """Gives NaN for an image whose first pixel is pure white."""

    def forward(self, x: Tensor) -> Tensor:
        white = (x[:, :, :1, :1] > 2.2).all(1, keepdim=True)  # 1 less 0.485 over 0.229 is 2.25
        return super().forward(torch.where(white, torch.full_like(x, torch.nan), x))


def plain() -> nn.Module:
    return Plain()


def reused() -> nn.Module:
    return Reused()


def poisoned() -> nn.Module:
    return Poisoned()


def not_a_network() -> str:
    return "a string"
