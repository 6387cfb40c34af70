"""Coverage of intervals of an accuracy, where images of one group go right or wrong together.

The table of docs/decisions/012-intervals-over-groups.md:

    python -m benchmarks.fitting.intervals
"""

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from bottleneck.fitting.scoring.intervals import accuracy_interval

_DRAWS = 1000
_RESAMPLES = 500
_CORRELATION = 0.4  # of two images of one group

Interval = tuple[float, float]


SIZES: dict[str, Callable[[int, np.random.Generator], NDArray[np.int64]]] = {
    "five on average": lambda groups, random: 1 + random.poisson(4, groups),
    "lognormal, median five": lambda groups, random: np.maximum(
        1, np.round(5 * np.exp(random.normal(size=groups)))
    ).astype(np.int64),
    "five, one has half of all": lambda groups, _: np.array(
        [5 * (groups - 1), *[5] * (groups - 1)]
    ),
}


def draw(
    sizes: NDArray[np.int64], share: float, random: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return whether images are right, and their groups: beta-binomial."""
    groups = len(sizes)
    group = np.repeat(np.arange(groups), sizes)
    strength = 1 / _CORRELATION - 1
    shares = random.beta(share * strength, (1 - share) * strength, groups)
    return random.random(len(group)) < shares[group], group


def of_images(correct: NDArray[np.bool_], _: NDArray[np.int64]) -> Interval | None:
    """Return Wilson's interval of images that are alone."""
    return accuracy_interval(correct)


def of_bootstrap(method: str) -> Callable[[NDArray[np.bool_], NDArray[np.int64]], Interval]:
    """Return a bootstrap that draws groups: ``"percentile"`` or ``"BCa"``."""

    def interval(correct: NDArray[np.bool_], groups: NDArray[np.int64]) -> Interval:
        hits, sizes = np.bincount(groups, weights=correct), np.bincount(groups)
        if correct.all() or not correct.any():
            return float(correct.mean()), float(correct.mean())
        found = bootstrap(
            (hits, sizes),
            lambda h, m, axis=-1: h.sum(axis=axis) / m.sum(axis=axis),
            paired=True,
            n_resamples=_RESAMPLES,
            method=method,
            random_state=0,
        ).confidence_interval
        return float(found.low), float(found.high)

    return interval


METHODS: dict[str, Callable[[NDArray[np.bool_], NDArray[np.int64]], Interval | None]] = {
    "images": of_images,
    "percentile": of_bootstrap("percentile"),
    "BCa": of_bootstrap("BCa"),
    "effective size": accuracy_interval,
}


def coverage(groups: int, sizes: str, share: float) -> dict[str, float]:
    """Return how often each method's interval holds the true accuracy."""
    random = np.random.default_rng(0)
    held = dict.fromkeys(METHODS, 0)
    for _ in range(_DRAWS):
        correct, group = draw(SIZES[sizes](groups, random), share, random)
        for name, method in METHODS.items():
            low, high = method(correct, group) or (0, 1)
            held[name] += low <= share <= high
    return {name: count / _DRAWS for name, count in held.items()}


def main() -> None:
    """Print the table."""
    print("| images of a group | groups | accuracy |", " | ".join(METHODS), "|")
    print("|---|---|---|" + "---|" * len(METHODS))
    for sizes, groups, share in product(SIZES, (5, 10, 20, 50, 200), (0.8, 0.95)):
        found = " | ".join(f"{held:.1%}" for held in coverage(groups, sizes, share).values())
        print(f"| {sizes} | {groups} | {share} | {found} |", flush=True)


if __name__ == "__main__":
    main()
