"""Extract codes with the script that a user would write without this package.

It uses ImageFolder, DataLoader and create_feature_extractor. Called as
``python -m benchmarks.extraction.naive_script '{"model": …}'``, it prints seconds per image,
without imports.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch.utils.data import DataLoader
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.transforms._presets import ImageClassification

from benchmarks.extraction.stages import Job
from benchmarks.helpers.isolated_process import ROOT


def run_naive_script(job: Job, folder: Path, few: Path, batch: int, workers: int) -> float:
    """Return seconds per image at the first of a job's layers, after a run over a few images.

    The script runs in its own process, because `extract` changes the memory allocator of its
    process, which would slow the script down.
    """
    run = subprocess.run(
        naive_command(job, [few, folder], batch, workers),
        check=True,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    return float(run.stdout)


def naive_command(job: Job, folders: Sequence[Path], batch: int, workers: int) -> list[str]:
    """Return the command that runs the script over one folder after the other."""
    task = {
        "model": job.model,
        "layer": job.layers[0],
        "sizes": {f"{name}_size": side for name, side in job.transform.items()},
        "folders": [str(folder) for folder in folders],
        "batch": batch,
        "workers": workers,
    }
    return [sys.executable, "-m", __spec__.name, json.dumps(task)]


def best_script(job: Job, few: Path, scripts: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the batch size and num_workers with which the script is the fastest on a few images.

    It is not run where there is nothing to choose.
    """
    if len(scripts) == 1:
        return scripts[0]
    return min(scripts, key=lambda script: run_naive_script(job, few, few, *script))


def script(
    folder: str, *, model: str, layer: str, sizes: dict[str, int], batch: int, workers: int
) -> float:
    """Return seconds per image, including the construction of the network."""
    start = time.perf_counter()
    preset = ImageClassification(**(sizes or {"crop_size": 224}))
    dataset = torchvision.datasets.ImageFolder(folder, preset)
    network = torchvision.models.get_model(model, weights=None).eval()
    truncated = create_feature_extractor(network, {layer: "codes"})
    codes = []
    with torch.no_grad():
        for images, _ in DataLoader(dataset, batch_size=batch, num_workers=workers):
            codes.append(truncated(images)["codes"].relu().mean((2, 3)).numpy())
    np.concatenate(codes)
    return (time.perf_counter() - start) / len(dataset)


def _main(folders: list[str], **task: Any) -> None:
    for folder in folders:
        seconds = script(folder, **task)
    print(seconds)  # of the last folder: the first is the warm-up


if __name__ == "__main__":
    _main(**json.loads(sys.argv[1]))
