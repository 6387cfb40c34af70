"""A ResNet small enough to ship, for the bundled sample."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, named and ordered as in torchvision."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += shortcut
        activated: Tensor = self.relu(out)
        return activated


class DigitsResNet(nn.Module):
    """Four stages of one block each; a 3x3 stem without pooling, as the images are small."""

    # What the tool shall feed it, unless an option says otherwise.
    preprocess: ClassVar = {
        "resize": 32,
        "crop": 32,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
    }

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(12)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(BasicBlock(12, 12, stride=1))
        self.layer2 = nn.Sequential(BasicBlock(12, 24, stride=2))
        self.layer3 = nn.Sequential(BasicBlock(24, 48, stride=2))
        self.layer4 = nn.Sequential(BasicBlock(48, 96, stride=2))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(96, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


def digits_resnet(num_classes: int = 5) -> nn.Module:
    """Build the network of the bundled sample, with random weights.

    It carries torchvision's layer names, so that whatever works on it works on a
    torchvision ResNet, yet its trained weights are small enough to live in the repository.

    Parameters
    ----------
    num_classes
        Outputs of the last layer; the default suits the shipped weights (digits 0 to 4).

    Returns
    -------
    nn.Module
        A network from ``(N, 3, 32, 32)`` float images to ``(N, num_classes)`` logits.
    """
    return DigitsResNet(num_classes)
