"""Compare layers and classifiers by cross-validation, in this process or on workers."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bottleneck.cache import Cache, CacheLike, open_cache
from bottleneck.data import ImageTable, LabelledImages
from bottleneck.errors import CacheError, InvalidOptionError, LabelsError
from bottleneck.fitting.fit import classifier_options, fit_dataset
from bottleneck.fitting.fit_result import FitResult
from bottleneck.fitting.loading.dataset import load_dataset
from bottleneck.fitting.loading.features import (
    ALL,
    Features,
    Views,
    require_layers,
    resolve_features,
)
from bottleneck.fitting.loading.labelled_rows import LabelSource, labelled_images, without_labels
from bottleneck.fitting.loading.worker_cache import (
    fingerprint_of,
    missing_on_worker,
    open_on_worker,
)
from bottleneck.fitting.scoring.metrics import guessing_score
from bottleneck.fitting.selection.cross_validation import most_fits
from bottleneck.fitting.selection.fit_counter import FitCounter
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.fitting.sweep_result import SweepResult
from bottleneck.fitting.sweep_row import SweepRow
from bottleneck.linear import CLASSIFIERS, ClassifierOptions, TrainingSet
from bottleneck.runtime import (
    Executor,
    OnProgress,
    ignore_progress,
    require_executor,
    require_options,
    require_positive_or_none,
    require_shared_paths,
    spare_memory,
)


def sweep(
    cache: CacheLike,
    clfs: str | ClassifierOptions | Sequence[str | ClassifierOptions] = CLASSIFIERS,
    *,
    layers: str | Sequence[str] | None = None,
    views: Views | None = None,
    search: SearchOptions = SearchOptions(),
    labels: LabelSource | None = None,
    memory: int | None = None,
    executor: Executor | None = None,
    on_progress: OnProgress = ignore_progress,
) -> SweepResult:
    """Cross-validate classifiers on every layer of a cache; no network and no images are needed.

    Where there are several layers, the last rows are of classifiers on all of them together. The
    codes of a row are read once for all classifiers and released before the next ones. The workers
    of an executor read them once for each classifier.

    Parameters
    ----------
    cache : str, PathLike, Cache or object with a ``cache``
        Cache with labels.
    clfs : str, ClassifierOptions or sequence of them
        Classifiers to compare.
    layers : str or sequence of str, optional
        Layers to compare; by default all of the cache, but no maps beside codes (``x@none``).
    views : int or "all", optional
        Views of each image in every row. By default the rows are of plain images, and where there
        are views the last ones are of all layers with all views.
    search : SearchOptions
        Search over C and scalings, with at least 2 folds; 5 folds with standardized features by
        default.
    labels : str, PathLike or LabelledImages, optional
        CSV with the columns ``path,label[,split][,group]`` that replaces the cache's labels.
    memory : int, optional
        Bytes that training may use on each machine, by all of its workers; half of the free memory
        by default.
    executor : Executor, optional
        Its workers train one row each; this process trains all rows by default.
    on_progress : callable, optional
        Called with the `Progress` of the classifiers that are trained in the folds of all rows, of
        as many as there may be, first with 0 done; of an executor after each row. A classifier
        counts for as many as its codes are longer than those of the mean row.

    Returns
    -------
    SweepResult
        Ordered by the share of the network that a layer needs, unknown shares last, then by name;
        all layers together come last, with all views at the very end. Within a layer in the order
        of `clfs`.

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
    require_options(search=(search, SearchOptions))
    require_positive_or_none("memory", memory)
    require_executor(executor)
    classifiers = _require_comparison(clfs, search)
    store = open_cache(cache)
    labelled = labelled_images(store, labels)
    costs = _compared_features(store, layers, views)
    images = _comparable_images(store, labelled.table, list(costs), search)
    tasks = [_Task(features, options) for features in costs for options in classifiers]
    weights = {task: task.features.views * sum(task.features.sizes(store)) for task in tasks}
    fits = FitCounter(most_fits(search), on_progress, weights=list(weights.values()))
    results: dict[_Task, SweepRow] = {}
    if executor is None:
        trained = _train(
            store, images, tasks, search, memory=memory, on_fit=lambda task: fits.add(weights[task])
        )
    else:
        trained = _train_on_workers(
            store, labelled, tasks, search, memory=memory, executor=executor
        )
    for task, row in trained:
        results[task] = replace(row, cost=costs[task.features])
        fits.finish(weights[task])
    left_out = int((labelled.table.has_label & ~images.has_label).sum())
    return SweepResult(
        (results[task] for task in tasks),
        labels=labelled.summary,
        left_out=left_out,
        has_views=store.view_recipe is not None,
        cv=search.cv,
    )


