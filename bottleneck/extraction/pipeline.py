"""The pipeline from batches of images to finished shards: encode, collect, write behind."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bottleneck.cache.shard import ShardData
from bottleneck.cache.shard_writer import choose_dtype, write_shard
from bottleneck.cache.store import Cache
from bottleneck.data.images import ImageSource
from bottleneck.extraction.encoder import Batch, Encoder
from bottleneck.runtime.shutdown import defer_stop, raise_if_stop_requested
from bottleneck.runtime.timing import StageTimer

_SHARDS_IN_FLIGHT = 2  # one being written while the next fills


def write_shards(
    cache: Cache,
    shards: Sequence[int],
    encoder: Encoder,
    *,
    source: ImageSource,
    batch_size: int,
    workers: int | None,
) -> Iterator[int]:
    """Make shards one after another, without a pause between them.

    Parameters
    ----------
    cache : Cache
        Where they belong.
    shards : sequence of int
        Which.
    encoder : Encoder
        Of the layers that lack them.
    source : ImageSource
        Of the cache's images.
    batch_size : int
        Images in one forward pass.
    workers : int or None
        As in `bottleneck.extraction.encoder.Encoder.stream`.

    Yields
    ------
    int
        Rows that were encoded, batch by batch.

    Raises
    ------
    NonFiniteCodesError, OSError
        As from the network and the disk; the shards that were finished stay.
    StopRequested
        Somebody asked for it while a shard was made: that shard is whole, and others are to do.
    """
    plan = [(shard, rows) for shard in shards for rows in _batches(cache.rows(shard), batch_size)]
    cost = {layer.name: layer.cost for layer in encoder.layers}
    stream = encoder.encode(source, (rows for _, rows in plan), workers=workers)
    parts: list[Batch] = []
    with defer_stop(), _WriteBehind(encoder.clock) as writer, closing(stream):
        for (shard, rows), batch in zip(plan, stream, strict=True):
            parts.append(batch)
            if rows.stop == cache.rows(shard).stop:
                writer.submit(_write_task(cache, shard, parts, cost))
                parts = []
            yield len(rows)
            if not parts and shard != shards[-1]:
                raise_if_stop_requested()  # batches that were encoded ahead are dropped


def _batches(rows: range, size: int) -> Iterator[range]:
    # A batch never crosses a shard, so that a shard made again is made of the same batches.
    for start in range(rows.start, rows.stop, size):
        yield range(start, min(start + size, rows.stop))


def _write_task(
    cache: Cache, shard: int, parts: list[Batch], cost: dict[str, float]
) -> Callable[[], None]:
    def write() -> None:
        for layer in parts[0].codes:
            write_shard(
                cache.shard_path(layer, shard),
                _joined(cache, shard, layer, parts),
                manifest=cache.manifest,
                layer=layer,
                cost=cost[layer],
            )

    return write


def _joined(cache: Cache, shard: int, layer: str, parts: list[Batch]) -> ShardData:
    rows = cache.rows(shard)
    row = np.concatenate([part.row for part in parts])
    if not np.array_equal(row, rows):  # order is data, and this is where it is proved
        raise AssertionError(f"shard {shard} would hold rows {row} in place of {rows}")
    return ShardData(
        codes=_stored([part.codes[layer] for part in parts], cache.layout.dtype),
        row=row,
        path=cache.images.path[rows.start : rows.stop],
        label=cache.images.label[rows.start : rows.stop],
        valid=np.concatenate([part.valid for part in parts]),
        reason=[why for part in parts for why in part.reason],
        image_sha256=[digest for part in parts for digest in part.image_sha256],
    )


def _stored(parts: list[NDArray[np.float32]], dtype: str) -> NDArray[Any]:
    """Batches of codes as one array, in float16 already where that is asked for and holds them."""
    if any(choose_dtype(part, dtype) != "float16" for part in parts):
        return np.concatenate(parts)
    # By PyTorch, which rounds many numbers at a time where NumPy rounds one.
    return np.concatenate([torch.from_numpy(part).half().numpy() for part in parts])


class _WriteBehind:
    """Writes in a thread of its own; when too much waits, whoever submits waits too."""

    def __init__(self, clock: StageTimer) -> None:
        self._clock = clock
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._pending: deque[Future[None]] = deque()

    def __enter__(self) -> "_WriteBehind":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._pool.shutdown()  # what was encoded whole is written, whatever happened after it
        if error is None:
            self._drain(0)

    def submit(self, write: Callable[[], None]) -> None:
        self._drain(_SHARDS_IN_FLIGHT - 1)
        self._pending.append(self._pool.submit(self._timed, write))

    def _timed(self, write: Callable[[], None]) -> None:
        with self._clock.measure("write"):
            write()

    def _drain(self, most: int) -> None:
        """Wait until at most so many are pending; raise what any of them raised."""
        with self._clock.measure("blocked"):
            while len(self._pending) > most:
                self._pending.popleft().result()
