"""Measure `predict` of one image as a whole process: through ONNX, and through PyTorch.

    python -m benchmarks.exporting.startup [MODEL] [WEIGHTS]

The processes take turns. The network is torchvision's SqueezeNet of random weights unless another
is named; the image is a generated photograph of 500 × 375 pixels.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.exporting.families import random_head
from benchmarks.helpers.isolated_process import run_isolated
from benchmarks.helpers.machine import machine
from bottleneck.backbones import load_backbone
from bottleneck.exporting.export import export
from bottleneck.runtime import format_size

LAYER = {"squeezenet1_0": "features.12", "resnet50": "layer4"}
REPEATS = 7


def markdown(model: str, weights: str) -> str:
    """Return a table of both ways."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        head, exported, image = folder / "head", folder / "head.onnx", folder / "image.jpg"
        random_head(load_backbone(model, weights), (LAYER[model],)).save(head)
        export(head, exported)
        pixels = np.random.default_rng(0).integers(0, 256, (15, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((500, 375), Image.Resampling.BICUBIC).save(image)
        program = [sys.executable, "-m", "bottleneck", "predict"]
        runs = {
            "through ONNX": [*program, str(exported), str(image)],
            "through PyTorch": [*program, str(head), str(image)],
        }
        taken: dict[str, list[tuple[float, float]]] = {kind: [] for kind in runs}
        for _ in range(REPEATS + 1):
            for kind, command in runs.items():
                taken[kind].append(seconds_of(command))
        peaks = {kind: run_isolated(command)[1] for kind, command in runs.items()}
    lines = [
        "| `predict`, one image | seconds, median of 7 | least | of the processor | peak memory |",
        "|---|---|---|---|---|",
    ]
    for kind, every in taken.items():
        wall, cpu = zip(*every[1:], strict=True)  # the first one fills the caches of the disk
        middle, own = statistics.median(wall), statistics.median(cpu)
        size = format_size(peaks[kind])
        lines.append(f"| {kind} | {middle:.2f} | {min(wall):.2f} | {own:.2f} | {size} |")
    return "\n".join(lines)


def seconds_of(command: Sequence[str]) -> tuple[float, float]:
    """Return the seconds that a process took, and those of the processor."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    print(machine(), end="\n\n")
    print(markdown(*(sys.argv[1:3] if len(sys.argv) > 2 else ("squeezenet1_0", "none"))))
