"""Batches of the maps in a cache: from memory if they fit, else through a shuffle buffer."""

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from bottleneck.cache import CHUNK_BYTES, Cache, CodeReader, Series, rows_as_slice
from bottleneck.finetuning.loading.batches import Batch, Batches, batch_bounds
from bottleneck.fitting import Features
from bottleneck.runtime import format_shape, format_size, read_ahead, spare_memory

# Parts of the budget: half of it is the buffer. While a range goes through the buffer and rows are
# joined to a batch, the next one is read, of which there are three copies for a moment.
_BUFFER = 2
_RANGE = 16
_IN_ORDER = 8
_LARGEST_RANGE = 8 * CHUNK_BYTES  # larger ranges are no faster, and mix the rows less


@dataclass(frozen=True)
class MapsInMemory:
    """Maps that are read once and kept, in the type in which they are stored.

    Attributes
    ----------
    rows : ndarray of int64, shape (n,)
        Their rows in the cache, ascending.
    maps : sequence of V ndarrays of float16 or float32, shape (n, C, H, W)
        A view each.
    """

    rows: NDArray[np.int64]
    maps: Sequence[NDArray[np.float16 | np.float32]]

    def __str__(self) -> str:
        """Describe the maps, and that they are in memory with their size."""
        size = format_size(sum(maps.nbytes for maps in self.maps))
        return f"{_describe(self.maps[0].shape[1:], self)} in memory ({size})"

    @property
    def views(self) -> int:
        """Views of an image."""
        return len(self.maps)

    def shuffled(
        self, rows: NDArray[np.int64], *, seed: int, epoch: int, batch_size: int
    ) -> Iterator[Batch]:
        """Yield each image once: see `Batches`."""
        order = np.random.default_rng((seed, epoch)).permutation(len(rows))
        maps, at = self.maps[epoch % self.views], np.searchsorted(self.rows, rows)
        bounds = batch_bounds(len(rows), batch_size)
        for start, end in pairwise(bounds):
            index = order[start:end]
            yield torch.from_numpy(maps[at[index]]), index

    def ordered(self, rows: NDArray[np.int64], *, batch_size: int) -> Iterator[Batch]:
        """Yield each view of each image, in order: see `Batches`."""
        at, images = np.searchsorted(self.rows, rows), max(1, batch_size // self.views)
        for start in range(0, len(rows), images):
            some = at[start : start + images]
            yield _side_by_side([maps[some] for maps in self.maps], start)


@dataclass(frozen=True)
class MapsInShards:
    """Maps that are read from their shards in every epoch, within a budget of memory.

    An epoch reads ranges of consecutive rows in random order, so that a buffer far smaller than the
    maps has rows of all shards. Each row that arrives replaces a random one of the buffer, which
    leaves it. The order depends on the seed, on the epoch and on `memory`.

    Attributes
    ----------
    cache : Cache
    features : Features
        One finished layer, and its views.
    rows : ndarray of int64, shape (n,)
        Rows of the cache, ascending; each has maps.
    shape : tuple of int
        Shape of the maps of one view of an image.
    memory : int
        Bytes that reading may use.
    """

    cache: Cache
    features: Features
    rows: NDArray[np.int64]
    shape: tuple[int, ...]
    memory: int
    _readers: dict[int, CodeReader] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        """Describe the maps, and that they are read through a shuffle buffer of this size."""
        maps = _describe(self.shape, self)
        size = format_size(self.buffer * self._row_bytes)
        return f"{maps} from the cache, through a shuffle buffer of {self.buffer} ({size})"

    @property
    def views(self) -> int:
        """Views of an image."""
        return self.features.views

    @property
    def _row_bytes(self) -> int:
        return 4 * math.prod(self.shape)

    @property
    def buffer(self) -> int:
        """Maps in the shuffle buffer: a power of two, so that the order is often the same."""
        most = max(1, self.memory // _BUFFER // self._row_bytes)
        return 1 << (most.bit_length() - 1)

    @property
    def range_rows(self) -> int:
        """Rows that are read at a time."""
        return max(1, min(self.memory // _RANGE, _LARGEST_RANGE) // self._row_bytes)

    def shuffled(
        self, rows: NDArray[np.int64], *, seed: int, epoch: int, batch_size: int
    ) -> Iterator[Batch]:
        """Yield each image once: see `Batches`."""
        random = np.random.default_rng((seed, epoch))
        ranges = random.permutation(np.unique(self._range_of(rows)))
        arriving = read_ahead(self._read(rows, ranges.tolist(), epoch % self.views))
        mixed = _shuffle(arriving, self.buffer, self.shape, random)
        sizes = np.diff(batch_bounds(len(rows), batch_size)).tolist()
        for maps, index in _regroup(mixed, sizes):
            yield torch.from_numpy(maps), index

    def ordered(self, rows: NDArray[np.int64], *, batch_size: int) -> Iterator[Batch]:
        """Yield each view of each image, in order: see `Batches`."""
        fitting = min(batch_size, self.memory // _IN_ORDER // self._row_bytes)
        return read_ahead(self._in_order(rows, max(1, fitting // self.views)))

    def _in_order(self, rows: NDArray[np.int64], images: int) -> Generator[Batch, None, None]:
        at = np.searchsorted(self.rows, rows)
        for start in range(0, len(rows), images):
            some = at[start : start + images].tolist()
            yield _side_by_side(
                [self._reader(view).read(some) for view in range(self.views)], start
            )

    def _range_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of the range that has each row. No range is in two shards."""
        size = self.cache.layout.shard_size
        return rows // size * size + rows % size // self.range_rows

    def _read(
        self, rows: NDArray[np.int64], ranges: Sequence[int], view: int
    ) -> Generator[tuple[NDArray[np.float32], NDArray[np.int64]], None, None]:
        """Read ranges: the maps of a view, and their index into `rows`."""
        at, numbers = np.searchsorted(self.rows, rows), self._range_of(rows)
        for number in ranges:
            first, end = np.searchsorted(numbers, [number, number + 1])
            index = np.arange(first, end)
            yield self._reader(view).read(at[first:end].tolist()), index

    def _reader(self, view: int) -> CodeReader:
        """Return the reader of a view, which verifies each shard before its first use."""
        (layer,) = self.features.layers
        if view not in self._readers:
            self._readers[view] = CodeReader(self.cache, Series(layer, view), self.rows)
        return self._readers[view]


def open_maps(
    cache: Cache, features: Features, rows: NDArray[np.int64], *, memory: int | None = None
) -> Batches:
    """Open the maps of some images, in memory where they fit into a budget.

    Parameters
    ----------
    cache : Cache
    features : Features
        One finished layer, and its views.
    rows : ndarray of int64, shape (n,)
        Row numbers, ascending; each row has maps in every view.
    memory : int, optional
        Bytes that reading may use; half of the free memory by default.

    Returns
    -------
    Batches
        `MapsInMemory` if all of them fit, else `MapsInShards`.

    Raises
    ------
    ShardError
        A shard is absent, damaged, or holds other rows than its name says.
    """
    (layer,) = features.layers
    shape = cache.code_shape(layer)
    dtypes = {
        header.dtype
        for view in range(features.views)
        for header in cache.finished_shards(Series(layer, view)).values()
    }
    dtype = np.result_type(*dtypes)
    budget = spare_memory() if memory is None else memory
    if len(rows) * features.views * math.prod(shape) * dtype.itemsize > budget:
        return MapsInShards(cache, features, rows, shape, budget)
    maps = [np.empty((len(rows), *shape), dtype=dtype) for _ in range(features.views)]
    for shard, where, offsets in cache.by_shard(rows):
        for view, target in enumerate(maps):
            stored = cache.read_checked(Series(layer, view), shard)
            target[where] = stored[rows_as_slice(offsets)]
    return MapsInMemory(rows, maps)


def _describe(shape: Sequence[int], batches: MapsInMemory | MapsInShards) -> str:
    views = f", {batches.views} views each," if batches.views > 1 else ""
    return f"maps of {format_shape(shape)} of {len(batches.rows)} images{views}"


def _side_by_side(maps: Sequence[NDArray[np.float16 | np.float32]], start: int) -> Batch:
    """Return a batch of all views of images from `start` on."""
    index = np.repeat(np.arange(start, start + len(maps[0])), len(maps))
    return torch.from_numpy(np.stack(maps, axis=1).reshape(-1, *maps[0].shape[1:])), index


def _shuffle(
    arriving: Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]],
    size: int,
    shape: tuple[int, ...],
    random: np.random.Generator,
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Exchange rows that arrive for random rows of a buffer, and empty it at the end."""
    maps, index = np.empty((size, *shape), dtype=np.float32), np.empty(size, dtype=np.int64)
    held = 0
    for block, numbers in arriving:
        filled = min(size - held, len(block))
        maps[held : held + filled], index[held : held + filled] = block[:filled], numbers[:filled]
        held += filled
        for start in range(filled, len(block), size):
            new = slice(start, start + size)
            out = random.choice(size, size=len(numbers[new]), replace=False)
            yield maps[out], index[out]
            maps[out], index[out] = block[new], numbers[new]
    for row in random.permutation(held).tolist():
        yield maps[row : row + 1], index[row : row + 1]


def _regroup(
    parts: Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]], sizes: Sequence[int]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Divide rows that arrive in parts of any size into batches of given sizes."""
    waiting: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = []
    count = 0
    for size in sizes:
        while count < size:
            waiting.append(next(parts))
            count += len(waiting[-1][1])
        maps = np.concatenate([part for part, _ in waiting])
        index = np.concatenate([numbers for _, numbers in waiting])
        yield maps[:size], index[:size]
        waiting, count = [(maps[size:], index[size:])], count - size
