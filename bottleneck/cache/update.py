"""The plan of a cache: made once, and brought up to date with images that come, go and change."""

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.manifest import (
    Manifest,
    StorageLayout,
    is_cache,
    manifest_text,
    read_manifest,
)
from bottleneck.cache.shard import read_shard_metadata
from bottleneck.cache.store import Cache, open_cache
from bottleneck.data.categorical_column import CategoricalColumn
from bottleneck.data.images import ImageSource
from bottleneck.data.string_column import StringColumn
from bottleneck.data.table import ImageTable
from bottleneck.errors import CacheError, ImageError, SpecMismatchError
from bottleneck.runtime.files import sha256, write_text_atomic
from bottleneck.spec import ModelReference, Spec

_AT_ONCE = 4096


@dataclass(frozen=True)
class ImageChanges:
    """What has happened to the images since the cache last looked, in rows."""

    added: int = 0
    changed: int = 0
    removed: int = 0

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


@dataclass(frozen=True)
class CacheUpdate:
    """What a cache is to become. Nothing on the disk has changed before `apply`.

    Attributes
    ----------
    cache : Cache
        As it will be.
    changes : ImageChanges
        Since the cache was last planned; none for a new one.
    stale : frozenset of int
        Shards that hold an image that has changed: they are to be made again in every layer.
    new : bool
        Whether there was no cache when the plan was made.
    """

    cache: Cache
    changes: ImageChanges
    stale: frozenset[int]
    new: bool

    def apply(self) -> Cache:
        """Make the cache, or bring it up to date; stale shards are removed.

        Returns
        -------
        Cache
            As it is now.

        Raises
        ------
        SpecMismatchError
            Another process has made a cache of another spec or layout there since.
        OSError
            The disk refused it.
        """
        cache = self.cache
        if self.new and is_cache(cache.path):  # another task of the same run was quicker
            _require_same(read_manifest(cache.path), cache.path, cache.spec, cache.layout)
        if self.changes.added:
            cache.delete_derived_files()  # it would be shorter than the shards that are to grow
        # Stale codes go before the table says that the images are new: killed in between, the
        # next run sees the change again.
        cache.delete_shards(self.stale)
        cache.images.write_csv(cache.path / "images.csv")
        if not is_cache(cache.path):
            write_text_atomic(cache.path / "spec.json", manifest_text(cache.manifest))  # last
        # Tasks that began together have all made it. The last rename holds, and if images came
        # between them, its cache_id is not that of every one.
        return dataclasses.replace(cache, manifest=read_manifest(cache.path))


def plan_update(
    path: Path,
    images: ImageTable,
    *,
    spec: Spec,
    layout: StorageLayout,
    reference: ModelReference,
    changed: Collection[str] | None = None,
) -> CacheUpdate:
    """CacheUpdate a new cache, or how to bring an existing one up to date with its images.

    Existing rows keep their numbers; new images become rows at the end; the rows of images that
    are gone stay and are not valid; shards that hold a changed image are stale in every layer.

    Parameters
    ----------
    path : Path
        The cache's directory.
    images : ImageTable
        The images as they are now.
    spec : Spec
        What this run would compute.
    layout : StorageLayout
        How it would lay codes down.
    reference : ModelReference
        Where the network came from.
    changed : collection of str, optional
        Paths of the images that differ from those in the shards, from `find_modified_images`.
        Unless given, those whose size or time is another than in the table.

    Returns
    -------
    CacheUpdate

    Raises
    ------
    SpecMismatchError
        The cache holds another spec or layout, or other images altogether.
    CacheError
        `path` is in use for something else.
    """
    if not is_cache(path):
        _require_free(path)
    if not is_cache(path):
        manifest = Manifest(spec, layout, reference, cache_id=images.digest)
        return CacheUpdate(Cache(path, manifest, images), ImageChanges(), frozenset(), new=True)
    cache = open_cache(path, images)
    _require_same(cache.manifest, path, spec, layout)
    if cache.images is images and changed is None:  # as in nearly all of many tasks
        return CacheUpdate(cache, ImageChanges(), frozenset(), new=False)
    return _plan_update(cache, images, changed)


