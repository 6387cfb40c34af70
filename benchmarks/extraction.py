"""Extraction end to end, against the script that a user would write by hand, in one run.

Generated JPEGs of 500 × 375, SqueezeNet 1.0 with random weights (speed does not depend on them),
float32, features.12. The two take turns, so that the machine's moods fall on both.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.transforms._presets import ImageClassification

from bottleneck.extract import extract

IMAGES = 600
REPEATS = 3
LAYER = "features.12"


def write_jpegs(folder: Path, count: int = IMAGES) -> None:
    """Smooth noise, so that files have the size of photographs."""
    random = np.random.default_rng(0)
    for i in range(count):
        path = folder / f"class{i % 2}" / f"{i:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        small = random.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(small).resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)


def by_hand(folder: Path, batch_size: int, workers: int) -> float:
    """Seconds of ImageFolder, DataLoader and create_feature_extractor."""
    start = time.perf_counter()
    dataset = torchvision.datasets.ImageFolder(str(folder), ImageClassification(crop_size=224))
    network = torchvision.models.squeezenet1_0(weights=None).eval()
    tap = create_feature_extractor(network, {LAYER: "codes"})
    codes = []
    with torch.no_grad():
        for images, _ in DataLoader(dataset, batch_size=batch_size, num_workers=workers):
            codes.append(tap(images)["codes"].relu().mean((2, 3)).numpy())
    np.concatenate(codes)
    return time.perf_counter() - start


def ours(folder: Path, cache: Path) -> float:
    """Seconds of `bottleneck extract` into a new cache, network and finishing included."""
    start = time.perf_counter()
    extract(
        folder, cache, model="squeezenet1_0", weights="none", layers=[LAYER], precision="float32"
    )
    return time.perf_counter() - start


def markdown() -> str:
    """Images a second of both and the ratio of each pair."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "images"
        write_jpegs(folder)
        choices = [(batch, workers) for batch in (16, 64) for workers in (0, 2)]
        best = min(choices, key=lambda choice: by_hand(folder, *choice))
        pairs = [
            (by_hand(folder, *best), ours(folder, Path(name) / f"cache{i}")) for i in range(REPEATS)
        ]
    hand = statistics.median(IMAGES / seconds for seconds, _ in pairs)
    tool = statistics.median(IMAGES / seconds for _, seconds in pairs)
    ratio = statistics.median(a / b for a, b in pairs)
    return "\n".join(
        [
            "| what | images/s |",
            "|---|---|",
            f"| by hand, its best batch size {best[0]} and num_workers {best[1]} | {hand:.0f} |",
            f"| `bottleneck extract --precision float32` | {tool:.0f} |",
            f"| ratio, median of {REPEATS} pairs | {ratio:.2f} |",
        ]
    )


if __name__ == "__main__":
    print(markdown())
