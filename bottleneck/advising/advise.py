"""Advise: measure what a cache can tell, and recommend one strategy."""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from os import PathLike

import numpy as np

from bottleneck.advising.advice import Advice, Examined
from bottleneck.advising.comparison import Comparison, network_layers
from bottleneck.advising.nearest import nearest_neighbour_accuracy
from bottleneck.advising.rule import Decision, Findings, decide, is_unlike
from bottleneck.advising.steps import (
    Step,
    fit_step,
    network_steps,
    tail_steps,
    views_steps,
)
from bottleneck.advising.strategies import (
    CLASSIFIER,
    SEARCH,
    LinearStrategy,
    Load,
    curve_of,
    measure_strategy,
    training_values,
)
from bottleneck.advising.tuned import compare_tail, load_tails
from bottleneck.cache import Cache, CacheLike, open_cache
from bottleneck.fitting import (
    CodeDataset,
    Features,
    FitCounter,
    LabelSource,
    PairedComparison,
    compare_pairs,
    label_rows,
    labelled_images,
    load_dataset,
    most_fits,
    resolve_features,
    score_answers,
    without_labels,
)
from bottleneck.runtime import OnProgress, ignore_progress


def advise(
    cache: CacheLike,
    *,
    layers: str | Sequence[str] = "all",
    labels: LabelSource | None = None,
    tuned: str | PathLike[str] | Sequence[str | PathLike[str]] = (),
    memory: int | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Advice:
    """Recommend a strategy from measurements on a cache, which is only read.

    Linear heads on each layer, on all layers together, and with the cache's views are judged by
    cross-validation of the training images; a learning curve, the gap between training and
    out-of-fold images and nearest neighbours say what else may help. The held-out split is not
    looked at. What is recommended is the cheapest within one standard error, and two points, of the
    best, unless the measurements let more be expected of what was not measured: ``docs/advise.md``
    states the rule.

    Parameters
    ----------
    cache : str, PathLike, Cache or object with a ``cache``
        Cache with labels.
    layers : str or sequence of str
        Layers of the cache to compare; unless given all, but no maps beside codes (``x@none``).
    labels : str, PathLike or LabelledImages, optional
        CSV with the columns ``path,label[,split][,group]`` that replaces the cache's labels.
    tuned : str, PathLike or sequence of them
        Files of tuned tails, of the same images, whose records are read.
    memory : int, optional
        Bytes that training may use; half of the free memory by default.
    on_progress : callable, optional
        Called with the `Progress` of two stages: of the classifiers that all strategies may train,
        and of those of the learning curve. A classifier counts for as many as its codes are longer
        than those of the mean strategy, and its images more than those of the mean point.

    Returns
    -------
    Advice

    Raises
    ------
    UnknownNameError
        The cache has no such layer.
    CacheError, ShardError
        The cache is incomplete or damaged.
    LabelsError
        There are no labels, fewer than two classes, or too few images of one.
    HeadError
        A file is no tuned tail, or is one of other classes.

    Examples
    --------
    >>> import bottleneck as bn  # doctest: +SKIP
    >>> advice = bn.advise("photos.cache")  # doctest: +SKIP
    >>> advice.decision.kind, advice.decision.gain.value  # doctest: +SKIP
    ('all layers', 0.116)
    >>> print(advice)  # doctest: +SKIP
    """
    start = time.monotonic()
    store = open_cache(cache)
    every = resolve_features(store, layers)
    labelled = labelled_images(store, labels)
    valid = np.asarray(every.valid_rows(store))
    images = without_labels(labelled.table, ~valid)
    # Checked before the measurements, which take long.
    splits = label_rows(images, valid)
    tails = load_tails(tuned, splits.names)
    load = partial(load_dataset, store, images=images, memory=memory)
    measured = _measure(store, every, load, on_progress)
    last = _last_layer(measured[: len(every.layers)])
    dataset = load(last.features)
    comparison = Comparison.of(measured, last, dataset.training)
    findings = _examine(load, comparison, on_progress)
    judged = tuple(
        compare_tail(path, tail, dataset.training, splits.training.digest(images), comparison)
        for path, tail in tails.items()
    )
    decision = decide(comparison, findings, judged, _pairs(comparison, dataset))
    csv = str(labelled.summary.csv) if labelled.summary else None
    return Advice(
        examined=_examined(store, every, dataset),
        comparison=comparison,
        findings=findings,
        tuned=judged,
        decision=decision,
        steps=_steps(store, every, decision, csv),
        seconds=time.monotonic() - start,
        summary=labelled.summary,
    )


def _measure(
    cache: Cache, every: Features, load: Load, on_progress: OnProgress
) -> list[LinearStrategy]:
    """Measure each layer by depth, then all together, then the best one and all with views."""
    costs = cache.layer_costs(every.layers)
    ordered = list(costs)
    several, views = len(ordered) > 1, every.views > 1
    sizes = replace(every, layers=tuple(ordered)).sizes(cache)
    # With views, as if the best layer were the longest: which one it is turns out later.
    repeated = [max(sizes), *([sum(sizes)] * several)]
    weights = [*sizes, *repeated[1:], *(every.views * size for size in repeated if views)]
    fits = FitCounter(most_fits(SEARCH), on_progress, weights=weights)
    measured: list[LinearStrategy] = []

    def measure(layers: Sequence[str], count: int) -> None:
        features, weight = resolve_features(cache, layers, count), weights[len(measured)]
        on_fit = partial(fits.add, weight)
        measured.append(measure_strategy(load, features, cost=features.cost(costs), on_fit=on_fit))
        fits.finish(weight)

    for layer in ordered:
        measure([layer], 1)
    best = max(measured, key=lambda one: one.cv.mean)
    if several:
        measure(ordered, 1)
    if views:
        measure(best.features.layers, every.views)
    if several and views:
        measure(ordered, every.views)
    return measured


def _last_layer(singles: Sequence[LinearStrategy]) -> LinearStrategy:
    """Return the deepest of single layers; of its poolings the first by name, the spec's own."""
    return next(one for one in singles if network_layers(one) == network_layers(singles[-1]))


def _examine(load: Load, comparison: Comparison, on_progress: OnProgress) -> Findings:
    """Measure what else may help, of the strategy that is chosen."""
    chosen = comparison.chosen
    plain, single = comparison.counterpart(chosen), comparison.best_layer
    training = load(chosen.features).training
    values = training_values(training, chosen.cv)
    score = score_answers(training.targets, values, training.classes, SEARCH.metric)
    if plain is not chosen:
        training = load(plain.features).training
    curve = curve_of(training, plain.cv, on_progress)
    neighbours = None
    if not training.multilabel:
        training = load(single.features).training
        neighbours = nearest_neighbour_accuracy(training)
    return Findings(
        images=len(training.targets),
        curve=curve,
        training_score=score,
        gap=score - comparison.score(chosen),
        neighbours=neighbours,
        unlike=is_unlike(comparison),
        views=any(one.features.views > 1 for one in comparison.strategies),
    )


def _pairs(comparison: Comparison, dataset: CodeDataset) -> PairedComparison | None:
    """Return on which images the chosen strategy is right and the last layer is not."""
    training = dataset.training
    if training.multilabel:
        return None
    chosen, last = comparison.chosen, comparison.last
    return compare_pairs(
        chosen.values == training.targets, last.values == training.targets, training.groups
    )


def _steps(
    cache: Cache, every: Features, decision: Decision, labels: str | None
) -> tuple[Step, ...]:
    """Return the calls that carry out a decision.

    Where the recommended strategy was not measured, the last call fits the best measured head.
    """
    if decision.tuned:
        return tail_steps(decision.tuned.path)
    fit = fit_step(cache, decision.linear.features, CLASSIFIER.clf, labels)
    if decision.measured:
        return (fit,)
    if decision.kind == "views":
        return (*views_steps(cache, every.layers, labels), fit)
    return (*network_steps(cache), fit)


def _examined(cache: Cache, every: Features, dataset: CodeDataset) -> Examined:
    groups = dataset.training.groups
    return Examined(
        cache=str(cache.path),
        images=len(dataset.training.targets),
        classes=len(dataset.labelled.names),
        groups=None if groups is None else len(np.unique(groups)),
        layers=every.layers,
        views=every.views,
        heldout=0 if dataset.heldout is None else len(dataset.heldout.targets),
        split=dataset.labelled.judged.name,
        pool=cache.spec.pool,
    )
