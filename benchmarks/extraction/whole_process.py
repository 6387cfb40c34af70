"""Compare whole processes: `bottleneck extract`, and the script that a user would write.

Run from the project's root: python -m benchmarks.extraction.whole_process. Imports, set-up and
writing count on both sides. SqueezeNet up to features.12, with random weights, on 2000 JPEGs.
"""

import dataclasses
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.extraction.naive_script import best_script, naive_command
from benchmarks.extraction.stages import Job
from benchmarks.helpers.interleave import interleave, median, ratio
from benchmarks.helpers.isolated_process import ROOT
from benchmarks.helpers.machine import machine
from benchmarks.helpers.synthetic_images import photographs, repeat, write_jpegs
from benchmarks.profiles import FULL_EXTRACTION
from bottleneck.cache.store import open_cache

_IMAGES = 2000
_JOB = Job("squeezenet1_0", ("features.12",))
_TURNS = 3


def markdown() -> str:
    """Measure both on generated JPEGs and, where there are some, on photographs."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        sets = {"generated, 500 × 375": write_jpegs(Path(place) / "drawn", _IMAGES)}
        if found := photographs():
            sets["Hymenoptera, repeated"] = found
        for name, paths in sets.items():
            rows += _rows(name, paths, Path(place) / name[:1])
    return "\n".join(
        [
            f"{machine()}. Seconds of whole processes for {_IMAGES} images, medians of {_TURNS} "
            "turns.",
            "",
            "| images | precision | script | extract | ratio |",
            "|---|---|---|---|---|",
            *rows,
        ]
    )


def _rows(name: str, paths: list[Path], place: Path) -> list[str]:
    images, few = place / "all", place / "few"
    repeat(paths, images, _IMAGES)
    repeat(paths, few, FULL_EXTRACTION.few)
    script = best_script(_JOB, few, FULL_EXTRACTION.scripts)
    processes = {"script": partial(_seconds, naive_command(_JOB, [images], *script))}
    for precision in ("auto", "float32"):
        job = dataclasses.replace(_JOB, precision=precision)
        processes[precision] = partial(_extract, job, images)
    found = interleave(processes, _TURNS)
    return [
        f"| {name} | {precision} | {median(found['script']):.1f} | {median(found[precision]):.1f} "
        f"| **{ratio(found['script'], found[precision]):.1f}** |"
        for precision in ("auto", "float32")
    ]


def _extract(job: Job, images: Path) -> float:
    with tempfile.TemporaryDirectory() as place:
        cache = Path(place) / "cache"
        command = [sys.executable, "-m", "bottleneck", "extract", str(images), "--out", str(cache)]
        command += ["--model", job.model, "--weights", "none", "--layer", job.layers[0]]
        seconds = _seconds([*command, "--precision", job.precision])
        rows = len(open_cache(cache).images)
    assert rows == _IMAGES, f"{rows} rows of {_IMAGES} images"
    return seconds


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    return time.perf_counter() - start


if __name__ == "__main__":
    print(markdown())
