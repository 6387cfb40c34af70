"""Rows to learn from, caches of codes that no network made, scikit-learn as a measure of both."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler
from sklearn.svm import LinearSVC

from bottleneck.cache.format.manifest import StorageLayout
from bottleneck.cache.format.series import Series
from bottleneck.cache.format.shard import ShardData
from bottleneck.cache.format.shard_writer import write_shard
from bottleneck.cache.store import Cache, open_cache
from bottleneck.cache.update.plan import plan_update
from bottleneck.data.resizing.view_recipe import ViewRecipe
from bottleneck.data.sources.files.file_source import FileSource
from bottleneck.data.table.image_table import ImageTable
from bottleneck.fitting.selection.folds import group_codes
from bottleneck.input_transform import InputTransform
from bottleneck.linear.matrix import ArrayMatrix
from bottleneck.linear.training import TrainingSet
from bottleneck.model_reference import ModelReference
from bottleneck.spec import Spec

SPEC = Spec("net", "ab" * 32, InputTransform(decoder="pillow-1"), "float32", True, "avg")
REFERENCE = ModelReference("net", "none")

MODELS: dict[str, Callable[..., Any]] = {
    "svm": lambda **options: LinearSVC(random_state=0, max_iter=100_000, **options),
    "softmax": lambda **options: LogisticRegression(max_iter=100_000, tol=1e-6, **options),
}
SCALERS: dict[str, Callable[[], Any]] = {
    "standardize": StandardScaler,
    "sqrt": lambda: make_pipeline(FunctionTransformer(_signed_root), StandardScaler()),
    "l2": Normalizer,
    "none": FunctionTransformer,
}


def _signed_root(values: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.sign(values) * np.sqrt(np.abs(values)))


def by_sklearn(clf: str, c: float, preprocess: str = "standardize", **options: Any) -> Any:
    """scikit-learn's own pipeline of preprocessing and classifier."""
    return make_pipeline(SCALERS[preprocess](), MODELS[clf](C=c, **options))


def clouds(
    n: int = 240, d: int = 6, k: int = 3, *, apart: float = 1.5, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Rows in k overlapping clouds whose features differ a little in scale."""
    random = np.random.default_rng(seed)
    y = np.arange(n) % k
    X = np.abs(random.normal(size=(n, d)) + apart * np.eye(d)[y]) * np.logspace(-0.3, 0.3, d)
    return X.astype(np.float32), y


def several(
    n: int = 240, d: int = 6, k: int = 3, *, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Rows with some of k labels each, at least one."""
    random = np.random.default_rng(seed)
    targets = random.random((n, k)) < 0.4
    targets[np.arange(n), np.arange(n) % k] |= ~targets.any(axis=1)
    X = np.abs(random.normal(size=(n, d)) + 1.5 * targets @ np.eye(k, d))
    return X.astype(np.float32), targets


def training(
    X: NDArray[Any], targets: NDArray[Any], groups: Sequence[str] | None = None
) -> TrainingSet:
    """Return these rows in memory; an empty group name is no group."""
    k = targets.shape[1] if targets.ndim == 2 else int(targets.max()) + 1
    return TrainingSet(ArrayMatrix(X), targets, k, integer_groups(groups))


def integer_groups(groups: Sequence[str] | None) -> NDArray[np.int64] | None:
    """Return groups as a training set has them, from their names."""
    if groups is None:
        return None
    names = sorted(set(groups))
    return group_codes(np.array([names.index(name) for name in groups]), names)


def written_cache(
    path: Path,
    codes: NDArray[Any],
    labels: Sequence[str],
    *,
    split: Sequence[str] | None = None,
    group: Sequence[str] | None = None,
    shard_size: int = 50,
    layers: Sequence[str] = ("layer",),
    views: Sequence[NDArray[Any]] = (),
    dtype: str = "float32",
) -> Path:
    """A finished cache of these codes, of images 000.jpg, 001.jpg, …

    `views` has the codes of view 1, 2, …
    """
    n = len(codes)
    images = ImageTable(
        path=[f"{i:03d}.jpg" for i in range(n)],
        label=list(labels),
        split=list(split or [""] * n),
        group=list(group or [""] * n),
        size=np.ones(n, dtype=np.int64),
        mtime_ns=np.zeros(n, dtype=np.int64),
    )
    layout = StorageLayout(dtype, shard_size, "none")
    source = FileSource(path, images)
    recipe = ViewRecipe() if len(views) else None
    plan = plan_update(
        path, source, spec=SPEC, layout=layout, reference=REFERENCE, view_recipe=recipe
    )
    cache = plan.apply()
    for layer, (view, values) in product(layers, enumerate([codes, *views])):
        for shard in range(cache.shard_count):
            _write(cache, Series(layer, view), shard, values)
    return path


def cache_of_layers(
    path: Path, layers: Mapping[str, Sequence[NDArray[Any]]], labels: Sequence[str], **columns: Any
) -> Path:
    """A finished cache of several layers: of each, the codes of view 0, 1, …"""
    first = next(iter(layers.values()))
    written_cache(path, first[0], labels, layers=list(layers), views=first[1:], **columns)
    cache = open_cache(path)
    for layer, views in layers.items():
        for (view, codes), shard in product(enumerate(views), range(cache.shard_count)):
            _write(cache, Series(layer, view), shard, codes)
    return path


def reject_row(path: Path, layer: str, row: int) -> None:
    """Write the shard of a row again, as if the image could not be encoded at that layer."""
    cache = open_cache(path)
    shard = next(i for i in range(cache.shard_count) if row in cache.rows(i))
    every = np.zeros((len(cache.images), cache.finished_shards(layer)[shard].shape[1]))
    _write(cache, Series(layer, 0), shard, every.astype(np.float32), rejected=row)


def _write(
    cache: Cache, layer: Series, shard: int, codes: NDArray[Any], rejected: int | None = None
) -> None:
    rows = np.array(cache.rows(shard))
    here = slice(rows[0], rows[-1] + 1)
    content = ShardData(
        codes=codes[here],
        row=rows,
        path=cache.images.path[here],
        label=cache.images.label[here],
        valid=rows != rejected,
        reason=["damaged" if row == rejected else "" for row in rows.tolist()],
        image_sha256=[sha256(str(row).encode()).hexdigest() for row in rows],
    )
    path = cache.shard_path(layer, shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_shard(path, content, manifest=cache.manifest, series=layer)


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Guo's equation 3, a bin at a time."""
    total = 0.0
    for k in range(15):
        here = (k / 15 < confidence) & (confidence <= (k + 1) / 15)
        if here.any():
            total += here.mean() * abs(right[here].mean() - confidence[here].mean())
    return total
