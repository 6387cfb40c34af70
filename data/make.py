"""Make the bundled sample again: ``python data/make.py [OUT]``."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from digits_resnet import digits_resnet
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample

SOURCE_DIGITS = (0, 1, 2, 3, 4)  # what the network learns
TARGET_DIGITS = (5, 6, 7, 8, 9)  # what the sample asks of its codes; the network never sees them
TRAIN_PER_CLASS = 10
HELD_OUT = 0.2
EPOCHS = 20
BATCH = 32
SEED = 0


def grey_images(digits: Sequence[int]) -> tuple[list[Image.Image], np.ndarray, np.ndarray]:
    """Return the 8x8 images of these digits, their labels and their rows in ``load_digits``."""
    bunch = load_digits()
    rows = np.flatnonzero(np.isin(bunch.target, digits))
    pixels = np.rint(bunch.images[rows] * (255 / 16)).astype(np.uint8)
    return [Image.fromarray(image) for image in pixels], bunch.target[rows], rows


def write_images(folder: Path) -> None:
    """Write the digits 5 to 9 as ``folder/{train,test}/<digit>/<row>.png``."""
    images, labels, rows = grey_images(TARGET_DIGITS)
    rng = np.random.default_rng(SEED)
    for digit in TARGET_DIGITS:
        for split in ("train", "test"):
            (folder / split / str(digit)).mkdir(parents=True, exist_ok=True)
        for rank, i in enumerate(rng.permutation(np.flatnonzero(labels == digit))):
            split = "train" if rank < TRAIN_PER_CLASS else "test"
            images[i].save(folder / split / str(digit) / f"{rows[i]:04d}.png")


def as_input(images: Sequence[Image.Image]) -> Tensor:
    """Stack images as RGB of 32x32 in 0..1, resized as they will be when codes are taken."""
    size, bilinear = (32, 32), Image.Resampling.BILINEAR
    stack = np.stack([np.asarray(image.convert("RGB").resize(size, bilinear)) for image in images])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 255


def normalise(x: Tensor) -> Tensor:
    return (x - 0.5) / 0.5


def jitter(x: Tensor) -> Tensor:
    """Turn each image by up to 10 degrees and shift it by up to 2 pixels, filling with black."""
    angle = math.radians(10) * (2 * torch.rand(len(x)) - 1)
    shift = 2 / 16 * (2 * torch.rand(len(x), 2) - 1)  # the grid runs from -1 to 1: 16 pixels a unit
    cos, sin = angle.cos(), angle.sin()
    theta = torch.stack((cos, -sin, shift[:, 0], sin, cos, shift[:, 1]), dim=1).view(-1, 2, 3)
    grid = affine_grid(theta, list(x.shape), align_corners=False)
    return grid_sample(x, grid, align_corners=False)


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    return float((model(normalise(x)).argmax(1) == y).float().mean())


def pretrain() -> nn.Module:
    """Train the network on the digits 0 to 4, and print its accuracy on the fifth held out."""
    # Sums taken by several threads may differ in the last bit; one thread keeps the bytes equal.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)

    images, labels, _ = grey_images(SOURCE_DIGITS)
    x, y = as_input(images), torch.from_numpy(labels)
    order = torch.randperm(len(x))
    held_out, train = order.tensor_split([round(HELD_OUT * len(x))])

    model: nn.Module = digits_resnet()
    steps = EPOCHS * math.ceil(len(train) / BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.split(train[torch.randperm(len(train))], BATCH):
            loss = cross_entropy(model(normalise(jitter(x[batch]))), y[batch])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()

    model.eval()
    score = accuracy(model, x[held_out], y[held_out])
    print(f"accuracy on {len(held_out)} held-out images of the digits 0-4: {score:.4f}")
    return model


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    write_images(out / "digits")
    save_file(pretrain().state_dict(), out / "digits_resnet.safetensors")


if __name__ == "__main__":
    main()
