"""The script that a user would write by hand: ImageFolder, DataLoader, create_feature_extractor.

python benchmarks/by_hand.py '{"model": …}' prints its seconds an image, imports not included.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from stages import Job
from torch.utils.data import DataLoader
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.transforms._presets import ImageClassification


def by_hand(job: Job, folder: Path, few: Path, batch: int, workers: int) -> float:
    """Seconds an image at the first of a job's layers, after a run over a few images.

    In a process of its own: `extract` leaves the allocator of its process in another state than a
    user's script would find it in, which costs such a script a part of its speed.
    """
    task = {
        "model": job.model,
        "layer": job.layers[0],
        "sizes": {f"{name}_size": side for name, side in job.transform.items()},
        "folders": [str(few), str(folder)],
        "batch": batch,
        "workers": workers,
    }
    command = [sys.executable, __file__, json.dumps(task)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def script(
    folder: str, *, model: str, layer: str, sizes: dict[str, int], batch: int, workers: int
) -> float:
    """Seconds an image, the making of the network included."""
    start = time.perf_counter()
    preset = ImageClassification(**(sizes or {"crop_size": 224}))
    dataset = torchvision.datasets.ImageFolder(folder, preset)
    network = torchvision.models.get_model(model, weights=None).eval()
    tap = create_feature_extractor(network, {layer: "codes"})
    codes = []
    with torch.no_grad():
        for images, _ in DataLoader(dataset, batch_size=batch, num_workers=workers):
            codes.append(tap(images)["codes"].relu().mean((2, 3)).numpy())
    np.concatenate(codes)
    return (time.perf_counter() - start) / len(dataset)


def _main(folders: list[str], **task: Any) -> None:
    for folder in folders:
        seconds = script(folder, **task)
    print(seconds)  # the last one's: the first was to warm up


if __name__ == "__main__":
    _main(**json.loads(sys.argv[1]))
