"""Find the finished shards of a cache, and check that a shard belongs where it is."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.format.manifest import Manifest, StorageLayout, read_manifest
from bottleneck.cache.format.paths import list_series, list_shards, series_dir, shard_path
from bottleneck.cache.format.series import Series, SeriesLike
from bottleneck.cache.format.shard import OpenShard, ShardHeader, read_header
from bottleneck.data import ImageTable, ViewRecipe
from bottleneck.errors import CacheError, ImagesTableError, ShardError
from bottleneck.model_reference import ModelReference
from bottleneck.spec import Spec

REMOVED = "removed: it is no longer among the images"

# Why a shard counts as missing: an image has come back, or one of two runs at once was without it.
HAS_AS_REMOVED = "intact, and has an image as removed that is there"

CHANGED = "the cache has changed since it was opened: open it again"

# Time of a row whose image has changed, until every shard that holds it is of its present bytes.
UNSURE_TIME = -1

_FileStamp = tuple[int, int, int]  # inode, modification time and size of a file


@dataclass(frozen=True)
class CacheDirectory:
    """The files of a cache: where each shard is, and which are finished.

    Attributes
    ----------
    path : Path
        The directory.
    manifest : Manifest
        Spec, storage layout, model reference and cache id.
    images : ImageTable
        Row i of every layer is image i.
    """

    path: Path
    manifest: Manifest
    images: ImageTable
    _headers: dict[Path, tuple[_FileStamp, ShardHeader]] = field(
        default_factory=dict, repr=False, compare=False
    )
    _image_keys: dict[int, NDArray[np.uint64]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _verified: dict[Path, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def spec(self) -> Spec:
        """Return what determines the values of the codes."""
        return self.manifest.spec

    @property
    def layout(self) -> StorageLayout:
        """Return how the codes are stored."""
        return self.manifest.layout

    @property
    def reference(self) -> ModelReference:
        """Return where the network came from."""
        return self.manifest.reference

    @property
    def shard_count(self) -> int:
        """Return how many shards a complete layer has."""
        return math.ceil(len(self.images) / self.layout.shard_size)

    @cached_property
    def unsure_shards(self) -> frozenset[int]:
        """Shards with images that have changed, which may be of older bytes until a run ends."""
        unsure = self.images.exists & (self.images.mtime_ns == UNSURE_TIME)
        return frozenset((np.flatnonzero(unsure) // self.layout.shard_size).tolist())

    @property
    def layers(self) -> list[str]:
        """Return the names of the layers for which extraction has begun, sorted."""
        return [series.layer for series in self.series if not series.view]

    @property
    def series(self) -> list[Series]:
        """Return the series that were begun: each view of each layer, sorted."""
        return list_series(self.path)

    @property
    def view_recipe(self) -> ViewRecipe | None:
        """Return how the views of each image are made; None in a cache without any."""
        return self.manifest.view_recipe

    @property
    def views_begun(self) -> int:
        """Return how many views the layer with the most has, finished or not; 1 is the image."""
        return max((series.view for series in self.series), default=0) + 1

    @property
    def has_views(self) -> bool:
        """Return whether there is any shard of a view; only names are looked at."""
        return any(series.view and list_shards(self.folder(series)) for series in self.series)

    def series_of(self, layer: str) -> list[Series]:
        """Return the series of a layer that were begun, view 0 first; that one in any case."""
        return [series for series in self.series if series.layer == layer] or [Series(layer)]

    def rows(self, shard: int) -> range:
        """Return the rows that a shard holds."""
        start = shard * self.layout.shard_size
        return range(start, min(start + self.layout.shard_size, len(self.images)))

    def by_shard(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, slice, NDArray[np.int64]]]:
        """Yield each shard of ascending rows, its slice of them, and their offsets in the shard."""
        size = self.layout.shard_size
        for shard in np.unique(rows // size).tolist():
            first, end = np.searchsorted(rows, [shard * size, (shard + 1) * size])
            yield shard, slice(first, end), rows[first:end] - shard * size

    def folder(self, series: SeriesLike) -> Path:
        """Return the folder of the shards of a series."""
        return series_dir(self.path, series)

    def shard_path(self, series: SeriesLike, shard: int) -> Path:
        """Return the file of a finished shard."""
        return shard_path(self.folder(series), shard)

    def finished_shards(
        self, series: SeriesLike, shards: Iterable[int] | None = None
    ) -> dict[int, ShardHeader]:
        """Return the headers of the finished shards of a series.

        A shard is finished if its file has its full length, belongs to this cache and holds all
        of its rows, and if none of its images has changed in an update that has not ended.
        Headers are kept, so that each is read once while its file does not change.

        Parameters
        ----------
        series : str or Series
            A layer's plain images, or one view of them.
        shards : iterable of int, optional
            The shards to look at, for example those of one array task. All unless given.

        Returns
        -------
        dict of int to ShardHeader
            By shard number.
        """
        folder, count = self.folder(series), self.shard_count
        finished: dict[int, ShardHeader] = {}
        for shard in list_shards(folder) if shards is None else shards:
            sure = shard < count and shard not in self.unsure_shards
            header = self._header(shard_path(folder, shard)) if sure else None
            if header is not None and not self.mismatch_reason(series, shard, header):
                finished[shard] = header
        return finished

    def _header(self, path: Path) -> ShardHeader | None:
        try:
            status = path.stat()
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            known = self._headers.get(path)
            if known is None or known[0] != stamp:
                known = self._headers[path] = (stamp, read_header(path))
        except (FileNotFoundError, ShardError):
            return None  # to be extracted; `verify` says what is wrong with it
        return known[1]

    def absent_shards(self, series: SeriesLike) -> set[int]:
        """Return the shards of a series that have no file; only names are looked at."""
        return set(range(self.shard_count)) - set(list_shards(self.folder(series)))

    def is_full(self, series: Iterable[SeriesLike]) -> bool:
        """Return whether all shard files of some series exist; only names are looked at."""
        return not any(self.absent_shards(one) for one in series)

    def row_validity(
        self, finished: Mapping[int, ShardHeader]
    ) -> tuple[NDArray[np.bool_], dict[int, str]]:
        """Return which rows of a series have codes.

        Parameters
        ----------
        finished : mapping of int to ShardHeader
            Headers of the series' finished shards, ascending.

        Returns
        -------
        valid : ndarray of bool, shape (rows,)
            False for all rows of shards that are not finished.
        reasons : dict of int to str
            Why a row of a finished shard is not valid.
        """
        exists = self.images.exists
        valid = np.zeros(len(self.images), dtype=bool)
        reasons: dict[int, str] = {}
        for header in finished.values():
            rows = header.rows
            flags = valid[rows.start : rows.stop]
            flags[:] = exists[rows.start : rows.stop]
            flags[list(header.rejected)] = False
            for i in np.flatnonzero(~flags).tolist():
                reasons[rows.start + i] = header.rejected.get(i, REMOVED)
        return valid, reasons

    def rejected(self, shards: Iterable[int] | None = None) -> dict[int, str]:
        """Return the rows that gave no codes in any series, with the reason of each.

        Rows of removed images are among them; `without_removed` leaves those out.

        Parameters
        ----------
        shards : iterable of int, optional
            The shards to look at. All unless given.
        """
        return self.rejected_in(self.finished_shards(series, shards) for series in self.series)

    def rejected_in(self, finished: Iterable[Mapping[int, ShardHeader]]) -> dict[int, str]:
        """Return the rows that gave no codes in any of some series, with the reason of each.

        Parameters
        ----------
        finished : iterable of mapping of int to ShardHeader
            Headers of the finished shards of each series, ascending.
        """
        reasons: dict[int, str] = {}
        for headers in finished:
            reasons.update(self.row_validity(headers)[1])
        return dict(sorted(reasons.items()))

    def mismatch_reason(self, series: SeriesLike, shard: int, header: ShardHeader) -> str:
        """Return why a header is not that of a shard of this cache; empty if it is.

        Parameters
        ----------
        series : str or Series
            The series that the shard should be of.
        shard : int
            Its number.
        header : ShardHeader
            The header of the file under its name.
        """
        version, series = self.manifest.version, Series.of(series)
        if header.manifest.version != version:
            return f"of format version {header.manifest.version}, in a cache of version {version}"
        if header.manifest.spec != self.spec or header.layer != series.layer:
            return f"of another spec or layer ({header.layer})"
        of_recipe = not series.view or header.manifest.view_recipe == self.view_recipe
        if header.view != series.view or not of_recipe:
            recipe = header.manifest.view_recipe or "an unnamed recipe"
            return f"of view {header.view} of its images{f', made by {recipe}' * bool(header.view)}"
        if header.manifest.cache_id != self.manifest.cache_id:
            return "of another cache"
        if header.rows != self.rows(shard):
            return f"of rows {header.start} to {header.rows.stop - 1}, which is another place"
        return HAS_AS_REMOVED if self._has_as_removed(header) else ""

    def _has_as_removed(self, header: ShardHeader) -> bool:
        """Return whether a shard has an image as removed that is there."""
        removed = (header.start + i for i, why in header.rejected.items() if why == REMOVED)
        return any(self.images.size[row] >= 0 for row in removed)

    def verify_open(self, series: SeriesLike, shard: int, opened: OpenShard) -> None:
        """Verify every byte of an open shard, and that its rows and images are those of this cache.

        Columns that say no more of the codes, such as labels, are not read beyond their digest.

        Parameters
        ----------
        series : str or Series
            The series that the shard should be of.
        shard : int
            Its number.
        opened : OpenShard

        Raises
        ------
        ShardError
            It is damaged, or holds other rows or images.
        """
        opened.verify()
        path, rows = self.shard_path(series, shard), self.rows(shard)
        if reason := self.mismatch_reason(series, shard, opened.header):
            raise ShardError(f"{path} is {reason}")
        opened.require_images(rows, self.images.path[rows.start : rows.stop])
        self._verified[path] = opened.digest

    def has_changed(self) -> bool:
        """Return whether there are other images or another manifest than when it was opened."""
        try:
            images = ImageTable.read_csv(self.path / "images.csv", known=self.images)
            return images is not self.images or read_manifest(self.path) != self.manifest
        except (OSError, ImagesTableError):
            return False

    def require_unchanged(self) -> None:
        """Require that the directory has the images and the manifest that it had when opened.

        Raises
        ------
        CacheError
            It has others: rows may be other images.
        """
        if self.has_changed():
            raise CacheError(f"{self.path}: {CHANGED}")

    def require_as_verified(self, shard: int, opened: OpenShard) -> None:
        """Require the codes of the shard that was verified under a name, if one was.

        A run reads a shard several times. One that has only got more images is as good.

        Parameters
        ----------
        shard : int
        opened : OpenShard

        Raises
        ------
        CacheError
            It has been replaced since, with images that have changed or are others.
        """
        if self._verified.get(opened.path, opened.digest) == opened.digest:
            return
        if not self._has_same_images(shard, opened.header):
            raise CacheError(
                f"{opened.path} was replaced while its codes were in use: begin again, and those "
                "that are there now are used"
            )
        opened.verify()
        self._verified[opened.path] = opened.digest

    def _has_same_images(self, shard: int, header: ShardHeader) -> bool:
        """Return whether a later shard has the images of this cache, and none has changed."""
        rows, images = self.rows(shard), self.images
        try:
            now = ImageTable.read_csv(self.path / "images.csv", known=images)
        except (OSError, ImagesTableError):
            return False
        same = header.manifest.cache_id == self.manifest.cache_id and header.start == rows.start
        at = slice(rows.start, rows.stop)
        return same and all(
            list(getattr(now, column)[at]) == list(getattr(images, column)[at])
            for column in ("path", "size", "mtime_ns")
        )


def without_removed(reasons: Mapping[int, str]) -> dict[int, str]:
    """Leave out the rows of removed images: they lack nothing.

    Parameters
    ----------
    reasons : mapping of int to str
        Why a row is not valid.

    Examples
    --------
    >>> without_removed({3: "cannot be decoded: the file is empty", 5: REMOVED})
    {3: 'cannot be decoded: the file is empty'}
    """
    return {row: why for row, why in reasons.items() if why != REMOVED}
