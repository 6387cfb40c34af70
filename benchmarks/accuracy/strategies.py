"""Compare linear heads, tails and whole networks on real images: accuracy and seconds.

The table of docs/accuracy.md:

    python -m benchmarks.accuracy.strategies REAL CACHES
    python -m benchmarks.accuracy.strategies REAL CACHES --network lite0 --strategy tail-views

REAL is a folder of photographs and weights. CACHES is a folder for caches, each of which is removed
once it has been used, and for `strategies.jsonl`: a line for each result, as soon as it is known.
What that file has, with the same options, is not measured again. At the end it is printed as
tables, each cell from its last line.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from benchmarks.accuracy.cases import DATA_SETS, NETWORKS, Case
from benchmarks.accuracy.layers import best_layer, fit_each_layer
from benchmarks.helpers.log import log_row
from benchmarks.helpers.machine import machine
from bottleneck.backbones.backbone import load_backbone
from bottleneck.finetuning.options import BATCH_NORMS, PRECISIONS, TuneOptions
from bottleneck.finetuning.tune import tune
from bottleneck.finetuning.tune_result import TuneResult
from bottleneck.fitting.fit import fit
from bottleneck.fitting.fit_result import FitResult

RESULTS = "strategies.jsonl"
_VIEWS = 5
_AUGMENTATIONS = ("flip", "crop")  # of whole networks, anew in each epoch

Result = FitResult | TuneResult


def last_layer(case: Case, out: Path, _: TuneOptions) -> FitResult:
    """Fit to the last layer."""
    return fit(case.extract(out, case.network.layers[-1:]), "svm")


def one_layer(case: Case, out: Path, _: TuneOptions) -> FitResult:
    """Fit to each layer, and take the one that is best in the folds."""
    by_layer = fit_each_layer(case.extract(out, case.network.layers))
    return by_layer[best_layer(by_layer)]


def all_layers(case: Case, out: Path, _: TuneOptions, *, views: int) -> FitResult:
    """Fit to all layers side by side."""
    return fit(case.extract(out, case.network.layers, views), "svm", layers="all")


def tail(case: Case, out: Path, options: TuneOptions, *, views: int) -> TuneResult:
    """Train the layers behind the boundary from its maps, negative values and all."""
    maps = case.extract(out, [case.network.boundary], views, pool="none", relu=False)
    return tune(maps, options=options)


def whole_network(case: Case, _: Path, options: TuneOptions) -> TuneResult:
    """Train all layers, from the images."""
    return tune(case.source, options=options, augmentations=_AUGMENTATIONS, **case.model)


Strategies = dict[str, tuple[str, Callable[[Case, Path, TuneOptions], Result]]]

LINEAR: Strategies = {
    "last-layer": ("linear head, last layer", last_layer),
    "one-layer": ("linear head, best one layer", one_layer),
    "all-layers": ("linear head, all layers", partial(all_layers, views=1)),
    "all-layers-views": (
        f"linear head, all layers, {_VIEWS} views",
        partial(all_layers, views=_VIEWS),
    ),
}
TUNED: Strategies = {
    "tail": ("tail", partial(tail, views=1)),
    "tail-views": (f"tail, {_VIEWS} views", partial(tail, views=_VIEWS)),
    "network": ("whole network", whole_network),
}
STRATEGIES = LINEAR | TUNED


@dataclass(frozen=True)
class Cell:
    """What is measured: a strategy for a network on images, each by its key, and how it tunes."""

    network: str
    images: str
    strategy: str
    options: dict[str, Any]  # those of `TuneOptions`; none for linear heads, which do not tune

    @classmethod
    def of(cls, network: str, images: str, strategy: str, options: TuneOptions) -> Self:
        """Return the cell."""
        return cls(network, images, strategy, asdict(options) if strategy in TUNED else {})


@dataclass(frozen=True)
class Measurement:
    """A line of the results.

    Attributes
    ----------
    cell : Cell
    seconds : float
        Processor time of everything but imports: extraction, the choices, training, judging. With
        one thread this is the time on a core that does nothing else.
    result : dict
        Of `FitResult.to_dict` or `TuneResult.to_dict`.
    machine : str
    """

    cell: Cell
    seconds: float
    result: dict[str, Any]
    machine: str

    def __str__(self) -> str:
        """Format accuracy, interval and seconds as two cells of a table."""
        heldout = self.result["heldout"]
        interval = ""
        if heldout["ci95"]:
            low, high = heldout["ci95"]
            interval = f" ({100 * low:.1f} to {100 * high:.1f})"
        return f"{heldout['accuracy']:.1%}{interval} | {self.seconds:.0f}"


def measure(cell: Cell, real: Path, caches: Path) -> Measurement:
    """Run one strategy from the images to the judged classifier, in a cache of its own."""
    case = Case(real, NETWORKS[cell.network], DATA_SETS[cell.images])
    load_backbone(**case.model)  # the libraries that it imports are not part of the time
    _, run = STRATEGIES[cell.strategy]
    with TemporaryDirectory(dir=caches) as folder:
        begun = time.process_time()
        result = run(case, Path(folder) / "cache", TuneOptions(**cell.options))
        seconds = time.process_time() - begun
    return Measurement(cell, seconds, result.to_dict(), machine())


def read(path: Path) -> list[Measurement]:
    """Return the results that a file has; none if there is no file."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    values = [json.loads(line) for line in lines]
    return [Measurement(**value | {"cell": Cell(**value["cell"])}) for value in values]


