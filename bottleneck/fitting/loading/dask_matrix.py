"""Codes in the memory of Dask workers, which return only sums over their rows.

Each part of the rows is the result of a task that reads shards, and everything derived from it is
the result of a task too. If a worker is lost, the scheduler runs its tasks on another worker. (What
is scattered instead is lost with its worker.)
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache import Cache
from bottleneck.errors import WorkerError
from bottleneck.fitting.loading.features import Features
from bottleneck.fitting.loading.worker_cache import (
    fingerprint_of,
    missing_on_worker,
    open_on_worker,
)
from bottleneck.linear import ArrayMatrix, CodeMatrix, RowFunction, mean_of_rows
from bottleneck.runtime import DaskExecutor, format_size, require_shared_paths

T = TypeVar("T")

_COPIES = 3  # of the codes on the workers at once: as read, the rows of a fold, scaled
_FAN_IN = 8  # results that one task adds up


@dataclass(frozen=True)
class _AlignedValues:
    """Values of the rows of each part, as futures on the worker that holds the part."""

    parts: Sequence[Any]


@dataclass(frozen=True)
class DaskMatrix(CodeMatrix):
    """Codes whose rows are divided into parts on Dask workers.

    Workers release a part when the last object that refers to its future is deleted.

    Attributes
    ----------
    client : distributed.Client
        Client of the cluster.
    parts : sequence of distributed.Future
        Consecutive rows, each an array of float32, shape (b, d).
    counts : sequence of int
        Number of rows b of each part, at least one.
    size : int
        Number of values d of a flattened code.
    """

    client: Any
    parts: Sequence[Any]
    counts: Sequence[int]
    size: int

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows n and of features d."""
        return sum(self.counts), self.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Float32."""
        return np.dtype(np.float32)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield the parts, each copied from its worker."""
        return map(self.client.gather, self.parts)

    def to_local(self) -> ArrayMatrix:
        """Return the rows in the memory of this process."""
        return ArrayMatrix(np.concatenate(self.client.gather(list(self.parts))))

    def take(self, rows: NDArray[np.int64]) -> "DaskMatrix":
        """Return a matrix of some rows, given by ascending index, on the same workers."""
        kept = []
        for part, part_rows in zip(self.parts, self._part_slices(), strict=True):
            first, last = np.searchsorted(rows, [part_rows.start, part_rows.stop])
            if first < last:
                kept.append((part, rows[first:last] - part_rows.start))
        parts, indices = zip(*kept, strict=True)
        taken = self._submit("take", np.take, parts, indices, [0] * len(parts))
        return replace(self, parts=taken, counts=[len(each) for each in indices])

    def scaled(self, scaler: RowFunction) -> "DaskMatrix":
        """Return a matrix of scaled rows, computed at once on the same workers."""
        return replace(self, parts=self._submit("scale", scaler, self.parts))

    def averaged(self, count: int) -> "DaskMatrix":
        """Return the means of every `count` consecutive rows, computed on the same workers."""
        if count == 1:
            return self
        parts = self._submit("average", partial(mean_of_rows, count=count), self.parts)
        return replace(self, parts=parts, counts=[n // count for n in self.counts])

    def align(self, values: Any) -> Any:
        """Send one value a row to the workers that hold the rows, as tasks."""
        if isinstance(values, _AlignedValues):
            return values
        slices = [values[rows] for rows in self._part_slices()]
        return _AlignedValues(self._submit("align", _second, self.parts, slices))

    def map_blocks(self, function: Callable[..., T], *aligned: Any) -> Iterator[T]:
        """Call a function with each part, on its worker, and yield the results in order."""
        return iter(self.client.gather(self._map_parts(function, aligned)))

    def sum_blocks(self, function: Callable[..., T], *aligned: Any) -> T:
        """Return the sum of a function over all parts, always added in the same order."""
        sums = self._map_parts(function, aligned)
        while len(sums) > _FAN_IN:
            groups = [sums[start : start + _FAN_IN] for start in range(0, len(sums), _FAN_IN)]
            sums = self._submit("add", _sum, groups)
        total: T = _sum(self.client.gather(sums))
        return total

    def _map_parts(self, function: Callable[..., Any], aligned: Sequence[Any]) -> list[Any]:
        values = [self.align(each).parts for each in aligned]
        # The function is sent to the cluster once; workers copy it from each other.
        (shared,) = self._submit("share", _identity, [function])
        return self._submit("map", _call, [shared] * len(self.parts), self.parts, *values)

    def _submit(self, name: str, function: Callable[..., Any], *each: Sequence[Any]) -> list[Any]:
        """Return futures of a function of each part; they run where most of its arguments are."""
        arguments = [list(values) for values in each]
        futures = self.client.map(function, *arguments, key=f"bottleneck-{name}", pure=False)
        return list(futures)

    def _part_slices(self) -> Iterator[slice]:
        ends = np.cumsum(self.counts).tolist()
        return map(slice, [0, *ends], ends)


def load_on_workers(
    executor: DaskExecutor, cache: Cache, features: Features, rows: NDArray[np.int64]
) -> DaskMatrix:
    """Load the codes of some images into the memory of Dask workers, one part for each thread.

    Parameters
    ----------
    executor : DaskExecutor
        Cluster to use.
    cache : Cache
        Cache in a directory that every worker sees by the same absolute path.
    features : Features
        Finished layers and views of the cache.
    rows : ndarray of int64, shape (n,)
        Row numbers, ascending; each row has codes.

    Returns
    -------
    DaskMatrix
        The views of an image are consecutive rows of one part.

    Raises
    ------
    WorkerError
        A worker does not see the cache or lacks this package, or the workers have too little
        memory; raised before anything is read.
    ShardError
        A shard is absent, damaged, or holds other rows than its name says.
    """
    client, path, size = executor.client, cache.path.resolve(), sum(features.sizes(cache))
    fingerprint = fingerprint_of(cache)
    require_shared_paths(executor, partial(missing_on_worker, path, fingerprint))
    _require_memory(client, len(rows) * features.views, size)
    threads = sum(client.nthreads().values())
    part_rows = np.array_split(rows, min(threads, len(rows)))
    # Not assigned to a worker by name: if all of them were lost, Dask would wait for that one.
    load = partial(_load, path, fingerprint, features)
    parts = client.map(load, part_rows, key="bottleneck-load", pure=False)
    # Waits until all parts are read, so that a damaged shard is reported before any training.
    counts = client.gather(client.map(len, parts, key="bottleneck-count", pure=False))
    return DaskMatrix(client, parts, counts, size)


def _require_memory(client: Any, n: int, d: int) -> None:
    """Refuse codes that the workers cannot hold, before Dask ends the workers one by one."""
    limits = list(client.run(_memory_limit).values())
    needed, available = n * d * 4 * _COPIES, sum(limits)
    if all(limits) and needed > available:
        raise WorkerError(
            f"training on {n} codes of {d} values takes {format_size(needed)}, and the workers "
            f"have {format_size(available)}: start more of them, or leave `backend` out, and codes "
            "are read from their shards as they are needed"
        )


def _memory_limit(dask_worker: Any) -> int:
    """Return the memory limit of a worker in bytes; 0 without one."""
    return int(dask_worker.memory_manager.memory_limit or 0)


def _load(
    path: Path, fingerprint: str, features: Features, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    cache, _ = open_on_worker(path, fingerprint)
    return features.read(cache, rows)


def _identity(value: T) -> T:
    return value


def _call(function: Callable[..., T], block: NDArray[Any], *values: Any) -> T:
    return function(block, *values)


def _second(_: NDArray[Any], values: T) -> T:
    """Return values, on the worker that holds the part because the part is an argument too."""
    return values


def _sum(values: Sequence[Any]) -> Any:
    return reduce(add, values)
