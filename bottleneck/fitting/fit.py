"""Fit: from the cached codes of one layer to a head, judged once on the held-out split."""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.store import open_cache
from bottleneck.data.labels import relabel
from bottleneck.errors import InvalidOptionError
from bottleneck.fitting.dataset import LayerDataset, load_dataset, resolve_layer
from bottleneck.fitting.folds import require_folds
from bottleneck.fitting.head import Head
from bottleneck.fitting.metrics import (
    ClassificationScore,
    MultilabelScore,
    expected_calibration_error,
    score,
    score_labels,
)
from bottleneck.fitting.selection import SearchResult, check_grid, cross_val_calibrate, select_c
from bottleneck.linear.calibration import Calibration
from bottleneck.linear.classifiers import expand_binary
from bottleneck.linear.matrix import SCALINGS, Codes, FeatureScaler, require_scaling
from bottleneck.linear.path import Solution
from bottleneck.linear.training import Method, Training, train


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
    method: Method,
    *,
    layer: str | None = None,
    c: Sequence[float] | None = None,
    cv: int = 5,
    preprocess: str = "standardize",
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
    method : Method
        The classifier, and how it is chosen and solved.
    layer : str, optional
        Needed where the cache has several.
    c : sequence of float, optional
        Values of C to choose from; a coarse and then a fine grid unless given.
    cv : int
        Folds; 0 leaves the cross-validation out, with a single value of C.
    preprocess : str
        One of `bottleneck.linear.matrix.SCALINGS`, or ``"auto"`` to choose among them.
    labels : Path, optional
        A CSV of labels to take in place of the cache's own; see `bottleneck.data.labels.relabel`.
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
    require_options(method, c=c, cv=cv, preprocess=preprocess)
    if client is not None:
        method.require_distributable()
    layer = resolve_layer(cache, layer)
    store = open_cache(cache)
    images = relabel(store.images, labels) if labels else store.images
    lesson = load_dataset(store, layer, images, memory=memory, client=client)
    return fit_dataset(lesson, method, c=c, cv=cv, preprocess=preprocess, start=start)


def fit_dataset(
    lesson: LayerDataset,
    method: Method,
    *,
    c: Sequence[float] | None,
    cv: int,
    preprocess: str,
    start: float | None = None,
) -> FitResult:
    """Choose C and preprocessing, train on all training rows, judge once on the held-out ones.

    Parameters
    ----------
    lesson : LayerDataset
    method, c, cv, preprocess
        As in `fit`.
    start : float, optional
        When the work began, by the monotonic clock; now unless given.
    """
    start = time.monotonic() if start is None else start
    training, selection = lesson.training, None
    grid = None if c is None else check_grid(c)
    if cv:
        tried = SCALINGS if preprocess == "auto" else (preprocess,)
        selection = select_c(training, method, grid=grid, folds=cv, preprocess=tried)
        best, preprocess = selection.best.c, selection.best.preprocess
    else:
        (best,) = grid or ()
    preprocessing, solution = train(training, method, c=best, preprocess=preprocess)
    calibration, ece = _calibration(training, method, c=best, preprocess=preprocess, folds=cv)
    head = _head(lesson, method.clf, preprocessing, solution, calibration)
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
    head: Head, codes: Codes, targets: NDArray[Any], *, split: str
) -> ClassificationScore | MultilabelScore:
    """Judge a head on some rows' codes.

    Parameters
    ----------
    head : Head
    codes : Codes
        n rows, at least one, of the head's spec and layer.
    targets : ndarray of int64, shape (n,), or of bool, shape (n, k)
        As `bottleneck.data.labels.encode_targets` gives them.
    split : str
        Which rows these are.
    """
    margins = np.concatenate(list(codes.map(head.decision_function)))
    found: ClassificationScore | MultilabelScore
    if head.multilabel:
        found = score_labels(targets, margins, head.classes, split=split)
    else:
        found = score(targets, margins.argmax(axis=1), head.classes, split=split)
    if head.calibration is None:
        return found
    ece = expected_calibration_error(head.calibration.probabilities(margins), targets)
    return dataclasses.replace(found, ece=ece)


def require_options(method: Method, *, c: Sequence[float] | None, cv: int, preprocess: str) -> None:
    """Refuse values that are not allowed, before any work.

    Raises
    ------
    UnknownNameError, InvalidOptionError
    """
    method.require()
    if preprocess != "auto":
        require_scaling(preprocess)
    grid = None if c is None else check_grid(c)
    if cv:
        require_folds(cv)
        return
    if grid is None or len(grid) > 1:
        count = "a whole grid" if grid is None else f"{len(grid)} values"
        raise InvalidOptionError(
            "cv", 0, f"at least 2 to choose among {count} of C", "or give one value of `c`"
        )
    if preprocess == "auto":
        raise InvalidOptionError(
            "cv", 0, "at least 2 to choose a `preprocess`", f"or give {', '.join(SCALINGS)}"
        )


def _calibration(
    training: Training, method: Method, *, c: float, preprocess: str, folds: int
) -> tuple[Calibration | None, float | None]:
    """From margins to probabilities, and their error on rows that folds held back."""
    k = training.classes
    if method.clf == "softmax":  # its margins are logarithms of probabilities already
        return Calibration(np.ones(k), np.zeros(k), independent=training.multilabel), None
    if not folds:
        return None, None
    found, margins = cross_val_calibrate(training, method, c=c, preprocess=preprocess, folds=folds)
    return found, expected_calibration_error(found.probabilities(margins), training.targets)


def _head(
    lesson: LayerDataset,
    clf: str,
    preprocessing: FeatureScaler,
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
        preprocessing=preprocessing,
        calibration=calibration,
        multilabel=lesson.training.multilabel,
        spec=lesson.cache.spec,
        source=lesson.cache.reference,
        training_record={},
    )
