"""Fit a linear classifier to cached codes, and score it on the held-out split."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from bottleneck.cache import CacheLike, open_cache
from bottleneck.errors import InvalidOptionError, LabelsError
from bottleneck.fitting.fit_result import FitResult
from bottleneck.fitting.heads.classifier_file import softmax_calibration
from bottleneck.fitting.heads.head import Head
from bottleneck.fitting.heads.judging import matrix_values, score_values
from bottleneck.fitting.layer_shares import layer_shares
from bottleneck.fitting.loading.dataset import CodeDataset, load_dataset
from bottleneck.fitting.loading.features import Views, resolve_features
from bottleneck.fitting.loading.labelled_rows import LabelSource, labelled_images
from bottleneck.fitting.scoring.judged_split import JudgedSplit
from bottleneck.fitting.scoring.metrics import calibration_error
from bottleneck.fitting.selection.cross_validation import CrossValidation, most_fits
from bottleneck.fitting.selection.fit_counter import FitCounter
from bottleneck.fitting.selection.folds import make_folds, require_foldable
from bottleneck.fitting.selection.nested import OuterFold
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.linear import (
    Calibration,
    ClassifierOptions,
    FeatureScaler,
    Solution,
    TrainingSet,
    expand_binary,
    train,
)
from bottleneck.runtime import (
    DaskExecutor,
    Executor,
    OnProgress,
    ignore_progress,
    memory_errors,
    require_left_out,
    require_options,
)


def fit(
    cache: CacheLike,
    clf: str | ClassifierOptions,
    *,
    layers: str | Sequence[str] | None = None,
    views: Views = "all",
    search: SearchOptions = SearchOptions(),
    labels: LabelSource | None = None,
    memory: int | None = None,
    executor: Executor | None = None,
    on_progress: OnProgress = ignore_progress,
) -> FitResult:
    """Train a linear classifier on cached codes; no network and no images are needed.

    If there is a split other than ``train``, the classifier is trained on ``train`` alone and
    scored once on ``test``, or else on ``val``. Without splits it is trained on all rows. Held-out
    images of a class that ``train`` lacks are not scored: the score counts and names them.

    Parameters
    ----------
    cache : str, PathLike, Cache or object with a ``cache``
        Cache with labels.
    clf : str or ClassifierOptions
        ``"svm"``, ``"softmax"``, or one of them with its options.
    layers : str or sequence of str, optional
        Layers of the cache, or ``"all"``, which has no maps beside codes (``x@none``); needed where
        it has several. The codes of several layers are side by side, each layer scaled by itself
        and divided by the root of their number.
    views : int or "all"
        Views of each image, counted from the plain one. Each is a row of weight 1/views; the views
        of an image are in one fold, and it is judged by the mean of their decision values.
    search : SearchOptions
        Search over C and scalings; 5 folds with standardized features by default.
    labels : str, PathLike or LabelledImages, optional
        CSV with the columns ``path,label[,split][,group]`` that replaces the cache's labels.
    memory : int, optional
        Bytes that training may use; half of the free memory by default. Codes that do not fit are
        read from their shards block by block. To be left out with an executor.
    executor : DaskExecutor, optional
        Dask cluster whose workers hold the codes; this process by default. The workers must see the
        cache by the same path.
    on_progress : callable, optional
        Called with the `Progress` of the classifiers that are trained in the folds, of as many as
        there may be. The search over C often ends earlier.

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
    DeviceMemoryError
        The codes do not fit into the memory of the device.
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
    require_options(search=(search, SearchOptions))
    options = classifier_options(clf)
    if executor is not None:
        require_left_out("Dask workers compute with NumPy", device=options.device)
        if not isinstance(executor, DaskExecutor):
            hint = "`bottleneck.sweep` takes other executors too"
            raise InvalidOptionError("executor", executor, "a DaskExecutor", hint)
        require_left_out("workers keep all codes in theirs", memory=memory)
    store = open_cache(cache)
    features = resolve_features(store, layers, views)
    images = labelled_images(store, labels)
    named: Iterable[str] = features.layers
    if list(named) == store.layers:  # the caller gave no order: sort by depth
        named = store.layer_costs(features.layers)
    dataset = load_dataset(store, features, images.table, memory=memory, executor=executor)
    fits = FitCounter(most_fits(search), on_progress)
    result = fit_dataset(dataset, options, search, fits.add)
    fits.finish()
    shares = {layer: result.shares[layer] for layer in named}
    result = replace(result, labels=images.summary, shares=shares)
    return result.with_seconds(time.monotonic() - start)


