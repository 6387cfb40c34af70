"""Compare layers and classifiers by cross-validation, in this process or on workers."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bottleneck.cache import Cache, CacheLike, cache_fingerprint, open_cache
from bottleneck.data import ImageTable
from bottleneck.errors import InvalidOptionError
from bottleneck.fitting.dataset import load_dataset, resolve_layers
from bottleneck.fitting.fit import classifier_options, fit_dataset
from bottleneck.fitting.fit_result import FitResult
from bottleneck.fitting.metrics import METRICS
from bottleneck.fitting.options import SearchOptions
from bottleneck.fitting.sweep_result import SweepResult, SweepRow, cost_or_infinity
from bottleneck.fitting.worker_cache import LabelSource, labelled_images, open_on_worker
from bottleneck.linear import ClassifierOptions, TrainingSet
from bottleneck.runtime import Executor, require_shared_paths, spare_memory

OnProgress = Callable[[int, int], None]
"""Called with the number of finished rows and the number of all rows."""


def sweep(
    cache: CacheLike,
    clfs: str | ClassifierOptions | Sequence[str | ClassifierOptions] = ("svm", "softmax"),
    *,
    layers: str | Sequence[str] | None = None,
    search: SearchOptions = SearchOptions(),
    labels: LabelSource | None = None,
    memory: int | None = None,
    executor: Executor | None = None,
    on_progress: OnProgress | None = None,
) -> SweepResult:
    """Cross-validate classifiers on every layer of a cache; no network and no images are needed.

    A layer is read once for all classifiers and released before the next one. The workers of an
    executor read it once for each classifier.

    Parameters
    ----------
    cache : str, PathLike, Cache or object with a ``cache``
        Cache with labels.
    clfs : str, ClassifierOptions or sequence of them
        Classifiers to compare.
    layers : str or sequence of str, optional
        Layers to compare; all of the cache by default.
    search : SearchOptions
        Search over C and scalings, with at least 2 folds; 5 folds with standardized features by
        default.
    labels : str, PathLike or LabelledImages, optional
        CSV with the columns ``path,label[,split][,group]`` that replaces the cache's labels.
    memory : int, optional
        Bytes that training may use; half of the free memory by default.
    executor : Executor, optional
        Its workers train one row each; this process trains all rows by default.
    on_progress : callable, optional
        Called with the number of finished rows and the number of all rows, first with 0.

    Returns
    -------
    SweepResult
        Ordered by the share of the network that a layer needs, unknown shares last, then by name;
        within a layer in the order of `clfs`.

    Raises
    ------
    UnknownNameError, InvalidOptionError
        An option has a value that is not allowed.
    CacheError, ShardError
        A layer is not finished; raised before any training.
    LabelsError
        There are no labels, fewer than two classes, or too few images of one.
    WorkerError
        A worker does not see the cache, or workers die repeatedly.

    Examples
    --------
    >>> import bottleneck as bn  # doctest: +SKIP
    >>> sweep = bn.sweep("photos.cache")  # doctest: +SKIP
    >>> sweep.recommended.layer  # doctest: +SKIP
    'layer3'
    """
    classifiers = _require_comparison(clfs, search)
    store = open_cache(cache)
    images = labelled_images(store, labels)
    costs = {layer: layer_cost(store, layer) for layer in resolve_layers(store, layers)}
    tasks = [_Task(layer, options) for layer in costs for options in classifiers]
    on_progress = on_progress or (lambda done, total: None)
    on_progress(0, len(tasks))
    results: dict[_Task, SweepRow] = {}
    if executor is None:
        trained = _train_in_process(store, images.table, tasks, search, memory)
    else:
        csv = images.summary.csv.resolve() if images.summary else None
        trained = _train_on_workers(store, csv, tasks, search, memory=memory, executor=executor)
    for task, row in trained:
        results[task] = dataclasses.replace(row, cost=costs[task.layer])
        on_progress(len(results), len(tasks))
    ordered = sorted(costs, key=lambda layer: (cost_or_infinity(costs[layer]), layer))
    rows = (results[_Task(layer, clf)] for layer in ordered for clf in classifiers)
    return SweepResult(rows, labels=images.summary)


def layer_cost(cache: Cache, layer: str) -> float | None:
    """Return the share of the network's multiply-adds up to a layer, as its shards record it.

    Raises
    ------
    CacheError
        The layer is not finished.
    """
    cache.valid_rows(layer)  # an unfinished layer is refused now, not after hours of training
    costs = (header.cost for header in cache.finished_shards(layer).values())
    return next((cost for cost in costs if cost is not None), None)


class _Task(NamedTuple):
    """One row of the result."""

    layer: str
    options: ClassifierOptions

    def __str__(self) -> str:
        return f"{self.options.clf} on {self.layer}"


def _require_comparison(
    clfs: str | ClassifierOptions | Sequence[str | ClassifierOptions], search: SearchOptions
) -> list[ClassifierOptions]:
    given = [clfs] if isinstance(clfs, (str, ClassifierOptions)) else clfs
    classifiers = list(dict.fromkeys(classifier_options(clf) for clf in given))
    if not classifiers:
        raise InvalidOptionError("clfs", [], "svm, softmax or both")
    if search.cv < 2:
        allowed = "at least 2 folds: a sweep compares by cross-validation"
        raise InvalidOptionError("cv", search.cv, allowed)
    return classifiers


def _train_in_process(
    cache: Cache,
    images: ImageTable,
    tasks: Sequence[_Task],
    search: SearchOptions,
    memory: int | None,
) -> Iterator[tuple[_Task, SweepRow]]:
    """Train every task; one layer is in memory at a time."""
    for layer in dict.fromkeys(task.layer for task in tasks):
        of_layer = [task for task in tasks if task.layer == layer]
        yield from _train_layer(cache, images, of_layer, search, memory)


def _train_layer(
    cache: Cache,
    images: ImageTable,
    tasks: Sequence[_Task],
    search: SearchOptions,
    memory: int | None,
) -> Iterator[tuple[_Task, SweepRow]]:
    """Train the tasks of one layer, which is released when this generator ends."""
    dataset = load_dataset(cache, tasks[0].layer, images, memory=memory)
    for task in tasks:
        result = fit_dataset(dataset, task.options, search)
        yield task, _make_row(dataset.training, result)


def _train_on_workers(
    cache: Cache,
    labels: Path | None,
    tasks: Sequence[_Task],
    search: SearchOptions,
    *,
    memory: int | None,
    executor: Executor,
) -> Iterator[tuple[_Task, SweepRow]]:
    """Train every task on the workers of an executor, in completion order."""
    path = cache.path.resolve()
    job = _WorkerJob(
        path, cache_fingerprint(path), labels, search, memory, executor.max_concurrency
    )
    require_shared_paths(executor, job.missing_on_worker)
    return executor.map_unordered(job.train, tasks)


@dataclass(frozen=True)
class _WorkerJob:
    """Everything that a worker needs to train a task."""

    cache: Path
    fingerprint: str
    labels: Path | None
    search: SearchOptions
    memory: int | None
    concurrency: int  # tasks that share a machine's memory

    def train(self, task: _Task) -> SweepRow:
        """Train one task on a worker."""
        cache, images = open_on_worker(self.cache, self.fingerprint, self.labels)
        memory = self.memory or spare_memory() // self.concurrency
        ((_, row),) = _train_layer(cache, images, [task], self.search, memory)
        return row

    def missing_on_worker(self) -> str:
        """Return what this worker does not see; empty if it sees everything."""
        if cache_fingerprint(self.cache) != self.fingerprint:
            return f"the cache {self.cache}"
        return str(self.labels) if self.labels and not self.labels.is_file() else ""


def _make_row(training: TrainingSet, result: FitResult) -> SweepRow:
    search = result.search
    assert search is not None  # a sweep always has folds
    return SweepRow(
        layer=result.head.layer,
        clf=result.head.clf,
        size=result.head.coef.shape[1],
        cost=None,
        cv=search.best,
        metric=search.metric,
        heldout=result.heldout,
        majority_baseline=_majority_baseline(training, search.metric),
        converged=result.converged,
        seconds=result.seconds,
        record=result.to_dict(),
    )


def _majority_baseline(training: TrainingSet, metric: str) -> float | None:
    if training.multilabel:
        return None
    constant = np.full_like(training.targets, np.bincount(training.targets).argmax())
    return METRICS[metric](training.targets, constant, training.classes)
