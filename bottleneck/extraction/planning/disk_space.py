"""Disk space of an extraction: the size of shards, and whether the disk can hold them."""

import math
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from bottleneck.cache import CHUNK_BYTES, Cache
from bottleneck.data import ImageTable
from bottleneck.errors import DiskSpaceError
from bottleneck.extraction.planning.missing_shards import MissingShards, views_of
from bottleneck.runtime import format_shape, format_size

if TYPE_CHECKING:
    from bottleneck.backbones import Layer

# What a shard holds beside its codes: path, label, reason, digest and number of each row, and
# its spec. Measured: in 2000 rows 246 to 306 bytes a row more than path and label take, the most
# with paths of 3000 bytes; 15 kB for a shard of one row.
_BYTES_PER_ROW = 320
_BYTES_PER_SHARD = 16_000
_TEXTS_PER_SHARD = 20  # HDF5 keeps texts in blocks of 4 kB, and long ones leave some part empty

_MAX_LAYERS_SHOWN = 8


@dataclass(frozen=True)
class LayerEstimate:
    """What the codes of some images at one layer take on the disk.

    Attributes
    ----------
    code_shape : tuple of int
        Shape of one image's code.
    row_bytes : int
        Bytes of one image's code.
    rows : int
        Codes: images, each counted once for each view.
    bytes : int
        Bytes of the shards with paths and digests, uncompressed, at most.
    largest_shard : int
        Bytes of the shard with the most rows, uncompressed, at most.
    """

    code_shape: tuple[int, ...]
    row_bytes: int
    rows: int
    bytes: int
    largest_shard: int

    @classmethod
    def from_shards(
        cls,
        code_shape: tuple[int, ...],
        dtype: str,
        shard_rows: Mapping[int, int],
        text_bytes: int,
    ) -> Self:
        """Add up shards.

        Parameters
        ----------
        code_shape : tuple of int
            Shape of one image's code.
        dtype : str
            Of the stored codes.
        shard_rows : mapping of int to int
            How many shards there are, by their number of rows.
        text_bytes : int
            Of the images, as `longest_text` returns it.

        Examples
        --------
        >>> LayerEstimate.from_shards((512,), "float16", {4096: 2, 1000: 1}, 80).bytes
        13142208
        """
        row_bytes = math.prod(code_shape) * np.dtype(dtype).itemsize
        sizes = {rows: _shard_bytes(rows, row_bytes, text_bytes) for rows in shard_rows}
        return cls(
            code_shape,
            row_bytes,
            sum(rows * count for rows, count in shard_rows.items()),
            sum(sizes[rows] * count for rows, count in shard_rows.items()),
            max(sizes[rows] for rows, count in shard_rows.items() if count),
        )


@dataclass(frozen=True)
class DiskEstimate:
    """What an extraction is to write, and the free space of its disk. `str` gives one line.

    Attributes
    ----------
    path : Path
        The cache's directory.
    rows : int
        Images to encode.
    passes : int
        Images to encode, each counted once for each view that is missing. Each of them goes through
        the network once, whatever the number of layers.
    layers : dict of str to LayerEstimate
        The layers that lack something, by name, with what they lack.
    free : int
        Bytes free on the disk of `path`. A user's quota is not taken into account.
    """

    path: Path
    rows: int
    passes: int
    layers: dict[str, LayerEstimate]
    free: int

    @property
    def unit(self) -> str:
        """What `passes` counts: ``"images"``, or such as ``"views of 12 images"``."""
        images = "image" if self.rows == 1 else "images"
        return images if self.passes == self.rows else f"views of {self.rows} {images}"

    @property
    def bytes(self) -> int:
        """Bytes of the shards that the run writes, at most.

        Compressed shards take less. Shards that are made again count in full, because each stays
        until it is replaced. Only codes beyond float16's range, which are stored as float32, and
        the reasons of many rejected images can take more.
        """
        return sum(layer.bytes for layer in self.layers.values())

    def require_free_space(self) -> None:
        """Refuse a run that the disk cannot hold.

        Raises
        ------
        DiskSpaceError
            The message says how much is needed, how much is free, and what to do.
        """
        if self.bytes > self.free:
            raise DiskSpaceError(
                f"the codes of {self.rows} images take up to {format_size(self.bytes)}, and the "
                f"disk of {self.path} has {format_size(self.free)} free: try `pool=avg`, "
                "`dtype=float16`, fewer layers, another disk with `out`, or `force` to go on"
            )

    def __str__(self) -> str:
        layers = []
        for name, layer in list(self.layers.items())[:_MAX_LAYERS_SHOWN]:
            fewer = f", {layer.rows} {self.unit.split()[0]}" if layer.rows < self.passes else ""
            layers.append(f"{name} ({format_shape(layer.code_shape)}{fewer})")
        if len(self.layers) > _MAX_LAYERS_SHOWN:
            layers.append(f"… and {len(self.layers) - _MAX_LAYERS_SHOWN} more")
        return (
            f"{self.passes} {self.unit} to encode at {', '.join(layers)}: at most "
            f"{format_size(self.bytes)}, {format_size(self.free)} free on the disk"
        )


