"""Tiny networks, in a file as a user may have one: ``tests/helpers/tiny_networks.py:plain``."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


class Residual(nn.Module):
    """A stem, then two residual blocks as torchvision's, the second with a downsample."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 7, 3, 2, 1), nn.BatchNorm2d(7), nn.ReLU(True))
        self.conv1, self.bn1 = nn.Conv2d(7, 7, 3, 1, 1, bias=False), nn.BatchNorm2d(7)
        self.conv2, self.bn2 = nn.Conv2d(7, 9, 3, 2, 1, bias=False), nn.BatchNorm2d(9)
        self.down = nn.Sequential(nn.Conv2d(7, 9, 1, 2, bias=False), nn.BatchNorm2d(9))
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        out = self.bn1(self.conv1(x))
        out += x
        x = self.relu(out)
        out = self.bn2(self.conv2(x))
        out += self.down(x)
        return torch.as_tensor(self.fc(self.relu(out).mean((2, 3))))


class Branching(Plain):
    """Decides by its values what to compute, and so cannot be traced."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer1(x)
        x = self.layer2(x if float(x.sum()) > 0 else -x)
        return torch.as_tensor(self.fc(self.layer3(x).mean((2, 3))))


class Wired(nn.Module):
    """Modules, and a function that passes an image through them."""

    def __init__(self, wiring: Callable[[Any, Tensor], Any], **modules: nn.Module) -> None:
        super().__init__()
        self.wiring = wiring
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Any:
        return self.wiring(self, x)


def frozen(network: nn.Module) -> nn.Module:
    """Freeze a network, and give its norms statistics and scales other than 0 and 1."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            if module.running_mean is not None and module.running_var is not None:
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.3)
    return network.eval().requires_grad_(False)


def plain() -> nn.Module:
    return Plain()


def reused() -> nn.Module:
    return Reused()


def poisoned() -> nn.Module:
    return Poisoned()


def residual() -> nn.Module:
    return frozen(Residual())


def branching() -> nn.Module:
    return Branching()


def not_a_network() -> str:
    return "a string"


def noted() -> nn.Module:
    """Build `Plain`, and leave a file for this process in the folder of the variable NOTED."""
    (Path(os.environ["NOTED"]) / f"{os.getpid()}-{time.monotonic_ns()}").touch()
    return Plain()


class Slow(Branching):
    """Takes a tenth of a second for a batch, during which it can be interrupted."""

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(0.1)
        return super().forward(x)


def slow() -> nn.Module:
    return Slow()


def chain() -> nn.Module:
    """Build a sequence that may be cut at every layer: two convolutions and a classifier."""
    return frozen(
        nn.Sequential(
            *(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(True)),
            *(nn.Conv2d(6, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(True)),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, 4)),
        )
    )


class Dense(nn.Module):
    """Each convolution reads all maps before it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.first, self.second = nn.Conv2d(4, 4, 3, 1, 1), nn.Conv2d(8, 4, 3, 1, 1)
        self.join = nn.Conv2d(12, 6, 1)
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Any:
        maps = [torch.relu(self.stem(x))]
        for layer in (self.first, self.second):
            maps.append(torch.relu(layer(torch.cat(maps, 1))))
        return self.fc(self.join(torch.cat(maps, 1)).relu().mean((2, 3)))


class WithToken(nn.Module):
    """Patches behind a class token, for as many images as there are."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 8, 8)
        self.cls_token = nn.Parameter(torch.randn(1, 1, 6))
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.norm, self.head = nn.LayerNorm(6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Any:
        maps = self.patches(x)
        tokens = maps.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), tokens], 1)
        tokens = tokens + self.attention(tokens, tokens, tokens)[0]
        return self.head(self.norm(tokens.reshape(x.size(0), -1, 6)).mean(1))
