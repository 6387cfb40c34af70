"""Select C and the feature scaling by cross-validation on the training rows."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.fitting.folds import Fold, make_folds
from bottleneck.fitting.metrics import METRICS, mean_average_precision
from bottleneck.fitting.options import SearchOptions
from bottleneck.fitting.search_result import Candidate, SearchResult
from bottleneck.linear import (
    SEARCH_TOL,
    Calibration,
    ClassifierOptions,
    Solution,
    TrainingSet,
    fit_platt,
    fit_temperature,
    train,
)

# The best C differs by five decades between data sets (S. Kornblith, J. Shlens and Q. Le, "Do
# better ImageNet models transfer better?", 2019); then eighths of a decade around the best.
C_GRID: tuple[float, ...] = tuple(float(c) for c in np.logspace(-6, 5, 23))
_FINE_FACTORS = tuple(10 ** (step / 8) for step in (-3, -2, -1, 1, 2, 3))
_DIGITS = 12  # of a mean; further digits are rounding errors, which must not break ties


def select_c(
    training: TrainingSet, options: ClassifierOptions, search: SearchOptions
) -> SearchResult:
    """Cross-validate values of C and scalings, and select the best candidate.

    Scalings and classifiers are fitted to the training rows of each fold alone.

    Parameters
    ----------
    training : TrainingSet
        Training rows.
    options : ClassifierOptions
        Classifier.
    search : SearchOptions
        Values of C, scalings, folds, metric and rule; `cv` is at least 2.

    Returns
    -------
    SearchResult

    Raises
    ------
    InvalidOptionError
        `cv` is below 2.
    LabelsError
        A class has too few images or groups for two folds.

    Examples
    --------
    >>> from bottleneck.linear.matrix import ArrayMatrix
    >>> codes = np.random.default_rng(0).normal(size=(40, 2)) + 4 * np.eye(2)[np.arange(40) % 2]
    >>> training = TrainingSet(ArrayMatrix(codes), np.arange(40) % 2, 2)
    >>> result = select_c(training, ClassifierOptions("svm"), SearchOptions(c=[0.1, 1.0], cv=4))
    >>> len(result.candidates), result.folds, result.best.mean > 0.9
    (2, 4, True)
    """
    splits = make_folds(training, search.cv)
    scalings = search.scalings
    candidates: list[Candidate] = []
    for scaling in scalings:
        grid = search.grid or C_GRID
        candidates += _cross_validate(
            training, options, splits, grid, scaling=scaling, metric=search.metric
        )
    best = _best(candidates, search.rule)
    if search.grid is None:
        fine = [best.c * factor for factor in _FINE_FACTORS]
        candidates += _cross_validate(
            training, options, splits, fine, scaling=best.scaling, metric=search.metric
        )
        best = _best(candidates, search.rule)
    candidates.sort(key=lambda candidate: (scalings.index(candidate.scaling), candidate.c))
    metric = "mean_average_precision" if training.multilabel else search.metric
    return SearchResult(best, candidates, len(splits), metric)


def cross_val_calibrate(
    training: TrainingSet, options: ClassifierOptions, *, c: float, scaling: str, folds: int
) -> tuple[Calibration, NDArray[np.float64]]:
    """Fit a calibration to the decision values of validation rows.

    Parameters
    ----------
    training : TrainingSet
        Training rows.
    options : ClassifierOptions
        Classifier.
    c : float
        C of the classifier.
    scaling : str
        Scaling of the features.
    folds : int
        Number of folds, at least 2.

    Returns
    -------
    calibration : Calibration
        A temperature; for several labels an image, the slope and offset of each label (Platt).
    decision_values : ndarray of float64, shape (n, k)
        The values that it was fitted to: those of each row, by a classifier that was trained
        without it.
    """
    values = np.zeros((len(training.targets), training.classes))
    for rows, validation in make_folds(training, folds):
        scaler, solution = train(training.take(rows), options, c=c, scaling=scaling)
        held_back = training.take(validation).scaled(scaler).averaged()
        part = np.concatenate(list(held_back.codes.map_blocks(solution.decision_function)))
        values[validation] = np.hstack([-part, part]) if part.shape[1] == 1 else part
    fit = fit_platt if training.multilabel else fit_temperature
    return fit(values, training.targets), values


def _cross_validate(
    training: TrainingSet,
    options: ClassifierOptions,
    splits: Sequence[Fold],
    grid: Iterable[float],
    *,
    scaling: str,
    metric: str,
) -> list[Candidate]:
    cs = sorted(grid)
    scores: list[list[float]] = [[] for _ in cs]
    gaps: list[list[float]] = [[] for _ in cs]
    converged = [True for _ in cs]
    for rows, validation in splits:
        fold = training.take(rows)
        scaler = fold.fit_scaler(scaling)
        path = list(options.path(fold.scaled(scaler), cs, tol=SEARCH_TOL))
        fold_scores = _scores(path, training.take(validation).scaled(scaler).averaged(), metric)
        for i, (solution, score) in enumerate(zip(path, fold_scores, strict=True)):
            scores[i].append(score)
            gaps[i].append(float(solution.gap.max()))
            converged[i] &= bool(solution.converged.all())
    return [
        Candidate(scaling, c, tuple(score), max(gap), met)
        for c, score, gap, met in zip(cs, scores, gaps, converged, strict=True)
    ]


def _scores(path: Sequence[Solution], validation: TrainingSet, metric: str) -> list[float]:
    """Return the metric of each classifier on validation rows, which are read once."""
    predict = partial(_predict, path=path, multilabel=validation.multilabel)
    predictions = map(np.concatenate, zip(*validation.codes.map_blocks(predict), strict=True))
    targets, k = validation.targets, validation.classes
    if validation.multilabel:
        return [mean_average_precision(targets, values) for values in predictions]
    return [METRICS[metric](targets, classes, k) for classes in predictions]


def _predict(
    block: NDArray[Any], *, path: Sequence[Solution], multilabel: bool
) -> list[NDArray[Any]]:
    """Return each classifier's class of every row; its decision values for several labels."""
    values = (solution.decision_function(block) for solution in path)
    return list(values) if multilabel else [_classes(each) for each in values]


def _classes(decision_values: NDArray[Any]) -> NDArray[np.int64]:
    """Return the class of the highest value; two classes have a single column."""
    if decision_values.shape[1] == 1:
        return (decision_values[:, 0] > 0).astype(np.int64)
    return np.asarray(decision_values.argmax(axis=1))


def _best(candidates: Sequence[Candidate], rule: str) -> Candidate:
    """Return the candidate of the highest mean; of equal means the one of the smallest C."""
    best = max(candidates, key=lambda candidate: (round(candidate.mean, _DIGITS), -candidate.c))
    if rule == "best":
        return best
    # L. Breiman et al., "Classification and regression trees" (1984), section 3.4.3.
    threshold = round(best.mean - best.standard_error, _DIGITS)
    same_scaling = [one for one in candidates if one.scaling == best.scaling]
    return min(
        (one for one in same_scaling if round(one.mean, _DIGITS) >= threshold),
        key=lambda one: one.c,
    )
