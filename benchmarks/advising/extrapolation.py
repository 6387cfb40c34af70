"""Whether what twice as many images would give is what they give.

    python -m benchmarks.advising.extrapolation CACHE [CACHE ...]

Of each cache, halves of the training images are drawn, whole groups in them. The curve of a half is
extrapolated to twice as many images, and all images have that many: how often is their score in
the interval of 95 %, and how far is it from the prediction? For the last layer by
name and for all layers together.
"""

import argparse
from collections.abc import Sequence
from functools import partial

import numpy as np

from bottleneck.advising.strategies import curve_of, measure_strategy
from bottleneck.cache.store import open_cache
from bottleneck.fitting.loading.dataset import load_dataset
from bottleneck.fitting.loading.features import resolve_features
from bottleneck.fitting.selection.learning_curve import draw_part

_HALVES = 10


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row for each cache and strategy."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("caches", nargs="+", metavar="CACHE")
    print("| cache, head | all images | predicted from halves | in the interval | its width |")
    print("|---|---|---|---|---|")
    for path in parser.parse_args(arguments).caches:
        cache = open_cache(path)
        layers, load = list(cache.layers), partial(load_dataset, cache, images=cache.images)
        for named in (layers[-1:], layers):
            strategy = measure_strategy(load, resolve_features(cache, named, 1), cost=None)
            training = load(strategy.features).training
            truth = curve_of(training, strategy.cv).points[-1].score
            everything, predictions = np.arange(len(training.targets)), []
            for seed in range(_HALVES):
                half = training.take(draw_part(training, everything, 0.5, seed))
                predicted = curve_of(half, strategy.cv).predicted
                assert predicted is not None
                predictions.append((predicted.score, *predicted.interval))
            score, low, high = np.array(predictions).T
            inside = int(((low <= truth) & (truth <= high)).sum())
            print(
                f"| {cache.path.name}, {strategy.name} | {truth:.1%} | "
                f"{score.mean():.1%} ± {100 * score.std():.1f} | {inside} of {_HALVES} | "
                f"{100 * (high - low).mean():.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
