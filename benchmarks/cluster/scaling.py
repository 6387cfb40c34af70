"""Measure extraction on one and two workers, the overhead of executors, and distributed fits.

Run from the project's root: make bench-cluster, or python -m benchmarks.cluster.scaling --quick for
toy sizes. Every worker has one core, so a machine of two cores is a cluster of two.
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

from benchmarks.cluster import distributed_fit
from benchmarks.helpers.interleave import interleave, ratio
from benchmarks.helpers.machine import machine
from benchmarks.helpers.synthetic_images import write_jpegs
from bottleneck.runtime.executors.backends import Executor, open_executor
from tests.helpers import slurm as slurm_kit
from tests.helpers.dask_cluster import dask_cluster

PROGRAM = str(Path(sys.executable).parent / "bottleneck")
ONE_CORE = {"OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class ClusterProfile:
    """How much is measured."""

    model: str
    layer: str
    images: int
    shard_rows: int
    turns: int
    items: int


FULL = ClusterProfile("squeezenet1_0", "features.12", 6000, 50, 1, 2000)
QUICK = ClusterProfile("squeezenet1_0", "features.12", 200, 10, 1, 100)


def scaling(profile: ClusterProfile) -> str:
    """Return images per second of one and two workers, for each way to distribute shards."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_jpegs(folder / "photos", profile.images)
        words = [
            *("extract", str(folder / "photos"), "--model", profile.model, "--weights", "none"),
            *("--layer", profile.layer, "--precision", "float32", "--json"),
            *("--shard-size", str(profile.shard_rows)),
        ]
        rows = [
            _row(name, way(words, folder), profile)
            for name, way in WAYS.items()
            if name != "Slurm array" or not slurm_kit.why_not()
        ]
    return _table(
        ["spread by", "one worker, images/s", "two workers, images/s", "speed-up", "efficiency"],
        rows,
    )


# A way to distribute: (command, folder) -> (number of workers -> seconds).
Way = Callable[[list[str], Path], Callable[[int], float]]


def _processes(words: list[str], folder: Path) -> Callable[[int], float]:
    """Start a process for each task, as a loop over machines does."""

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


def overhead(profile: ClusterProfile) -> str:
    """Return the milliseconds of an empty item: what an executor adds to every shard."""
    rows = []
    with open_executor("loky", jobs=2) as executor:
        rows.append(["loky, 2 processes", _milliseconds(executor, profile.items)])
    with (
        dask_cluster(2) as cluster,
        open_executor("dask", scheduler=cluster.address) as executor,
    ):
        rows.append(["Dask, 2 workers", _milliseconds(executor, profile.items)])
    return _table(["executor", "ms a shard"], rows)


def _milliseconds(executor: Executor, items: int) -> str:
    list(executor.map_unordered(abs, range(10)))  # all have started
    start = time.perf_counter()
    list(executor.map_unordered(abs, range(items)))
    return f"{1e3 * (time.perf_counter() - start) / items:.2f}"


def _row(name: str, run: Callable[[int], float], profile: ClusterProfile) -> list[str]:
    seconds = interleave({workers: partial(run, workers) for workers in (1, 2)}, profile.turns)
    faster = ratio(seconds[1], seconds[2])
    rates = [f"{profile.images / min(seconds[workers]):.1f}" for workers in (1, 2)]
    return [name, *rates, f"{faster:.2f}", f"{faster / 2:.2f}"]


def _printed(command: Sequence[str]) -> bytes:
    environment = os.environ | ONE_CORE
    return subprocess.run(command, capture_output=True, check=True, env=environment).stdout


def _seconds(printed: bytes) -> float:
    """Return the seconds that an extraction reports; imports are not included."""
    return float(json.loads(printed)["seconds"])


@contextmanager
def _cache(folder: Path) -> Iterator[str]:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        yield f"{name}/cache"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown(profile: ClusterProfile = FULL) -> str:
    """Measure all parts, in order."""
    fits = distributed_fit.markdown(**(distributed_fit.QUICK if profile is QUICK else {}))
    return (
        f"### Images a second\n\n{scaling(profile)}\n\n### What an executor costs\n\n"
        f"{overhead(profile)}\n\n### Distributed fits\n\n{fits}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="toy sizes, for a try")
    asked = parser.parse_args()
    print(machine(), end="\n\n")
    print(markdown(QUICK if asked.quick else FULL))
