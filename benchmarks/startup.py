"""Measure the start-up time of commands: help, and a run that has nothing to do."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAM = str(Path(sys.executable).parent / "bottleneck")
REPEATS = 7


def seconds(*command: str) -> float:
    """Return the median time of a command in the project's root, after a warm-up run."""

    def once() -> float:
        start = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        return time.perf_counter() - start

    once()
    return statistics.median(once() for _ in range(REPEATS))


def markdown() -> str:
    """Return a table: help, the imports that extraction needs, and a second same extraction."""
    with tempfile.TemporaryDirectory() as folder:
        extract = [PROGRAM, "extract", "--model", "data/digits_resnet.py:digits_resnet"]
        extract += ["--layer", "layer3", "--out", f"{folder}/digits.cache"]
        subprocess.run(extract, cwd=ROOT, check=True, capture_output=True)
        fit = [PROGRAM, "fit", f"{folder}/digits.cache", "--clf", "svm", "--overwrite"]
        fit += ["--out", f"{folder}/digits.head"]
        imports = seconds(sys.executable, "-c", "import torchvision")
        rows = [
            ("`bottleneck --help`", seconds(PROGRAM, "--help")),
            ("importing torch and torchvision", imports),
            ("a second identical `extract` (896 images)", seconds(*extract)),
            ("`bottleneck status`", seconds(PROGRAM, "status", f"{folder}/digits.cache")),
            ("`bottleneck fit --clf svm` (50 images)", seconds(*fit)),
        ]
    lines = ["| what | seconds, median of 7 |", "|---|---|"]
    return "\n".join(lines + [f"| {name} | {value:.2f} |" for name, value in rows])


if __name__ == "__main__":
    print(markdown())
