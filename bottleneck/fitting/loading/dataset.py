"""Load codes with their targets, split into training and held-out images."""

from dataclasses import dataclass

import numpy as np

from bottleneck.cache import Cache
from bottleneck.data import ImageTable
from bottleneck.fitting.loading.dask_matrix import load_on_workers
from bottleneck.fitting.loading.features import Features
from bottleneck.fitting.loading.labelled_rows import LabelledRows, LabelledSplits, label_codes
from bottleneck.fitting.loading.sharded_matrix import open_matrix
from bottleneck.linear import CodeMatrix, TrainingSet, consecutive_rows
from bottleneck.model_reference import ModelReference
from bottleneck.runtime import DaskExecutor, require_positive_or_none
from bottleneck.spec import Spec


@dataclass(frozen=True)
class CodeDataset:
    """Codes and targets: training images and held-out images.

    Attributes
    ----------
    spec : Spec
        Of the codes.
    reference : ModelReference
        Origin of their network.
    features : Features
        Layers and views.
    labelled : LabelledSplits
        The labelled images that the codes are of, with the class names.
    training : TrainingSet
        Training images.
    heldout : TrainingSet or None
        Held-out images; None without a held-out split.
    """

    spec: Spec
    reference: ModelReference
    features: Features
    labelled: LabelledSplits
    training: TrainingSet
    heldout: TrainingSet | None


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
    InvalidOptionError
        `memory` is no number of bytes.
    """
    require_positive_or_none("memory", memory)
    # Targets first: a wrong label is reported before any code is read.
    labelled = label_codes(cache, features, images)
    train, held = labelled.training, labelled.heldout
    rows = train.row if held is None else np.union1d(train.row, held.row)
    codes: CodeMatrix
    if executor is None:
        codes = open_matrix(cache, features, rows, memory=memory)
    else:
        codes = load_on_workers(executor, cache, features, rows)

    def of(some: LabelledRows) -> TrainingSet:
        positions = consecutive_rows(np.searchsorted(rows, some.row), features.views)
        return TrainingSet(
            codes.take(positions) if len(some.row) < len(rows) else codes,
            some.targets,
            classes=len(labelled.names),
            groups=some.groups,
            views=features.views,
            sizes=features.sizes(cache),
        )

    return CodeDataset(
        cache.spec,
        cache.reference,
        features,
        labelled,
        training=of(train),
        heldout=None if held is None else of(held),
    )
