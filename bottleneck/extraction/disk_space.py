"""Before a run: which images, at which layers, and whether the disk can hold their codes."""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bottleneck.backbones.layers import Layer
from bottleneck.cache.shard import CHUNK_BYTES
from bottleneck.cache.store import Cache
from bottleneck.errors import DiskSpaceError
from bottleneck.runtime.formatting import size

# What a shard holds beside its codes: path, label, reason, digest and number of each row, and
# its spec. Measured: in 4096 rows 260 bytes a row with paths of 36 characters, 388 with paths of
# 161; 12 kB for a shard of one row.
_BYTES_A_ROW = 400
_BYTES_A_SHARD = 16_000

_SHARD_ROWS = 4096
_SHARD_BYTES = 64 << 20  # an unpooled layer gets shards of fewer rows


@dataclass(frozen=True)
class LayerEstimate:
    """What a run is to write at one layer.

    Attributes
    ----------
    code_shape : tuple of int
        Of one image.
    rows : int
        Images whose codes are to be written.
    bytes : int
        That these codes take on the disk, with their paths and digests, uncompressed.
    """

    code_shape: tuple[int, ...]
    rows: int
    bytes: int


@dataclass(frozen=True)
class DiskEstimate:
    """What a run is to do, and the room that there is for it.

    Attributes
    ----------
    path : Path
        The cache's directory.
    rows : int
        Images to encode; each goes through the network once, whatever the layers.
    layers : dict of str to LayerEstimate
        By name: those at which something is missing.
    free : int
        Bytes free on the disk where the cache stands or will stand. A user's quota is not seen.
    """

    path: Path
    rows: int
    layers: dict[str, LayerEstimate]
    free: int

    @property
    def bytes(self) -> int:
        """What the run writes, at most.

        Compressed shards take less. Shards that are made again count in full, because each stays
        until it is replaced. The one thing that can take more are codes beyond float16's range,
        which are stored as float32.
        """
        return sum(layer.bytes for layer in self.layers.values())

    def require_free_space(self) -> None:
        """Refuse a run that the disk cannot hold.

        Raises
        ------
        DiskSpaceError
            Says how much is needed, how much there is, and what to do.
        """
        if self.bytes > self.free:
            raise DiskSpaceError(
                f"the codes of {self.rows} images take up to {size(self.bytes)}, and the disk of "
                f"{self.path} has {size(self.free)} free: try `pool=avg`, `dtype=float16`, "
                "fewer layers, another disk with `out`, or `force` to go on"
            )


def estimate_disk_use(
    cache: Cache, layers: Sequence[Layer], todo: Mapping[tuple[str, ...], Sequence[int]]
) -> DiskEstimate:
    """Add up what a run is to write, and look how much room there is.

    Parameters
    ----------
    cache : Cache
        As it is planned; its directory need not exist yet.
    layers : sequence of Layer
        Those of the run.
    todo : mapping of tuple of str to sequence of int
        The shards to make, by the names of the layers that lack them.

    Returns
    -------
    DiskEstimate
        With the layers that lack something, in the order of `layers`.

    Raises
    ------
    InvalidOptionError
        A layer cannot be pooled as the cache's spec says.
    OSError
        The disk does not say how much is free.
    """
    work = {}
    for layer in layers:
        shards = [shard for names in todo if layer.name in names for shard in todo[names]]
        if shards:
            work[layer.name] = _layer_work(cache, layer, shards)
    rows = sum(len(cache.rows(shard)) for shards in todo.values() for shard in shards)
    return DiskEstimate(cache.path, rows, work, _free(cache.path))


def _layer_work(cache: Cache, layer: Layer, shards: Sequence[int]) -> LayerEstimate:
    pool = cache.spec.pool
    row_bytes = layer.code_size(pool) * np.dtype(cache.layout.dtype).itemsize
    rows = [len(cache.rows(shard)) for shard in shards]
    total = sum(shard_bytes(count, row_bytes) for count in rows)
    return LayerEstimate(layer.code_shape(pool), sum(rows), total)


def usual_shard_size(row_bytes: int) -> int:
    """The rows of a shard where nobody says how many: 4096, or fewer of more than 64 MiB."""
    return max(1, min(_SHARD_ROWS, _SHARD_BYTES // row_bytes))


def shard_bytes(rows: int, row_bytes: int) -> int:
    """The bytes of a shard, uncompressed, at most; `row_bytes` is those of one code."""
    # In chunks as `write_shard` makes them; the last one is written whole, however little it holds.
    chunk = min(rows, max(1, CHUNK_BYTES // row_bytes))
    codes = math.ceil(rows / chunk) * chunk * row_bytes
    return codes + rows * _BYTES_A_ROW + _BYTES_A_SHARD


def _free(path: Path) -> int:
    """Bytes free on the disk of a path that may not exist yet."""
    here = path.absolute()
    existing = next(place for place in (here, *here.parents) if place.exists())
    return shutil.disk_usage(existing).free
