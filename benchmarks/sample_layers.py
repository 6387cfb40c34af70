"""Compare the layers of the bundled sample's network with each other, tails and raw pixels.

Prints the table of the README. Run from the project's root: python -m benchmarks.sample_layers
"""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bottleneck.cache.store import Cache
from bottleneck.data.images import open_images
from bottleneck.data.labels import encode_targets
from bottleneck.data.splits import split_rows
from bottleneck.extraction.extract import extract
from bottleneck.extraction.options import ComputeOptions
from bottleneck.finetuning.tune import tune
from bottleneck.fitting.fit import fit
from bottleneck.fitting.selection.cross_validation import CrossValidation
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.linear.matrix import ArrayMatrix
from bottleneck.linear.training import ClassifierOptions, TrainingSet, train

DATA = Path(__file__).parents[1] / "data"
LAYERS = ["layer1", "layer2", "layer3", "layer4"]
BOUNDARIES = LAYERS[:-1]  # that a tail is trained behind
CLASSIFIERS = ["svm", "softmax"]


@dataclass(frozen=True)
class Row:
    """One row: the kind and size of the codes, and the test accuracy of each classifier, if any."""

    codes: str
    size: int
    accuracy: dict[str, float]


def layer_rows(pool: str, folder: Path) -> list[Row]:
    """Fit on every layer of the network with one pooling."""
    cache = digits_cache(folder, LAYERS, pool)
    name = "averaged" if pool == "avg" else f"{pool} × {pool} grid"
    rows = []
    for layer in LAYERS:
        fits = {clf: fit(cache, clf, layers=layer) for clf in CLASSIFIERS}
        scores = {clf: done.heldout.accuracy for clf, done in fits.items() if done.heldout}
        rows.append(Row(f"{layer}, {name}", fits["svm"].head.coef.shape[1], scores))
    return rows


def tail_rows(boundaries: Sequence[str], folder: Path) -> list[Row]:
    """Train the layers behind each boundary, whose output is a softmax, from its maps."""
    cache = digits_cache(folder, boundaries, "none")
    rows = []
    for layer in boundaries:
        result = tune(cache, layer=layer)
        assert result.heldout is not None
        size = math.prod(result.tail.shape)
        rows.append(Row(tail_name(layer), size, {"softmax": result.heldout.accuracy}))
    return rows


def tail_name(boundary: str) -> str:
    """Return what a tail's row is called."""
    return f"tail behind {boundary}"


def digits_cache(folder: Path, layers: Sequence[str], pool: str) -> Cache:
    """Return a cache of the bundled digits, with what it lacks extracted."""
    return extract(
        DATA / "digits",
        folder / pool,
        model=f"{DATA / 'digits_resnet.py'}:digits_resnet",
        weights=str(DATA / "digits_resnet.safetensors"),
        layers=layers,
        pool=pool,
        compute=ComputeOptions(precision="float32"),  # the same figures on every machine
    ).cache


def pixel_row() -> Row:
    """Fit on the 64 pixels of each image."""
    source = open_images(DATA / "digits")
    images = source.table
    everything = np.ones(len(images), dtype=bool)
    names = sorted(images.label.categories)

    def read(split: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        rows = split_rows(images, everything, split)
        pixels = [np.asarray(Image.open(source.path(row))).ravel() for row in rows.tolist()]
        return np.stack(pixels).astype(np.float32), encode_targets(
            images, rows, names, multilabel=False
        )

    (pixels, classes), (test, test_classes) = read("train"), read("test")
    training = TrainingSet(ArrayMatrix(pixels), classes, len(names))
    accuracy = {}
    for clf in CLASSIFIERS:
        options = ClassifierOptions(clf)
        best = CrossValidation(training, options, SearchOptions()).select().best
        scaler, model = train(training, options, c=best.c, scaling="standardize")
        found = model.decision_function(scaler(test)).argmax(axis=1)
        accuracy[clf] = float((found == test_classes).mean())
    return Row("raw pixels", pixels.shape[1], accuracy)


def linear_rows(folder: Path) -> list[Row]:
    """Return the row of raw pixels, then every layer with both poolings."""
    return [pixel_row(), *layer_rows("avg", folder), *layer_rows("2", folder)]


def all_rows() -> list[Row]:
    """Return the row of raw pixels, every layer with both poolings, and the tails."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return [*linear_rows(folder), *tail_rows(BOUNDARIES, folder)]


def markdown(rows: list[Row]) -> str:
    """Format the table, with the best of each classifier in bold."""
    best = {clf: max(row.accuracy.get(clf, 0.0) for row in rows) for clf in CLASSIFIERS}
    lines = ["| codes | size | svm | softmax |", "|---|---|---|---|"]
    for row in rows:
        cells = [_cell(row.accuracy.get(clf), best[clf]) for clf in CLASSIFIERS]
        lines.append(f"| {row.codes} | {row.size} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(value: float | None, best: float) -> str:
    if value is None:
        return "–"
    return f"**{value:.1%}**" if value == best else f"{value:.1%}"


if __name__ == "__main__":
    print(markdown(all_rows()))
