"""Sweep: every layer of a cache with every classifier, and which of them to take."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bottleneck.cache.manifest import cache_fingerprint
from bottleneck.cache.store import Cache, layers_in, open_cache
from bottleneck.data.labels import with_labels_from_csv
from bottleneck.errors import CacheError, InvalidOptionError
from bottleneck.fitting.dataset import load_dataset, resolve_layer
from bottleneck.fitting.fit import FitResult, fit_dataset
from bottleneck.fitting.metrics import METRICS, ClassificationScore, MultilabelScore
from bottleneck.fitting.options import SearchOptions
from bottleneck.fitting.selection import Candidate
from bottleneck.linear.training import ClassifierOptions, TrainingSet
from bottleneck.runtime.executors import Executor, require_shared_paths
from bottleneck.runtime.resources import spare_memory

Progress = Callable[[int, int], None]  # rows done, rows in all


@dataclass(frozen=True)
class SweepRow:
    """One layer with one classifier.

    Without the coefficients: those of many layers need not fit into memory together.

    Attributes
    ----------
    layer : str
    clf : str
    size : int
        Values in a code.
    work : float or None
        Share of the network's multiply-adds up to the layer; None where the cache does not say.
    cv : Candidate
        The choice's cross-validation.
    metric : str
        What its scores are.
    heldout : ClassificationScore, MultilabelScore or None
        On the held-out split; nothing is chosen by it.
    chance : float or None
        What answering with the most frequent class scores; None for several labels an image.
    converged : bool
        Whether the final training met its tolerance for every class.
    seconds : float
        From codes that have been read to the judgement.
    record : dict
        As ``fit --json`` prints it, without the head's file name.
    """

    layer: str
    clf: str
    size: int
    work: float | None
    cv: Candidate
    metric: str
    heldout: ClassificationScore | MultilabelScore | None
    majority_baseline: float | None
    converged: bool
    seconds: float
    record: dict[str, Any]

    @property
    def measured(self) -> float | None:
        """The metric on the held-out split."""
        return None if self.heldout is None else self.heldout.measure(self.metric)


def sweep(
    cache: Path,
    clfs: Sequence[str | ClassifierOptions] = ("svm", "softmax"),
    *,
    layers: Sequence[str] | None = None,
    search: SearchOptions | None = None,
    labels: Path | None = None,
    memory: int | None = None,
    engine: Executor | None = None,
    progress: Progress | None = None,
) -> list[SweepRow]:
    """Cross-validate classifiers on the codes of every layer. Needs no network and no images.

    A layer is read once for all classifiers, and forgotten before the next one; where workers
    train, once for each of them.

    Parameters
    ----------
    cache : Path
        A cache with labels.
    clfs : sequence of str or ClassifierOptions
        The classifiers, ``"svm"`` or ``"softmax"``, or one of them with its options; at least one.
    layers : sequence of str, optional
        All of the cache unless given.
    search : SearchOptions, optional
        How C and the scaling are chosen, by at least 2 folds; the defaults of `SearchOptions`
        unless given.
    labels, memory
        As in `bottleneck.fitting.fit.fit`.
    engine : Executor, optional
        Whose workers train; this process unless given.
    progress : callable, optional
        Called with the rows done and the rows to do.

    Returns
    -------
    list of Row
        By the share of the network that the layer needs, those without one last and by name; a
        layer's rows in the order of `clfs`.

    Raises
    ------
    UnknownNameError, InvalidOptionError
        An option's value is not allowed.
    CacheError, ShardError
        A layer is not whole; before any classifier is trained.
    LabelsError
        There are no labels, fewer than two classes, or too few images of one.
    WorkerError
        Workers do not see the cache, before any work, or die again and again.
    """
    search = search or SearchOptions()
    methods = list(
        dict.fromkeys(
            clf if isinstance(clf, ClassifierOptions) else ClassifierOptions(clf) for clf in clfs
        )
    )
    _require_comparison(methods, search)
    names = [resolve_layer(cache, layer) for layer in layers] if layers else layers_in(cache)
    if not names:
        raise CacheError(f"{cache} has no layer yet: `bottleneck.extract` adds one")
    store = open_cache(cache)
    works = {name: _work(store, name) for name in names}
    question = _Question(
        cache.resolve(),
        cache_fingerprint(cache),
        labels and labels.resolve(),
        search,
        memory,
        engine.max_concurrency if engine else 1,
    )
    rows: dict[tuple[str, ClassifierOptions], SweepRow] = {}
    if progress:
        progress(0, len(works) * len(methods))
    for row, method in question.ask(list(works), methods, engine):
        rows[row.layer, method] = dataclasses.replace(row, work=works[row.layer])
        if progress:
            progress(len(rows), len(works) * len(methods))
    by_work = sorted(works, key=lambda name: (_or_last(works[name]), name))
    return [rows[layer, method] for layer in by_work for method in methods]


class _Place(NamedTuple):
    """What one row of the table is of."""

    layer: str
    method: ClassifierOptions

    def __str__(self) -> str:
        return f"{self.method.clf} on {self.layer}"


@dataclass(frozen=True)
class _Question:
    """What is asked of every layer and method: all that a worker must be told."""

    cache: Path
    state: str
    labels: Path | None
    search: SearchOptions
    memory: int | None
    neighbours: int  # who take from the same memory

    def ask(
        self, layers: Sequence[str], methods: Sequence[ClassifierOptions], engine: Executor | None
    ) -> Iterator[tuple[SweepRow, ClassifierOptions]]:
        """Rows with their methods, as they come."""
        if engine is None:
            for layer in layers:
                yield from self.rows(layer, methods)
            return
        require_shared_paths(engine, self.unseen)
        places = [_Place(layer, method) for layer in layers for method in methods]
        for _, found in engine.map_unordered(self.row, places):
            yield found

    def rows(
        self, layer: str, methods: Sequence[ClassifierOptions]
    ) -> Iterator[tuple[SweepRow, ClassifierOptions]]:
        """The rows of a layer, which is in memory no longer than this generator lives."""
        store = open_cache(self.cache)
        images = with_labels_from_csv(store.images, self.labels) if self.labels else store.images
        memory = self.memory or spare_memory() // self.neighbours
        lesson = load_dataset(store, layer, images, memory=memory)
        for method in methods:
            yield _row(lesson.training, fit_dataset(lesson, method, self.search)), method

    def row(self, place: _Place) -> tuple[SweepRow, ClassifierOptions]:
        """That of a layer and a method, on a worker."""
        (found,) = self.rows(place.layer, [place.method])
        return found

    def unseen(self) -> str:
        """What a worker does not see; empty where it sees all."""
        if cache_fingerprint(self.cache) != self.state:
            return f"the cache {self.cache}"
        return str(self.labels) if self.labels and not self.labels.is_file() else ""


def best_row(rows: Sequence[SweepRow]) -> SweepRow:
    """The row with the highest mean; of equals the one with the smallest standard error."""
    return max(rows, key=lambda row: (row.cv.mean, -row.cv.standard_error))


def recommend(rows: Sequence[SweepRow]) -> SweepRow:
    """The cheapest row that cross-validation cannot tell from the best.

    Of the rows whose mean is within one standard error of the best one's, that whose layer needs
    the smallest share of the network, where it is known; of equals the one with smaller codes,
    then the one with the higher mean, then the first. The held-out split has no say.

    Parameters
    ----------
    rows : sequence of SweepRow
        At least one, of one metric.
    """
    best = best_row(rows)
    # The rule that selection has for C, here for layers: L. Breiman et al., "Classification and
    # regression trees" (1984), section 3.4.3.
    enough = best.cv.mean - best.cv.standard_error
    return min(
        (row for row in rows if row.cv.mean >= enough),
        key=lambda row: (_or_last(row.work), row.size, -row.cv.mean),
    )


def _require_comparison(methods: Sequence[ClassifierOptions], search: SearchOptions) -> None:
    if not methods:
        raise InvalidOptionError("clfs", [], "svm, softmax or both")
    if search.cv < 2:
        raise InvalidOptionError(
            "cv", search.cv, "at least 2 folds: a sweep compares by cross-validation"
        )


def _work(cache: Cache, layer: str) -> float | None:
    """The share that a layer needs, as any of its shards has it.

    Raises
    ------
    CacheError
        The layer is not whole.
    """
    cache.valid_rows(layer)  # an unfinished layer is refused now, not after hours of work on others
    known = (header.cost for header in cache.finished_shards(layer).values())
    return next((work for work in known if work is not None), None)


def _or_last(work: float | None) -> float:
    return math.inf if work is None else work


def _row(training: TrainingSet, done: FitResult) -> SweepRow:
    assert done.selection is not None  # sweep refuses to go without folds
    metric = done.selection.metric
    return SweepRow(
        layer=done.head.layer,
        clf=done.head.clf,
        size=done.head.coef.shape[1],
        work=None,
        cv=done.selection.best,
        metric=metric,
        heldout=done.heldout,
        majority_baseline=_chance(training, metric),
        converged=done.converged,
        seconds=done.seconds,
        record=done.to_dict(),
    )


def _chance(training: TrainingSet, metric: str) -> float | None:
    if training.multilabel:
        return None
    constant = np.full_like(training.targets, np.bincount(training.targets).argmax())
    return METRICS[metric](training.targets, constant, training.classes)
