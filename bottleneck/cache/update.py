"""Create a cache, or bring an existing one up to date with its images."""

import dataclasses
from collections import defaultdict
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bottleneck.cache.format.manifest import (
    Manifest,
    StorageLayout,
    is_cache,
    manifest_text,
    read_manifest,
)
from bottleneck.cache.format.shard import read_shard_metadata
from bottleneck.cache.merge import ImageChanges, merge_images
from bottleneck.cache.store import Cache, open_cache
from bottleneck.data import ImageSource, ImageTable
from bottleneck.errors import CacheError, ImageError, SpecMismatchError
from bottleneck.runtime import sha256, write_text_atomic
from bottleneck.spec import ModelReference, Spec


@dataclass(frozen=True)
class CacheUpdate:
    """A planned update of a cache. Nothing changes on the disk before `apply`.

    Attributes
    ----------
    cache : Cache
        The cache after the update.
    changes : ImageChanges
        Changes since the last update; none for a new cache.
    stale : frozenset of int
        Shards that hold a changed image; they are extracted again in every layer.
    new : bool
        Whether there was no cache when the update was planned.
    """

    cache: Cache
    changes: ImageChanges
    stale: frozenset[int]
    new: bool

    def apply(self) -> Cache:
        """Write ``images.csv`` and ``spec.json``, and delete stale shards.

        Returns
        -------
        Cache
            The cache as it is on the disk now.

        Raises
        ------
        SpecMismatchError
            Another process has created a cache of another spec or layout since.
        OSError
            A file could not be written.
        """
        cache = self.cache
        if self.new and is_cache(cache.path):  # another task of the same run was faster
            _require_same(read_manifest(cache.path), cache.path, cache.spec, cache.layout)
        if self.changes.added:
            cache.delete_derived_files()  # they would be shorter than the shards that grow
        # Stale codes are deleted before the table records the change: if the process is killed
        # in between, the next run detects the change again.
        cache.delete_shards(self.stale)
        cache.images.write_csv(cache.path / "images.csv")
        if not is_cache(cache.path):
            write_text_atomic(cache.path / "spec.json", manifest_text(cache.manifest))  # last
        if not self.new:
            return cache
        # Tasks that begin together all write a manifest, and the last rename wins. If images were
        # added in between, the cache ids differ.
        return dataclasses.replace(cache, manifest=read_manifest(cache.path))


def plan_update(
    cache: Path | Cache,
    images: ImageTable,
    *,
    spec: Spec,
    layout: StorageLayout,
    reference: ModelReference,
    changed: Collection[str] | None = None,
) -> CacheUpdate:
    """Plan a new cache, or the update of an existing one to the images as they are now.

    Existing rows keep their numbers. New images become rows at the end. The rows of images that
    are gone stay and are not valid. Shards that hold a changed image are stale in every layer.

    Parameters
    ----------
    cache : Path or Cache
        The directory, or the cache if it is open already.
    images : ImageTable
        The images as they are now.
    spec : Spec
        The spec of the run; must equal that of an existing cache.
    layout : StorageLayout
        The storage layout of the run; must equal that of an existing cache.
    reference : ModelReference
        Where the network came from; stored in a new cache.
    changed : collection of str, optional
        Paths of the images that differ from those in the shards, from `find_modified_images`.
        Unless given, those whose size or modification time differs from the table.

    Returns
    -------
    CacheUpdate

    Raises
    ------
    SpecMismatchError
        The cache has another spec or layout, or none of the images.
    CacheError
        The path is in use for something else.
    """
    path = cache.path if isinstance(cache, Cache) else cache
    if not is_cache(path):
        _require_free(path)
    if not is_cache(path):
        manifest = Manifest(spec, layout, reference, cache_id=images.digest)
        return CacheUpdate(Cache(path, manifest, images), ImageChanges(), frozenset(), new=True)
    cache = open_cache(cache, images)
    _require_same(cache.manifest, path, spec, layout)
    if cache.images is images and changed is None:  # the usual case for one of many tasks
        return CacheUpdate(cache, ImageChanges(), frozenset(), new=False)
    merged, stale, changes = merge_images(cache.images, images, changed)
    if changes.added == len(images):
        raise SpecMismatchError(
            f"none of the {len(images)} images is in cache {cache.path}, which holds "
            f"{len(cache.images)} others: give these images a cache of their own with `out`"
        )
    shards = frozenset(row // cache.layout.shard_size for row in stale)
    return CacheUpdate(dataclasses.replace(cache, images=merged), changes, shards, new=False)


def find_modified_images(cache: Cache, source: ImageSource) -> frozenset[str]:
    """Return the paths of images whose bytes differ from those that the shards were made of.

    Every image is read, so modification times do not matter: neither a changed time with equal
    bytes (a checkout) nor an equal time with changed bytes (a copy that keeps times).

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
        current = readers.map(lambda row: _digest(source, row), known)
        return frozenset(
            cache.images.path[row]
            for row, digest in zip(known, current, strict=True)
            if {digest} != known[row]
        )


def _digest(source: ImageSource, row: int) -> str:
    """Digest an image's bytes; empty where it cannot be read, as in a shard."""
    try:
        return sha256(source.read(row))
    except ImageError:
        return ""


def _require_free(path: Path) -> None:
    # images.csv alone is left by a run that ended before it had created the cache.
    names = [p.name for p in path.iterdir() if not p.name.startswith(".")] if path.is_dir() else []
    others = sorted(set(names) - {"images.csv"})
    if is_cache(path):
        return  # another process has created it in the meantime
    if path.is_file() or others:
        what = f"it holds {others[0]}" if others else "it is a file"
        raise CacheError(
            f"{path} is not a cache, {what}: name an empty or new directory with `out`"
        )


def _require_same(manifest: Manifest, path: Path, spec: Spec, layout: StorageLayout) -> None:
    manifest.spec.require(
        spec,
        this=f"cache {path}",
        that="this run",
        next_step="codes of two specs are never mixed; name another cache with `out`",
    )
    for name, value in dataclasses.asdict(manifest.layout).items():
        wanted = getattr(layout, name)
        if value != wanted:
            raise SpecMismatchError(
                f"cache {path} has {name} {value}, this run asks for {wanted}: leave `{name}` "
                "out to use the cache's own, or name another cache with `out`"
            )
