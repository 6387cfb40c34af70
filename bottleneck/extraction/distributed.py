"""Workers: what those must be told that share nothing but files, and what they do.

A worker reads weights and images itself, the weights once for all the shards of a run.
"""

import dataclasses
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bottleneck.backbones.backbone import load_backbone
from bottleneck.backbones.weights import is_weights_file
from bottleneck.cache.manifest import cache_fingerprint
from bottleneck.cache.store import Cache, open_cache
from bottleneck.data.images import ImageSource
from bottleneck.extraction.encoder import make_spec
from bottleneck.extraction.local import LocalRunner, MissingShards
from bottleneck.runtime.devices import choose_device
from bottleneck.runtime.executors import Executor, require_shared_paths
from bottleneck.runtime.files import write_text_atomic
from bottleneck.runtime.shutdown import StopRequested, defer_stop
from bottleneck.runtime.timing import StageTimer
from bottleneck.spec import ModelReference


class Piece(NamedTuple):
    """A shard to make: the layers that lack it, and its number."""

    layers: tuple[str, ...]
    shard: int

    def __str__(self) -> str:
        return f"shard {self.shard} of {', '.join(self.layers)}"


@dataclass(frozen=True)
class Made:
    """A shard that stands.

    Attributes
    ----------
    rows : int
        How many images were encoded.
    seconds : dict of str to float
        Where the time went, as `bottleneck.runtime.timing.StageTimer` has it.
    fitting : int or None
        As `bottleneck.backbones.runner.BatchRunner.max_batch_size`.
    """

    rows: int
    seconds: dict[str, float]
    fitting: int | None


@dataclass(frozen=True)
class Job:
    """All that a worker must be told, so that it can make any shard of a cache.

    Attributes
    ----------
    cache : Path
        Its directory, absolute.
    state : str
        Digest of what stands there in ``spec.json`` and at the head of ``images.csv``.
    images : ImageSource
        Without its table, which a worker takes from the cache, but for one image that exists.
    reference : ModelReference
        Where the network is, which may have moved since the cache was begun.
    device : str
        As in `bottleneck.backbones.runner.choose_device`.
    batch_size, workers : int or None
        As in `bottleneck.extraction.local.LocalRunner`.
    """

    cache: Path
    state: str
    images: ImageSource
    reference: ModelReference
    device: str
    batch_size: int | None
    workers: int | None

    @classmethod
    def of(
        cls, cache: Cache, reference: ModelReference, *, images: ImageSource, **options: Any
    ) -> "Job":
        """That of a cache which stands as it is planned."""
        path = cache.path.resolve()
        example = images.with_table(cache.images.take(np.flatnonzero(cache.images.exists)[:1]))
        return cls(path, cache_fingerprint(path), example, reference, **options)

    def make(self, piece: Piece) -> Made:
        """Make a shard, on a worker.

        Raises
        ------
        BottleneckError, OSError
            As `bottleneck.extraction.extract.extract` does.
        """
        with _LOCK:  # of shards that begin together, one loads the network for all
            studio = _studio(self)
            studio.encoder(piece.layers)
        rows = sum(studio.make({piece.layers: [piece.shard]}))
        return Made(rows, studio.clock.drain(), studio.fitting)

    def unseen(self) -> str:
        """What a worker does not see; empty where it sees all. The cache's folder is written to."""
        if cache_fingerprint(self.cache) != self.state:
            return f"the cache {self.cache}"
        if image := self.images.missing_here():
            return image
        code, weights = self.reference.model.rpartition(":")[0], self.reference.weights
        for file in (code, weights if is_weights_file(weights) else ""):
            if file and not Path(file).is_file():
                return file
        probe = self.cache / f".seen.{os.getpid()}"
        try:
            write_text_atomic(probe, "")
            probe.unlink()
        except OSError as error:
            return f"how to write into {self.cache} ({error.strerror})"
        return ""


class DistributedRunner:
    """Makes shards of a cache by an engine's workers.

    Parameters
    ----------
    job : Job
    engine : Executor

    Attributes
    ----------
    clock : StageTimer
        Where the workers' time went.
    fitting : int or None
        As `bottleneck.backbones.runner.BatchRunner.max_batch_size`.
    """

    def __init__(self, job: Job, engine: Executor) -> None:
        self.clock = StageTimer()
        self.fitting: int | None = None
        self._job, self._engine = job, engine

    def make(self, todo: MissingShards) -> Iterator[int]:
        """Make shards.

        Yields
        ------
        int
            Rows that were encoded, shard by shard.

        Raises
        ------
        WorkerError
            A worker does not see what this process sees, before any work; or workers die.
        StopRequested
            Somebody asked for it; what workers were at is whole.
        BottleneckError, OSError
            As from a worker.
        """
        if not todo:
            return
        require_shared_paths(self._engine, self._job.unseen)
        pieces = [Piece(layers, shard) for layers, shards in todo.items() for shard in shards]
        done = 0
        with defer_stop():
            for _, made in self._engine.map_unordered(self._job.make, pieces):
                self.clock.add(made.seconds)
                self.fitting = made.fitting or self.fitting
                done += 1
                yield made.rows
        if done < len(pieces):
            raise StopRequested


_LOCK = threading.Lock()


@lru_cache(maxsize=1)  # a cluster's worker outlives a run, and the next may be of another network
def _studio(job: Job) -> LocalRunner:
    cache = open_cache(job.cache)
    spec = cache.spec
    backbone = load_backbone(
        job.reference.model, job.reference.weights, transform=dataclasses.asdict(spec.transform)
    )
    spec.require(
        make_spec(backbone, precision=spec.precision, relu=spec.relu, pool=spec.pool),
        this=f"cache {job.cache}",
        that=f"a worker on {socket.gethostname()}",
        next_step="workers need the same weights and versions as whoever began the cache",
    )
    return LocalRunner(
        cache,
        backbone,
        images=job.images,
        devices=[choose_device(job.device)],
        batch_size=job.batch_size,
        workers=job.workers,
    )
