"""Read the maps of an unpooled cache as their averages over positions."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.format.float16 import widen_float16
from bottleneck.cache.format.series import Series, SeriesLike
from bottleneck.cache.format.shard import ShardHeader
from bottleneck.cache.store import Cache


def pooled(cache: Cache) -> Cache:
    """Return a cache whose unpooled codes are read as their averages over positions.

    Images are near each other by what they show, and maps by where they show it. Codes that are
    pooled already, be it to a grid, are read as they are.

    Parameters
    ----------
    cache : Cache

    Returns
    -------
    Cache
        For reading codes of channels alone, a shard of maps at a time.

    Examples
    --------
    >>> from bottleneck.cache.store import open_cache
    >>> cache = open_cache("tests/data/before/cache")
    >>> pooled(cache) is cache
    True
    """
    if "none" not in map(cache.spec.pool_of, cache.layers):
        return cache
    return _PooledCache(cache.path, cache.manifest, cache.images)


class _PooledCache(Cache):
    """A cache whose unpooled codes are averaged as they are read."""

    def finished_shards(
        self, series: SeriesLike, shards: Iterable[int] | None = None
    ) -> dict[int, ShardHeader]:
        finished = super().finished_shards(series, shards)
        if not self._has_maps(series):
            return finished
        return {
            shard: replace(header, shape=(header.shape[0], *_channels(header.shape)))
            for shard, header in finished.items()
        }

    def read_checked(self, series: SeriesLike, shard: int) -> NDArray[Any]:
        codes = super().read_checked(series, shard)
        return _average(codes) if self._has_maps(series) else codes

    def read_blocks(
        self, layer: str, shard: int, rows: int, *, verify: bool, view: int = 0
    ) -> Iterator[NDArray[Any]]:
        blocks = super().read_blocks(layer, shard, rows, verify=verify, view=view)
        return map(_average, blocks) if self._has_maps(layer) else blocks

    def _has_maps(self, series: SeriesLike) -> bool:
        return self.spec.pool_of(Series.of(series).layer) == "none"


def _average(codes: NDArray[Any]) -> NDArray[Any]:
    """Return the averages of codes of shape (n, ...) over positions; codes of channels stay."""
    positions = _position_axes(codes.shape)
    return widen_float16(codes).mean(axis=positions) if positions else codes


def _channels(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(np.delete(shape, [0, *_position_axes(shape)]).tolist())


def _position_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes of codes (n, ...) along which positions are counted.

    Shards do not say where the channels are. Inputs are square, and so are maps: where the last
    two axes of three differ, the last is the channels, as it is of tokens.
    """
    _, *axes = range(len(shape))
    last = len(axes) == 2 or (len(axes) == 3 and shape[2] != shape[3])
    return tuple(axes[:-1] if last else axes[1:])
