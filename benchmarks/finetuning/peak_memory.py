"""Measure the peak resident memory of a tuning on few maps and on many, within one budget."""

import math
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.helpers.isolated_process import ROOT, run_isolated
from benchmarks.helpers.synthetic_images import repeat, write_jpegs
from bottleneck.cache.store import open_cache

_PROGRAM = (sys.executable, "-m", "bottleneck")
_MODEL, _LAYER = f"{ROOT / 'data' / 'digits_resnet.py'}:digits_resnet", "layer1"
_SIDE = 64
_DRAWN = 200  # different images; the others are links


def make_maps(drawn: list[Path], place: Path, count: int) -> Path:
    """Extract the maps of so many images, in float16."""
    repeat(drawn, place / f"{count}", count)
    cache = place / f"{count}.cache"
    size = [f"--{name}={_SIDE}" for name in ("resize", "crop")]
    options = [f"--model={_MODEL}", f"--layer={_LAYER}", "--pool=none", "--device=cpu", *size]
    run_isolated([*_PROGRAM, "extract", str(place / f"{count}"), "-o", str(cache), *options])
    return cache


def map_bytes(cache: Path) -> int:
    """Return the bytes of all maps."""
    headers = open_cache(cache).finished_shards(_LAYER).values()
    return sum(math.prod(header.shape) * np.dtype(header.dtype).itemsize for header in headers)


def peak(cache: Path, memory: str) -> int:
    """Return the peak resident bytes of `bottleneck tune` in its own process."""
    result = cache.with_suffix(f".{memory}.safetensors")
    once = ["--epochs=1", "--lr=0.001", "--init=fresh", "--device=cpu"]
    command = [*_PROGRAM, "tune", str(cache), f"--memory={memory}", "-o", str(result), *once]
    return run_isolated(command)[1]


def markdown(*, counts: tuple[int, int] = (200, 4000), memory: str = "10M") -> str:
    """Return the peaks under the budget, and that of the many maps in memory."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        drawn = write_jpegs(place / "drawn", min(_DRAWN, *counts), size=(_SIDE, _SIDE))
        few, many = (make_maps(drawn, place, count) for count in counts)
        runs = [(few, memory), (many, memory), (many, "8G")]
        lines = [
            f"| {map_bytes(cache) / 2**20:.0f} | {budget} | {peak(cache, budget) / 2**20:.0f} |"
            for cache, budget in runs
        ]
    return "\n".join(
        [
            f"The bundled network's tail behind {_LAYER}, generated JPEGs at a crop of {_SIDE}, "
            "two trainings of one epoch; each `bottleneck tune` in a process of its own "
            "(`python -m benchmarks.finetuning.peak_memory`).",
            "",
            "| MiB of maps | `--memory` | peak MiB |",
            "|---|---|---|",
            *lines,
        ]
    )


if __name__ == "__main__":
    print(markdown())
