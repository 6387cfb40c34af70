"""Fit: from the cached codes of one layer to a head, judged once on the held-out split."""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.store import open_cache
from bottleneck.data.labels import with_labels_from_csv
from bottleneck.fitting.dataset import LayerDataset, load_dataset, resolve_layer
from bottleneck.fitting.head import Head
from bottleneck.fitting.metrics import (
    ClassificationScore,
    MultilabelScore,
    expected_calibration_error,
    score,
    score_labels,
)
from bottleneck.fitting.options import SearchOptions
from bottleneck.fitting.selection import SearchResult, cross_val_calibrate, select_c
from bottleneck.linear.calibration import Calibration
from bottleneck.linear.classifiers import expand_binary
from bottleneck.linear.matrix import CodeMatrix
from bottleneck.linear.path import Solution
from bottleneck.linear.scaling import FeatureScaler
from bottleneck.linear.training import ClassifierOptions, TrainingSet, train


@dataclass(frozen=True)
class FitResult:
    """What `fit` found.

    Attributes
    ----------
    head : Head
        Trained on all training rows.
    c : float
        The C that was chosen.
    selection : SearchResult or None
        The search; None where it was left out.
    heldout : ClassificationScore, MultilabelScore or None
        On the held-out split; None where there is none.
    ece : float or None
        Expected calibration error of the probabilities of rows that the folds held back.
    train : int
        Training rows.
    solution : Solution
        Of the final training: whether it converged, how near the minimum it is.
    seconds : float
    """

    head: Head
    c: float
    selection: SearchResult | None
    heldout: ClassificationScore | MultilabelScore | None
    ece: float | None
    train: int
    solution: Solution
    seconds: float

    @property
    def converged(self) -> bool:
        """Whether the final training met its tolerance for every class."""
        return bool(self.solution.converged.all())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``fit --json`` prints them, beside the head's file name."""
        gap = float(self.solution.gap.max())
        return {
            "clf": self.head.clf,
            "layer": self.head.layer,
            "c": self.c,
            "preprocess": self.head.preprocessing.name,
            "cv": self.selection.to_dict() if self.selection else None,
            "heldout": self.heldout.to_dict() if self.heldout else None,
            "ece": self.ece,
            "train": self.train,
            "converged": self.converged,
            "gap": gap if np.isfinite(gap) else None,
            "seconds": self.seconds,
        }


def fit(
    cache: Path,
    clf: str | ClassifierOptions,
    *,
    layer: str | None = None,
    search: SearchOptions | None = None,
    labels: Path | None = None,
    memory: int | None = None,
    client: Any | None = None,
) -> FitResult:
    """Train a linear classifier on the codes of a layer. Needs no network and no images.

    Where a split other than ``train`` exists, it learns from ``train`` alone and is judged on
    ``test``, or else on ``val``. Without splits it learns from all rows.

    Parameters
    ----------
    cache : Path
        A cache with labels.
    clf : str or ClassifierOptions
        ``"svm"``, ``"softmax"``, or one of them with its options.
    layer : str, optional
        Needed where the cache has several.
    search : SearchOptions, optional
        How C and the scaling are chosen; the defaults of `SearchOptions` unless given.
    labels : Path, optional
        A CSV of labels to take in place of the cache's own; see
        `bottleneck.data.labels.with_labels_from_csv`.
    memory : int, optional
        Bytes that training may take; codes that do not fit are read from their shards.
    client : distributed.Client, optional
        Codes lie on the workers of this client's scheduler, who must see the cache by the same
        path; this machine needs no memory for them.

    Returns
    -------
    Fit

    Raises
    ------
    UnknownNameError, InvalidOptionError
        An option's value is not allowed.
    CacheError, ShardError
        The cache is not whole, or a worker does not see it.
    WorkerError
        There are no workers.
    LabelsError
        There are no labels, fewer than two classes, or too few images of one.
    """
    start = time.monotonic()
    options = clf if isinstance(clf, ClassifierOptions) else ClassifierOptions(clf)
    if client is not None:
        options.require_distributable()
    layer = resolve_layer(cache, layer)
    store = open_cache(cache)
    images = with_labels_from_csv(store.images, labels) if labels else store.images
    lesson = load_dataset(store, layer, images, memory=memory, client=client)
    return fit_dataset(lesson, options, search or SearchOptions(), start=start)


