"""Nested cross-validation: the score of a choice on images that took no part in it."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from bottleneck.fitting.scoring.metrics import format_metric
from bottleneck.fitting.selection.search_result import Candidate
from bottleneck.runtime import PreformattedText, escape_unprintable, format_names

_MOST_CHOICES = 4  # of those that the text names


@dataclass(frozen=True)
class OuterFold:
    """One fold of the training rows, and what was chosen without it.

    Attributes
    ----------
    cv : Candidate
        C and scaling, selected by cross-validation within the other folds.
    score : float
        Metric on this fold, of the classifier that was trained with them on all other folds.
    """

    cv: Candidate
    score: float


@dataclass(frozen=True)
class NestedScore(PreformattedText):
    """Score of a choice by cross-validation, on images that took no part in it.

    The cross-validated score of the best of many is too high, because it was chosen for it. Here
    every fold judges what was chosen, by another cross-validation, within the other folds
    (M. Stone, "Cross-validatory choice and assessment of statistical predictions", J. R. Stat. Soc.
    B 36, 1974; G. C. Cawley and N. L. C. Talbot, "On over-fitting in model selection and subsequent
    selection bias in performance evaluation", JMLR 11, 2010).

    Attributes
    ----------
    metric : str
        Name of the metric.
    selected : float
        Cross-validated mean of what was chosen on all training rows.
    scores : tuple of float
        Metric on each fold, of what was chosen without it.
    choices : tuple of str
        What was chosen without each fold.
    alternatives : str
        What the choice was among.

    Examples
    --------
    >>> scores, choices = (0.90, 0.94, 0.89), ("svm on a", "svm on b", "svm on a")
    >>> print(NestedScore("accuracy", 0.93, scores, choices, "12 rows"))
    chosen by cross-validation: accuracy 93.0%; nested: 91.0% ± 1.5%: choosing among 12 rows \
cost 2.0 points
    chosen without each fold: svm on a (2 of 3), svm on b (1 of 3)
    """

    metric: str
    selected: float
    scores: tuple[float, ...]
    choices: tuple[str, ...]
    alternatives: str

    @property
    def mean(self) -> float:
        """Mean over the folds."""
        return float(np.mean(self.scores))

    @property
    def standard_error(self) -> float:
        """Standard error of the mean over the folds, which hold whole groups."""
        return float(np.std(self.scores, ddof=1) / np.sqrt(len(self.scores)))

    @property
    def optimism(self) -> float:
        """By how much the choice's own cross-validation is above the nested one."""
        return self.selected - self.mean

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "metric": self.metric,
            "mean": self.mean,
            "standard_error": self.standard_error,
            "scores": list(self.scores),
            "choices": list(self.choices),
            "selected": self.selected,
            "optimism": self.optimism,
        }

    def __str__(self) -> str:
        """Format the score, what the choice cost, and how often the folds agree on it."""
        cost = f"{100 * self.optimism:.1f} points" if self.optimism > 0 else "nothing"
        named = [
            f"{escape_unprintable(choice)} ({count} of {len(self.choices)})"
            for choice, count in Counter(self.choices).most_common()
        ]
        return (
            f"chosen by cross-validation: {format_metric(self.metric)} {self.selected:.1%}; "
            f"nested: {self.mean:.1%} ± {self.standard_error:.1%}: "
            f"choosing among {self.alternatives} cost {cost}\n"
            f"chosen without each fold: {format_names(named, _MOST_CHOICES)}"
        )
