"""Stored codes: a layer's rows as training reads them, in memory if they fit, else from shards."""

import atexit
import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Thread
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.float16 import widen_float16
from bottleneck.cache.shard import iter_code_blocks
from bottleneck.cache.store import Cache, rows_as_slice
from bottleneck.errors import USER_CODE_ERRORS, BottleneckError
from bottleneck.linear.matrix import ArrayMatrix, CodeMatrix
from bottleneck.runtime.resources import spare_memory

# Of codes in memory at once: as read, a fold's rows, those prepared, those in their coordinates.
_COPIES = 4
# Of a budget, for a block that is computed with; the next is read meanwhile, and each has a copy.
_SHARE_OF_BLOCK = 16
_LARGEST_BLOCK = 64 << 20  # bytes; a larger one is no faster


@dataclass(frozen=True)
class ShardedMatrix(CodeMatrix):
    """Codes that are read from their shards whenever they are asked for, in order.

    A shard is checked before it is read for the first time.

    Attributes
    ----------
    cache : Cache
    layer : str
    rows : ndarray of int64, shape (n,)
        Ascending rows of the cache, each usable.
    size : int
        d, of a flattened code.
    block : int
        Rows that are read at a time.
    """

    cache: Cache
    layer: str
    rows: NDArray[np.int64]
    size: int
    block: int
    _checked: set[int] = field(default_factory=set)

    @property
    def in_memory(self) -> bool:
        """False."""
        return False

    @property
    def dtype(self) -> np.dtype[Any]:
        """Float32."""
        return np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows n and features d."""
        return len(self.rows), self.size

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Consecutive rows, each block read while the one before is computed with."""
        return _ahead(self._read())

    def take(self, rows: NDArray[np.int64]) -> "ShardedMatrix":
        """Only some rows, by ascending place."""
        return ShardedMatrix(
            self.cache, self.layer, self.rows[rows], self.size, self.block, self._checked
        )

    def _read(self) -> Generator[NDArray[np.float32], None, None]:
        shard_of = self.rows // self.cache.layout.shard_size
        for shard in np.unique(shard_of).tolist():
            path, first = self.cache.shard_path(self.layer, shard), self.cache.rows(shard).start
            wanted = self.rows[shard_of == shard] - first
            if shard not in self._checked:
                self.cache.verify_shard(self.layer, shard)
                self._checked.add(shard)
            start = 0
            for stored in iter_code_blocks(path, self.block):
                stop = start + len(stored)
                here = wanted[(start <= wanted) & (wanted < stop)] - start
                start = stop
                if len(here):
                    yield widen_float16(stored.reshape(len(stored), -1)[rows_as_slice(here)])


def open_matrix(
    cache: Cache, layer: str, rows: NDArray[np.int64], *, memory: int | None
) -> CodeMatrix:
    """The codes of some rows of a layer: in memory where they fit into a budget.

    Parameters
    ----------
    cache : Cache
    layer : str
        A whole layer.
    rows : ndarray of int64, shape (n,)
        Ascending, each usable.
    memory : int, optional
        Bytes that training may take; half of what is free unless given.

    Raises
    ------
    ShardError
        A shard is absent, damaged, or holds other rows than its name says.
    """
    if memory is None:
        memory = spare_memory()
    size = code_size(cache, layer)
    if len(rows) * size * 4 * _COPIES <= memory:
        return ArrayMatrix(cache.read_codes(layer, rows))
    block = min(memory // _SHARE_OF_BLOCK, _LARGEST_BLOCK) // (4 * size)
    return ShardedMatrix(cache, layer, rows, size, max(1, block))


def code_size(cache: Cache, layer: str) -> int:
    """Values in a flattened code of a layer that has been begun."""
    return math.prod(next(iter(cache.finished_shards(layer).values())).shape[1:])


def _ahead(blocks: Generator[Any, None, None]) -> Iterator[Any]:
    """The same blocks, each made in a thread while the one before is used."""
    reader = _Reader(blocks)
    reader.start()
    try:
        reader.asked.put(True)
        while (block := reader.made.get()) is not None:
            if isinstance(block, BaseException):
                raise block
            reader.asked.put(True)
            yield block
    finally:
        reader.asked.put(False)


class _Reader(Thread):
    """Makes a block whenever one is asked for, until none is wanted or there are no more.

    A plain thread and two queues: whoever forgets an iteration leaves its end to the garbage
    collector, which may come while an executor has its lock; these queues can be put into anywhere.
    """

    def __init__(self, blocks: Generator[Any, None, None]) -> None:
        super().__init__(daemon=True)
        self.asked: SimpleQueue[bool] = SimpleQueue()
        self.made: SimpleQueue[Any] = SimpleQueue()
        self._blocks = blocks
        _READERS.add(self)

    def run(self) -> None:
        """Read; what goes wrong is raised where the block was asked for."""
        ended: Any = RuntimeError("the thread that reads blocks ended without a reason")
        try:
            while self.asked.get():
                self.made.put(next(self._blocks, None))
        except (BottleneckError, *USER_CODE_ERRORS) as error:
            ended = error
        finally:
            self.made.put(ended)
            self._blocks.close()


_READERS: WeakSet[_Reader] = WeakSet()


@atexit.register
def _end_readers() -> None:
    """Let none be reading when Python ends: it would keep h5py's lock, and Python wait for that."""
    for reader in list(_READERS):
        reader.asked.put(False)
        reader.join()