@memory_errors(
    "the codes take more memory than there is", "give a smaller `memory`, or leave `device` out"
)
def fit_dataset(
    dataset: CodeDataset,
    options: ClassifierOptions,
    search: SearchOptions,
    on_fit: Callable[[], None] = lambda: None,
) -> FitResult:
    """Select C and scaling, train on all training rows, and score once on the held-out rows.

    Parameters
    ----------
    dataset : CodeDataset
        Codes and targets.
    options : ClassifierOptions
        Classifier.
    search : SearchOptions
        Search over C and scalings.
    on_fit : callable
        Called after each classifier that was trained.

    Returns
    -------
    FitResult
        Its time does not include loading the dataset.

    Raises
    ------
    DeviceMemoryError
        The codes do not fit into the memory of the device or of the process.
    """
    start = time.monotonic()
    training, result, validation = dataset.training, None, None
    if search.cv:
        require_foldable(training, dataset.labelled.names)
        if search.nested:
            _require_foldable_parts(dataset, search.cv)  # before the training, not after it
        validation = CrossValidation(training, options, search, on_fit)
        result = validation.select()
        c, scaling = result.best.c, result.best.scaling
    else:
        (c,), scaling = search.grid or (), search.scaling
    calibration, ece = _calibrate(training, options, validation, c=c, scaling=scaling)
    del validation  # and the memory of its folds
    scaler, solution = train(training, options, c=c, scaling=scaling)
    on_fit()
    shares = layer_shares(solution.coef, training.codes, scaler)
    head = _make_head(dataset, options, scaler, solution, calibration)
    heldout = None
    if dataset.heldout is not None:  # used once, after everything has been selected
        rows = dataset.heldout
        heldout = score_values(
            head,
            matrix_values(head, rows.codes),
            rows.targets,
            dataset.labelled.judged,
            groups=rows.groups,
        )
    return FitResult(
        head=head,
        c=c,
        search=result,
        heldout=heldout,
        ece=ece,
        train=len(training.targets),
        shares=dict(zip(dataset.features.layers, shares.tolist(), strict=True)),
        solution=solution,
        seconds=0.0,
        outer=tuple(_outer_folds(dataset, options, search, on_fit)) if search.nested else (),
        class_weight=options.class_weight,
        no_heldout=dataset.labelled.judged.no_heldout,
    ).with_seconds(time.monotonic() - start)


def classifier_options(clf: str | ClassifierOptions) -> ClassifierOptions:
    """Return the options of a classifier that was given by name or with its options.

    Raises
    ------
    UnknownNameError
        There is no such classifier.
    InvalidOptionError
        It is neither a name nor options.

    Examples
    --------
    >>> classifier_options("svm").clf
    'svm'
    """
    if not isinstance(clf, str | ClassifierOptions):
        hint = "`cache.load` gives codes and labels for any other estimator"
        raise InvalidOptionError("clf", clf, "svm, softmax, or ClassifierOptions", hint)
    return ClassifierOptions(clf) if isinstance(clf, str) else clf


def _outer_folds(
    dataset: CodeDataset,
    options: ClassifierOptions,
    search: SearchOptions,
    on_fit: Callable[[], None],
) -> Iterator[OuterFold]:
    """Fit to the training rows without each fold, and score on it as on a held-out split."""
    training, search = dataset.training, replace(search, nested=False)
    # Its counts are of the held-out split, not of a fold.
    labelled = replace(dataset.labelled, judged=JudgedSplit(dataset.labelled.judged.name))
    for rows, validation in make_folds(training, search.cv):
        fold = replace(
            dataset,
            labelled=labelled,
            training=training.take(rows),
            heldout=training.take(validation),
        )
        result = fit_dataset(fold, options, search, on_fit)
        assert result.search is not None and result.heldout is not None
        yield OuterFold(result.search.best, result.heldout.metric(result.search.metric))


def _require_foldable_parts(dataset: CodeDataset, folds: int) -> None:
    """Refuse rows that cannot be split again once a fold is left out."""
    training, splits = dataset.training, make_folds(dataset.training, folds)
    for rows, _ in splits:
        try:
            require_foldable(training.take(rows), dataset.labelled.names)
        except LabelsError as error:
            raise LabelsError(
                "nested cross-validation splits the training images without a fold again, and "
                f"without one of the {len(splits)} {error}; or leave `nested` out"
            ) from error


def _calibrate(
    training: TrainingSet,
    options: ClassifierOptions,
    validation: CrossValidation | None,
    *,
    c: float,
    scaling: str,
) -> tuple[Calibration | None, float | None]:
    """Return the calibration by the folds' validation rows, and its error on them.

    Of several labels it is that of margins without an intercept.
    """
    if validation is None or (options.clf == "softmax" and _is_weighted(training, options)):
        return None, None
    calibration, values = validation.calibrate(c, scaling)
    return calibration, calibration_error(calibration, values, training.targets)


def _is_weighted(training: TrainingSet, options: ClassifierOptions) -> bool:
    """Return whether the labels of an image are to be given more readily than they occur."""
    return training.multilabel and options.class_weight is not None


def _make_head(
    dataset: CodeDataset,
    options: ClassifierOptions,
    scaler: FeatureScaler,
    solution: Solution,
    calibration: Calibration | None,
) -> Head:
    coef, intercept, training = solution.coef, solution.intercept, dataset.training
    if len(coef) == 1:
        coef, intercept = expand_binary(options.clf, coef, intercept)
    if calibration is None and options.clf == "softmax":  # log-probabilities already
        calibration = softmax_calibration(training.classes, multilabel=training.multilabel)
    elif calibration is not None and training.multilabel:
        # C is chosen for the order of the images. A small one, which may be the best for that,
        # leaves all margins of a rare label below 0: so 0 is where it is as likely as not.
        if not _is_weighted(training, options):
            intercept = -calibration.threshold
        calibration = calibration.with_intercept(intercept)
    return Head(
        clf=options.clf,
        features=dataset.features,
        classes=dataset.labelled.names,
        coef=coef,
        intercept=intercept,
        scaler=scaler,
        calibration=calibration,
        multilabel=training.multilabel,
        spec=dataset.spec,
        reference=dataset.reference,
        training_record={},
    )
