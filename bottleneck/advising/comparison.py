"""Compare strategies by their out-of-fold predictions of the same images."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bottleneck.advising.strategies import LinearStrategy
from bottleneck.fitting import bootstrap_interval, cost_or_infinity, resampled_scores
from bottleneck.linear import TrainingSet
from bottleneck.pooling import split_pooled_name

_ROUNDING = 1e-12  # of a difference of means
# As in McNemar's test (A. L. Edwards, "Note on the correction for continuity in testing the
# significance of the difference between correlated proportions", 1948): one image decides nothing.
_IMAGES_OF_CHANCE = 1
# Largest loss of score for a cheaper strategy. With few images one standard error is many points,
# which is too much to lose for a part of a forward pass.
_LARGEST_LOSS = 0.02


@dataclass(frozen=True)
class Gain:
    """By how much one strategy scores higher than another on the same images.

    Attributes
    ----------
    value : float
        Difference of the scores; 0.01 is a point.
    standard_error : float
        Of the difference, by a bootstrap of images, or of their groups.
    interval : tuple of 2 float
        95 % interval of the difference.

    Examples
    --------
    >>> print(Gain(0.031, 0.012, (0.008, 0.054)))
    +3.1 points (95 % interval 0.8 to 5.4)
    """

    value: float
    standard_error: float
    interval: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        low, high = (100 * bound for bound in self.interval)
        return f"{100 * self.value:+.1f} points (95 % interval {low:.1f} to {high:.1f})"


@dataclass(frozen=True)
class Comparison:
    """Strategies with their scores on the training images, and on samples of these.

    Attributes
    ----------
    strategies : tuple of LinearStrategy
        Single layers by depth, plain, then the others.
    scores : ndarray of float64, shape (1 + m, len(strategies))
        See `bottleneck.fitting.scoring.resampling.resampled_scores`.
    last : LinearStrategy
        The deepest layer alone, plain, with which the others are compared.
    """

    strategies: tuple[LinearStrategy, ...]
    scores: NDArray[np.float64]
    last: LinearStrategy

    @classmethod
    def of(
        cls, strategies: Sequence[LinearStrategy], last: LinearStrategy, training: TrainingSet
    ) -> Self:
        """Score strategies that were measured on the same training images."""
        scores = resampled_scores(
            [[strategy.values] for strategy in strategies],
            training.targets,
            training.classes,
            groups=training.groups,
        )
        return cls(tuple(strategies), scores, last)

    def score(self, strategy: LinearStrategy) -> float:
        """Return the out-of-fold metric of a strategy."""
        return float(self._scores(strategy)[0])

    def standard_error(self, strategy: LinearStrategy) -> float:
        """Return the standard error of a strategy's score."""
        return float(self._scores(strategy)[1:].std(ddof=1))

    def gain(self, strategy: LinearStrategy, over: LinearStrategy) -> Gain:
        """Return by how much a strategy is better than another, a paired difference."""
        samples = self._scores(strategy) - self._scores(over)
        error = float(samples[1:].std(ddof=1))
        return Gain(float(samples[0]), error, bootstrap_interval(samples))

    @property
    def best(self) -> LinearStrategy:
        """The strategy of the highest score, the first of equal ones."""
        return max(self.strategies, key=self.score)

    def beats(self, one: LinearStrategy, other: LinearStrategy, *, errors: float) -> bool:
        """Return whether one is better by more than some standard errors, and one image."""
        gain = self.gain(one, other)
        chance = _IMAGES_OF_CHANCE / len(one.values) + _ROUNDING
        return gain.value > errors * gain.standard_error + chance

    @property
    def plain(self) -> list[LinearStrategy]:
        """Those of the images alone, without other views."""
        return [one for one in self.strategies if one.features.views == 1]

    @property
    def earlier(self) -> list[LinearStrategy]:
        """The plain ones that read other layers of the network than the last one, too."""
        return [one for one in self.plain if network_layers(one) != network_layers(self.last)]

    @property
    def best_last(self) -> LinearStrategy:
        """The best of the last layer's poolings, with which depth is compared: like with like."""
        last = network_layers(self.last)
        return max((one for one in self._singles if network_layers(one) == last), key=self.score)

    @property
    def best_layer(self) -> LinearStrategy:
        """The single layer of the highest score, plain."""
        return max(self._singles, key=self.score)

    @property
    def _singles(self) -> list[LinearStrategy]:
        return [one for one in self.plain if len(one.features.layers) == 1]

    @property
    def near_best(self) -> tuple[LinearStrategy, ...]:
        """Those that the best one beats by at most a standard error, and by at most two points."""
        return tuple(one for one in self.strategies if self._is_near(one, self.best))

    @property
    def chosen(self) -> LinearStrategy:
        """The cheapest of those near the best.

        Cheapest means the smallest share of the network for all views of an image, then the
        smallest code, then the highest score.
        """
        return min(
            self.near_best,
            key=lambda one: (cost_or_infinity(one.cost), one.size, -self.score(one)),
        )

    def counterpart(self, strategy: LinearStrategy) -> LinearStrategy:
        """Return the strategy on the same layers of the images alone."""
        layers = strategy.features.layers
        return next(one for one in self.plain if one.features.layers == layers)

    def _is_near(self, one: LinearStrategy, best: LinearStrategy) -> bool:
        loss = self.gain(best, one).value
        return not self.beats(best, one, errors=1) and loss <= _LARGEST_LOSS + _ROUNDING

    def _scores(self, strategy: LinearStrategy) -> NDArray[np.float64]:
        (index,) = (i for i, one in enumerate(self.strategies) if one is strategy)
        return self.scores[:, index]


def network_layers(strategy: LinearStrategy) -> set[str]:
    """Return the names in the network of a strategy's layers: without poolings of their own."""
    return {split_pooled_name(layer)[0] for layer in strategy.features.layers}
