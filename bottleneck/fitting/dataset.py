"""The rows of a layer with their targets, split into training and held-out rows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.store import Cache, layers_in
from bottleneck.data.labels import (
    class_names,
    encode_targets,
    is_multilabel,
    split_rows,
    train_and_heldout_splits,
)
from bottleneck.data.table import ImageTable
from bottleneck.errors import InvalidOptionError, LabelsError, UnknownNameError
from bottleneck.fitting.dask_matrix import load_on_workers
from bottleneck.fitting.sharded_matrix import open_matrix
from bottleneck.linear.matrix import CodeMatrix
from bottleneck.linear.training import TrainingSet


@dataclass(frozen=True)
class LayerDataset:
    """One layer's rows with what they are called, some to learn from and some held out.

    Attributes
    ----------
    cache : Cache
    layer : str
    names : list of k str
        Class names.
    training : TrainingSet
    heldout : TrainingSet or None
        None where there is no such split.
    split : str
        The held-out split's name; empty where there is none.
    """

    cache: Cache
    layer: str
    names: list[str]
    training: TrainingSet
    heldout: TrainingSet | None
    split: str


def load_dataset(
    cache: Cache,
    layer: str,
    images: ImageTable,
    *,
    memory: int | None = None,
    client: Any | None = None,
) -> LayerDataset:
    """Read a layer, once, for all who learn from it.

    Parameters
    ----------
    cache : Cache
    layer : str
        A whole layer of it.
    images : ImageTable
        The cache's own, or `bottleneck.data.labels.with_labels_from_csv`'s.
    memory, client : optional
        As in `fit`.
    """
    train_split, heldout_split = train_and_heldout_splits(images)
    labelled = cache.valid_rows(layer) & images.has_label
    train_rows = split_rows(images, labelled, train_split)
    names = class_names(images, train_rows, split=train_split)
    multilabel = is_multilabel(images, train_rows)

    def targets(rows: NDArray[np.int64]) -> NDArray[Any]:
        return encode_targets(images, rows, names, multilabel=multilabel)

    heldout_rows = np.empty(0, dtype=np.int64)
    if heldout_split:
        heldout_rows = split_rows(images, labelled, heldout_split)
        require_rows(heldout_rows, split=heldout_split)
    learnt_targets, unseen_targets = targets(train_rows), targets(heldout_rows)  # before the work
    rows = np.union1d(train_rows, heldout_rows)
    codes: CodeMatrix
    if client is None:
        codes = open_matrix(cache, layer, rows, memory=memory)
    else:
        codes = load_on_workers(client, cache, layer, rows)
    groups = [images.group[row] for row in train_rows.tolist()]
    here, k = np.searchsorted(rows, train_rows), len(names)
    learnt = codes if len(here) == len(rows) else codes.take(here)
    heldout = None
    if heldout_split:
        unseen = codes.take(np.searchsorted(rows, heldout_rows))
        heldout = TrainingSet(unseen, unseen_targets, k)
    training = TrainingSet(learnt, learnt_targets, k, groups)
    return LayerDataset(cache, layer, names, training, heldout, heldout_split)


def resolve_layer(cache: Path, layer: str | None) -> str:
    """The layer of a cache to learn from: the one that was asked for, or the only one.

    Raises
    ------
    UnknownNameError
        The cache has no such layer.
    InvalidOptionError
        None was asked for, and the cache has several or none.
    """
    known = layers_in(cache)
    if layer is not None:
        if layer not in known:
            raise UnknownNameError(
                f"layer of {cache}", layer, known, "(`bottleneck.extract` adds more)"
            )
        return layer
    if len(known) != 1:
        raise InvalidOptionError(
            "layer",
            layer,
            f"one of the {len(known)} layers of {cache} "
            f"({', '.join(known) or 'none is extracted yet'})",
            "`bottleneck.sweep` compares them all",
        )
    return known[0]


def require_rows(rows: NDArray[np.int64], *, split: str) -> None:
    """Refuse to judge on nothing.

    Raises
    ------
    LabelsError
    """
    if not len(rows):
        where = f" in split {split!r}" if split else ""
        raise LabelsError(
            f"no labelled image with codes{where}: labels are the names of class folders, or a "
            "CSV's column"
        )
