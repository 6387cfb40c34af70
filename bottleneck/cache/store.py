"""The cache directory: what is in it, what is missing, its codes, its index, its checks.

``bottleneck.cache.update`` makes one and brings it up to date; ``docs/format.md``
describes the files.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.float16 import widen_float16
from bottleneck.cache.index import IndexedLayer, row_validity, write_index, write_rejected
from bottleneck.cache.manifest import RESTORE, Manifest, StorageLayout, read_manifest, require_cache
from bottleneck.cache.paths import layer_dir, list_layer_dirs, list_shards, shard_path
from bottleneck.cache.shard import (
    ShardData,
    ShardHeader,
    read_header,
    read_shard,
    read_shard_metadata,
    verify_shard,
)
from bottleneck.data.table import ImageTable
from bottleneck.errors import CacheError, ImagesTableError, ShardError
from bottleneck.spec import ModelReference, Spec


@dataclass(frozen=True)
class LayerStatus:
    """Where one layer stands.

    Attributes
    ----------
    done, rejected, missing : int
        Rows that gave codes, gave none, and are still to do; together all rows.
    missing_shards : tuple of int
        The shards that are still to do.
    shape : tuple of int
        Of one image's code; empty while no shard is done.
    dtype : str
        Of the stored codes; ``"float16+float32"`` where float16 could not hold a shard.
    bytes : int
        Of the layer's files.
    """

    done: int
    rejected: int
    missing: int
    missing_shards: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: str
    bytes: int


_Mark = tuple[int, int, int]  # of a file as it was read: its number, time and size


@dataclass(frozen=True)
class Cache:
    """A cache directory that has been planned.

    Attributes
    ----------
    path : Path
        The directory.
    manifest : Manifest
        What it says of itself.
    images : ImageTable
        Row i of every layer is image i.
    """

    path: Path
    manifest: Manifest
    images: ImageTable
    _headers: dict[Path, tuple[_Mark, ShardHeader]] = field(
        default_factory=dict, repr=False, compare=False
    )

    # The plan

    @property
    def spec(self) -> Spec:
        """What decides its numbers."""
        return self.manifest.spec

    @property
    def layout(self) -> StorageLayout:
        """How they are laid down."""
        return self.manifest.layout

    @property
    def reference(self) -> ModelReference:
        """Where the network came from."""
        return self.manifest.reference

    @property
    def shard_count(self) -> int:
        """How many shards a whole layer has."""
        return math.ceil(len(self.images) / self.layout.shard_size)

    def rows(self, shard: int) -> range:
        """The rows that a shard holds."""
        start = shard * self.layout.shard_size
        return range(start, min(start + self.layout.shard_size, len(self.images)))

    def folder(self, layer: str) -> Path:
        """Where a layer's shards stand."""
        return layer_dir(self.path, layer)

    def shard_path(self, layer: str, shard: int) -> Path:
        """Where a shard stands once it is done."""
        return shard_path(self.folder(layer), shard)

    @property
    def layers(self) -> list[str]:
        """The layers that extraction has begun, by name."""
        return list_layer_dirs(self.path)

    def finished_shards(
        self, layer: str, shards: Iterable[int] | None = None
    ) -> dict[int, ShardHeader]:
        """The finished shards of a layer: whole, of this cache, and with all of their rows.

        Parameters
        ----------
        layer : str
        shards : iterable of int, optional
            Those that are looked at: of many tasks, each cares for its own. Unless given, all.
        """
        folder, count = self.folder(layer), self.shard_count
        found: dict[int, ShardHeader] = {}
        for shard in list_shards(folder) if shards is None else shards:
            header = self._header(shard_path(folder, shard)) if shard < count else None
            if header is not None and not self.mismatch_reason(layer, shard, header):
                found[shard] = header
        return found

    def _header(self, path: Path) -> ShardHeader | None:
        """What a shard says of itself; read once, unless another has taken its place since."""
        try:
            status = path.stat()
            mark = (status.st_ino, status.st_mtime_ns, status.st_size)
            known = self._headers.get(path)
            if known is None or known[0] != mark:
                known = self._headers[path] = (mark, read_header(path))
        except (FileNotFoundError, ShardError):
            return None  # to be made, or made again; `verify` says what is wrong with it
        return known[1]

    def is_full(self, layers: Iterable[str]) -> bool:
        """Whether a file stands in every place of some layers; only names are looked at."""
        places = set(range(self.shard_count))
        return all(places <= set(list_shards(self.folder(layer))) for layer in layers)

    def delete_shards(self, shards: Collection[int]) -> None:
        """Remove shards in every layer, so that they are missing."""
        if shards:
            self.delete_derived_files()
        for layer, shard in product(self.layers, shards):
            self.shard_path(layer, shard).unlink(missing_ok=True)

    # What became of the images

    def status(
        self, layers: Sequence[str] = (), *, shards: Collection[int] | None = None
    ) -> dict[str, LayerStatus]:
        """Where layers stand: the named ones, begun or not, or all; by some shards or all."""
        shards = range(self.shard_count) if shards is None else shards
        return {layer: self._layer_status(layer, shards) for layer in layers or self.layers}

    def rejected(self, shards: Iterable[int] | None = None) -> dict[int, str]:
        """The rows that gave no codes, and why, over all layers; of some shards, or of all."""
        reasons: dict[int, str] = {}
        for layer in self.layers:
            reasons.update(row_validity(self.images, self.finished_shards(layer, shards))[1])
        return dict(sorted(reasons.items()))

    def write_index(self) -> dict[int, str]:
        """Bring ``rejected.csv`` and ``codes.h5`` up to date with the shards.

        Returns
        -------
        dict of int to str
            What `rejected` returns.
        """
        finished = {layer: self.finished_shards(layer) for layer in self.layers}
        reasons = self._write_index(finished)
        # Of tasks that end together, one may have written what was so before another's last shard.
        # Whoever writes last looks again, and so it is right in the end.
        while (now := {layer: self.finished_shards(layer) for layer in self.layers}) != finished:
            finished = now
            reasons = self._write_index(finished)
        return reasons

    def _write_index(self, finished: dict[str, dict[int, ShardHeader]]) -> dict[int, str]:
        reasons: dict[int, str] = {}
        indexed: dict[str, IndexedLayer] = {}
        for layer, done in finished.items():
            valid, why = row_validity(self.images, done)
            reasons.update(why)
            if done:
                shards = [(self.shard_path(layer, k), header) for k, header in done.items()]
                indexed[layer] = IndexedLayer(shards, valid)
        reasons = dict(sorted(reasons.items()))
        write_rejected(self.path / "rejected.csv", self.images, reasons)
        write_index(self.path / "codes.h5", indexed)
        return reasons

    def delete_derived_files(self) -> None:
        """Remove ``rejected.csv`` and ``codes.h5`` before they would say what is not so."""
        for name in ("codes.h5", "rejected.csv"):
            (self.path / name).unlink(missing_ok=True)

    def _layer_status(self, layer: str, shards: Collection[int]) -> LayerStatus:
        done = self.finished_shards(layer, shards)
        valid, why = row_validity(self.images, done)
        headers, missing_shards = list(done.values()), tuple(k for k in shards if k not in done)
        return LayerStatus(
            done=int(valid.sum()),
            rejected=len(why),
            missing=sum(len(self.rows(shard)) for shard in missing_shards),
            missing_shards=missing_shards,
            shape=headers[0].shape[1:] if headers else (),
            dtype="+".join(sorted({header.dtype for header in headers})) or self.layout.dtype,
            bytes=sum(header.bytes for header in headers),
        )

    # Reading

    def valid_rows(self, layer: str) -> NDArray[np.bool_]:
        """Which rows have codes, shape (rows,).

        Raises
        ------
        CacheError
            The layer is not in the cache, or not whole.
        """
        if layer not in self.layers:
            raise CacheError(
                f"{self.path} has no layer {layer!r}, it has {', '.join(self.layers) or 'none'}: "
                f"`bottleneck.extract` with `layers={layer}` adds it"
            )
        done = self.finished_shards(layer)
        if len(done) < self.shard_count:
            raise CacheError(
                f"{self.path}: layer {layer!r} lacks {self.shard_count - len(done)} of "
                f"{self.shard_count} shards: run the same `bottleneck.extract` again to finish it"
            )
        return row_validity(self.images, done)[0]

    def read_codes(self, layer: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The codes of some rows, each flattened, read one shard at a time and checked.

        Parameters
        ----------
        layer : str
            A whole layer.
        rows : ndarray of int64, shape (n,)
            Ascending row numbers, each usable.

        Returns
        -------
        ndarray of float32, shape (n, d)

        Raises
        ------
        ShardError
            A shard is absent, damaged, or holds other rows than its name says.
        """
        size = self.layout.shard_size
        wanted: NDArray[np.float32] | None = None
        for shard in np.unique(rows // size).tolist():
            first, end = np.searchsorted(rows, [shard * size, (shard + 1) * size])
            codes = self.read_checked(layer, shard)
            codes = codes.reshape(len(codes), -1)[rows_as_slice(rows[first:end] - shard * size)]
            if wanted is None:
                wanted = np.empty((len(rows), codes.shape[1]), dtype=np.float32)
            wanted[first:end] = widen_float16(codes)
        return np.empty((0, 0), dtype=np.float32) if wanted is None else wanted

    def read_checked(self, layer: str, shard: int) -> NDArray[Any]:
        """A shard's codes, if its bytes, rows and images are what they should be.

        Raises
        ------
        ShardError
            They are not.
        """
        with self._errors_name_the_repair():
            content = read_shard(self.shard_path(layer, shard))
            self.require_matching_rows(layer, shard, content)
        return content.codes

    def verify_shard(self, layer: str, shard: int) -> None:
        """`read_checked` without the codes, for who reads them a few rows at a time.

        Raises
        ------
        ShardError
            They are not what they should be.
        """
        path = self.shard_path(layer, shard)
        with self._errors_name_the_repair():
            verify_shard(path)
            self.require_matching_rows(layer, shard, read_shard_metadata(path))

    @contextmanager
    def _errors_name_the_repair(self) -> Iterator[None]:
        try:
            yield
        except ShardError as error:
            mend = "`bottleneck.repair` makes it again"
            raise ShardError(f"{error}: {mend}") from error

    def require_matching_rows(self, layer: str, shard: int, content: ShardData) -> None:
        """Refuse a shard that holds other rows or images than its place says.

        Raises
        ------
        ShardError
        """
        path, rows = self.shard_path(layer, shard), self.rows(shard)
        if why := self.mismatch_reason(layer, shard, read_header(path)):
            raise ShardError(f"{path} is {why}")
        if not np.array_equal(content.row, rows):
            raise ShardError(f"{path} holds other rows than {rows.start} to {rows.stop - 1}")
        if content.path != self.images.path[rows.start : rows.stop]:
            raise ShardError(f"{path} holds other images than images.csv has in its rows")

    def mismatch_reason(self, layer: str, shard: int, header: ShardHeader) -> str:
        """Why a shard does not belong in a place of this cache; empty where it does."""
        if header.manifest.spec != self.spec or header.layer != layer:
            return f"of another spec or layer ({header.layer})"
        if header.manifest.cache_id != self.manifest.cache_id:
            return "of another cache"
        if header.rows != self.rows(shard):
            return f"of rows {header.start} to {header.rows.stop - 1}, which is another place"
        return ""


def layers_in(path: Path) -> list[str]:
    """The layers of a cache by name, without reading its table of images.

    Raises
    ------
    CacheError
        There is no cache at `path`.
    """
    require_cache(path)
    return list_layer_dirs(path)


def open_cache(path: Path, images: ImageTable | None = None) -> Cache:
    """Open a cache for reading.

    Parameters
    ----------
    path : Path
    images : ImageTable, optional
        What the cache's table may well be; a second one is made only where it is another.

    Raises
    ------
    CacheError
        There is none at `path`, or its ``spec.json`` or ``images.csv`` is damaged.
    """
    manifest = read_manifest(path)
    try:
        images = ImageTable.read_csv(path / "images.csv", known=images)
    except (FileNotFoundError, ImagesTableError) as error:
        raise CacheError(f"{path}: images.csv is absent or damaged ({error}): {RESTORE}") from error
    return Cache(path, manifest, images)


def rows_as_slice(rows: NDArray[np.int64]) -> NDArray[np.int64] | slice:
    """Return ascending rows as a slice where they are consecutive, since a slice copies nothing."""
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1) if last - first + 1 == len(rows) else rows
