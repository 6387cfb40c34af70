"""Read the codes of a cache, verifying each shard."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.directory import CHANGED, CacheDirectory
from bottleneck.cache.format.float16 import widen_float16
from bottleneck.cache.format.manifest import require_cache
from bottleneck.cache.format.series import Series, SeriesLike
from bottleneck.cache.format.shard import OpenShard, ShardHeader, open_shard
from bottleneck.data import find_split, split_rows
from bottleneck.errors import (
    CacheError,
    InvalidOptionError,
    ShardError,
    UnknownNameError,
)
from bottleneck.runtime import sha256

_DIGITS = 16  # hexadecimal, of a digest: 64 bits, which two of a billion images share once in 40


@dataclass(frozen=True)
class CacheReader(CacheDirectory):
    """The directory of a cache, and the codes in it."""

    def labelled_rows(self, layer: str, split: str | None = None) -> NDArray[np.int64]:
        """Return the rows of a layer that have a label and codes, ascending.

        Parameters
        ----------
        layer : str
        split : str, optional
            Only rows of this split, by any of its usual names.

        Raises
        ------
        CacheError
            The layer is not complete.
        UnknownNameError
            The cache has no such layer or split.
        InvalidOptionError
            `split` is no text.
        """
        if not isinstance(split, str | None):
            raise InvalidOptionError("split", split, "the name of one split")
        usable = self.valid_rows(layer) & self.images.has_label
        found = find_split(self.images, split or "")
        if split is not None and found not in (splits := self.images.split.categories):
            raise UnknownNameError("split", split, sorted(set(splits) - {""}), of=self.path)
        return split_rows(self.images, usable, found)

    def views(self, layer: str) -> int:
        """Return how many views of each image a layer has: 1 if it has the images alone.

        Parameters
        ----------
        layer : str

        Raises
        ------
        CacheError
            A view of the layer is not complete.
        UnknownNameError
            The cache has no such layer.
        """
        self._require_layer(layer)
        series = self.series_of(layer)
        for each in series:
            self._require_finished(each)
        return len(series)

    def valid_rows(self, layer: str, views: int = 1) -> NDArray[np.bool_]:
        """Return which rows of a complete layer have codes, shape (rows,).

        Parameters
        ----------
        layer : str
        views : int
            A row must have codes in each of the first `views` views, counted from the image.

        Raises
        ------
        CacheError
            The layer has no such view, or it is not complete.
        UnknownNameError
            The cache has no such layer.
        """
        self._require_layer(layer)
        valid = np.ones(len(self.images), dtype=bool)
        for view in range(views):
            finished = self._require_finished(Series(layer, view))
            valid &= self.row_validity(finished)[0]
        return valid

    def code_shape(self, layer: str) -> tuple[int, ...]:
        """Return the shape of a code of a complete layer.

        Raises
        ------
        CacheError
            The cache has changed since it was opened, and no shard is as it was.
        """
        found = self.finished_shards(layer) or self._require_finished(Series(layer))
        return next(iter(found.values())).shape[1:]

    def layer_costs(self, layers: Sequence[str]) -> dict[str, float | None]:
        """Return the share of the network's multiply-adds up to each layer, by depth.

        Parameters
        ----------
        layers : sequence of str

        Returns
        -------
        dict of str to float or None
            As the layers' shards record it. The smallest share is first, unknown ones (None) are
            last, and equal ones are by name.

        Raises
        ------
        CacheError
            A layer is not complete.
        UnknownNameError
            The cache has no such layer.
        """
        costs: dict[str, float | None] = {}
        for layer in layers:
            self._require_layer(layer)
            finished = self._require_finished(Series(layer))
            known = (header.cost for header in finished.values())
            costs[layer] = next((cost for cost in known if cost is not None), None)
        return dict(
            sorted(costs.items(), key=lambda item: (item[1] is None, item[1] or 0.0, item[0]))
        )

    def image_keys(self, layer: str) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Return a number of the bytes of each image that has codes in a layer, and its row.

        The finished shards of all layers are made of the same images. So the keys of a shard are
        read from the first layer that asks for them, and kept as long as the table of images is.

        Parameters
        ----------
        layer : str
            Its finished shards are looked at.

        Returns
        -------
        keys : ndarray of uint64, shape (n,)
            The beginning of the SHA-256 of each image.
        rows : ndarray of int64, shape (n,)
            Ascending.

        Raises
        ------
        ShardError
            A shard is damaged.
        """
        keys = np.zeros(len(self.images), dtype=np.uint64)
        finished = self.finished_shards(layer)
        valid, _ = self.row_validity(finished)
        for shard in finished:
            places = slice(self.rows(shard).start, self.rows(shard).stop)
            known = self._image_keys.get(shard)
            # The other layer may lack an image that could not be read then: its key is 0.
            if known is None or not known[valid[places]].all():
                with self.open_shard(layer, shard) as opened:
                    known = self._image_keys[shard] = _keys(opened)
            keys[places] = known
        return keys[valid], np.flatnonzero(valid)

    def _require_layer(self, layer: str) -> None:
        if not isinstance(layer, str):
            raise InvalidOptionError("layer", layer, "the name of one layer")
        if layer not in self.layers:
            # A relative path, after the working directory has changed.
            require_cache(self.path.absolute())
            hint = "(`bottleneck.extract` adds more)"
            raise UnknownNameError("layer", layer, self.layers, hint, of=self.path)

    def _require_begun(self, series: Series) -> None:
        self._require_layer(series.layer)
        if not isinstance(series.view, Integral) or series.view < 0:
            raise InvalidOptionError("view", series.view, "a whole number, 0 or more")
        if series not in self.series:
            raise CacheError(
                f"{self.path}: layer {series.layer!r} has no view {series.view}: "
                f"`bottleneck.extract` with `views={series.view + 1}` adds it"
            )

    def _require_finished(self, series: Series) -> dict[int, ShardHeader]:
        """Return the headers of all shards of a series; refuse one that lacks some."""
        finished = self.finished_shards(series)
        missing = self.shard_count - len(finished)
        if not missing:
            return finished
        self._require_begun(series)
        layer = f"layer {series.layer!r}"
        what = f"view {series.view} of {layer}" if series.view else layer
        raise CacheError(
            f"{self.path}: {what} lacks {missing} of {self.shard_count} shards: "
            + self._next_step("run the same `bottleneck.extract` again to finish it")
        )

    def _next_step(self, otherwise: str) -> str:
        """Return what to do about a shard that does not fit: open the cache again if it changed."""
        return CHANGED if self.has_changed() else otherwise

    def read_codes(self, layer: str, rows: NDArray[np.int64], view: int = 0) -> NDArray[np.float32]:
        """Read the codes of some rows, flattened. Each shard is verified and read once.

        Parameters
        ----------
        layer : str
            A complete layer.
        rows : ndarray of int64, shape (n,)
            Ascending row numbers, each valid.
        view : int
            Number of a view; 0 is the image itself.

        Returns
        -------
        ndarray of float32, shape (n, d)

        Raises
        ------
        CacheError
            The layer has no such view, or is not complete where there are no rows.
        UnknownNameError
            The cache has no such layer.
        InvalidOptionError
            `rows` are not ascending rows of the cache, or `view` is no number.
        ShardError
            A shard is absent, damaged, or holds other rows than its name says.
        """
        rows, series = self._require_rows(rows), Series(layer, view)
        result: NDArray[np.float32] | None = None
        for shard, where, offsets in self.by_shard(rows):
            codes = self.read_checked(series, shard)
            codes = codes.reshape(len(codes), -1)[rows_as_slice(offsets)]
            if result is None:
                result = np.empty((len(rows), codes.shape[1]), dtype=np.float32)
            result[where] = widen_float16(codes)
        if result is None:
            header = next(iter(self._require_finished(series).values()))
            result = np.empty((0, math.prod(header.shape[1:])), dtype=np.float32)
        return result

    def _require_rows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Validate row numbers: a mask, or unsorted rows, would silently select other rows."""
        found = np.asarray(rows)
        if not found.size:
            return found.astype(np.int64)
        if (
            found.ndim != 1
            or not np.issubdtype(found.dtype, np.integer)
            or not 0 <= found[0] <= found[-1] < len(self.images)
            or (found[1:] < found[:-1]).any()
        ):
            allowed = f"ascending whole numbers from 0 to {len(self.images) - 1}"
            hint = "`np.flatnonzero` makes them of a mask"
            raise InvalidOptionError("rows", rows, allowed, hint)
        return found

    def read_checked(self, series: SeriesLike, shard: int) -> NDArray[Any]:
        """Verify a shard and read its codes, in the stored type.

        Parameters
        ----------
        series : str or Series
        shard : int

        Raises
        ------
        ShardError
            The shard is absent, damaged, or holds other rows or images.
        """
        with self.open_shard(series, shard) as opened:
            self.verify_open(series, shard, opened)
            return opened.read_codes()

    def read_blocks(
        self, layer: str, shard: int, rows: int, *, verify: bool, view: int = 0
    ) -> Iterator[NDArray[Any]]:
        """Read the codes of a shard block by block.

        Parameters
        ----------
        layer : str
        shard : int
        rows : int
            Maximum rows of a block.
        verify : bool
            Whether to verify the shard first; needed once in a run.
        view : int
            Number of a view; 0 is the image itself.

        Yields
        ------
        ndarray of shape (at most `rows`, ...)
            In order, in the stored type.

        Raises
        ------
        ShardError
            The shard is absent, damaged, or holds other rows or images.
        CacheError
            It has been replaced since it was verified.
        """
        series = Series(layer, view)
        with self.open_shard(series, shard) as opened:
            if verify:
                self.verify_open(series, shard, opened)
            self.require_as_verified(shard, opened)
            yield from opened.blocks(rows)

    @contextmanager
    def open_shard(self, series: SeriesLike, shard: int) -> Iterator[OpenShard]:
        """Open a shard; errors say how to repair it, or that there is no such series.

        Parameters
        ----------
        series : str or Series
        shard : int

        Yields
        ------
        OpenShard

        Raises
        ------
        CacheError
            The layer has no such view.
        UnknownNameError
            The cache has no such layer.
        ShardError
            The shard is absent, cut short, or not a shard; or the caller finds it damaged.
        """
        try:
            with open_shard(self.shard_path(series, shard)) as opened:
                yield opened
        except ShardError as error:
            self._require_begun(Series.of(series))
            step = self._next_step("`bottleneck.repair` makes it again")
            raise ShardError(f"{error}: {step}") from error


def _keys(opened: OpenShard) -> NDArray[np.uint64]:
    """Return the beginning of each image's digest as a number; 0 where none could be read."""
    try:
        keys = [_key(text) for text in opened.image_digests()]
    except ValueError as error:  # no other byte of the shard has been verified either
        raise ShardError(f"{opened.path}: its digests of images are damaged: {error}") from error
    return np.array(keys, dtype=np.uint64)


def _key(digest: str) -> int:
    return int(digest[:_DIGITS] or "0", 16)


def image_key(data: bytes) -> int:
    """Return the number of an image's bytes that `Cache.image_keys` gives for it.

    Examples
    --------
    >>> hex(image_key(b"ab"))
    '0xfb8e20fc2e4c3f24'
    """
    return _key(sha256(data))


def rows_as_slice(rows: NDArray[np.int64]) -> NDArray[np.int64] | slice:
    """Return ascending rows as a slice where they are consecutive, since a slice copies nothing.

    Examples
    --------
    >>> rows_as_slice(np.array([4, 5, 6]))
    slice(4, 7, None)
    """
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1) if last - first + 1 == len(rows) else rows
