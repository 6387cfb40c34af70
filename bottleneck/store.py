"""The cache directory: what is in it, what is missing, its codes, its index, its checks.

``bottleneck.plan`` makes one and brings it up to date; ``docs/format.md`` describes the files.
"""

import csv
import io
import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import CacheError, ImagesTableError, ShardError
from bottleneck.files import publish_text_if_new
from bottleneck.halves import as_float32
from bottleneck.images import ImageTable
from bottleneck.index import IndexedLayer, write_index
from bottleneck.manifest import RESTORE, Layout, Manifest, parse_manifest
from bottleneck.shard import Header, Shard, check_shard, read_header, read_rows, read_shard
from bottleneck.spec import Source, Spec

REMOVED = "removed: the file is not there any more"


@dataclass(frozen=True)
class LayerStatus:
    """Where one layer stands.

    Attributes
    ----------
    done, rejected, missing : int
        Rows that gave codes, gave none, and are still to do; together all rows.
    lacking : tuple of int
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
    lacking: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: str
    bytes: int


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

    # The plan

    @property
    def spec(self) -> Spec:
        """What decides its numbers."""
        return self.manifest.spec

    @property
    def layout(self) -> Layout:
        """How they are laid down."""
        return self.manifest.layout

    @property
    def source(self) -> Source:
        """Where the network came from."""
        return self.manifest.source

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
        return self.path / "codes" / quote(layer, safe="")

    def shard_path(self, layer: str, shard: int) -> Path:
        """Where a shard stands once it is done."""
        return self.folder(layer) / f"{shard:05d}.h5"

    @property
    def layers(self) -> list[str]:
        """The layers that extraction has begun, by name."""
        return _layer_names(self.path)

    def done(self, layer: str) -> dict[int, Header]:
        """The finished shards of a layer: whole, of this cache, and with all of their rows."""
        found: dict[int, Header] = {}
        for shard in range(self.shard_count):
            path = self.shard_path(layer, shard)
            if not path.exists():
                continue
            try:
                header = read_header(path)
            except ShardError:
                continue  # to be made again; `verify` says what is wrong with it
            if not self.why_foreign(layer, shard, header):
                found[shard] = header
        return found

    def missing(self, layer: str) -> list[int]:
        """The shards of a layer that are still to be made."""
        done = self.done(layer)
        return [shard for shard in range(self.shard_count) if shard not in done]

    def discard(self, shards: Collection[int]) -> None:
        """Remove shards in every layer, so that they are missing."""
        if shards:
            self.drop_index()
        for shard in shards:
            for layer in self.layers:
                self.shard_path(layer, shard).unlink(missing_ok=True)

    # What became of the images

    def status(self, layers: Sequence[str] = ()) -> dict[str, LayerStatus]:
        """Where some layers stand, by name, begun or not; where all that were begun stand."""
        return {layer: self._layer_status(layer) for layer in layers or self.layers}

    def rejected(self) -> dict[int, str]:
        """The rows that gave no codes, and why, over all layers."""
        reasons: dict[int, str] = {}
        for layer in self.layers:
            reasons.update(self._outcomes(self.done(layer))[1])
        return dict(sorted(reasons.items()))

    def write_index(self) -> dict[int, str]:
        """Bring ``rejected.csv`` and ``codes.h5`` up to date with the shards.

        Returns
        -------
        dict of int to str
            What `rejected` returns.
        """
        finished = {layer: self.done(layer) for layer in self.layers}
        reasons = self._write_index(finished)
        # Of tasks that end together, one may have written what was so before another's last shard.
        # Whoever writes last looks again, and so it is right in the end.
        while (now := {layer: self.done(layer) for layer in self.layers}) != finished:
            finished = now
            reasons = self._write_index(finished)
        return reasons

    def _write_index(self, finished: dict[str, dict[int, Header]]) -> dict[int, str]:
        reasons: dict[int, str] = {}
        indexed: dict[str, IndexedLayer] = {}
        for layer, done in finished.items():
            valid, why = self._outcomes(done)
            reasons.update(why)
            if done:
                shards = [(self.shard_path(layer, k), header) for k, header in done.items()]
                indexed[layer] = IndexedLayer(shards, valid)
        reasons = dict(sorted(reasons.items()))
        self._write_rejected(reasons)
        write_index(self.path / "codes.h5", indexed)
        return reasons

    def drop_index(self) -> None:
        """Remove ``rejected.csv`` and ``codes.h5`` before they would say what is not so."""
        for name in ("codes.h5", "rejected.csv"):
            (self.path / name).unlink(missing_ok=True)

    def _layer_status(self, layer: str) -> LayerStatus:
        done = self.done(layer)
        valid, why = self._outcomes(done)
        return LayerStatus(
            done=int(valid.sum()),
            rejected=len(why),
            missing=len(self.images) - sum(header.shape[0] for header in done.values()),
            lacking=tuple(shard for shard in range(self.shard_count) if shard not in done),
            shape=next((header.shape[1:] for header in done.values()), ()),
            dtype="+".join(sorted({header.dtype for header in done.values()})) or self.layout.dtype,
            bytes=sum(self.shard_path(layer, shard).stat().st_size for shard in done),
        )

    def _outcomes(self, done: dict[int, Header]) -> tuple[NDArray[np.bool_], dict[int, str]]:
        """Which rows of finished shards may be used, shape (rows,), and why others may not."""
        valid = np.zeros(len(self.images), dtype=bool)
        why: dict[int, str] = {}
        exists = self.images.exists
        for header in done.values():
            rows = header.rows
            valid[rows.start : rows.stop] = exists[rows.start : rows.stop]
            valid[[rows[offset] for offset in header.rejected]] = False
            for row in (rows.start + np.flatnonzero(~valid[rows.start : rows.stop])).tolist():
                why[row] = header.rejected.get(row - rows.start, REMOVED)
        return valid, why

    def _write_rejected(self, reasons: dict[int, str]) -> None:
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(["row", "path", "reason"])
        writer.writerows([row, self.images.path[row], why] for row, why in reasons.items())
        publish_text_if_new(self.path / "rejected.csv", out.getvalue())

    # Reading

    def usable(self, layer: str) -> NDArray[np.bool_]:
        """Which rows have codes, shape (rows,).

        Raises
        ------
        CacheError
            The layer is not in the cache, or not whole.
        """
        if layer not in self.layers:
            raise CacheError(
                f"{self.path} has no layer {layer!r}, it has {', '.join(self.layers) or 'none'}: "
                f"`bottleneck extract --layer {layer}` adds it"
            )
        done = self.done(layer)
        if len(done) < self.shard_count:
            raise CacheError(
                f"{self.path}: layer {layer!r} lacks {self.shard_count - len(done)} of "
                f"{self.shard_count} shards: run the same `bottleneck extract` again to finish it"
            )
        return self._outcomes(done)[0]

    def read(self, layer: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
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
            codes = codes.reshape(len(codes), -1)[consecutive(rows[first:end] - shard * size)]
            if wanted is None:
                wanted = np.empty((len(rows), codes.shape[1]), dtype=np.float32)
            wanted[first:end] = as_float32(codes)
        return np.empty((0, 0), dtype=np.float32) if wanted is None else wanted

    def read_checked(self, layer: str, shard: int) -> NDArray[Any]:
        """A shard's codes, if its bytes, rows and images are what they should be.

        Raises
        ------
        ShardError
            They are not.
        """
        with self._saying_how_to_mend():
            content = read_shard(self.shard_path(layer, shard))
            self.require_place(layer, shard, content)
        return content.codes

    def check(self, layer: str, shard: int) -> None:
        """`read_checked` without the codes, for who reads them a few rows at a time.

        Raises
        ------
        ShardError
            They are not what they should be.
        """
        path = self.shard_path(layer, shard)
        with self._saying_how_to_mend():
            check_shard(path)
            self.require_place(layer, shard, read_rows(path))

    @contextmanager
    def _saying_how_to_mend(self) -> Iterator[None]:
        try:
            yield
        except ShardError as error:
            mend = f"`bottleneck verify {self.path} --repair IMAGES` makes it again"
            raise ShardError(f"{error}: {mend}") from error

    def require_place(self, layer: str, shard: int, content: Shard) -> None:
        """Refuse a shard that holds other rows or images than its place says.

        Raises
        ------
        ShardError
        """
        path, rows = self.shard_path(layer, shard), self.rows(shard)
        if why := self.why_foreign(layer, shard, read_header(path)):
            raise ShardError(f"{path} is {why}")
        if not np.array_equal(content.row, rows):
            raise ShardError(f"{path} holds other rows than {rows.start} to {rows.stop - 1}")
        if content.path != self.images.path[rows.start : rows.stop]:
            raise ShardError(f"{path} holds other images than images.csv has in its rows")

    def why_foreign(self, layer: str, shard: int, header: Header) -> str:
        """Why a shard does not belong in a place of this cache; empty where it does."""
        if header.manifest.spec != self.spec or header.layer != layer:
            return f"of another spec or layer ({header.layer})"
        if header.manifest.identity != self.manifest.identity:
            return "of another cache"
        if header.rows != self.rows(shard):
            return f"of rows {header.start} to {header.rows.stop - 1}, which is another place"
        return ""


def consecutive(rows: NDArray[np.int64]) -> NDArray[np.int64] | slice:
    """Ascending rows, as a slice where they lie one behind another: that copies nothing."""
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1) if last - first + 1 == len(rows) else rows


def is_cache(path: Path) -> bool:
    """Whether a directory is a cache, that is, holds a ``spec.json``."""
    return (path / "spec.json").is_file()


def layers_in(path: Path) -> list[str]:
    """The layers of a cache by name, without reading its table of images.

    Raises
    ------
    CacheError
        There is no cache at `path`.
    """
    _require_cache(path)
    return _layer_names(path)


def _layer_names(path: Path) -> list[str]:
    folders = (path / "codes").iterdir() if (path / "codes").is_dir() else ()
    return sorted(unquote(found.name) for found in folders if found.is_dir())


def _require_cache(path: Path) -> None:
    if not is_cache(path):
        raise CacheError(
            f"no cache at {path} (no spec.json in it): `bottleneck extract -o {path}` makes one"
        )


def read_manifest(path: Path) -> Manifest:
    """What a cache says of itself, without its table of images.

    Raises
    ------
    CacheError
        There is none at `path`, or its ``spec.json`` is damaged.
    """
    _require_cache(path)
    return parse_manifest(path, (path / "spec.json").read_bytes())


def open_cache(path: Path) -> Cache:
    """Open a cache for reading.

    Raises
    ------
    CacheError
        There is none at `path`, or its ``spec.json`` or ``images.csv`` is damaged.
    """
    manifest = read_manifest(path)
    try:
        images = ImageTable.read_csv(path / "images.csv")
    except (FileNotFoundError, ImagesTableError) as error:
        raise CacheError(f"{path}: images.csv is absent or damaged ({error}): {RESTORE}") from error
    return Cache(path, manifest, images)
