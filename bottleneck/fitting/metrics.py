"""How good a classifier is: its classes or labels, its ranking, its probabilities."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import LabelsError

_Z95 = 1.959963984540054  # the normal distribution's 97.5 % quantile


@dataclass(frozen=True)
class ClassificationScore:
    """A classifier's result on some labelled images.

    Attributes
    ----------
    split : str
        Which images; empty where they have no splits.
    n : int
        How many.
    accuracy : float
        Share that was right.
    ci95 : tuple of 2 float
        95 % interval of the accuracy (Wilson).
    mean_per_class : float
        Mean over classes of the share of their images that was right.
    classes : list of k str
        In the order of the confusion matrix.
    confusion : ndarray of int64, shape (k, k)
        Row: the true class; column: the predicted one.
    ece : float or None
        Expected calibration error; None where there are no probabilities.
    """

    split: str
    n: int
    accuracy: float
    ci95: tuple[float, float]
    mean_per_class: float
    classes: list[str]
    confusion: NDArray[np.int64]
    ece: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``fit --json`` and ``evaluate --json`` print them."""
        return {
            "split": self.split,
            "n": self.n,
            "accuracy": self.accuracy,
            "ci95": list(self.ci95),
            "mean_per_class": self.mean_per_class,
            "classes": self.classes,
            "confusion": self.confusion.tolist(),
            "ece": self.ece,
        }

    def measure(self, metric: str) -> float:
        """One of `METRICS` on these images."""
        return {
            "accuracy": self.accuracy,
            "balanced": self.mean_per_class,
            "macro_f1": _mean_f1(self.confusion),
        }[metric]


