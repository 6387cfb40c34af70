"""The plan of a cache: made once, and brought up to date with images that come, go and change."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bottleneck.errors import CacheError, SpecMismatchError
from bottleneck.files import publish_text, publish_text_if_new
from bottleneck.images import ImageTable
from bottleneck.manifest import Layout, manifest_text
from bottleneck.spec import Source, Spec
from bottleneck.store import Cache, is_cache, open_cache


@dataclass(frozen=True)
class Changes:
    """What has happened to the images since the cache last looked, in rows."""

    added: int = 0
    changed: int = 0
    removed: int = 0

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


@dataclass(frozen=True)
class Plan:
    """What a cache is to become. Nothing on the disk has changed before `carry_out`.

    Attributes
    ----------
    cache : Cache
        As it will be.
    changes : Changes
        Since the cache was last planned; none for a new one.
    stale : frozenset of int
        Shards that hold an image that has changed: they are to be made again in every layer.
    new : bool
        Whether there was no cache when the plan was made.
    """

    cache: Cache
    changes: Changes
    stale: frozenset[int]
    new: bool

    def carry_out(self) -> None:
        """Make the cache, or bring it up to date; stale shards are removed.

        Raises
        ------
        SpecMismatchError
            Another process has made a cache of another spec or layout there since.
        OSError
            The disk refused it.
        """
        cache = self.cache
        if self.new and is_cache(cache.path):  # another task of the same run was quicker
            _require_same(open_cache(cache.path), cache.spec, cache.layout)
        if self.changes.added:
            cache.drop_index()  # it would be shorter than the shards that are to grow
        # Stale codes go before the table says that the images are new: killed in between, the
        # next run sees the change again.
        cache.discard(self.stale)
        publish_text_if_new(cache.path / "images.csv", cache.images.to_csv())
        if not is_cache(cache.path):
            manifest = manifest_text(cache.spec, cache.layout, cache.source)
            publish_text(cache.path / "spec.json", manifest)  # last: now it is a cache


def plan_cache(
    path: Path, images: ImageTable, *, spec: Spec, layout: Layout, source: Source
) -> Plan:
    """Plan a new cache, or how to bring an existing one up to date with its images.

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
    layout : Layout
        How it would lay codes down.
    source : Source
        Where the network came from.

    Returns
    -------
    Plan

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
        cache = Cache(path, spec, layout, source, images)
        return Plan(cache, Changes(), frozenset(), new=True)
    cache = open_cache(path)
    _require_same(cache, spec, layout)
    return _plan_update(cache, images)


def _plan_update(cache: Cache, images: ImageTable) -> Plan:
    merged, stale, changes = merge_images(cache.images, images)
    if changes.added == len(images):
        raise SpecMismatchError(
            f"none of the {len(images)} images is in cache {cache.path}, which holds "
            f"{len(cache.images)} others: give these images a cache of their own with -o"
        )
    shards = frozenset(row // cache.layout.shard_size for row in stale)
    return Plan(dataclasses.replace(cache, images=merged), changes, shards, new=False)


def merge_images(old: ImageTable, new: ImageTable) -> tuple[ImageTable, list[int], Changes]:
    """Carry a cache's rows over to the images as they are now.

    Returns
    -------
    merged : ImageTable
        Old rows in their places, added images after them.
    stale : list of int
        Rows whose image has other bytes than those that were read, by size or time.
    changes : Changes
    """
    row_of = {path: row for row, path in enumerate(old.path)}
    columns = ["label", "split", "group"]
    merged = {name: list(getattr(old, name)) for name in ["path", *columns]}
    size, mtime = [-1] * len(old), [-1] * len(old)
    stale = []
    for i, path in enumerate(new.path):
        row = row_of.get(path)
        here = (int(new.size[i]), int(new.mtime_ns[i]))
        if row is None:
            for name in ["path", *columns]:
                merged[name].append(getattr(new, name)[i])
            size.append(here[0])
            mtime.append(here[1])
            continue
        for name in columns:
            merged[name][row] = getattr(new, name)[i]
        if here[0] >= 0 and here != (int(old.size[row]), int(old.mtime_ns[row])):
            stale.append(row)
        size[row], mtime[row] = here
    table = ImageTable(
        **merged, size=np.array(size, dtype=np.int64), mtime_ns=np.array(mtime, dtype=np.int64)
    )
    removed = int((old.exists & ~table.exists[: len(old)]).sum())
    return table, stale, Changes(len(table) - len(old), len(stale), removed)


def _require_free(path: Path) -> None:
    # images.csv alone is a plan that was cut short before it became a cache.
    others = [p.name for p in path.iterdir() if not p.name.startswith(".")] if path.is_dir() else []
    others = sorted(set(others) - {"images.csv"})
    if is_cache(path):
        return  # planned by another process in the meantime
    if path.is_file() or others:
        found = f"it holds {others[0]}" if others else "it is a file"
        raise CacheError(f"{path} is not a cache, {found}: name an empty or new directory with -o")


def _require_same(cache: Cache, spec: Spec, layout: Layout) -> None:
    cache.spec.require(
        spec,
        this=f"cache {cache.path}",
        that="this run",
        next_step="codes of two specs are never mixed; name another cache with -o",
    )
    for name, have in dataclasses.asdict(cache.layout).items():
        want = getattr(layout, name)
        if have != want:
            raise SpecMismatchError(
                f"cache {cache.path} has {name} {have}, this run asks for {want}: leave the option "
                "out to go on with the cache's own, or name another cache with -o"
            )