def _plan_update(cache: Cache, images: ImageTable, changed: Collection[str] | None) -> CacheUpdate:
    merged, stale, changes = merge_images(cache.images, images, changed)
    if changes.added == len(images):
        raise SpecMismatchError(
            f"none of the {len(images)} images is in cache {cache.path}, which holds "
            f"{len(cache.images)} others: give these images a cache of their own with -o"
        )
    shards = frozenset(row // cache.layout.shard_size for row in stale)
    planned = dataclasses.replace(cache, images=merged)
    return CacheUpdate(planned, changes, shards, new=False)


def find_modified_images(cache: Cache, source: ImageSource) -> frozenset[str]:
    """The paths of images whose bytes are not those that the shards were made of.

    Every image is read, so that neither a time that moved (a checkout) nor one that did not (a
    copy that keeps times) matters.

    Parameters
    ----------
    cache : Cache
    source : ImageSource
        The images as they are now.
    """
    source = source.with_table(cache.images)
    known: defaultdict[int, set[str]] = defaultdict(set)
    for layer in cache.layers:
        for shard in cache.finished_shards(layer):
            rows = read_shard_metadata(cache.shard_path(layer, shard))
            for row, digest in zip(rows.row.tolist(), rows.image_sha256, strict=True):
                known[row].add(digest)
    with ThreadPoolExecutor() as readers:
        now = readers.map(lambda row: _digest(source, row), known)
        return frozenset(
            cache.images.path[row]
            for row, digest in zip(known, now, strict=True)
            if {digest} != known[row]
        )


def _digest(source: ImageSource, row: int) -> str:
    """Of an image's bytes; empty where it cannot be read, as in a shard."""
    try:
        return sha256(source.read(row))
    except ImageError:
        return ""


def merge_images(
    old: ImageTable, new: ImageTable, changed: Collection[str] | None = None
) -> tuple[ImageTable, list[int], ImageChanges]:
    """Carry a cache's rows over to the images as they are now.

    Parameters
    ----------
    old, new : ImageTable
    changed : collection of str, optional
        As in `plan_update`.

    Returns
    -------
    merged : ImageTable
        Old rows in their places, added images after them.
    stale : list of int
        Rows whose image has other bytes than those that were read.
    changes : ImageChanges
    """
    known = _rows_among(old.path, new.path)
    added, here = known < 0, np.flatnonzero(known >= 0)
    count = len(old) + int(added.sum())
    row = known.copy()
    row[added] = np.arange(len(old), count)  # where each of the new table stands in the merged one
    size, mtime = np.full(count, -1, dtype=np.int64), np.full(count, -1, dtype=np.int64)
    size[row], mtime[row] = new.size, new.mtime_ns
    source = np.full(count, -1, dtype=np.int64)
    source[row] = np.arange(len(new))
    table = ImageTable(
        path=_carried(old.path, new.path, source),
        label=_merged(old.label, new.label, source),
        split=_merged(old.split, new.split, source),
        group=_merged(old.group, new.group, source),
        size=size,
        mtime_ns=mtime,
    )
    before = known[here]
    if changed is None:
        differs = (old.size[before] != new.size[here]) | (
            old.mtime_ns[before] != new.mtime_ns[here]
        )
    else:
        differs = np.fromiter((path in changed for path in new.path), bool, len(new))[here]
    stale = before[differs & new.exists[here]].tolist()
    removed = int((old.exists & ~table.exists[: len(old)]).sum())
    return table, stale, ImageChanges(count - len(old), len(stale), removed)


def _rows_among(old: Sequence[str], new: Sequence[str]) -> NDArray[np.int64]:
    """Each new path's row in the old table; -1 where it has none."""
    if old == new or not len(old):
        return np.arange(len(new)) if len(old) else np.full(len(new), -1, dtype=np.int64)
    # By their hashes, each match looked into: a dictionary of ten million paths takes 2 GB.
    keys, wanted = _hashes(old), _hashes(new)
    order = np.argsort(keys)
    keys = keys[order]
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    rows = np.where(keys[at] == wanted, order[at], -1)
    if all(row < 0 or old[row] == path for row, path in zip(_values(rows), new, strict=True)):
        return rows
    row_of = {path: row for row, path in enumerate(old)}  # two paths of one hash
    return np.fromiter((row_of.get(path, -1) for path in new), np.int64, len(new))


def _hashes(paths: Sequence[str]) -> NDArray[np.int64]:
    return np.fromiter(map(hash, paths), np.int64, len(paths))


def _carried(old: Sequence[str], new: Sequence[str], source: NDArray[np.int64]) -> Sequence[str]:
    """A merged column: each row's text is that of its row in the new table, or as it was."""
    if len(source) == len(new) and np.array_equal(source, np.arange(len(new))):
        return new
    rows = enumerate(_values(source))
    return StringColumn(new[place] if place >= 0 else old[row] for row, place in rows)


def _merged(
    old: CategoricalColumn, new: CategoricalColumn, source: NDArray[np.int64]
) -> CategoricalColumn:
    """`_carried` for a categorical column."""
    rows = np.where(source >= 0, len(old) + source, np.arange(len(source)))
    return old.concatenate(new).take(rows)


def _values(numbers: NDArray[np.int64]) -> Iterator[int]:
    """As Python's integers, some thousands at a time, for each takes 32 bytes."""
    for start in range(0, len(numbers), _AT_ONCE):
        yield from numbers[start : start + _AT_ONCE].tolist()


def _require_free(path: Path) -> None:
    # images.csv alone is a plan that was cut short before it became a cache.
    others = [p.name for p in path.iterdir() if not p.name.startswith(".")] if path.is_dir() else []
    others = sorted(set(others) - {"images.csv"})
    if is_cache(path):
        return  # planned by another process in the meantime
    if path.is_file() or others:
        found = f"it holds {others[0]}" if others else "it is a file"
        raise CacheError(f"{path} is not a cache, {found}: name an empty or new directory with -o")


def _require_same(have: Manifest, path: Path, spec: Spec, layout: StorageLayout) -> None:
    have.spec.require(
        spec,
        this=f"cache {path}",
        that="this run",
        next_step="codes of two specs are never mixed; name another cache with -o",
    )
    for name, own in dataclasses.asdict(have.layout).items():
        want = getattr(layout, name)
        if own != want:
            raise SpecMismatchError(
                f"cache {path} has {name} {own}, this run asks for {want}: leave the option "
                "out to go on with the cache's own, or name another cache with -o"
            )
