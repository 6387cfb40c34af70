"""Measure which of several labels the images of the bundled sample are given: docs/accuracy.md.

python -m benchmarks.accuracy.several_labels
"""

import csv
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from benchmarks.sample_layers import digits_cache
from bottleneck.cache.store import Cache
from bottleneck.fitting.fit import fit

LAYERS = ["layer2", "layer3", "layer4"]
CLASSIFIERS = {"svm": LinearSVC, "softmax": LogisticRegression}
LABELS = {
    "properties": {
        "5": "odd|prime|middle",
        "6": "even|round|middle",
        "7": "odd|prime|straight|high",
        "8": "even|round|high",
        "9": "odd|round|straight|high",
    },
    "the digit, and one rare label": {**{d: d for d in "5689"}, "7": "7|crossed"},
}


def rows(cache: Cache, name: str, folder: Path) -> Iterator[str]:
    """Yield a row of the table for each classifier and layer, labelled by a rule of `LABELS`."""
    labels = [LABELS[name][digit].split("|") for digit in cache.images.label]
    file = folder / "labels.csv"
    with file.open("w", encoding="utf-8", newline="") as text:
        told = zip(cache.images.path, map("|".join, labels), cache.images.split, strict=True)
        csv.writer(text).writerows([("path", "label", "split"), *told])
    for clf, theirs in CLASSIFIERS.items():
        for layer in LAYERS:
            result = fit(cache, clf, layers=layer, labels=file)
            classes = result.head.classes
            targets = np.array([[each in of for each in classes] for of in labels])
            codes = cache.read_codes(layer, np.arange(len(labels))).reshape(len(labels), -1)
            train, test = (np.array(cache.images.split) == each for each in ("train", "test"))
            plain = OneVsRestClassifier(theirs(C=result.c, max_iter=100_000))
            own = make_pipeline(StandardScaler(), plain).fit(codes[train], targets[train])
            ours = result.head.decision_function(codes[test].astype(np.float64)) > 0
            cells = [_cell(targets[test], each) for each in (own.predict(codes[test]), ours)]
            yield f"| {name} | {clf} | {layer} | {result.c:.3g} | {' | '.join(cells)} |"


def _cell(true: NDArray[np.bool_], given: NDArray[np.bool_]) -> str:
    """Return the images with all labels right, and the mean F1 of the labels, in per cent."""
    exact = (given == true).all(axis=1).mean()
    return (
        f"{100 * exact:.1f} | {100 * f1_score(true, given, average='macro', zero_division=0):.1f}"
    )


if __name__ == "__main__":
    print("| labels | classifier | layer | C | own: all right | F1 | calibrated: all right | F1 |")
    print("|---" * 8 + "|")
    with tempfile.TemporaryDirectory() as temporary:
        sample = digits_cache(Path(temporary), LAYERS, "2")
        for each in LABELS:
            print(*rows(sample, each, Path(temporary)), sep="\n", flush=True)