def _compared_features(
    cache: Cache, layers: str | Sequence[str] | None, views: Views | None
) -> dict[Features, float | None]:
    """Return each layer by its cost, then all of them together, then those with all views.

    Each has the cost of its deepest layer for each view, or None where it is unknown.

    Raises
    ------
    UnknownNameError
        The cache has no such layer.
    CacheError
        No layer was named, and the cache has none; or a layer is not finished.
    """
    named = require_layers(cache, layers) or require_layers(cache, ALL)
    if not named:
        raise CacheError(f"{cache.path} has no layer yet: `bottleneck.extract` adds one")
    costs = cache.layer_costs(named)  # an unfinished layer is refused now, not after hours
    every = resolve_features(cache, list(costs), "all" if views is None else views)
    shown = every if views is not None else every.with_views(1)
    rows = [replace(shown, layers=(layer,)) for layer in costs] + [shown, every]
    return {row: row.cost(costs) for row in rows}  # equal rows become one


def _comparable_images(
    cache: Cache, images: ImageTable, compared: Sequence[Features], search: SearchOptions
) -> ImageTable:
    """Return the images; for nested cross-validation, unlabelled where only some rows have codes.

    An outer fold must hold the same images in every row: otherwise images that judge one layer
    would take part in choosing another.
    """
    if not search.nested:
        return images
    valid = np.array([features.valid_rows(cache) for features in compared])
    some, every = np.any(valid, axis=0), np.all(valid, axis=0)
    return without_labels(images, np.asarray(some & ~every))


class _Task(NamedTuple):
    """One row of the result."""

    features: Features
    options: ClassifierOptions

    def __str__(self) -> str:
        return f"{self.options.clf} on {self.features}"


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


def _train(
    cache: Cache,
    images: ImageTable,
    tasks: Iterable[_Task],
    search: SearchOptions,
    *,
    memory: int | None,
    on_fit: Callable[[_Task], None] = lambda task: None,
) -> Iterator[tuple[_Task, SweepRow]]:
    """Train tasks; the codes of tasks that follow each other are in memory once, and no others."""
    for features, alike in groupby(tasks, attrgetter("features")):
        dataset = load_dataset(cache, features, images, memory=memory)
        for task in alike:
            result = fit_dataset(dataset, task.options, search, partial(on_fit, task))
            yield task, _make_row(dataset.training, result)
        del dataset  # before the next is loaded


def _train_on_workers(
    cache: Cache,
    labelled: LabelledImages,
    tasks: Sequence[_Task],
    search: SearchOptions,
    *,
    memory: int | None,
    executor: Executor,
) -> Iterator[tuple[_Task, SweepRow]]:
    """Train every task on the workers of an executor, in completion order."""
    path, workers = cache.path.resolve(), executor.max_concurrency
    labels = labelled.summary.csv.resolve() if labelled.summary else None
    compared = list(dict.fromkeys(task.features for task in tasks))
    fingerprint = fingerprint_of(cache)
    require_shared_paths(executor, partial(missing_on_worker, path, fingerprint, labels))
    digest = labelled.table.digest
    job = _WorkerJob(path, fingerprint, labels, digest, search, memory, workers, compared)
    return executor.map_unordered(job.train, tasks)


@dataclass(frozen=True)
class _WorkerJob:
    """Everything that a worker needs to train a task."""

    cache: Path
    fingerprint: str
    labels: Path | None
    images: str  # digest of the labelled images
    search: SearchOptions
    memory: int | None
    concurrency: int  # tasks that share a machine's memory
    compared: list[Features]  # of all tasks

    def train(self, task: _Task) -> SweepRow:
        """Train one task on a worker."""
        cache, images = open_on_worker(self.cache, self.fingerprint, self.labels)
        if images.digest != self.images:
            raise LabelsError(f"{self.labels} has changed since it was read: begin again")
        images = _comparable_images(cache, images, self.compared, self.search)
        memory = (self.memory or spare_memory()) // self.concurrency
        ((_, row),) = _train(cache, images, [task], self.search, memory=memory)
        return row


def _make_row(training: TrainingSet, result: FitResult) -> SweepRow:
    search = result.search
    assert search is not None  # a sweep always has folds
    return SweepRow(
        features=result.head.features,
        clf=result.head.clf,
        size=result.head.coef.shape[1],
        cost=None,
        cv=search.best,
        metric=search.metric,
        heldout=result.heldout,
        majority_baseline=_majority_baseline(training, search.metric),
        converged=result.converged,
        seconds=result.seconds,
        record=result.head.training_record,
        outer=result.outer,
    )


def _majority_baseline(training: TrainingSet, metric: str) -> float | None:
    if training.multilabel:
        return None
    return guessing_score(training.targets, training.classes, metric)