def measure_missing(cells: Sequence[Cell], real: Path, caches: Path) -> None:
    """Measure the cells that the results lack, and add each to them as soon as it is known."""
    path = caches / RESULTS
    known = [found.cell for found in read(path)]
    for cell in cells:
        name = f"{cell.network}, {cell.images}, {cell.strategy}"
        if cell in known:
            log_row(f"{name}: in {path} already")
            continue
        found = measure(cell, real, caches)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(found)) + "\n")
        log_row(f"{name}: {found} s; {_chosen(found.result)}")


def _chosen(result: dict[str, Any]) -> str:
    if result["clf"] == "tail":
        return f"learning rate {result['lr']:.2g}, {result['epochs']} epochs; {result['verdict']}"
    return f"{', '.join(result['layers'])}, C = {result['c']:.2g}"


def tables(measured: Sequence[Measurement]) -> Iterator[str]:
    """Yield a table for each data set: a row for each strategy, two columns for each network."""
    last = {(m.cell.images, m.cell.strategy, m.cell.network): m for m in measured}
    for images, data_set in DATA_SETS.items():
        networks = [key for key in NETWORKS if any((images, s, key) in last for s in STRATEGIES)]
        if not networks:
            continue
        names = "".join(f" {NETWORKS[key].name} | seconds |" for key in networks)
        lines = [f"| {data_set.name} |{names}", "|---|" + "---|---|" * len(networks)]
        for strategy, (title, _) in STRATEGIES.items():
            found = [last.get((images, strategy, key)) for key in networks]
            if any(found):
                lines.append(f"| {title} | {' | '.join(str(m) if m else ' | ' for m in found)} |")
        yield "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for, and print the tables of all that is known."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("real", type=Path, metavar="REAL")
    parser.add_argument("caches", type=Path, metavar="CACHES")
    for name, known in (("network", NETWORKS), ("images", DATA_SETS), ("strategy", STRATEGIES)):
        parser.add_argument(
            f"--{name}", action="append", choices=list(known), help="may be given several times"
        )
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--lr", type=float, help="one learning rate; three are tried by default")
    parser.add_argument("--batch-norm", choices=BATCH_NORMS, default=BATCH_NORMS[0])
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0])
    asked = parser.parse_args(arguments)
    options = TuneOptions(
        epochs=asked.epochs,
        lr=asked.lr,
        batch_norm=asked.batch_norm,
        precision=asked.precision,
    )
    cells = [
        Cell.of(network, images, strategy, options)
        for images, network, strategy in product(
            asked.images or DATA_SETS, asked.network or NETWORKS, asked.strategy or STRATEGIES
        )
    ]
    asked.caches.mkdir(parents=True, exist_ok=True)
    measure_missing(cells, asked.real, asked.caches)
    print("\n\n".join(tables(read(asked.caches / RESULTS))))


if __name__ == "__main__":
    main()
