"""Compare the layers of the bundled sample's network with each other and with raw pixels.

Prints the table of the README. Run from the project's root: python -m benchmarks.sample_layers
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bottleneck.data.images import open_images
from bottleneck.data.labels import encode_targets
from bottleneck.data.splits import split_rows
from bottleneck.extraction.extract import extract
from bottleneck.extraction.options import ComputeOptions
from bottleneck.fitting.fit import fit
from bottleneck.fitting.options import SearchOptions
from bottleneck.fitting.selection.cross_validation import CrossValidation
from bottleneck.linear.matrix import ArrayMatrix
from bottleneck.linear.training import ClassifierOptions, TrainingSet, train

DATA = Path(__file__).parents[1] / "data"
LAYERS = ["layer1", "layer2", "layer3", "layer4"]
CLASSIFIERS = ["svm", "softmax"]


@dataclass(frozen=True)
class Row:
    """One row: the kind and size of the codes, and the test accuracy of each classifier."""

    codes: str
    size: int
    accuracy: dict[str, float]


def layer_rows(pool: str, cache: Path) -> list[Row]:
    """Fit on every layer of the network with one pooling."""
    extract(
        DATA / "digits",
        cache,
        model=f"{DATA / 'digits_resnet.py'}:digits_resnet",
        weights=str(DATA / "digits_resnet.safetensors"),
        layers=LAYERS,
        pool=pool,
        compute=ComputeOptions(precision="float32"),  # the same figures on every machine
    )
    name = "averaged" if pool == "avg" else f"{pool} × {pool} grid"
    rows = []
    for layer in LAYERS:
        fits = {clf: fit(cache, clf, layers=layer) for clf in CLASSIFIERS}
        scores = {clf: done.heldout.accuracy for clf, done in fits.items() if done.heldout}
        rows.append(Row(f"{layer}, {name}", fits["svm"].head.coef.shape[1], scores))
    return rows


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


def all_rows() -> list[Row]:
    """Return the row of raw pixels, then every layer with both poolings."""
    with tempfile.TemporaryDirectory() as folder:
        layers = [row for pool in ("avg", "2") for row in layer_rows(pool, Path(folder) / pool)]
    return [pixel_row(), *layers]


def markdown(rows: list[Row]) -> str:
    """Format the table, with the best of each classifier in bold."""
    best = {clf: max(row.accuracy[clf] for row in rows) for clf in CLASSIFIERS}
    lines = ["| codes | size | svm | softmax |", "|---|---|---|---|"]
    for row in rows:
        cells = [
            f"**{value:.1%}**" if value == best[clf] else f"{value:.1%}"
            for clf, value in row.accuracy.items()
        ]
        lines.append(f"| {row.codes} | {row.size} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown(all_rows()))
