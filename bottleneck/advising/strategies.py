"""Measure linear heads on layers of a cache by their out-of-fold predictions."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.fitting import (
    Candidate,
    ClassifierOptions,
    CodeDataset,
    CrossValidation,
    Features,
    LearningCurve,
    SearchOptions,
    answers_of,
    decision_values,
    learning_curve,
)
from bottleneck.linear import TrainingSet, train
from bottleneck.runtime import OnProgress, escape_unprintable, ignore_progress

Load = Callable[[Features], CodeDataset]  # of the cache and images that are examined

CLASSIFIER = ClassifierOptions("svm")
SEARCH = SearchOptions()


@dataclass(frozen=True)
class LinearStrategy:
    """A linear head on some layers in some views, judged by cross-validation.

    Attributes
    ----------
    features : Features
    size : int
        Number of values of an image's code.
    cost : float or None
        Share of the network's multiply-adds up to the deepest layer, for each view; None where the
        cache has no record.
    cv : Candidate
        C and scaling that were selected.
    values : ndarray of int64, shape (n,), or of float64, shape (n, k)
        Predicted class of each training image, by a head that was trained without its fold and its
        group; with several labels an image the decision values.
    seconds : float
        Time of the search and of reading the codes.
    """

    features: Features
    size: int
    cost: float | None
    cv: Candidate
    values: NDArray[Any] = field(repr=False)
    seconds: float

    @property
    def name(self) -> str:
        """The layers, and the views if there are several."""
        layers = self.features.layers
        if len(layers) == 1:
            return escape_unprintable(str(self.features))
        return str(replace(self.features, layers=(f"all {len(layers)} layers",)))


def measure_strategy(
    load: Load,
    features: Features,
    *,
    cost: float | None,
    on_fit: Callable[[], None] = lambda: None,
) -> LinearStrategy:
    """Search for C, and predict every training image by a head that was trained without it.

    The held-out split is not judged. `on_fit` is called after each classifier that was trained.

    Raises
    ------
    CacheError, ShardError
        A layer is not finished, or a shard is damaged.
    LabelsError
        There are no labels, fewer than two classes, or too few images of one.
    """
    start = time.monotonic()
    training = load(features).training
    validation = CrossValidation(training, CLASSIFIER, SEARCH, on_fit)
    best = validation.select().best
    _, values = validation.calibrate(best.c, best.scaling)
    return LinearStrategy(
        features=features,
        size=sum(training.sizes),
        cost=cost,
        cv=best,
        values=answers_of(values, multilabel=training.multilabel),
        seconds=time.monotonic() - start,
    )


def training_values(training: TrainingSet, cv: Candidate) -> NDArray[Any]:
    """Train on all images, and return what the head predicts of the same images.

    Returns
    -------
    ndarray of int64, shape (n,), or of float64, shape (n, k)
        As in `LinearStrategy`.
    """
    scaler, solution = train(training, CLASSIFIER, c=cv.c, scaling=cv.scaling)
    codes = training.scaled(scaler).averaged().codes
    values = partial(decision_values, solution=solution, clf=CLASSIFIER.clf)
    return answers_of(
        np.concatenate(list(codes.map_blocks(values))), multilabel=training.multilabel
    )


def curve_of(
    training: TrainingSet, cv: Candidate, on_progress: OnProgress = ignore_progress
) -> LearningCurve:
    """Return the learning curve of a strategy's plain images."""
    return learning_curve(
        training,
        CLASSIFIER,
        c=cv.c,
        scaling=cv.scaling,
        metric=SEARCH.metric,
        folds=SEARCH.cv,
        on_progress=on_progress,
    )
