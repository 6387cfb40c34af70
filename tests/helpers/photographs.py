"""Generated photographs, and the network's input as torchvision makes it of them."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

COLOURS = {"ants": (180, 60, 40), "bees": (60, 160, 40), "wasps": (50, 70, 190)}


def photograph(seed: int, label: str = "ants", size: tuple[int, int] = (48, 36)) -> Image.Image:
    """A noisy image with its class's colour, width × height."""
    noise = np.random.default_rng(seed).integers(0, 90, (size[1], size[0], 3))
    colour = np.array(COLOURS.get(label, (100, 100, 100)))
    return Image.fromarray((noise + colour).clip(0, 255).astype(np.uint8))


def as_torchvision(image: Image.Image, *, resize: int, crop: int) -> Tensor:
    """The network's input by torchvision's own transforms of tensors, ImageNet's normalisation."""
    from torchvision.transforms import v2

    transform = v2.Compose(
        [
            v2.PILToTensor(),
            v2.Resize(resize, antialias=True),
            v2.CenterCrop(crop),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    return torch.as_tensor(transform(image))


def write_photographs(folder: Path, count: int, *, label: str, first_seed: int = 0) -> list[Path]:
    """`count` JPEGs and PNGs in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{label}{i:03d}.{'png' if i % 2 else 'jpg'}" for i in range(count)]
    for i, path in enumerate(paths):
        photograph(first_seed + i, label).save(path)
    return paths
