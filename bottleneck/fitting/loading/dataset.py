"""Load codes with their targets, split into training and held-out images."""

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
from bottleneck.errors import LabelsError
from bottleneck.fitting.loading.dask_matrix import load_on_workers
from bottleneck.fitting.loading.features import Features
from bottleneck.fitting.loading.sharded_matrix import open_matrix
from bottleneck.fitting.selection.folds import group_codes
from bottleneck.linear import CodeMatrix, TrainingSet, consecutive_rows
from bottleneck.runtime import DaskExecutor


@dataclass(frozen=True)
class CodeDataset:
    """Codes and targets: training images and held-out images.

    Attributes
    ----------
    cache : Cache
        Source of the codes.
    features : Features
        Layers and views of the cache.
    names : list of k str
        Class names.
    training : TrainingSet
        Training images.
    heldout : TrainingSet or None
        Held-out images; None without a held-out split.
    split : str
        Name of the held-out split; empty without one.
    unknown : UnknownLabels
        Held-out images with a class that the training rows lack: they are not in `heldout`.
    """

    cache: Cache
    features: Features
    names: list[str]
    training: TrainingSet
    heldout: TrainingSet | None
    split: str
    unknown: UnknownLabels = UnknownLabels()


def load_dataset(
    cache: Cache,
    features: Features,
    images: ImageTable,
    *,
    memory: int | None = None,
    executor: DaskExecutor | None = None,
) -> CodeDataset:
    """Load codes for all classifiers that train on them.

    Parameters
    ----------
    cache : Cache
        Source of the codes.
    features : Features
        Finished layers and views of the cache.
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
        A layer is not finished, or a shard is damaged.
    LabelsError
        There are fewer than two classes, a split has no labelled images, or the held-out split has
        only images of classes that the training split lacks.
    WorkerError
        The workers do not see the cache, or have too little memory.
    """
    train_split, heldout_split = train_and_heldout_splits(images)
    labelled = features.valid_rows(cache) & images.has_label
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
    rows = np.union1d(train_rows, heldout_rows)
    codes: CodeMatrix
    if executor is None:
        codes = open_matrix(cache, features, rows, memory=memory)
    else:
        codes = load_on_workers(executor, cache, features, rows)

    def of(some: NDArray[np.int64], known: NDArray[Any]) -> TrainingSet:
        positions = consecutive_rows(np.searchsorted(rows, some), features.views)
        return TrainingSet(
            codes.take(positions) if len(some) < len(rows) else codes,
            known,
            classes=len(names),
            groups=row_groups(images, some),
            views=features.views,
            sizes=features.sizes(cache),
        )

    heldout = of(heldout_rows, heldout_targets) if heldout_split else None
    training = of(train_rows, train_targets)
    return CodeDataset(cache, features, names, training, heldout, heldout_split, unknown)


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


def row_groups(images: ImageTable, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return the groups of some rows, as a `TrainingSet` has them; None where none has a group.

    Examples
    --------
    >>> n = np.zeros(3, dtype=np.int64)
    >>> images = ImageTable(["1", "2", "3"], ["a"] * 3, [""] * 3, ["p", "q", "p"], n, n)
    >>> row_groups(images, np.array([0, 1, 2])).tolist()
    [0, 1, 0]
    """
    column = images.group
    return group_codes(column.codes[rows], column.categories)
