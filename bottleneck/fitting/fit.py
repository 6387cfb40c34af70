"""Fit a linear classifier to the cached codes of one layer, and score it on the held-out split."""

import dataclasses
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache import CacheLike, open_cache
from bottleneck.data import UnknownLabels
from bottleneck.errors import InvalidOptionError
from bottleneck.fitting.dataset import LayerDataset, load_dataset, resolve_layer
from bottleneck.fitting.fit_result import FitResult
from bottleneck.fitting.folds import require_foldable
from bottleneck.fitting.head import Head
from bottleneck.fitting.metrics import expected_calibration_error
from bottleneck.fitting.options import SearchOptions
from bottleneck.fitting.scores import Score, score_classes, score_labels
from bottleneck.fitting.selection import CrossValidation
from bottleneck.fitting.worker_cache import LabelSource, labelled_images
from bottleneck.linear import (
    ArrayMatrix,
    Calibration,
    ClassifierOptions,
    CodeMatrix,
    FeatureScaler,
    Solution,
    TrainingSet,
    expand_binary,
    train,
)
from bottleneck.runtime import DaskExecutor, Executor


def fit(
    cache: CacheLike,
    clf: str | ClassifierOptions,
    *,
    layers: str | None = None,
    search: SearchOptions = SearchOptions(),
    labels: LabelSource | None = None,
    memory: int | None = None,
    executor: Executor | None = None,
) -> FitResult:
    """Train a linear classifier on the codes of a layer; no network and no images are needed.

    If there is a split other than ``train``, the classifier is trained on ``train`` alone and
    scored once on ``test``, or else on ``val``. Without splits it is trained on all rows. Held-out
    images of a class that ``train`` lacks are not scored: the score counts and names them.

    Parameters
    ----------
    cache : str, PathLike, Cache or object with a ``cache``
        Cache with labels.
    clf : str or ClassifierOptions
        ``"svm"``, ``"softmax"``, or one of them with its options.
    layers : str, optional
        Layer of the cache; needed where it has several.
    search : SearchOptions
        Search over C and scalings; 5 folds with standardized features by default.
    labels : str, PathLike or LabelledImages, optional
        CSV with the columns ``path,label[,split][,group]`` that replaces the cache's labels.
    memory : int, optional
        Bytes that training may use; half of the free memory by default. Codes that do not fit are
        read from their shards block by block.
    executor : DaskExecutor, optional
        Dask cluster whose workers hold the codes; this process by default. The workers must see the
        cache by the same path.

    Returns
    -------
    FitResult

    Raises
    ------
    UnknownNameError, InvalidOptionError
        An option has a value that is not allowed.
    CacheError, ShardError
        The cache is incomplete or damaged.
    WorkerError
        There are no workers, or one does not see the cache.
    LabelsError
        There are no labels, fewer than two classes, too few images of one, or only held-out
        images of classes that the training rows lack.

    Examples
    --------
    >>> import bottleneck as bn  # doctest: +SKIP
    >>> result = bn.fit("photos.cache", "svm", layers="layer3")  # doctest: +SKIP
    >>> result.score  # doctest: +SKIP
    0.93
    >>> result.head.save("head.safetensors")  # doctest: +SKIP
    """
    start = time.monotonic()
    options = classifier_options(clf)
    if executor is not None:
        options.require_distributable()
        if not isinstance(executor, DaskExecutor):
            hint = "`bottleneck.sweep` takes other executors too"
            raise InvalidOptionError("executor", executor, "a DaskExecutor", hint)
    store = open_cache(cache)
    layer = resolve_layer(store, layers)
    images = labelled_images(store, labels)
    dataset = load_dataset(store, layer, images.table, memory=memory, executor=executor)
    result = dataclasses.replace(fit_dataset(dataset, options, search), labels=images.summary)
    return result.with_seconds(time.monotonic() - start)


