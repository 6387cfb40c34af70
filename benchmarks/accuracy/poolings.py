"""Measure what grids and maxima are worth beside averages on real images: docs/accuracy.md.

    python -m benchmarks.accuracy.poolings REAL CACHES

REAL is a folder of photographs and weights, CACHES a folder for the codes, which are kept.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.accuracy.cases import DATA_SETS, NETWORKS, Case
from bottleneck.cache.store import Cache
from bottleneck.fitting.fit import fit
from bottleneck.pooling import pooled_name

POOLS = ("avg", "max", "2", "3")


def table(cache: Cache, layers: Sequence[str]) -> str:
    """Return a table of layers in each pooling, and of all layers in some poolings together.

    Parameters
    ----------
    cache : Cache
        Codes of the layers in each of `POOLS`, with a held-out split.
    layers : sequence of str
        By depth.
    """
    lines = ["| layer | avg | max | 2 × 2 | 3 × 3 | avg and max | avg and 2 × 2 |"]
    lines.append("|---" * 7 + "|")
    for name, chosen in [(layer, [layer]) for layer in layers] + [("all", list(layers))]:
        columns = [[_pooled(layer, pool) for layer in chosen] for pool in POOLS]
        average, maximum, grid, _ = columns
        cells = [_cell(cache, names) for names in (*columns, average + maximum, average + grid)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _pooled(layer: str, pool: str) -> str:
    return layer if pool == POOLS[0] else pooled_name(layer, pool)


def _cell(cache: Cache, layers: Sequence[str]) -> str:
    result = fit(cache, "svm", layers=layers)
    assert result.search is not None
    assert result.heldout is not None
    return f"{100 * result.search.best.mean:.1f} / {100 * result.heldout.accuracy:.1f}"


def sections(real: Path, caches: Path) -> Iterator[str]:
    """Yield the table of each network on each data set, with its title."""
    for images in DATA_SETS.values():
        for network in NETWORKS.values():
            layers = network.layers[:-1]  # the last one is a vector, or nearly
            name = f"{network.model.rpartition(':')[2]}-{Path(images.path).stem}-poolings.cache"
            cache = Case(real, network, images).extract(caches / name, layers, pool=POOLS)
            yield f"### {images.name}, {network.name}\n\n{table(cache, layers)}\n"


if __name__ == "__main__":
    for section in sections(Path(sys.argv[1]), Path(sys.argv[2])):
        print(section, flush=True)
