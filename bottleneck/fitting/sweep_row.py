"""One row of a sweep: a classifier on the codes of one layer or of several together."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bottleneck.fitting.loading.features import Features
from bottleneck.fitting.scoring.scores import Score
from bottleneck.fitting.selection.nested import OuterFold
from bottleneck.fitting.selection.search_result import Candidate
from bottleneck.runtime import escape_unprintable


@dataclass(frozen=True)
class SweepRow:
    """Cross-validated result of one classifier on one layer.

    It holds no coefficients: those of many layers need not fit into memory together.

    Attributes
    ----------
    features : Features
        One layer or all of them together, and the views of each image.
    clf : str
        ``"svm"`` or ``"softmax"``.
    size : int
        Number of values of a code.
    cost : float or None
        Share of the network's multiply-adds up to the deepest layer, for each view; None where the
        cache has no record.
    cv : Candidate
        Cross-validation of the selected C and scaling.
    metric : str
        Name of the metric in `cv`.
    heldout : ClassificationScore, MultilabelScore or None
        Score on the held-out split, which takes no part in the recommendation.
    majority_baseline : float or None
        Metric of always predicting the most frequent class; None for several labels an image.
    converged : bool
        Whether the final training met its tolerance for every class.
    seconds : float
        Training time, without reading the codes.
    record : dict
        `FitResult.record` of this row. It has no confusion matrix, which `heldout` makes.
    outer : tuple of OuterFold
        Outer folds of a nested cross-validation, the same images in every row of a sweep; empty
        without one.
    """

    features: Features
    clf: str
    size: int
    cost: float | None
    cv: Candidate
    metric: str
    heldout: Score | None
    majority_baseline: float | None
    converged: bool
    seconds: float
    record: dict[str, Any]
    outer: tuple[OuterFold, ...] = ()

    @property
    def layer(self) -> str:
        """Layer of the cache, or ``"all layers"``; with the views of each image if several."""
        several = len(self.layers) > 1
        return str(replace(self.features, layers=("all layers",)) if several else self.features)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers whose codes are side by side, as `bottleneck.fit` takes them."""
        return self.features.layers

    @property
    def views(self) -> int:
        """Views of each image, as `bottleneck.fit` takes them."""
        return self.features.views

    @property
    def heldout_metric(self) -> float | None:
        """The metric on the held-out split; None without one."""
        return None if self.heldout is None else self.heldout.metric(self.metric)

    @property
    def nested_metric(self) -> float | None:
        """The mean over the outer folds, of this row alone; None without them."""
        return float(np.mean([fold.score for fold in self.outer])) if self.outer else None

    def __str__(self) -> str:
        """Name the classifier and the layer."""
        return f"{self.clf} on {escape_unprintable(self.layer)}"
