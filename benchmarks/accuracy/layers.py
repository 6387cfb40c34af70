"""Measure what several layers, views and scalings are worth on real images: docs/accuracy.md.

    python -m benchmarks.accuracy.layers REAL CACHES

REAL is a folder of photographs and weights, CACHES a folder for the codes, which are kept.
"""

import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.accuracy.cases import DATA_SETS, NETWORKS, Case
from bottleneck.cache.store import Cache
from bottleneck.fitting.fit import fit
from bottleneck.fitting.fit_result import FitResult
from bottleneck.fitting.selection.options import SearchOptions

SCALINGS = ("standardize", "sqrt")
_VIEWS = 5


def fit_each_layer(cache: Cache, **search: Any) -> dict[str, FitResult]:
    """Fit to each layer of plain images alone, standardised; `search` has options of the search."""
    return {layer: _fit(cache, layer, 1, "standardize", search) for layer in cache.layers}


def best_layer(by_layer: dict[str, FitResult]) -> str:
    """Return the layer whose folds are best."""
    return max(by_layer, key=lambda layer: _mean(by_layer[layer]))


def table(cache: Cache, **search: Any) -> str:
    """Return a table of the best layer and all layers, in plain images and views, by scaling.

    Parameters
    ----------
    cache : Cache
        Codes of several layers and views, with a held-out split.
    search
        Fields of `SearchOptions`.
    """
    views = cache.views(cache.layers[0])
    by_layer = fit_each_layer(cache, **search)
    best = best_layer(by_layer)
    lines = ["| layers | views | scaling | folds | held out |", "|---|---|---|---|---|"]
    lines += [_line(layer, 1, "standardize", result) for layer, result in by_layer.items()]
    for layers, count, scaling in product((best, "all"), (1, views), SCALINGS):
        if (layers, count, scaling) != (best, 1, "standardize"):
            result = _fit(cache, layers, count, scaling, search)
            lines.append(_line(layers, count, scaling, result))
    return "\n".join(lines)


def _fit(cache: Cache, layers: str, views: int, scaling: str, search: dict[str, Any]) -> FitResult:
    options = SearchOptions(scaling=scaling, **search)
    return fit(cache, "svm", layers=layers, views=views, search=options)


def _mean(result: FitResult) -> float:
    assert result.search is not None
    return result.search.best.mean


def _line(layers: str, views: int, scaling: str, result: FitResult) -> str:
    assert result.search is not None
    assert result.heldout is not None
    best, judged = result.search.best, result.heldout.accuracy
    folds = f"{best.mean:.1%} ± {best.standard_error:.1%}"
    return f"| {layers} | {views} | {scaling} | {folds} | {judged:.1%} |"


def sections(real: Path, caches: Path) -> Iterator[str]:
    """Yield the table of each network on each data set, with its title."""
    for images in DATA_SETS.values():
        for network in NETWORKS.values():
            name = f"{network.model.rpartition(':')[2]}-{Path(images.path).stem}.cache"
            cache = Case(real, network, images).extract(caches / name, network.layers, _VIEWS)
            made = f"{_VIEWS} views: {cache.view_recipe}"
            yield f"### {images.name}, {network.name}\n\n{made}\n\n{table(cache)}\n"


if __name__ == "__main__":
    for section in sections(Path(sys.argv[1]), Path(sys.argv[2])):
        print(section, flush=True)
