"""Metrics of classifiers: accuracy, average precision and calibration error."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import LabelsError
from bottleneck.linear import Calibration, row_blocks


def confusion_matrix(
    true: NDArray[np.int64], predicted: NDArray[np.int64], k: int
) -> NDArray[np.int64]:
    """Count the images of every true class (row) by their predicted class (column).

    Parameters
    ----------
    true, predicted : ndarray of int64, shape (n,)
        Classes from 0 to k - 1.
    k : int
        Number of classes.

    Returns
    -------
    ndarray of int64, shape (k, k)

    Examples
    --------
    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    array([[1, 1],
           [0, 1]])
    """
    return (
        np.bincount(true * k + predicted, minlength=k * k)
        .reshape(k, k)
        .astype(np.int64, copy=False)
    )


class ClassCounts(NamedTuple):
    """Images of each class. Metrics of many classes need no confusion matrix.

    Attributes
    ----------
    right, images, predicted : ndarray of int64, shape (k,)
        How many of a class were predicted as it, how many there are, and how many of any class were
        predicted as it.
    """

    right: NDArray[np.int64]
    images: NDArray[np.int64]
    predicted: NDArray[np.int64]


def class_counts(true: NDArray[np.int64], predicted: NDArray[np.int64], k: int) -> ClassCounts:
    """Count the images of each class, and those that were predicted as it.

    Parameters
    ----------
    true, predicted : ndarray of int64, shape (n,)
        Classes from 0 to k - 1.
    k : int
        Number of classes.

    Examples
    --------
    >>> [each.tolist() for each in class_counts(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)]
    [[1, 1], [2, 1], [1, 2]]
    """
    counted = (true[true == predicted], true, predicted)
    return ClassCounts(
        *(np.bincount(each, minlength=k).astype(np.int64, copy=False) for each in counted)
    )


def share_correct(counts: ClassCounts) -> float:
    """Return the accuracy: the share of images whose class was predicted."""
    return float(counts.right.sum() / counts.images.sum())


def mean_recall(counts: ClassCounts) -> float:
    """Return the balanced accuracy: the mean recall over the classes that have images.

    K. H. Brodersen et al., "The balanced accuracy and its posterior distribution", ICPR 2010.
    """
    return mean_ratio(counts.right, counts.images)


def mean_f1(counts: ClassCounts) -> float:
    """Return the mean F1 over the classes that have images or were predicted.

    It equals scikit-learn's ``f1_score(average="macro")``: the mean of the F1 of each class, not
    the F1 of mean precision and mean recall.
    """
    # F1 = 2 TP / (2 TP + FN + FP); the denominator is all that are or were predicted.
    return mean_ratio(2 * counts.right, counts.images + counts.predicted)


METRICS: dict[str, Callable[[ClassCounts], float]] = {
    "accuracy": share_correct,
    "balanced": mean_recall,
    "macro_f1": mean_f1,
}
"""By name, each a function of the counts of at least one image."""


def answers_of(values: NDArray[Any], *, multilabel: bool) -> NDArray[Any]:
    """Return what `score_answers` judges of decision values.

    Parameters
    ----------
    values : ndarray of float, shape (n, k)
    multilabel : bool
        Whether an image may have several labels.

    Returns
    -------
    ndarray of int64, shape (n,), or of float, shape (n, k)
        The class of the highest value of each image; with several labels an image the values.

    Examples
    --------
    >>> answers_of(np.array([[0.1, 0.7], [0.3, 0.2]]), multilabel=False)
    array([1, 0])
    """
    return values if multilabel else values.argmax(axis=1)


def score_answers(true: NDArray[Any], answers: NDArray[Any], k: int, metric: str) -> float:
    """Return the metric by which classifiers are compared.

    Parameters
    ----------
    true : ndarray of int64, shape (n,), or of bool, shape (n, k)
        Class of each image, or which labels it has; n is at least 1.
    answers : ndarray of int64, shape (n,), or of float64, shape (n, k)
        Predicted class of each image; with several labels an image the decision values.
    k : int
        Number of classes or labels.
    metric : str
        One of `METRICS`; several labels an image always have the mean average precision.

    Examples
    --------
    >>> true, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    >>> [round(score_answers(true, predicted, 2, metric), 3) for metric in METRICS]
    [0.75, 0.833, 0.733]
    """
    if true.ndim == 2:
        return mean_average_precision(true, answers)
    return METRICS[metric](class_counts(true, answers, k))


def guessing_score(true: NDArray[Any], k: int, metric: str) -> float:
    """Return the metric of the most frequent class for every image; of equal values for each label.

    Parameters
    ----------
    true, k, metric
        As for `score_answers`.

    Examples
    --------
    >>> guessing_score(np.array([0, 0, 0, 1]), 2, "accuracy")
    0.75
    """
    if true.ndim == 2:
        return mean_average_precision(true, np.zeros(true.shape))
    return score_answers(true, np.full_like(true, np.bincount(true).argmax()), k, metric)


def mean_average_precision(true: NDArray[np.bool_], decision_values: NDArray[np.float64]) -> float:
    """Return the mean average precision over the labels that occur.

    AP = Σᵢ (Rᵢ − Rᵢ₋₁) Pᵢ, where recall Rᵢ and precision Pᵢ are those of the images whose decision
    value is at least the i-th largest distinct one. There is no interpolation: it equals
    scikit-learn's ``average_precision_score``, not the 11-point mean of PASCAL VOC up to 2009.

    Parameters
    ----------
    true : ndarray of bool, shape (n, k)
        Whether image i has label j.
    decision_values : ndarray of float64, shape (n, k)
        Score of each label.

    Raises
    ------
    LabelsError
        No image has any label.

    Examples
    --------
    >>> true = np.array([[True, False], [False, True], [True, True]])
    >>> values = np.array([[2.0, 1.0], [1.0, 2.0], [0.5, 3.0]])
    >>> round(mean_average_precision(true, values), 3)
    0.917
    """
    return mean_of_known(average_precisions(true, decision_values))


class CalibrationBins(NamedTuple):
    """Predictions by their confidence, in bins of equal width.

    Attributes
    ----------
    predictions : ndarray of int64, shape (bins,)
        How many are in each bin.
    confidence, correct : ndarray of float64, shape (bins,)
        Sum of their confidences, and how many are right.
    """

    predictions: NDArray[np.int64]
    confidence: NDArray[np.float64]
    correct: NDArray[np.float64]

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance between confidence and accuracy.

        C. Guo et al., "On calibration of modern neural networks", ICML 2017, equation 3.
        """
        # |B|/n · |accuracy(B) − confidence(B)| is the absolute difference of the sums in B, over n.
        return float(np.abs(self.correct - self.confidence).sum() / self.predictions.sum())


