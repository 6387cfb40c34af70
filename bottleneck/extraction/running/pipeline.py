"""Pipeline from images to finished shards: encode, collect, write in the background."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bottleneck.cache import (
    REMOVED,
    Cache,
    Series,
    ShardData,
    choose_dtype,
    require_spec_of_run,
    write_shard,
)
from bottleneck.data import ImageSource, ViewSet
from bottleneck.extraction.encoding.encoder import EncodedBatch, Encoder
from bottleneck.extraction.planning.missing_shards import views_of
from bottleneck.runtime import StageTimer, defer_stop, raise_if_stop_requested


def write_shards(
    cache: Cache,
    series: Sequence[Series],
    shards: Sequence[int],
    encoder: Encoder,
    images: ImageSource,
) -> Iterator[int]:
    """Make shards one after another, without a pause between them.

    Parameters
    ----------
    cache : Cache
        The cache on the disk.
    series : sequence of Series
        The series that lack them.
    shards : sequence of int
        Numbers of the shards to make.
    encoder : Encoder
        Of the layers of these series.
    images : ImageSource
        The images, in the order of the cache's rows.

    Yields
    ------
    int
        Images that were encoded, batch by batch; an image counts once for each view.

    Raises
    ------
    NonFiniteCodesError, OSError
        The network or the disk failed. Finished shards stay.
    StopRequested
        A stop was requested. The shard in progress was finished, and others are missing.
    """
    views, size = views_of(series), encoder.batch_size
    plan = [(shard, rows) for shard in shards for rows in _batches(cache.rows(shard), size)]
    wanted = ViewSet(views, cache.view_recipe)
    stream = encoder.encode(images, (rows for _, rows in plan), wanted)
    parts: list[EncodedBatch] = []
    with defer_stop(), _WriteBehind(encoder.stats.timer) as writer, closing(stream):
        expected = ((shard, rows, view) for shard, rows in plan for view in views)
        for (shard, rows, view), batch in zip(expected, stream, strict=True):
            parts.append(batch)
            if rows.stop == cache.rows(shard).stop and view == views[-1]:
                writer.submit(partial(_write, cache, series, shard, parts, encoder))
                parts = []
            yield sum(reason != REMOVED for reason in batch.reason)
            if not parts and shard != shards[-1]:
                raise_if_stop_requested()  # batches that were encoded ahead are dropped


def _batches(rows: range, size: int) -> Iterator[range]:
    # A batch never crosses a shard, so that a shard made again is made of the same batches.
    for start in range(rows.start, rows.stop, size):
        yield range(start, min(start + size, rows.stop))


def _write(
    cache: Cache,
    series: Sequence[Series],
    shard: int,
    parts: list[EncodedBatch],
    encoder: Encoder,
) -> None:
    require_spec_of_run(cache)
    costs = {layer.name: layer.cost for layer in encoder.layers}
    for each in series:
        of_view = [part for part in parts if part.view == each.view]
        write_shard(
            cache.shard_path(each, shard),
            _concatenate(cache, shard, each.layer, of_view),
            manifest=cache.manifest,
            series=each,
            cost=costs[each.layer],
            runtime=encoder.runner.runtime.name,
        )


def _concatenate(cache: Cache, shard: int, layer: str, parts: list[EncodedBatch]) -> ShardData:
    rows = cache.rows(shard)
    row = np.concatenate([part.row for part in parts])
    if not np.array_equal(row, rows):  # the proof that codes are stored in the order of the images
        raise AssertionError(f"shard {shard} would hold rows {row} in place of {rows}")
    return ShardData(
        codes=_concatenate_codes([part.codes[layer] for part in parts], cache.layout.dtype),
        row=row,
        path=cache.images.path[rows.start : rows.stop],
        label=cache.images.label[rows.start : rows.stop],
        valid=np.concatenate([part.valid for part in parts]),
        reason=[why for part in parts for why in part.reason],
        image_sha256=[digest for part in parts for digest in part.image_sha256],
    )


def _concatenate_codes(parts: list[NDArray[np.float32]], dtype: str) -> NDArray[Any]:
    """Return batches of codes as one array, as float16 if `dtype` is that and holds them."""
    if any(choose_dtype(part, dtype) != "float16" for part in parts):
        return np.concatenate(parts)
    # By PyTorch, which rounds many numbers at a time; NumPy rounds them one by one.
    return np.concatenate([torch.from_numpy(part).half().numpy() for part in parts])


class _WriteBehind:
    """Write in a thread of its own, one shard while the next fills; `submit` waits for the last."""

    def __init__(self, timer: StageTimer) -> None:
        self._timer = timer
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._last: Future[None] | None = None

    def __enter__(self) -> "_WriteBehind":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        with self._timer.measure("blocked"):
            self._pool.shutdown()  # a shard encoded completely is written, whatever failed
        if error is None:
            self._wait()

    def submit(self, write: Callable[[], None]) -> None:
        self._wait()
        self._last = self._pool.submit(self._measured, write)

    def _measured(self, write: Callable[[], None]) -> None:
        with self._timer.measure("write"):
            write()

    def _wait(self) -> None:
        """Wait for the last write, and raise what it raised."""
        if self._last is not None:
            with self._timer.measure("blocked"):
                self._last.result()
