"""Spread over workers: images a second at one and at two, what an engine costs, distributed fits.

Run from the project's root: make bench-cluster; with --quick for a try. Every worker has one core,
and so one machine of two cores is a cluster of two.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import distributed_fit
from machine import machine
from pictures import write_jpegs
from turns import in_turns, ratio

from bottleneck.runtime.executors import Executor, open_executor
from tests.helpers import slurm as slurm_kit
from tests.helpers.dask_cluster import dask_cluster

PROGRAM = str(Path(sys.executable).parent / "bottleneck")
ONE_CORE = {"OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class ClusterSize:
    """How much is measured."""

    model: str
    layer: str
    images: int
    shard_rows: int
    turns: int
    items: int


FULL = ClusterSize("squeezenet1_0", "features.12", 6000, 50, 1, 2000)
QUICK = ClusterSize("squeezenet1_0", "features.12", 200, 10, 1, 100)


def scaling(size: ClusterSize) -> str:
    """Images a second of one worker and of two, by each way of spreading shards."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_jpegs(folder / "photos", size.images)
        words = [
            *("extract", str(folder / "photos"), "--model", size.model, "--weights", "none"),
            *("--layer", size.layer, "--precision", "float32", "--json"),
            *("--shard-size", str(size.shard_rows)),
        ]
        rows = [
            _row(name, way(words, folder), size)
            for name, way in WAYS.items()
            if name != "Slurm array" or not slurm_kit.why_not()
        ]
    return _table(
        ["spread by", "one worker, images/s", "two workers, images/s", "speed-up", "efficiency"],
        rows,
    )


# A way of spreading: from the command's words to a function from workers to the seconds taken.
Way = Callable[[list[str], Path], Callable[[int], float]]


def _processes(words: list[str], folder: Path) -> Callable[[int], float]:
    """Each a part of the shards, as a loop over machines starts them."""

    def run(workers: int) -> float:
        with _cache(folder) as cache:
            tasks = [
                subprocess.Popen(
                    [PROGRAM, *words, "-o", cache, "--task", f"{i}/{workers}"],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env=os.environ | ONE_CORE,
                )
                for i in range(workers)
            ]
            return max(_seconds(task.communicate()[0]) for task in tasks)

    return run


def _loky(words: list[str], folder: Path) -> Callable[[int], float]:
    def run(workers: int) -> float:
        options = ["--backend", "loky", "--jobs", str(workers)]
        with _cache(folder) as cache:
            return _seconds(_printed([PROGRAM, *words, "-o", cache, *options]))

    return run


def _dask(words: list[str], folder: Path) -> Callable[[int], float]:
    def run(workers: int) -> float:
        with dask_cluster(workers) as cluster, _cache(folder) as cache:
            options = ["--backend", "dask", "--scheduler", cluster.address]
            return _seconds(_printed([PROGRAM, *words, "-o", cache, *options]))

    return run


def _slurm(words: list[str], folder: Path) -> Callable[[int], float]:
    def run(workers: int) -> float:
        with (
            tempfile.TemporaryDirectory() as place,
            slurm_kit.slurm(Path(place)),
            _cache(folder) as cache,
        ):
            job = [
                *("sbatch", "--wait", f"--array=0-{workers - 1}", "--cpus-per-task=1"),
                *(f"--output={place}/%a.out", f"--error={place}/%a.err"),
            ]
            _printed([*job, "--wrap", shlex.join([PROGRAM, *words, "-o", cache])])
            return max(_seconds((Path(place) / f"{i}.out").read_bytes()) for i in range(workers))

    return run


WAYS: dict[str, Way] = {
    "processes, `--task I/N`": _processes,
    "`--backend loky`": _loky,
    "`--backend dask`": _dask,
    "Slurm array": _slurm,
}


def overhead(size: ClusterSize) -> str:
    """Milliseconds for an item that is no work: what an engine adds to every shard."""
    rows = []
    with open_executor("loky", jobs=2) as engine:
        rows.append(["loky, 2 processes", _milliseconds(engine, size.items)])
    with (
        dask_cluster(2) as cluster,
        open_executor("dask", scheduler=cluster.address) as engine,
    ):
        rows.append(["Dask, 2 workers", _milliseconds(engine, size.items)])
    return _table(["engine", "ms a shard"], rows)


def _milliseconds(engine: Executor, items: int) -> str:
    list(engine.map_unordered(abs, range(10)))  # all have started
    start = time.perf_counter()
    list(engine.map_unordered(abs, range(items)))
    return f"{1e3 * (time.perf_counter() - start) / items:.2f}"


def _row(name: str, run: Callable[[int], float], size: ClusterSize) -> list[str]:
    seconds = in_turns({workers: partial(run, workers) for workers in (1, 2)}, size.turns)
    faster = ratio(seconds[1], seconds[2])
    rates = [f"{size.images / min(seconds[workers]):.1f}" for workers in (1, 2)]
    return [name, *rates, f"{faster:.2f}", f"{faster / 2:.2f}"]


def _printed(command: Sequence[str]) -> bytes:
    environment = os.environ | ONE_CORE
    return subprocess.run(command, capture_output=True, check=True, env=environment).stdout


def _seconds(printed: bytes) -> float:
    """Of an extraction, from its own account: the import of its libraries is not in it."""
    return float(json.loads(printed)["seconds"])


@contextmanager
def _cache(folder: Path) -> Iterator[str]:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        yield f"{name}/cache"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown(size: ClusterSize = FULL) -> str:
    """Every part, in order."""
    fits = distributed_fit.markdown(**(distributed_fit.QUICK if size is QUICK else {}))
    return (
        f"### Images a second\n\n{scaling(size)}\n\n### What an engine costs\n\n"
        f"{overhead(size)}\n\n### Distributed fits\n\n{fits}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="toy sizes, for a try")
    asked = parser.parse_args()
    print(machine(), end="\n\n")
    print(markdown(QUICK if asked.quick else FULL))