def calibration_bins(
    probabilities: NDArray[np.float64],
    true: NDArray[np.int64] | NDArray[np.bool_],
    *,
    predicted: NDArray[np.bool_] | None = None,
    bins: int = 15,
) -> CalibrationBins:
    """Sort predictions into bins of confidence of equal width, each with its right edge.

    Parameters
    ----------
    probabilities : ndarray of float64, shape (n, k)
        Predicted probabilities; n is at least 1.
    true : ndarray of int64, shape (n,), or of bool, shape (n, k)
        For one class an image, the prediction is the most probable class. For several labels an
        image, each label of each image is a prediction, whose confidence is the probability of the
        predicted answer.
    predicted : ndarray of bool, shape (n, k), optional
        For several labels, the answers. A label whose probability is above one half is a yes unless
        given: an SVM with class weights answers otherwise.
    bins : int
        Number of bins, at least 1; 15 as Guo et al. have it.

    Examples
    --------
    >>> found = calibration_bins(np.array([[0.75, 0.25]] * 4), np.array([0, 0, 0, 1]), bins=2)
    >>> found.predictions.tolist(), found.confidence.tolist(), found.correct.tolist()
    ([0, 4], [0.0, 3.0], [0.0, 3.0])
    >>> found.error
    0.0
    """
    if true.ndim == 1:
        confidence = probabilities.max(axis=1)
        correct = probabilities.argmax(axis=1) == true
    else:
        answers = probabilities > 0.5 if predicted is None else predicted
        confidence = np.where(answers, probabilities, 1 - probabilities).ravel()
        correct = (answers == true).ravel()
    inner_edges = np.linspace(0, 1, bins + 1)[1:-1]
    bin_of = np.digitize(confidence, inner_edges, right=True)

    predictions = np.bincount(bin_of, minlength=bins).astype(np.int64)
    confidences = np.bincount(bin_of, weights=confidence, minlength=bins).astype(np.float64)
    right = np.bincount(bin_of, weights=correct, minlength=bins).astype(np.float64)
    return CalibrationBins(predictions, confidences, right)