def fit_dataset(
    dataset: LayerDataset, options: ClassifierOptions, search: SearchOptions
) -> FitResult:
    """Select C and scaling, train on all training rows, and score once on the held-out rows.

    Parameters
    ----------
    dataset : LayerDataset
        Codes and targets.
    options : ClassifierOptions
        Classifier.
    search : SearchOptions
        Search over C and scalings.

    Returns
    -------
    FitResult
        Its time does not include loading the dataset.
    """
    start = time.monotonic()
    training, result, validation = dataset.training, None, None
    if search.cv:
        require_foldable(training, dataset.names)
        validation = CrossValidation(training, options, search)
        result = validation.select()
        c, scaling = result.best.c, result.best.scaling
    else:
        (c,), scaling = search.grid or (), search.scaling
    calibration, ece = _calibrate(training, options, validation, c=c, scaling=scaling)
    del validation  # and the memory of its folds
    scaler, solution = train(training, options, c=c, scaling=scaling)
    head = _make_head(dataset, options.clf, scaler, solution, calibration)
    heldout = None
    if dataset.heldout is not None:  # used once, after everything has been selected
        rows = dataset.heldout
        heldout = score_head(
            head, rows.codes, rows.targets, split=dataset.split, unknown=dataset.unknown
        )
    return FitResult(
        head=head,
        c=c,
        search=result,
        heldout=heldout,
        ece=ece,
        train=training.codes.shape[0],
        solution=solution,
        seconds=0.0,
    ).with_seconds(time.monotonic() - start)


def score_head(
    head: Head,
    codes: CodeMatrix | NDArray[Any],
    targets: NDArray[Any],
    *,
    split: str,
    unknown: UnknownLabels = UnknownLabels(),
) -> Score:
    """Score a head on codes with known targets.

    Parameters
    ----------
    head : Head
        Trained classifier.
    codes : CodeMatrix or ndarray, shape (n, d)
        Codes of the head's spec and layer, n rows, at least one.
    targets : ndarray of int64, shape (n,), or of bool, shape (n, k)
        Class of each row, or which labels it has, in the order of the head's classes.
    split : str
        Name of the split, stored in the score; empty without splits.
    unknown : UnknownLabels
        Images of the split that cannot be judged, stored in the score.

    Returns
    -------
    ClassificationScore or MultilabelScore
    """
    matrix = ArrayMatrix(codes) if isinstance(codes, np.ndarray) else codes
    values = np.concatenate(list(matrix.map_blocks(head.decision_function)))
    score: Score
    if head.multilabel:
        score = score_labels(targets, values, head.classes, split=split)
    else:
        score = score_classes(targets, values.argmax(axis=1), head.classes, split=split)
    ece = None
    if head.calibration is not None:
        ece = expected_calibration_error(head.calibration.probabilities(values), targets)
    return dataclasses.replace(score, ece=ece, unknown=unknown)


def classifier_options(clf: str | ClassifierOptions) -> ClassifierOptions:
    """Return the options of a classifier that was given by name or with its options.

    Raises
    ------
    UnknownNameError
        There is no such classifier.

    Examples
    --------
    >>> classifier_options("svm").clf
    'svm'
    """
    return ClassifierOptions(clf) if isinstance(clf, str) else clf


def _calibrate(
    training: TrainingSet,
    options: ClassifierOptions,
    validation: CrossValidation | None,
    *,
    c: float,
    scaling: str,
) -> tuple[Calibration | None, float | None]:
    """Return the calibration and its error on the folds' validation rows."""
    k = training.classes
    if options.clf == "softmax":  # its decision values are log-probabilities already
        return Calibration(np.ones(k), np.zeros(k), independent=training.multilabel), None
    if validation is None:
        return None, None
    calibration, values = validation.calibrate(c, scaling)
    probabilities = calibration.probabilities(values)
    return calibration, expected_calibration_error(probabilities, training.targets)


def _make_head(
    dataset: LayerDataset,
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
        layer=dataset.layer,
        classes=dataset.names,
        coef=coef,
        intercept=intercept,
        scaler=scaler,
        calibration=calibration,
        multilabel=dataset.training.multilabel,
        spec=dataset.cache.spec,
        reference=dataset.cache.reference,
        training_record={},
    )
