"""The memory that shards take while they are made: a shard is written whole or not at all."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bottleneck.cache import Cache
from bottleneck.errors import CacheError
from bottleneck.extraction.planning.missing_shards import MissingShards, layers_of, views_of
from bottleneck.runtime import available_memory, format_size

if TYPE_CHECKING:
    from bottleneck.backbones import Layer

# Measured with maps of 95 to 567 MiB a shard. Its batches in float32 are held for all series, and
# where several shards are made those of the next one. A series that is written takes as much twice,
# in its stored type and as a file.
_ONE, _SEVERAL, _WRITTEN = 1, 2, 2
_FLOAT32 = 4  # bytes: as the network gives codes


def require_shard_memory(cache: Cache, layers: "Sequence[Layer]", missing: MissingShards) -> None:
    """Refuse shards that the free memory cannot hold while they are made in this process.

    Parameters
    ----------
    cache : Cache
        The cache as it will be.
    layers : sequence of Layer
        The layers of the run.
    missing : dict of tuple of Series to list of int
        The shards to make, by the series that lack them.

    Raises
    ------
    CacheError
        The message says how much is needed, how much is free, and what to do.
    """
    sizes = {layer.name: layer.code_size(cache.spec.pool) for layer in layers}
    free = available_memory()
    for series, shards in missing.items():
        rows = max(len(cache.rows(shard)) for shard in shards)
        values = [sizes[each.layer] for each in series]
        held = (_ONE if len(shards) == 1 else _SEVERAL) * sum(values) + _WRITTEN * max(values)
        needed = held * rows * _FLOAT32
        if needed > free:
            names = ", ".join(layers_of(series))
            views = len(views_of(series))
            of_views = f" in {views} views" if views > 1 else ""
            raise CacheError(
                f"a shard of {cache.path} has the codes of {rows} images: at {names}{of_views} it "
                f"takes {format_size(needed)} of memory to make, and {format_size(free)} is free: "
                "extract fewer `layers` at a time, or into a new cache with a smaller "
                "`shard_size`, or go on with `force`"
            )
