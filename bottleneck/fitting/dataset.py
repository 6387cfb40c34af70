"""Load the codes of a layer with their targets, split into training and held-out rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache import Cache
from bottleneck.data import (
    ImageTable,
    UnknownLabels,
    class_names,
    encode_targets,
    is_multilabel,
    known_rows,
    split_rows,
    train_and_heldout_splits,
)
from bottleneck.errors import CacheError, InvalidOptionError, LabelsError, UnknownNameError
from bottleneck.fitting.dask_matrix import load_on_workers
from bottleneck.fitting.folds import group_codes
from bottleneck.fitting.sharded_matrix import open_matrix
from bottleneck.linear import CodeMatrix, TrainingSet
from bottleneck.runtime import DaskExecutor


@dataclass(frozen=True)
class LayerDataset:
    """Codes and targets of one layer: training rows and held-out rows.

    Attributes
    ----------
    cache : Cache
        Source of the codes.
    layer : str
        Layer of the cache.
    names : list of k str
        Class names.
    training : TrainingSet
        Training rows.
    heldout : TrainingSet or None
        Held-out rows; None without a held-out split.
    split : str
        Name of the held-out split; empty without one.
    unknown : UnknownLabels
        Held-out images with a class that the training rows lack: they are not in `heldout`.
    """

    cache: Cache
    layer: str
    names: list[str]
    training: TrainingSet
    heldout: TrainingSet | None
    split: str
    unknown: UnknownLabels = UnknownLabels()


def load_dataset(
    cache: Cache,
    layer: str,
    images: ImageTable,
    *,
    memory: int | None = None,
    executor: DaskExecutor | None = None,
) -> LayerDataset:
    """Load a layer for all classifiers that train on it.

    Parameters
    ----------
    cache : Cache
        Source of the codes.
    layer : str
        Finished layer of the cache.
    images : ImageTable
        The cache's own table, or the same rows with other labels.
    memory : int, optional
        Bytes that training may use; half of the free memory by default. Codes that do not fit are
        read from their shards block by block.
    executor : DaskExecutor, optional
        Cluster whose workers hold the codes; this process by default.

    Raises
    ------
    CacheError, ShardError
        The layer is not finished, or a shard is damaged.
    LabelsError
        There are fewer than two classes, a split has no labelled images, or the held-out split has
        only images of classes that the training split lacks.
    WorkerError
        The workers do not see the cache, or have too little memory.
    """
    train_split, heldout_split = train_and_heldout_splits(images)
    labelled = cache.valid_rows(layer) & images.has_label
    train_rows = split_rows(images, labelled, train_split)
    names = class_names(images, train_rows, split=train_split)
    multilabel = is_multilabel(images, train_rows)

    def targets(rows: NDArray[np.int64]) -> NDArray[Any]:
        return encode_targets(images, rows, names, multilabel=multilabel)

    heldout_rows, unknown = np.empty(0, dtype=np.int64), UnknownLabels()
    if heldout_split:
        heldout_rows = split_rows(images, labelled, heldout_split)
        require_rows(heldout_rows, split=heldout_split)
        heldout_rows, unknown = known_rows(
            images, heldout_rows, names, multilabel=multilabel, split=heldout_split
        )
    # Targets first: a wrong label is reported before any code is read.
    train_targets, heldout_targets = targets(train_rows), targets(heldout_rows)
    rows, k = np.union1d(train_rows, heldout_rows), len(names)
    codes: CodeMatrix
    if executor is None:
        codes = open_matrix(cache, layer, rows, memory=memory)
    else:
        codes = load_on_workers(executor, cache, layer, rows)
    heldout = None
    if heldout_split:
        heldout_codes = codes.take(np.searchsorted(rows, heldout_rows))
        heldout = TrainingSet(heldout_codes, heldout_targets, k)
        codes = codes.take(np.searchsorted(rows, train_rows))
    groups = _groups(images, train_rows)
    training = TrainingSet(codes, train_targets, k, groups)
    return LayerDataset(cache, layer, names, training, heldout, heldout_split, unknown)


def resolve_layer(cache: Cache, layer: str | None) -> str:
    """Return the layer to train on: the one that was named, or the cache's only one.

    Parameters
    ----------
    cache : Cache
        Cache with the layer.
    layer : str, optional
        Name of the layer; needed where the cache has several.

    Raises
    ------
    UnknownNameError
        The cache has no such layer.
    InvalidOptionError
        No layer was named, and the cache has several or none.
    """
    known = cache.layers
    if layer is not None:
        if layer not in known:
            hint = "(`bottleneck.extract` adds more)"
            raise UnknownNameError(f"layer of {cache.path}", layer, known, hint)
        return layer
    if len(known) != 1:
        raise InvalidOptionError(
            "layers",
            layer,
            f"one of the {len(known)} layers of {cache.path} "
            f"({', '.join(known) or 'none is extracted yet'})",
            "`bottleneck.sweep` compares them all",
        )
    return known[0]


def resolve_layers(cache: Cache, layers: str | Sequence[str] | None) -> list[str]:
    """Return the layers to compare, each once: those that were named, or all of the cache.

    Parameters
    ----------
    cache : Cache
        Cache with the layers.
    layers : str or sequence of str, optional
        Names of layers.

    Raises
    ------
    UnknownNameError
        The cache has no such layer.
    CacheError
        No layer was named, and the cache has none.
    """
    named = [layers] if isinstance(layers, str) else layers
    names = [resolve_layer(cache, layer) for layer in named] if named else cache.layers
    if not names:
        raise CacheError(f"{cache.path} has no layer yet: `bottleneck.extract` adds one")
    return list(dict.fromkeys(names))


def require_rows(rows: NDArray[np.int64], *, split: str) -> None:
    """Refuse an empty set of labelled rows.

    Parameters
    ----------
    rows : ndarray of int64, shape (n,)
        Labelled rows with codes.
    split : str
        Their split, for the message; empty without splits.

    Raises
    ------
    LabelsError
        There are no rows.

    Examples
    --------
    >>> require_rows(np.array([3]), split="val")
    """
    if not len(rows):
        where = f" in split {split!r}" if split else ""
        raise LabelsError(
            f"no labelled image with codes{where}: labels are the names of class folders, or a "
            "CSV's column; `labels` takes a CSV that gives them, or one without these images"
        )


def _groups(images: ImageTable, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
    column = images.group
    return group_codes(column.codes[rows], column.categories)