@dataclass(frozen=True)
class MultilabelScore:
    """A classifier's result on images that have any number of labels each.

    Attributes
    ----------
    split : str
        Which images; empty where they have no splits.
    n : int
        How many.
    accuracy : float
        Share of images whose labels were all right, none missing and none too many.
    ci95 : tuple of 2 float
        95 % interval of the accuracy (Wilson).
    mean_per_class : float
        Mean over labels that occur of the share of their images to which they were given.
    mean_average_precision : float
        Mean over labels that occur of their average precision.
    average_precision : dict of str to float or None
        As `mean_average_precision` defines it; None for a label that no image has.
    classes : list of k str
        The labels.
    ece : float or None
        Expected calibration error; None where there are no probabilities.
    """

    split: str
    n: int
    accuracy: float
    ci95: tuple[float, float]
    mean_per_class: float
    mean_average_precision: float
    average_precision: dict[str, float | None]
    classes: list[str]
    ece: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``fit --json`` and ``evaluate --json`` print them."""
        return {
            "split": self.split,
            "n": self.n,
            "accuracy": self.accuracy,
            "ci95": list(self.ci95),
            "mean_per_class": self.mean_per_class,
            "mean_average_precision": self.mean_average_precision,
            "average_precision": dict(self.average_precision),
            "classes": self.classes,
            "ece": self.ece,
        }

    def measure(self, metric: str) -> float:
        """Mean average precision, the one metric of several labels an image."""
        return {"mean_average_precision": self.mean_average_precision}[metric]


def score(
    true: NDArray[np.int64], predicted: NDArray[np.int64], classes: Sequence[str], *, split: str
) -> ClassificationScore:
    """Compare true and predicted classes.

    Parameters
    ----------
    true, predicted : ndarray of int64, shape (n,)
        Indices into `classes`; n is at least 1.
    classes : sequence of k str
        Their names.
    split : str
        Which images these are.
    """
    confusion = confusion_matrix(true, predicted, len(classes))
    hits, n = int(np.trace(confusion)), len(true)
    return ClassificationScore(
        split=split,
        n=n,
        accuracy=hits / n,
        ci95=wilson_interval(hits, n),
        mean_per_class=_mean_recall(confusion),
        classes=list(classes),
        confusion=confusion,
    )


def score_labels(
    true: NDArray[np.bool_], margins: NDArray[np.float64], classes: Sequence[str], *, split: str
) -> MultilabelScore:
    """Compare true labels with margins; a label is given where its margin is above 0.

    Parameters
    ----------
    true : ndarray of bool, shape (n, k)
        Which image has which label; n is at least 1.
    margins : ndarray of float64, shape (n, k)
    classes : sequence of k str
        The labels' names.
    split : str
        Which images these are.

    Raises
    ------
    LabelsError
        No image has any label.
    """
    given = margins > 0
    hits, n = int((given == true).all(axis=1).sum()), len(true)
    precisions = _average_precisions(true, margins)
    return MultilabelScore(
        split=split,
        n=n,
        accuracy=hits / n,
        ci95=wilson_interval(hits, n),
        mean_per_class=_mean_share((given & true).sum(axis=0), true.sum(axis=0)),
        mean_average_precision=_mean_of_known(precisions),
        average_precision=dict(zip(classes, precisions, strict=True)),
        classes=list(classes),
    )


def confusion_matrix(
    true: NDArray[np.int64], predicted: NDArray[np.int64], k: int
) -> NDArray[np.int64]:
    """Count the images of every true class (row) by their predicted class (column).

    Parameters
    ----------
    true, predicted : ndarray of int64, shape (n,)
        Classes from 0 to k - 1.
    k : int

    Returns
    -------
    ndarray of int64, shape (k, k)
    """
    return np.bincount(true * k + predicted, minlength=k * k).reshape(k, k).astype(np.int64)


def accuracy(true: NDArray[np.int64], predicted: NDArray[np.int64], k: int) -> float:
    """Share of images that are right; arguments as in `confusion_matrix`, n at least 1."""
    return float(np.trace(confusion_matrix(true, predicted, k)) / len(true))


def balanced_accuracy(true: NDArray[np.int64], predicted: NDArray[np.int64], k: int) -> float:
    """Mean over classes that have images of the share of them that is right.

    K. H. Brodersen et al., "The balanced accuracy and its posterior distribution", ICPR 2010.
    Arguments as in `confusion_matrix`, n at least 1.
    """
    return _mean_recall(confusion_matrix(true, predicted, k))


def macro_f1(true: NDArray[np.int64], predicted: NDArray[np.int64], k: int) -> float:
    """Mean F1 over classes that have images or were predicted.

    scikit-learn's ``f1_score(average="macro")``: the mean of every class's F1, not the F1 of mean
    precision and mean recall. Arguments as in `confusion_matrix`, n at least 1.
    """
    return _mean_f1(confusion_matrix(true, predicted, k))


Metric = Callable[[NDArray[np.int64], NDArray[np.int64], int], float]

METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "balanced": balanced_accuracy,
    "macro_f1": macro_f1,
}


def mean_average_precision(true: NDArray[np.bool_], margins: NDArray[np.float64]) -> float:
    """Mean over labels that occur of their average precision.

    AP = Σᵢ (Rᵢ − Rᵢ₋₁) Pᵢ, with recall Rᵢ and precision Pᵢ of the images at or above the i-th of
    the distinct margins in descending order, and without interpolation: scikit-learn's
    ``average_precision_score``, not the 11-point mean of PASCAL VOC up to 2009.

    Parameters
    ----------
    true : ndarray of bool, shape (n, k)
        Which image has which label.
    margins : ndarray of float64, shape (n, k)

    Raises
    ------
    LabelsError
        No image has any label.
    """
    return _mean_of_known(_average_precisions(true, margins))


def expected_calibration_error(
    probabilities: NDArray[np.float64],
    true: NDArray[np.int64] | NDArray[np.bool_],
    *,
    bins: int = 15,
) -> float:
    """How far confidence is from the share that is right, on average over bins of confidence.

    C. Guo et al., "On calibration of modern neural networks", ICML 2017, equation 3, with their
    15 bins of equal width, each of which includes its right edge.

    Parameters
    ----------
    probabilities : ndarray of float64, shape (n, k)
        n is at least 1.
    true : ndarray of int64, shape (n,), or of bool, shape (n, k)
        One class for each image: its prediction is the most probable class. Or any number of
        labels: every label of every image is a prediction, yes above one half, and its confidence
        is the probability of the side that it took.
    bins : int
        At least 1.
    """
    if true.ndim == 1:
        confidence = probabilities.max(axis=1)
        right = probabilities.argmax(axis=1) == true
    else:
        confidence = np.maximum(probabilities, 1 - probabilities).ravel()
        right = ((probabilities > 0.5) == true).ravel()
    inner_edges = np.linspace(0, 1, bins + 1)[1:-1]
    place = np.digitize(confidence, inner_edges, right=True)
    # |B|/n · |accuracy(B) − confidence(B)| is the absolute sum of the differences in B, over n.
    return float(np.abs(np.bincount(place, weights=right - confidence)).sum() / len(confidence))


def wilson_interval(hits: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    J. Am. Stat. Assoc. 22 (1927); unlike the usual ±, right for small n and for shares near 1.

    Parameters
    ----------
    hits, n : int
        `hits` of `n`, n at least 1.
    """
    share, z2 = hits / n, _Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # At shares 0 and 1 a bound is 0 or 1 exactly; rounding would leave it a hair beside.
    return (centre - half if hits else 0.0), (centre + half if hits < n else 1.0)


def _mean_recall(confusion: NDArray[np.int64]) -> float:
    return _mean_share(np.diag(confusion), confusion.sum(axis=1))


def _mean_f1(confusion: NDArray[np.int64]) -> float:
    # F1 = 2 TP / (2 TP + FN + FP): a class's row and its column in one sum.
    return _mean_share(2 * np.diag(confusion), confusion.sum(axis=1) + confusion.sum(axis=0))


def _mean_share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> float:
    known = whole > 0  # a class without images says nothing of the classifier
    return float((part[known] / whole[known]).mean())


def _mean_of_known(values: Sequence[float | None]) -> float:
    return float(np.mean([value for value in values if value is not None]))


def _average_precisions(
    true: NDArray[np.bool_], margins: NDArray[np.float64]
) -> list[float | None]:
    if not true.any():
        raise LabelsError(
            f"no image has any of the {true.shape[1]} labels, so there is no mean over labels: "
            "judge images of which some have one"
        )
    return [_average_precision(*label) for label in zip(true.T, margins.T, strict=True)]


def _average_precision(true: NDArray[np.bool_], margins: NDArray[np.float64]) -> float | None:
    if not true.any():
        return None
    order = np.argsort(margins)[::-1]
    # Images of one margin come together or not at all: only the last of them is a threshold.
    last = np.flatnonzero(np.append(np.diff(margins[order]) != 0, True))
    hits = np.cumsum(true[order])[last]
    precision, new_hits = hits / (last + 1), np.diff(hits, prepend=0)
    return float(precision @ new_hits / hits[-1])
