"""Codes as training reads them: in memory if they fit, otherwise from their shards."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache import Cache, rows_as_slice, widen_float16
from bottleneck.fitting.loading.features import Features
from bottleneck.linear import ArrayMatrix, CodeMatrix
from bottleneck.runtime import read_ahead, spare_memory

# Copies of the codes in memory at once: as read, the rows of a fold, scaled, in the eigenbasis.
_COPIES = 4
# Copies where training needs the rows themselves only: as read and scaled.
_LOCAL_COPIES = 2
# Blocks per budget: the next block is read while one is used, and each has a scaled copy.
_BLOCKS_PER_BUDGET = 16
_SPARE_PER_BUDGET = 4  # as four blocks
_MAX_BLOCK = 64 << 20  # bytes; larger blocks are no faster


@dataclass(frozen=True)
class ShardedMatrix(CodeMatrix):
    """Codes that are read from their shards in blocks, in order, whenever they are needed.

    The shards of all layers and views are read side by side. Each is verified before it is read
    for the first time.

    Attributes
    ----------
    cache : Cache
        Source of the codes.
    features : Features
        Finished layers and views of the cache.
    images : ndarray of int64, shape (n,)
        Row numbers in the cache, ascending; each has codes. The views of an image are consecutive
        rows of this matrix, in one block.
    size : int
        Number of values d of a row.
    block : int
        Images that are read at a time.
    memory : int
        Bytes that training may use.
    """

    cache: Cache
    features: Features
    images: NDArray[np.int64]
    size: int
    block: int
    memory: int = 0
    _verified: set[int] = field(default_factory=set)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Float32."""
        return np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows, one for each view of each image, and of features d."""
        return len(self.images) * self.features.views, self.size

    @property
    def spare(self) -> int:
        """A part of the budget, as large as that of the blocks."""
        return self.memory // _SPARE_PER_BUDGET

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield consecutive rows; the next block is read while one is used."""
        return read_ahead(self._read())

    def take(self, rows: NDArray[np.int64]) -> "ShardedMatrix":
        """Return a matrix of some rows, given by ascending index; all those of an image."""
        views = self.features.views
        return replace(self, images=self.images[rows[::views] // views])

    def to_local(self) -> CodeMatrix:
        """Return the rows in memory where the budget holds two copies of them."""
        n, d = self.shape
        if n == 0 or n * d * 4 * _LOCAL_COPIES > self.memory:
            return self
        codes, start = np.empty((n, d), dtype=np.float32), 0
        for block in self.blocks():
            codes[start : start + len(block)] = block
            start += len(block)
        return ArrayMatrix(codes)

    def _read(self) -> Generator[NDArray[np.float32], None, None]:
        series = list(self.features.series(self.cache))
        for shard, _, wanted in self.cache.by_shard(self.images):
            start = first = 0
            verify = shard not in self._verified
            readers = [
                self.cache.read_blocks(layer, shard, self.block, verify=verify, view=view)
                for layer, view, _ in series
            ]
            for stored in zip(*readers, strict=True):
                self._verified.add(shard)
                before, start = start, start + len(stored[0])
                last = int(np.searchsorted(wanted, start))
                if first < last:
                    rows = rows_as_slice(wanted[first:last] - before)
                    yield self._side_by_side(series, [part[rows] for part in stored])
                first = last

    def _side_by_side(
        self, series: Sequence[tuple[str, int, slice]], stored: Sequence[NDArray[Any]]
    ) -> NDArray[np.float32]:
        """Join the stored codes of some images to rows of float32."""
        b = len(stored[0])
        if len(stored) == 1:
            return widen_float16(stored[0].reshape(b, -1))
        rows = np.empty((b, self.features.views, self.size), dtype=np.float32)
        for (_, view, columns), codes in zip(series, stored, strict=True):
            rows[:, view, columns] = widen_float16(codes.reshape(b, -1))
        return rows.reshape(-1, self.size)


def open_matrix(
    cache: Cache, features: Features, rows: NDArray[np.int64], *, memory: int | None
) -> CodeMatrix:
    """Return the codes of some images, in memory where they fit into a budget.

    Parameters
    ----------
    cache : Cache
        Source of the codes.
    features : Features
        Finished layers and views of the cache.
    rows : ndarray of int64, shape (n,)
        Row numbers, ascending; each row has codes.
    memory : int, optional
        Bytes that training may use; half of the free memory by default.

    Returns
    -------
    CodeMatrix
        An `ArrayMatrix` where the budget holds four copies of the codes, else a `ShardedMatrix`.
        The views of an image are consecutive rows.

    Raises
    ------
    ShardError
        A shard is absent, damaged, or holds other rows than its name says.
    """
    if memory is None:
        memory = spare_memory()
    size = sum(features.sizes(cache))
    image_bytes = 4 * size * features.views
    spare = memory - len(rows) * image_bytes * _COPIES
    if spare >= 0:
        return ArrayMatrix(features.read(cache, rows), spare)
    block = min(memory // _BLOCKS_PER_BUDGET, _MAX_BLOCK) // image_bytes
    return ShardedMatrix(cache, features, rows, size, max(1, block), memory)
