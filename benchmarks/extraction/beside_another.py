"""Measure two extractions beside each other: the share of the images/s alone that each gets.

    python -m benchmarks.extraction.beside_another

Processes of `bottleneck extract` by torchvision's SqueezeNet of random weights over generated
JPEGs. The rate is that of whole processes: images by the seconds from start to end.
"""

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.helpers.interleave import interleave, median, ratio
from benchmarks.helpers.isolated_process import run_isolated
from benchmarks.helpers.machine import machine
from benchmarks.helpers.synthetic_images import write_jpegs

IMAGES, TURNS = 300, 3


def markdown(
    *,
    images: int = IMAGES,
    turns: int = TURNS,
    model: str = "squeezenet1_0",
    layer: str = "features.12",
) -> str:
    """Return a table: images/s of one process alone, and of each of two beside each other."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_jpegs(folder / "images", images)
        command = [sys.executable, "-m", "bottleneck", "extract", str(folder / "images")]
        command += ["--model", model, "--layer", layer, "--weights", "none"]
        command += ["--device", "cpu"]

        def run(count: int) -> float:
            """Return the seconds of the slower of so many processes."""
            with tempfile.TemporaryDirectory(dir=folder) as caches, ThreadPoolExecutor() as pool:
                commands = [[*command, "-o", f"{caches}/{i}.cache"] for i in range(count)]
                return max(seconds for seconds, _ in pool.map(run_isolated, commands))

        found = interleave({count: partial(run, count) for count in (1, 2)}, turns)
    rates = [images / median(found[count]) for count in (1, 2)]
    return "\n".join(
        [
            f"{model}, {images} generated JPEGs, whole processes; medians of {turns} turns.",
            "",
            "| alone, images/s | the slower of two, images/s | share |",
            "|---|---|---|",
            f"| {rates[0]:.1f} | {rates[1]:.1f} | {ratio(found[1], found[2]):.2f} |",
        ]
    )


if __name__ == "__main__":
    print(f"{machine()}\n\n{markdown()}")