def fit_dataset(
    lesson: LayerDataset,
    options: ClassifierOptions,
    search: SearchOptions,
    *,
    start: float | None = None,
) -> FitResult:
    """Choose C and the scaling, train on all training rows, judge once on the held-out ones.

    Parameters
    ----------
    lesson : LayerDataset
    options : ClassifierOptions
    search : SearchOptions
    start : float, optional
        When the work began, by the monotonic clock; now unless given.
    """
    start = time.monotonic() if start is None else start
    training, selection, scaling = lesson.training, None, search.scaling
    if search.cv:
        selection = select_c(training, options, search)
        best, scaling = selection.best.c, selection.best.preprocess
    else:
        (best,) = search.c or ()
    scaler, solution = train(training, options, c=best, scaling=scaling)
    calibration, ece = _calibration(training, options, c=best, scaling=scaling, folds=search.cv)
    head = _head(lesson, options.clf, scaler, solution, calibration)
    heldout = None
    if lesson.heldout is not None:  # once, and after everything has been chosen
        unseen = lesson.heldout
        heldout = score_head(head, unseen.codes, unseen.targets, split=lesson.split)
    found = FitResult(
        head=head,
        c=best,
        selection=selection,
        heldout=heldout,
        ece=ece,
        train=training.codes.shape[0],
        solution=solution,
        seconds=time.monotonic() - start,
    )
    return dataclasses.replace(
        found, head=dataclasses.replace(head, training_record=found.to_dict())
    )


def score_head(
    head: Head, codes: CodeMatrix, targets: NDArray[Any], *, split: str
) -> ClassificationScore | MultilabelScore:
    """Judge a head on some rows' codes.

    Parameters
    ----------
    head : Head
    codes : CodeMatrix
        n rows, at least one, of the head's spec and layer.
    targets : ndarray of int64, shape (n,), or of bool, shape (n, k)
        As `bottleneck.data.labels.encode_targets` gives them.
    split : str
        Which rows these are.
    """
    margins = np.concatenate(list(codes.map_blocks(head.decision_function)))
    found: ClassificationScore | MultilabelScore
    if head.multilabel:
        found = score_labels(targets, margins, head.classes, split=split)
    else:
        found = score(targets, margins.argmax(axis=1), head.classes, split=split)
    if head.calibration is None:
        return found
    ece = expected_calibration_error(head.calibration.probabilities(margins), targets)
    return dataclasses.replace(found, ece=ece)


def _calibration(
    training: TrainingSet, options: ClassifierOptions, *, c: float, scaling: str, folds: int
) -> tuple[Calibration | None, float | None]:
    """From margins to probabilities, and their error on rows that folds held back."""
    k = training.classes
    if options.clf == "softmax":  # its margins are logarithms of probabilities already
        return Calibration(np.ones(k), np.zeros(k), independent=training.multilabel), None
    if not folds:
        return None, None
    found, margins = cross_val_calibrate(training, options, c=c, scaling=scaling, folds=folds)
    return found, expected_calibration_error(found.probabilities(margins), training.targets)


def _head(
    lesson: LayerDataset,
    clf: str,
    scaler: FeatureScaler,
    solution: Solution,
    calibration: Calibration | None,
) -> Head:
    coef, intercept = solution.coef, solution.intercept
    if len(coef) == 1:
        coef, intercept = expand_binary(clf, coef, intercept)
    return Head(
        clf=clf,
        layer=lesson.layer,
        classes=lesson.names,
        coef=coef,
        intercept=intercept,
        preprocessing=scaler,
        calibration=calibration,
        multilabel=lesson.training.multilabel,
        spec=lesson.cache.spec,
        reference=lesson.cache.reference,
        training_record={},
    )