def calibration_error(
    calibration: Calibration, values: NDArray[np.float64], true: NDArray[Any]
) -> float:
    """Return the expected calibration error of decision values, as a classifier answers them.

    Probabilities are made for some rows at a time.

    Parameters
    ----------
    calibration : Calibration
    values : ndarray of float64, shape (n, k)
        n is at least 1.
    true : ndarray of int64, shape (n,), or of bool, shape (n, k)
        Class of each image, or which labels it has.

    Examples
    --------
    >>> same = Calibration(np.ones(2), np.zeros(2), independent=False)
    >>> calibration_error(same, np.array([[np.log(3), 0.0]] * 4), np.array([0, 0, 0, 1]))
    0.0
    """
    bins = [
        calibration_bins(
            calibration.probabilities(values[rows]),
            true[rows],
            predicted=values[rows] > 0 if true.ndim == 2 else None,
        )
        for rows in row_blocks(values)
    ]
    return CalibrationBins(*np.sum(bins, axis=0)).error


def mean_ratio(counts: NDArray[np.int64], totals: NDArray[np.int64]) -> float:
    """Return the mean of ``counts / totals`` over the classes whose total is not 0."""
    occurs = totals > 0
    return float((counts[occurs] / totals[occurs]).mean())


def mean_of_known(values: Sequence[float | None]) -> float:
    """Return the mean of the values that are not None."""
    return float(np.mean([value for value in values if value is not None]))


def average_precisions(
    true: NDArray[np.bool_], decision_values: NDArray[np.float64]
) -> list[float | None]:
    """Return the average precision of each label; None for a label that no image has.

    Parameters
    ----------
    true : ndarray of bool, shape (n, k)
        Whether image i has label j.
    decision_values : ndarray of float64, shape (n, k)
        Score of each label.

    Raises
    ------
    LabelsError
        No image has any label.
    """
    if not true.any():
        raise LabelsError(
            f"no image has any of the {true.shape[1]} labels, so there is no mean over labels: "
            "judge images of which some have one"
        )
    return [_average_precision(*label) for label in zip(true.T, decision_values.T, strict=True)]


def _average_precision(
    true: NDArray[np.bool_], decision_values: NDArray[np.float64]
) -> float | None:
    if not true.any():
        return None
    order = np.argsort(decision_values)[::-1]
    # Equal values are predicted together, so that only the last of them is a threshold.
    last = np.flatnonzero(np.append(np.diff(decision_values[order]) != 0, True))
    hits = np.cumsum(true[order])[last]
    precision, new_hits = hits / (last + 1), np.diff(hits, prepend=0)
    return float(precision @ new_hits / hits[-1])


def format_metric(name: str) -> str:
    """Return the name of a metric as tables print it.

    Examples
    --------
    >>> format_metric("mean_average_precision")
    'mean average precision'
    """
    return name.replace("_", " ")


def format_calibration_error(ece: float | None) -> str:
    """Return the end of a line that states a calibration error; empty without one.

    Examples
    --------
    >>> format_calibration_error(0.034)
    ', calibration error 3.4%'
    """
    return "" if ece is None else f", calibration error {ece:.1%}"
