"""How good a classifier is: accuracy with its interval, mean per class, confusion."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Z95 = 1.959963984540054  # the normal distribution's 97.5 % quantile


@dataclass(frozen=True)
class Score:
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
    """

    split: str
    n: int
    accuracy: float
    ci95: tuple[float, float]
    mean_per_class: float
    classes: list[str]
    confusion: NDArray[np.int64]

    def to_json(self) -> dict[str, Any]:
        """Plain values, as ``fit --json`` and ``evaluate --json`` print them."""
        return {
            "split": self.split,
            "n": self.n,
            "accuracy": self.accuracy,
            "ci95": list(self.ci95),
            "mean_per_class": self.mean_per_class,
            "classes": self.classes,
            "confusion": self.confusion.tolist(),
        }


def score(
    true: NDArray[np.int64], predicted: NDArray[np.int64], classes: Sequence[str], *, split: str
) -> Score:
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
    k = len(classes)
    confusion = np.bincount(true * k + predicted, minlength=k * k).reshape(k, k).astype(np.int64)
    right, of_class = np.diag(confusion), confusion.sum(axis=1)
    present = of_class > 0  # a class without images says nothing of the classifier
    hits, n = int(right.sum()), len(true)
    return Score(
        split=split,
        n=n,
        accuracy=hits / n,
        ci95=wilson_interval(hits, n),
        mean_per_class=float((right[present] / of_class[present]).mean()),
        classes=list(classes),
        confusion=confusion,
    )


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
