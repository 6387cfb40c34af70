"""DistributedRunner: make shards by workers that share only a file system with this process.

A worker reads weights and images itself. It loads the network once for all shards of a run.
"""

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NamedTuple, Self
from uuid import uuid4

import numpy as np

from bottleneck.backbones import is_weights_file
from bottleneck.cache import Cache, Series, cache_fingerprint, open_cache
from bottleneck.data import ImageSource
from bottleneck.extraction.options import ComputeOptions
from bottleneck.extraction.planning.missing_shards import MissingShards
from bottleneck.extraction.running.local import LocalRunner
from bottleneck.extraction.setup.loading import load_matching_backbone
from bottleneck.model_reference import ModelReference
from bottleneck.runtime import (
    Executor,
    RunStats,
    StopRequested,
    choose_device,
    defer_stop,
    require_shared_paths,
)


class ShardTask(NamedTuple):
    """A shard to make: the series that lack it, and its number."""

    series: tuple[Series, ...]
    shard: int

    def __str__(self) -> str:
        return f"shard {self.shard} of {', '.join(map(str, self.series))}"


@dataclass(frozen=True)
class ShardResult:
    """What a worker reports of a shard that it has made.

    Attributes
    ----------
    rows : int
        Images that were encoded; one counts once for each view.
    seconds : dict of str to float
        The time of each stage.
    max_batch_size : int or None
        If a batch did not fit into the device's memory: how many images do.
    notes : tuple of str
        What is unusual in how the worker computes codes, a sentence each.
    """

    rows: int
    seconds: dict[str, float]
    max_batch_size: int | None
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class WorkerJob:
    """What a worker must know to make any shard of a cache. It is sent to workers as a pickle.

    Each shard comes with a copy of its own. Those of one run are equal, whatever the source of the
    images is, which need be neither hashable nor comparable.

    Attributes
    ----------
    cache : Path
        The cache's directory, absolute.
    fingerprint : str
        Digest of its ``spec.json`` and of the head of its ``images.csv``.
    images : ImageSource
        The images. Its table has one image that exists; a worker takes the table from the cache.
    reference : ModelReference
        Where the network is now.
    compute : ComputeOptions
        `device`, `runtime`, `batch_size`, `workers` and `max_pixels` are used.
    run : str
        What no other run has.
    """

    cache: Path
    fingerprint: str
    images: ImageSource
    reference: ModelReference
    compute: ComputeOptions
    run: str = field(default_factory=lambda: uuid4().hex)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WorkerJob) and self.run == other.run

    def __hash__(self) -> int:
        return hash(self.run)

    @classmethod
    def from_cache(
        cls, cache: Cache, reference: ModelReference, images: ImageSource, compute: ComputeOptions
    ) -> Self:
        """Describe the job of a cache that is on the disk."""
        path = cache.path.resolve()
        example = images.with_table(cache.images.take(np.flatnonzero(cache.images.exists)[:1]))
        return cls(path, cache_fingerprint(path), example, reference, compute)

    def make(self, task: ShardTask) -> ShardResult:
        """Make a shard. Workers call this.

        Raises
        ------
        BottleneckError, OSError
            The shard cannot be made.
        """
        with _LOCK:  # of shards that begin at the same time, one loads the network for all
            runner = _load_runner(self)
            runner.prepare({task.series: [task.shard]})
        rows = sum(runner.make({task.series: [task.shard]}))
        stats = runner.stats
        return ShardResult(rows, stats.timer.drain(), stats.max_batch_size, runner.notes)

    def missing_on_worker(self) -> str:
        """Return what this worker does not see; empty if it sees everything.

        Workers call this before a run. A file is written into the cache's directory and removed.
        """
        if cache_fingerprint(self.cache) != self.fingerprint:
            return f"the cache {self.cache}"
        if image := self.images.missing_here():
            return image
        code, weights = self.reference.model.rpartition(":")[0], self.reference.weights
        for file in (code, weights if is_weights_file(weights) else ""):
            if file and not Path(file).is_file():
                return file
        try:
            with NamedTemporaryFile(prefix=".seen.", dir=self.cache):
                pass
        except OSError as error:
            return f"how to write into {self.cache} ({error.strerror})"
        return ""


class DistributedRunner:
    """Make shards of a cache by the workers of an executor.

    Parameters
    ----------
    job : WorkerJob
        What the workers must know.
    executor : Executor
        The workers.

    Attributes
    ----------
    stats : RunStats
        The time of each stage, summed over workers.
    notes : tuple of str
        What is unusual in how codes are computed, a sentence each, by the worker that finished the
        first shard. Each chooses by itself what runs the network. Empty before that.
    """

    def __init__(self, job: WorkerJob, executor: Executor) -> None:
        self.stats = RunStats()
        self.notes: tuple[str, ...] = ()
        self._job, self._executor = job, executor

    def make(self, missing: MissingShards) -> Iterator[int]:
        """Make shards, as `LocalRunner.make`, and yield what was encoded shard by shard.

        Raises
        ------
        WorkerError
            A worker does not see what this process sees; nothing was computed. Or workers died.
        StopRequested
            A stop was requested. Shards in progress were finished.
        BottleneckError, OSError
            A worker could not make a shard.
        """
        if not missing:
            return
        require_shared_paths(self._executor, self._job.missing_on_worker)
        tasks = [ShardTask(series, shard) for series, shards in missing.items() for shard in shards]
        finished = 0
        with defer_stop():
            for _, result in self._executor.map_unordered(self._job.make, tasks):
                self.stats.merge(result.seconds, result.max_batch_size)
                self.notes = self.notes or result.notes
                finished += 1
                yield result.rows
        if finished < len(tasks):
            raise StopRequested


_LOCK = threading.Lock()


@lru_cache(maxsize=1)  # a cluster's worker outlives a run, and the next may be of another network
def _load_runner(job: WorkerJob) -> LocalRunner:
    cache = open_cache(job.cache)
    backbone = load_matching_backbone(
        cache.spec,
        job.reference.model,
        job.reference.weights,
        owner=f"cache {job.cache}",
        loaded_by=f"a worker on {socket.gethostname()}",
        next_step="workers need the weights and versions with which the cache was begun",
    )
    return LocalRunner(
        cache, backbone, job.images, [choose_device(job.compute.device)], job.compute
    )
