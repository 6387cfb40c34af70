"""Compare training with the codes on two Dask workers with the same training in one process.

Run from the project's root: python -m benchmarks.cluster.distributed_fit; --quick runs toy sizes.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from distributed import LocalCluster

from benchmarks.fitting.out_of_core import make_cache
from benchmarks.helpers.interleave import interleave, median, ratio
from benchmarks.helpers.machine import machine
from bottleneck.fitting.fit import fit
from bottleneck.fitting.fit_result import FitResult
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.linear.classifiers import CLASSIFIERS
from bottleneck.runtime.executors.dask_executor import DaskExecutor, connect

QUICK = {"n": 600, "d": 32, "classes": 5}

_WORKERS = 2
_CS = (1e-4, 1e-3, 1e-2)  # of the search; the single fits use the middle one


def markdown(*, n: int = 20_000, d: int = 512, classes: int = 50, turns: int = 1) -> str:
    """Return a table of seconds in one process and on the workers, and of their difference."""
    lines = [
        f"{n} × {d} codes of {classes} classes in float16 shards; {_WORKERS} workers of one thread "
        f"each, on this machine, against one process with all of its cores; reading the shards is "
        "in it.",
        "",
        "| what | seconds, here | seconds, workers | ratio | coefficients differ by |",
        "|---|---|---|---|---|",
    ]
    start: Any = LocalCluster
    local = start(n_workers=_WORKERS, threads_per_worker=1, dashboard_address=":0", memory_limit=0)
    with (
        tempfile.TemporaryDirectory() as folder,
        local as cluster,
        connect(cluster.scheduler_address) as client,
    ):
        cache = Path(folder) / "cache"
        make_cache(cache, n=n, d=d, classes=classes)
        for clf in CLASSIFIERS:
            for what, search in (
                (f"{clf}, C = {_CS[1]:g}", SearchOptions(c=_CS[1:2], cv=0)),
                (f"{clf}, {len(_CS)} C in 3 folds", SearchOptions(c=_CS, cv=3)),
            ):
                found = _compared(cache, clf, client, search, turns)
                lines.append(f"| {what} | {' | '.join(found)} |")
    return "\n".join(lines)


def _compared(
    cache: Path, clf: str, client: Any, search: SearchOptions, turns: int
) -> tuple[str, ...]:
    """Return the cells of a row: both times, their ratio, the largest relative difference."""
    train = partial(fit, cache, clf, search=search, memory=1 << 40)
    made = interleave(
        {"local": train, "workers": partial(train, executor=DaskExecutor(client))}, turns
    )
    seconds = {name: [done.seconds for done in found] for name, found in made.items()}
    apart = max(map(_apart, made["local"], made["workers"]))
    return (
        *(f"{median(each):.1f}" for each in seconds.values()),
        f"{ratio(seconds['workers'], seconds['local']):.2f}",
        f"{apart:.1e}",
    )


def _apart(one: FitResult, other: FitResult) -> float:
    """Return the norm of the difference of the coefficients over the norm of the first."""
    assert one.c == other.c
    coef = one.head.coef
    return float(np.linalg.norm(coef - other.head.coef) / np.linalg.norm(coef))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="toy sizes, for a try")
    print(f"{machine()}\n\n{markdown(**(QUICK if parser.parse_args().quick else {}))}")
