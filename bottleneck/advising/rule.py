"""Choose the recommended strategy by the rule of docs/advise.md."""

from dataclasses import dataclass
from typing import Any

from bottleneck.advising.comparison import Comparison, Gain
from bottleneck.advising.strategies import LinearStrategy
from bottleneck.advising.tuned import TunedStrategy
from bottleneck.fitting import LearningCurve, PairedComparison

# docs/advise.md says which measurements each of these follows.
_UNLIKE_ERRORS = 2  # standard errors by which another strategy beats the last layer
_LEAST_ERROR = 0.05  # 1 - metric: below it, nothing that was measured was worth its cost
_GAP = 0.05  # between training images and out-of-fold ones
_FLAT = 0.02  # that twice as many images give at most
_MANY = 1000  # training images: training the network paid with 1295, and never with 245


@dataclass(frozen=True)
class Findings:
    """What was measured beside the strategies.

    Attributes
    ----------
    images : int
        Training images, each counted once.
    curve : LearningCurve
        Of the chosen strategy's layers, of the images alone.
    training_score : float
        Metric of the chosen strategy on the images that it was trained on.
    gap : float
        By how much that is above its out-of-fold score.
    neighbours : float or None
        Accuracy of nearest neighbours at the best single layer; None with several labels an image.
    unlike : bool or None
        Whether earlier layers are worth more than chance: the images are unlike those that the
        network was trained on. None where there is one layer.
    views : bool
        Whether strategies with several views were measured.
    """

    images: int
    curve: LearningCurve
    training_score: float
    gap: float
    neighbours: float | None
    unlike: bool | None
    views: bool

    @property
    def rising(self) -> bool:
        """Whether more images would help: the law rises, and not by so little."""
        predicted = self.curve.predicted
        return predicted is not None and predicted.gain_interval[0] > 0 and not self.flat

    @property
    def flat(self) -> bool:
        """Whether twice as many images would help by less than two points at most."""
        predicted = self.curve.predicted
        return predicted is not None and predicted.gain_interval[1] < _FLAT

    @property
    def many(self) -> bool:
        """Whether the images are enough to train a network without overfitting."""
        return self.images >= _MANY

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "learning_curve": self.curve.to_dict(),
            "training_score": self.training_score,
            "gap": self.gap,
            "nearest_neighbours": self.neighbours,
            "unlike": self.unlike,
            "rising": self.rising,
            "flat": self.flat,
            "many": self.many,
        }


@dataclass(frozen=True)
class Decision:
    """What is recommended.

    Attributes
    ----------
    kind : str
        ``"last layer"``, ``"one layer"``, ``"all layers"``, ``"views"``, ``"tail"`` or
        ``"whole network"``.
    measured : bool
        Whether it was measured; otherwise it is expected by the rule.
    linear : LinearStrategy
        The linear head to use: the recommendation, or the best measured one until the
        recommendation is measured.
    tuned : TunedStrategy or None
        The tail to take.
    gain : Gain
        Of the linear head over the last layer's.
    pairs : PairedComparison or None
        The same image by image; None with several labels an image.
    """

    kind: str
    measured: bool
    linear: LinearStrategy
    tuned: TunedStrategy | None
    gain: Gain
    pairs: PairedComparison | None


def is_unlike(comparison: Comparison) -> bool | None:
    """Return whether plain strategies with earlier layers beat the last layer by more than chance.

    Of the last layer, the best pooling counts.

    Where the best layer lies, and what earlier layers add, is how unlike the images are to those
    that the network was trained on (J. Yosinski et al., "How transferable are features in deep
    neural networks?", 2014). More than chance is two standard errors of a paired difference.
    """
    if not comparison.earlier:
        return None
    return any(
        comparison.beats(one, comparison.best_last, errors=_UNLIKE_ERRORS)
        for one in comparison.earlier
    )


def decide(
    comparison: Comparison,
    findings: Findings,
    tuned: tuple[TunedStrategy, ...],
    pairs: PairedComparison | None,
) -> Decision:
    """Apply the rule of docs/advise.md.

    The linear head is the cheapest within one standard error, and two points, of the best. A tail
    that was measured is taken if it beats the best linear head by more than a standard error. What
    was not measured is recommended where the measurements say that it is expected to be better.
    """
    linear = comparison.chosen
    gain = comparison.gain(linear, comparison.last)
    better = [one for one in tuned if one.better]
    if better:
        best = max(better, key=lambda one: one.gain or 0.0)
        kind = "tail" if best.boundary else "whole network"
        return Decision(kind, True, linear, best, gain, pairs)
    expected = expected_kind(findings, 1 - comparison.score(linear), tuned=bool(tuned))
    kind = expected or _kind(linear, comparison.last)
    return Decision(kind, not expected, linear, None, gain, pairs)


def expected_kind(findings: Findings, error: float, *, tuned: bool = False) -> str:
    """Return what is expected to beat all that was measured: views, the whole network, or nothing.

    Parameters
    ----------
    findings : Findings
    error : float
        What the recommended linear head lacks to a metric of 1.
    tuned : bool
        Whether training the network was measured.

    Examples
    --------
    >>> curve = LearningCurve("accuracy", (), None)
    >>> found = Findings(245, curve, 1.0, gap=0.1, neighbours=None, unlike=True, views=False)
    >>> expected_kind(found, 0.10), expected_kind(found, 0.03)
    ('views', '')
    """
    if error < _LEAST_ERROR:
        return ""
    overfits = findings.gap > _GAP
    if findings.unlike and not findings.views and (overfits or findings.rising):
        return "views"
    if findings.many and findings.flat and not overfits and not tuned:
        return "whole network"
    return ""


def _kind(strategy: LinearStrategy, last: LinearStrategy) -> str:
    if strategy is last:
        return "last layer"
    if strategy.features.views > 1:
        return "views"
    return "one layer" if len(strategy.features.layers) == 1 else "all layers"
