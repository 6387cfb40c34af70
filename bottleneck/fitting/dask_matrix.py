"""Remote: a layer's rows in the memory of Dask's workers, from which only sums come back.

Each part of the rows is what one task read from the shards. All that is made of it is made by tasks
too, whose arguments the scheduler keeps: a worker that is lost takes nothing along that another
would not read, prepare and add up again. (What is scattered would be lost with it.)
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.manifest import cache_fingerprint
from bottleneck.cache.store import Cache, open_cache
from bottleneck.errors import WorkerError
from bottleneck.fitting.sharded_matrix import code_size
from bottleneck.linear.matrix import ArrayMatrix, CodeMatrix, RowFunction
from bottleneck.runtime.executors import DaskExecutor, require_shared_paths
from bottleneck.runtime.formatting import format_size

T = TypeVar("T")

_COPIES = 3  # of codes on the workers at once: as read, a fold's rows, those prepared
_FAN_IN = 8  # sums that are added up in one place


@dataclass(frozen=True)
class _Aligned:
    """What belongs to the rows of each part, as futures, where the part is."""

    parts: Sequence[Any]


@dataclass(frozen=True)
class DaskMatrix(CodeMatrix):
    """Codes whose rows lie in parts on Dask's workers.

    Workers forget a part when the last object here that has its future is gone.

    Attributes
    ----------
    client : distributed.Client
    parts : sequence of distributed.Future
        Consecutive rows, each an array of float32, shape (b, d).
    counts : sequence of int
        The rows of each part, at least one.
    size : int
        d.
    """

    client: Any
    parts: Sequence[Any]
    counts: Sequence[int]
    size: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows n and features d."""
        return sum(self.counts), self.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Float32."""
        return np.dtype(np.float32)

    @property
    def in_memory(self) -> bool:
        """False: not in this machine's."""
        return False

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """The parts, each brought here."""
        return map(self.client.gather, self.parts)

    def to_local(self) -> ArrayMatrix:
        """The same rows in this machine's memory."""
        return ArrayMatrix(np.concatenate(self.client.gather(list(self.parts))))

    def take(self, rows: NDArray[np.int64]) -> "DaskMatrix":
        """Only some rows, by ascending place, taken where they lie."""
        kept = []
        for part, where in zip(self.parts, self._places(), strict=True):
            first, last = np.searchsorted(rows, [where.start, where.stop])
            if first < last:
                kept.append((part, rows[first:last] - where.start))
        parts, places = zip(*kept, strict=True)
        taken = self._submit("take", np.take, parts, places, [0] * len(parts))
        return DaskMatrix(self.client, taken, [len(rows) for rows in places], self.size)

    def scaled(self, scaler: RowFunction) -> "DaskMatrix":
        """The same rows, prepared at once, where they lie."""
        parts = self._submit("scale", scaler, self.parts)
        return DaskMatrix(self.client, parts, self.counts, self.size)

    def align(self, values: Any) -> Any:
        """What belongs to each row, as tasks beside the rows; see `CodeMatrix`."""
        if isinstance(values, _Aligned):
            return values
        slices = [values[where] for where in self._places()]
        return _Aligned(self._submit("align", _values, self.parts, slices))

    def map_blocks(self, function: Callable[..., T], *aligned: Any) -> Iterator[T]:
        """What a function makes of every part, on its worker; see `CodeMatrix`."""
        return iter(self.client.gather(self._mapped(function, aligned)))

    def sum_blocks(self, function: Callable[..., T], *aligned: Any) -> T:
        """The sum of what `map_blocks` gives, always in the same order; see `CodeMatrix`."""
        sums = self._mapped(function, aligned)
        while len(sums) > _FAN_IN:
            groups = [sums[start : start + _FAN_IN] for start in range(0, len(sums), _FAN_IN)]
            sums = self._submit("add", _sum, groups)
        found: T = _sum(self.client.gather(sums))
        return found

    def _mapped(self, function: Callable[..., Any], aligned: Sequence[Any]) -> list[Any]:
        values = [self.align(each).parts for each in aligned]
        # Sent once, whatever the parts: workers have it of each other, a copy for all threads.
        (shared,) = self._submit("share", _same, [function])
        return self._submit("map", _called, [shared] * len(self.parts), self.parts, *values)

    def _submit(self, name: str, function: Callable[..., Any], *each: Sequence[Any]) -> list[Any]:
        """Futures of a function of each part, which runs where the most of its arguments is."""
        arguments = [list(values) for values in each]
        futures = self.client.map(function, *arguments, key=f"bottleneck-{name}", pure=False)
        return list(futures)

    def _places(self) -> Iterator[slice]:
        ends = np.cumsum(self.counts).tolist()
        return map(slice, [0, *ends], ends)


def load_on_workers(client: Any, cache: Cache, layer: str, rows: NDArray[np.int64]) -> DaskMatrix:
    """Have Dask's workers read some rows of a layer, a part for each of their threads.

    Parameters
    ----------
    client : distributed.Client
    cache : Cache
        In a directory that every worker sees by the same absolute path.
    layer : str
        A whole layer.
    rows : ndarray of int64, shape (n,)
        Ascending, each usable.

    Raises
    ------
    WorkerError
        A worker does not see the cache or lacks this package, or they have too little memory;
        before anything is read.
    ShardError
        A shard is absent, damaged, or holds other rows than its name says.
    """
    path, size = cache.path.resolve(), code_size(cache, layer)
    require_shared_paths(DaskExecutor(client), partial(_unseen, path, cache_fingerprint(path)))
    _require_memory(client, len(rows), size)
    threads = sum(client.nthreads().values())
    places = np.array_split(rows, min(threads, len(rows)))
    # To no worker by name: Dask would wait for that one to come back, were all of them lost.
    load = partial(_load, path, layer)
    parts = client.map(load, places, key="bottleneck-load", pure=False)
    # Waits until all are read, so that a damaged shard is told of before anything is computed.
    counts = client.gather(client.map(len, parts, key="bottleneck-count", pure=False))
    return DaskMatrix(client, parts, counts, size)


def _unseen(path: Path, state: str) -> str:
    """What a worker does not see; empty where it sees all."""
    return "" if cache_fingerprint(path) == state else f"the cache {path}"


def _require_memory(client: Any, n: int, d: int) -> None:
    """Refuse codes that the workers cannot hold, rather than have Dask end them one by one."""
    limits = list(client.run(_memory_limit).values())
    needed, held = n * d * 4 * _COPIES, sum(limits)
    if all(limits) and needed > held:
        raise WorkerError(
            f"training on {n} codes of {d} values takes {format_size(needed)}, and the "
            f"workers have {format_size(held)}: start more of them, or leave `backend` out, and "
            "codes are read from their shards as they are needed"
        )


def _memory_limit(dask_worker: Any) -> int:
    """Of the worker that Dask gives; 0 where it has none."""
    return int(dask_worker.memory_manager.memory_limit or 0)


def _load(path: Path, layer: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    return open_cache(path).read_codes(layer, rows)


def _same(value: T) -> T:
    return value


def _called(function: Callable[..., T], block: NDArray[Any], *values: Any) -> T:
    return function(block, *values)


def _values(_: NDArray[Any], values: T) -> T:
    """What lies beside a part, made where the part is because it is asked for with it."""
    return values


def _sum(values: Sequence[Any]) -> Any:
    return reduce(add, values)
