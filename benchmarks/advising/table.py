"""What is advised, and how good it turns out: the table of docs/advise.md.

    python -m benchmarks.advising.table REAL CACHES

REAL is a folder of photographs and weights. CACHES is a folder for caches, which are kept, and made
where they are not there. Its `strategies.jsonl`, from `benchmarks.accuracy.strategies`, has the
strategies that were measured; without it the best is that of the linear heads. For each network on
each set of images there are two rows: of the plain images, and with five views.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.accuracy.cases import DATA_SETS, NETWORKS, Case
from benchmarks.accuracy.strategies import RESULTS, STRATEGIES, read
from benchmarks.helpers.log import log_row
from benchmarks.helpers.machine import machine
from benchmarks.sample_layers import LAYERS, digits_cache
from bottleneck.advising.advice import Advice
from bottleneck.advising.advise import advise
from bottleneck.cache.store import Cache
from bottleneck.fitting.fit import fit
from bottleneck.fitting.scoring.scores import Score

_VIEWS = 5


@dataclass(frozen=True)
class Best:
    """The best strategy that was measured on the held-out images."""

    name: str
    accuracy: float
    seconds: float | None

    def __str__(self) -> str:
        seconds = "" if self.seconds is None else f", {self.seconds:.0f} s"
        return f"{self.name} {self.accuracy:.1%}{seconds}"


def row(name: str, advice: Advice, cache: Cache, best: Best) -> str:
    """Fit what is advised, judge it on the held-out images, and return a row of the table.

    Where something is expected that was not measured, the head to take until then is fitted.
    """
    linear, decision = advice.decision.linear, advice.decision
    done = fit(cache, "svm", layers=linear.features.layers, views=linear.features.views)
    assert done.heldout is not None
    expected = "" if decision.measured else f"; expected better: {decision.kind}"
    gain = f"{100 * decision.gain.value:+.1f} ± {100 * decision.gain.standard_error:.1f}"
    gain = "–" if linear is advice.comparison.last else gain
    score = advice.comparison.score(linear)
    return log_row(
        f"| {name} | {linear.name}{expected} | {score:.1%} | {gain} | "
        f"{done.heldout.accuracy:.1%} ± {100 * _standard_error(done.heldout):.1f} | {best} | "
        f"{advice.seconds:.0f} |"
    )


def _standard_error(score: Score) -> float:
    """Return the standard error of a held-out accuracy, over groups where images have them."""
    low, high = score.ci95 or (0.0, 0.0)
    return (high - low) / (2 * 1.96)


def real_rows(real: Path, caches: Path) -> Iterator[str]:
    """Yield the rows of each network on each set of images."""
    results = read(caches / RESULTS)
    for images in DATA_SETS:
        for network in NETWORKS:
            case = Case(real, NETWORKS[network], DATA_SETS[images])
            measured = [
                Best(
                    STRATEGIES[one.cell.strategy][0],
                    one.result["heldout"]["accuracy"],
                    one.seconds,
                )
                for one in results
                if (one.cell.images, one.cell.network) == (images, network)
            ]
            for views in (1, _VIEWS):
                out = caches / f"{network}-{images}-{views}.cache"
                cache = case.extract(out, case.network.layers, views)
                advice = advise(cache)
                best = max(measured or _linear(advice, cache), key=lambda one: one.accuracy)
                name = f"{DATA_SETS[images].name}, {NETWORKS[network].name}"
                yield row(f"{name}, {views} views" if views > 1 else name, advice, cache, best)


def digit_rows(caches: Path) -> Iterator[str]:
    """Yield the rows of the bundled digits, averaged and on a grid."""
    for pool in ("avg", "2"):
        cache = digits_cache(caches, LAYERS, pool)
        advice = advise(cache)
        best = max(_linear(advice, cache), key=lambda one: one.accuracy)
        name = "averaged" if pool == "avg" else f"{pool} × {pool} grid"
        yield row(f"digits, {name}", advice, cache, best)


def _linear(advice: Advice, cache: Cache) -> Iterator[Best]:
    for one in advice.comparison.strategies:
        begun = time.monotonic()
        done = fit(cache, "svm", layers=one.features.layers, views=one.features.views)
        assert done.heldout is not None
        yield Best(f"linear head on {one.name}", done.heldout.accuracy, time.monotonic() - begun)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("real", type=Path, metavar="REAL")
    parser.add_argument("caches", type=Path, metavar="CACHES")
    asked = parser.parse_args(arguments)
    asked.caches.mkdir(parents=True, exist_ok=True)
    rows = [*digit_rows(asked.caches), *real_rows(asked.real, asked.caches)]
    header = "| images, network | advised | folds | over the last layer | held out | "
    header += "best that was measured | seconds |"
    print("\n".join([header, "|---|---|---|---|---|---|---|", *rows, "", machine()]))


if __name__ == "__main__":
    main()
