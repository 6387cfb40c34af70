"""Make codes to fit: generated ones, and those of photographs and cells if available."""

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

# Before the ReLU the variance of the i-th principal component falls as i^-1.4, that of the class
# means as i^-1.2. Afterwards eigenvalues fall by three decades, as those of SqueezeNet's codes of
# blood cells do, and the best C is right about 0.86 of the test rows (svm, 101 classes).
_NOISE_DECAY, _MEANS_DECAY, _BETWEEN = 1.4, 1.2, 0.30


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
    n: int = 3030,
    d: int = 512,
    classes: int = 101,
    *,
    seed: int = 0,
    test: int = 5050,
    between: float = _BETWEEN,
) -> TrainTest:
    """Draw codes: class means plus heavy-tailed noise with the spectrum of real codes, then a ReLU.

    The noise is of Student's t with 5 degrees of freedom; classes are balanced. The larger
    `between`, the further class means are apart.
    """
    random = np.random.default_rng(seed)
    component = np.arange(1, d + 1)
    directions = np.linalg.qr(random.standard_normal((d, d)))[0]
    means = between * random.standard_normal((classes, d)) * component ** (-_MEANS_DECAY / 2)
    target = np.arange(n + test) % classes
    noise = random.standard_t(5, (n + test, d)) * component ** (-_NOISE_DECAY / 2)
    codes = (means[target] + noise) @ directions
    codes = np.maximum(codes / codes.std(axis=0), 0)
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
    images = shared / "data" / "hymenoptera"
    layers = ["features.12", "features.10"]
    yield from _real_codes("Hymenoptera", images, layers, folder, heldout="val", shared=shared)


def blood_codes(folder: Path, *, shared: Path = SHARED) -> Iterator[TrainTest]:
    """Yield codes of blood cells at three layers of SqueezeNet; nothing without the images."""
    images = shared / "data" / "blood" / "split-by-cell.csv"
    layers = ["features.12", "features.7", "features.3"]
    yield from _real_codes("Blood cells", images, layers, folder, heldout="test", shared=shared)


def _real_codes(
    name: str, images: Path, layers: list[str], folder: Path, *, heldout: str, shared: Path
) -> Iterator[TrainTest]:
    weights = shared / "weights" / "squeezenet1_0_imagenet.pth"
    if not (images.exists() and weights.is_file()):
        return
    path = folder / f"{images.parent.name}.cache"
    compute = ComputeOptions(device="cpu")
    extract(
        images, path, model="squeezenet1_0", layers=layers, weights=str(weights), compute=compute
    )
    cache = open_cache(path)
    for layer in layers:
        yield cached_codes(cache, layer, f"{name}, {layer}", heldout)


def cached_codes(cache: Cache, layer: str, name: str, heldout: str) -> TrainTest:
    """Return the standardised codes of a cache's training and held-out images."""
    images, usable = cache.images, cache.valid_rows(layer)
    train, test = (split_rows(images, usable, split) for split in ("train", heldout))
    rows = np.union1d(train, test)
    classes = encode_targets(images, rows, sorted(images.label.categories), multilabel=False)
    return standardised(name, cache.read_codes(layer, rows), classes, np.isin(rows, train))
