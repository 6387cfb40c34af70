"""Measure fits beside a busy process: the share of the speed alone that is left.

    python -m benchmarks.fitting.beside_busy

A process that spins on one core takes a quarter of two cores in a fair division, and one that
multiplies matrices with two threads a half. Alone and beside either, the same fit takes turns: the
search over C in a process that has its codes in memory, and `bottleneck fit` as a whole, with its
start and its reading. Of the largest codes one C is fitted.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.fitting.out_of_core import begin_cache, write_rows
from benchmarks.helpers.busy_process import BUSY, beside
from benchmarks.helpers.interleave import interleave, median, ratio
from benchmarks.helpers.isolated_process import ROOT, run_isolated
from benchmarks.helpers.log import log_row
from benchmarks.helpers.machine import machine
from benchmarks.helpers.synthetic_codes import synthetic_codes
from bottleneck.linear.classifiers import CLASSIFIERS

_SEARCH = """
import sys, time
from bottleneck.runtime import configure_process
configure_process()
import numpy as np
import scipy.optimize, sklearn.model_selection
from bottleneck.fitting import SearchOptions
from bottleneck.fitting.selection.cross_validation import CrossValidation
from bottleneck.linear import ArrayMatrix, ClassifierOptions, TrainingSet, train
codes, clf, c = np.load(sys.argv[1]), sys.argv[2], float(sys.argv[3])
classes = int(codes["classes"].max()) + 1
training = TrainingSet(ArrayMatrix(codes["train"]), codes["classes"], classes)
options = ClassifierOptions(clf)
start = time.perf_counter()
if c:
    train(training, options, c=c, scaling="standardize")
else:
    CrossValidation(training, options, SearchOptions()).select()
print(time.perf_counter() - start)
"""


@dataclass(frozen=True)
class Fit:
    """Codes to generate, and the C of the only fit; 0 for a search."""

    n: int
    d: int
    classes: int
    c: float = 0.0

    @property
    def caption(self) -> str:
        """What is fitted."""
        what = f", C = {self.c:g} alone" if self.c else ""
        return f"{self.n} × {self.d}, {self.classes} classes{what}"


FITS = (Fit(245, 512, 2), Fit(1295, 256, 4), Fit(3030, 512, 101), Fit(20_000, 2048, 100, 1e-3))
TURNS = 3


def markdown(fits: Sequence[Fit] = FITS, *, turns: int = TURNS) -> str:
    """Return a table: seconds alone, and the share of that speed beside each busy process."""
    names = [f"beside one that {name}" for name in BUSY]
    lines = [
        f"Medians of {turns} turns; a share is the median of the ratios of pairs.",
        "",
        f"| codes | classifier | what | alone, s | {' | '.join(names)} |",
        "|---|---|---|---|" + "---|" * len(BUSY),
    ]
    for fit in fits:
        with tempfile.TemporaryDirectory() as folder:
            _write(fit, Path(folder))
            for clf in CLASSIFIERS:
                for what, seconds in _jobs(fit, clf, Path(folder)).items():
                    cells = _shares(seconds, turns)
                    lines.append(log_row(f"| {fit.caption} | {clf} | {what} | {cells} |"))
    return "\n".join(lines)


def _write(fit: Fit, folder: Path) -> None:
    data = synthetic_codes(fit.n, fit.d, fit.classes, test=fit.classes)
    np.savez(folder / "codes.npz", train=data.train, classes=data.train_classes)
    cache = begin_cache(folder / "cache", data.train_classes)
    for shard in range(cache.shard_count):
        rows = np.array(cache.rows(shard))
        write_rows(cache, "layer0", shard, rows, data.train[rows])


def _jobs(fit: Fit, clf: str, folder: Path) -> Mapping[str, Callable[[], float]]:
    search = [sys.executable, "-c", _SEARCH, str(folder / "codes.npz"), clf, str(fit.c)]
    whole = [sys.executable, "-m", "bottleneck", "fit", str(folder / "cache"), "--clf", clf]
    whole += ["--layer", "layer0", "-o", str(folder / "head.safetensors"), "--overwrite"]
    whole += ["--c", str(fit.c), "--cv", "0"] if fit.c else []

    def seconds_of_search() -> float:
        done = subprocess.run(search, check=True, capture_output=True, text=True, cwd=ROOT)
        return float(done.stdout)

    return {
        "fit" if fit.c else "search": seconds_of_search,
        "whole process": lambda: run_isolated(whole)[0],
    }


def _shares(seconds: Callable[[], float], turns: int) -> str:
    """Return the cells of a row: seconds alone, and the share of the speed beside each process."""

    def measure(name: str) -> float:
        with beside(name):
            return seconds()

    found = interleave({name: partial(measure, name) for name in ("", *BUSY)}, turns)
    shares = (f"{ratio(found[''], found[name]):.2f}" for name in BUSY)
    return " | ".join([f"{median(found['']):.2f}", *shares])


if __name__ == "__main__":
    print(f"{machine()}\n\n{markdown()}")