def estimate_disk_use(
    cache: Cache,
    layers: "Sequence[Layer]",
    missing: MissingShards,
    removed_rows: Collection[int] = (),
) -> DiskEstimate:
    """Estimate what an extraction is to write.

    Parameters
    ----------
    cache : Cache
        The cache as it will be. Its directory need not exist yet.
    layers : sequence of Layer
        The layers of the run.
    missing : dict of tuple of Series to list of int
        The shards to make, by the series that lack them.
    removed_rows : collection of int
        Rows of removed images. They take their space, and are not encoded.

    Returns
    -------
    DiskEstimate
        Its layers are in the order of `layers`.

    Raises
    ------
    InvalidOptionError
        A layer cannot be pooled as the cache's spec says.
    OSError
        The disk does not say how much is free.
    """
    shards = sorted(set(chain.from_iterable(missing.values())))
    text_bytes = longest_text(cache.images, map(cache.rows, shards))
    gone = Counter(row // cache.layout.shard_size for row in removed_rows)

    def images(shards: Sequence[int]) -> int:
        return sum(len(cache.rows(shard)) - gone[shard] for shard in shards)

    estimates = {}
    for layer in layers:
        lacking = [
            shard
            for series, shards in missing.items()
            for each in series
            if each.layer == layer.name
            for shard in shards
        ]
        if lacking:
            written = LayerEstimate.from_shards(
                layer.code_shape(cache.spec.pool),
                cache.layout.dtype,
                Counter(len(cache.rows(shard)) for shard in lacking),
                text_bytes,
            )
            estimates[layer.name] = replace(written, rows=images(lacking))
    rows = {series: images(shards) for series, shards in missing.items()}
    passes = sum(count * len(views_of(series)) for series, count in rows.items())
    return DiskEstimate(cache.path, sum(rows.values()), passes, estimates, _free_bytes(cache.path))


def longest_text(images: ImageTable, shards: Iterable[range]) -> int:
    """Return the bytes of the longest path in some shards and of the longest label, added.

    Parameters
    ----------
    images : ImageTable
    shards : iterable of range
        The rows of each. A task does not look at the paths of others.

    Examples
    --------
    >>> n = np.zeros(2, dtype=np.int64)
    >>> images = ImageTable(["1", "21"], ["bée", "ant"], ["", ""], ["", ""], n, n)
    >>> longest_text(images, [range(2)])
    6
    """
    paths = (path for rows in shards for path in images.path[rows.start : rows.stop])
    return sum(
        max((len(text.encode(errors="surrogateescape")) for text in texts), default=0)
        for texts in (paths, images.label.categories)
    )


def _shard_bytes(rows: int, row_bytes: int, text_bytes: int) -> int:
    """Return the bytes of a shard, uncompressed, at most."""
    # In chunks as `write_shard` makes them; the last one takes its full size, however few its rows.
    chunk = min(rows, max(1, CHUNK_BYTES // row_bytes))
    codes = math.ceil(rows / chunk) * chunk * row_bytes
    texts = (rows + _TEXTS_PER_SHARD) * text_bytes
    return codes + texts + rows * _BYTES_PER_ROW + _BYTES_PER_SHARD


def _free_bytes(path: Path) -> int:
    """Return the bytes free on the disk of a path that may not exist yet."""
    absolute = path.absolute()
    existing = next(folder for folder in (absolute, *absolute.parents) if folder.exists())
    return shutil.disk_usage(existing).free
