"""Compare the whole search with that of another commit, in processes that take turns.

`make bench-search` runs it with a checkout of the commit BEFORE. Codes are generated in the shapes
of Hymenoptera, the blood cells and Caltech-101; those of the photographs and the cells are added
where they are available.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.helpers.interleave import interleave, median, ratio
from benchmarks.helpers.isolated_process import ROOT
from benchmarks.helpers.synthetic_codes import blood_codes, hymenoptera_codes, synthetic_codes
from bottleneck.linear.classifiers import CLASSIFIERS

TURNS = 5
SHAPES: tuple[dict[str, Any], ...] = (
    {"n": 245, "d": 512, "classes": 2},
    {"n": 1295, "d": 256, "classes": 4},
    {"n": 3030, "d": 512, "classes": 101},
    {"n": 3000, "d": 2048, "classes": 2, "between": 2.0, "test": 1000},  # any C tells them apart
    {"n": 1000, "d": 4608, "classes": 5, "between": 2.0, "test": 1000},
)

# Runs in either commit: the search as `fit` does it, then the held-out rows.
_SEARCH = """
import json, sys, time
import numpy as np
import scipy.optimize, sklearn.model_selection
try:
    from bottleneck.fitting.selection.cross_validation import CrossValidation
except ModuleNotFoundError:  # the commit before
    from bottleneck.fitting import selection
    CrossValidation = None
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.linear import ArrayMatrix, ClassifierOptions, TrainingSet, train
codes = np.load(sys.argv[1])
classes = int(codes["train_classes"].max()) + 1
training = TrainingSet(ArrayMatrix(codes["train"]), codes["train_classes"], classes)
options = ClassifierOptions(sys.argv[2])
svm, search = sys.argv[2] == "svm", SearchOptions()
start, cpu = time.perf_counter(), time.process_time()
if CrossValidation:
    validation = CrossValidation(training, options, search)
    best = validation.select().best
    if svm:
        validation.calibrate(best.c, best.scaling)
else:
    best = selection.select_c(training, options, search).best
    if svm:
        selection.cross_val_calibrate(training, options, c=best.c, scaling=best.scaling, folds=5)
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
scaler, solution = train(training, options, c=best.c, scaling=best.scaling)
values = solution.decision_function(scaler(codes["test"]))
found = values.argmax(axis=1) if classes > 2 else values[:, 0] > 0
right = float((found == codes["test_classes"]).mean())
print(json.dumps({"seconds": seconds, "cpu": cpu, "c": best.c, "cv": best.mean, "test": right}))
"""


def run(root: Path, codes: Path, clf: str) -> dict[str, Any]:
    """Run a search in a process that imports the package of one checkout."""
    environment = os.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, "-c", _SEARCH, str(codes), clf]
    done = subprocess.run(
        command, env=environment, cwd=root, check=True, capture_output=True, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def markdown(before: Path, *, turns: int = TURNS, shapes: Sequence[dict[str, Any]] = SHAPES) -> str:
    """Return a table of ratios: a search at the other commit over the same at this one."""
    lines = [
        "| codes | classifier | before, s | now, s | ratio | ratio of CPU time | C, before / now "
        "| accuracy in the folds | test accuracy |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kinds = [synthetic_codes(**shape) for shape in shapes]
        if shapes is SHAPES:
            kinds += [*hymenoptera_codes(folder), *blood_codes(folder)]
        for data in kinds:
            path = folder / "codes.npz"
            np.savez(
                path,
                train=data.train,
                train_classes=data.train_classes,
                test=data.test,
                test_classes=data.test_classes,
            )
            for clf in CLASSIFIERS:
                commits = {
                    "before": partial(run, before, path, clf),
                    "now": partial(run, ROOT, path, clf),
                }
                runs = interleave(commits, turns)
                lines.append(_row(data.caption, clf, runs["before"], runs["now"]))
    return "\n".join(lines)


def _row(caption: str, clf: str, before: list[Any], now: list[Any]) -> str:
    def both(key: str) -> tuple[list[float], list[float]]:
        return [each[key] for each in before], [each[key] for each in now]

    seconds, cpu, (first, second) = both("seconds"), both("cpu"), (before[0], now[0])
    return (
        f"| {caption} | {clf} | {median(seconds[0]):.2f} | {median(seconds[1]):.2f} "
        f"| {ratio(*seconds):.2f} | {ratio(*cpu):.2f} | {first['c']:.2g} / {second['c']:.2g} "
        f"| {first['cv']:.1%} / {second['cv']:.1%} | {first['test']:.1%} / {second['test']:.1%} |"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path, help="a checkout of the commit to compare with")
    parser.add_argument("--turns", type=int, default=TURNS)
    arguments = parser.parse_args()
    print(markdown(arguments.before, turns=arguments.turns))
