"""Measure what several layers, views and scalings are worth on real images: docs/accuracy.md.

    python -m benchmarks.accuracy REAL CACHES

REAL is a folder of photographs and weights, CACHES a folder for the codes, which are kept.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from bottleneck.cache.store import Cache
from bottleneck.extraction.extract import extract
from bottleneck.extraction.options import ViewOptions
from bottleneck.fitting.fit import fit
from bottleneck.fitting.fit_result import FitResult
from bottleneck.fitting.options import SearchOptions

SCALINGS = ("standardize", "sqrt")
_VIEWS = 5


@dataclass(frozen=True)
class Network:
    """A network with the layers that are compared, by depth."""

    name: str
    model: str
    weights: str
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Images:
    """Images with a held-out split, and what their views may be."""

    name: str
    path: str
    augmentations: tuple[str, ...]


NETWORKS = (
    Network(
        "SqueezeNet 1.0",
        "squeezenet1_0",
        "squeezenet1_0_imagenet.pth",
        (*(f"features.{i}" for i in (3, 5, 7, 10, 12)), "classifier.1"),
    ),
    Network(
        "EfficientNet-lite0",
        "timm:tf_efficientnet_lite0",
        "efficientnet_lite0_imagenet.pth",
        (*(f"blocks.{i}" for i in (2, 3, 4, 5, 6)), "global_pool"),
    ),
)
DATA_SETS = (
    Images("blood cells, by cell", "blood/split-by-cell.csv", ("flip", "crop", "rotate")),
    Images("Hymenoptera", "hymenoptera", ("flip", "crop")),
)


def cached(real: Path, caches: Path, network: Network, images: Images) -> Cache:
    """Return the codes of a data set, extracted where they are missing."""
    return extract(
        str(real / "data" / images.path),
        caches / f"{network.model.rpartition(':')[2]}-{Path(images.path).stem}.cache",
        model=network.model,
        weights=str(real / "weights" / network.weights),
        layers=network.layers,
        views=ViewOptions(count=_VIEWS, augmentations=images.augmentations),
    ).cache


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
    by_layer = {layer: _fit(cache, layer, 1, "standardize", search) for layer in cache.layers}
    best = max(cache.layers, key=lambda layer: _mean(by_layer[layer]))
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
    for images in DATA_SETS:
        for network in NETWORKS:
            cache = cached(real, caches, network, images)
            made = f"{_VIEWS} views: {cache.view_recipe}"
            yield f"### {images.name}, {network.name}\n\n{made}\n\n{table(cache)}\n"


if __name__ == "__main__":
    for section in sections(Path(sys.argv[1]), Path(sys.argv[2])):
        print(section, flush=True)
