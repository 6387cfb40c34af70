"""Make codes to fit: generated ones, and those of the Hymenoptera photographs if available."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from bottleneck.cache.store import Cache, open_cache
from bottleneck.data.labels import encode_targets
from bottleneck.data.splits import split_rows
from bottleneck.extraction.extract import extract
from bottleneck.extraction.options import ComputeOptions

SHARED = Path(__file__).parents[3] / "shared"  # photographs and weights that are not ours to ship

# With these the best C has a test accuracy of 0.83 (svm) and 0.76 (softmax): as hard as
# Caltech-101 with 30 images a class.
_BETWEEN = 0.225  # scale of the class means
_OWN, _COMMON = 0.6, 0.7  # scales of the independent and of the correlated noise


@dataclass(frozen=True)
class TrainTest:
    """Codes and classes of training and test rows, standardised by the training rows.

    Attributes
    ----------
    name : str
        For a table's caption.
    train, test : ndarray of float32, shape (n, d)
    train_classes, test_classes : ndarray of int64, shape (n,)
        From 0; each class is in both parts.
    """

    name: str
    train: NDArray[np.float32]
    train_classes: NDArray[np.int64]
    test: NDArray[np.float32]
    test_classes: NDArray[np.int64]

    @property
    def caption(self) -> str:
        """Return the name with the sizes."""
        n, d = self.train.shape
        k = len(np.unique(self.train_classes))
        return f"{self.name}: {n} × {d}, {k} classes, {len(self.test)} test rows"


def synthetic_codes(
    n: int = 3030, d: int = 512, classes: int = 101, seed: int = 0, test: int = 5050
) -> TrainTest:
    """Draw codes: class means plus correlated heavy-tailed noise, then a ReLU.

    Means and noise are of Student's t with 3 degrees of freedom; classes are balanced.
    """
    random = np.random.default_rng(seed)
    means = _BETWEEN * random.standard_t(3, (classes, d))
    mixing = _OWN * np.eye(d) + _COMMON / np.sqrt(d) * random.standard_normal((d, d))
    target = np.arange(n + test) % classes
    codes = np.maximum(means[target] + random.standard_t(3, (n + test, d)) @ mixing, 0)
    return standardised(
        "generated codes", codes.astype(np.float32), target, np.arange(n + test) < n
    )


def standardised(
    name: str, codes: NDArray[np.float32], classes: NDArray[np.int64], train: NDArray[np.bool_]
) -> TrainTest:
    """Split rows into training and test rows, and standardise both by the training rows."""
    scaler = StandardScaler().fit(codes[train])
    parts = scaler.transform(codes[train]), scaler.transform(codes[~train])
    return TrainTest(name, parts[0], classes[train], parts[1], classes[~train])


def hymenoptera_codes(folder: Path, *, shared: Path = SHARED) -> Iterator[TrainTest]:
    """Yield codes of ants and bees at two layers of SqueezeNet; nothing without the photographs."""
    images, weights = shared / "data" / "hymenoptera", "squeezenet1_0_imagenet.pth"
    if not (images.is_dir() and (shared / "weights" / weights).is_file()):
        return
    layers = ["features.12", "features.10"]
    extract(
        images,
        folder / "cache",
        model="squeezenet1_0",
        layers=layers,
        weights=str(shared / "weights" / weights),
        compute=ComputeOptions(device="cpu"),
    )
    cache = open_cache(folder / "cache")
    for layer in layers:
        yield _cached(cache, layer)


def _cached(cache: Cache, layer: str) -> TrainTest:
    images, usable = cache.images, cache.valid_rows(layer)
    train, test = (split_rows(images, usable, split) for split in ("train", "val"))
    rows = np.concatenate([train, test])
    classes = encode_targets(images, rows, sorted(images.label.categories), multilabel=False)
    is_train = np.arange(len(rows)) < len(train)
    return standardised(f"Hymenoptera, {layer}", cache.read_codes(layer, rows), classes, is_train)
