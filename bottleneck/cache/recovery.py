"""Recover a cache whose ``spec.json`` or ``images.csv`` is lost from its shards.

Every shard contains the manifest of its cache and the paths of its images, so that no codes are
lost with the two small files.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bottleneck.cache.format.manifest import Manifest, manifest_text, read_manifest
from bottleneck.cache.format.paths import files_in, list_series, series_dir
from bottleneck.cache.format.shard import ShardData, open_shard
from bottleneck.cache.store import Cache
from bottleneck.cache.update.merge import merge_with_cache
from bottleneck.data import ImageTable
from bottleneck.errors import CacheError, ImagesTableError, ShardError, UnsupportedCacheError
from bottleneck.runtime import write_text_atomic

_UNKNOWN = 0  # size and time of a recovered row: the next extraction compares the image's content


@dataclass(frozen=True)
class RecoveredCache:
    """A cache, and the files that had to be recovered from its shards.

    Attributes
    ----------
    cache : Cache
        Made from ``spec.json`` and ``images.csv`` where they are intact, else from the shards.
    lost : dict of str to str
        Names of the lost files, and what is wrong with each.
    """

    cache: Cache
    lost: dict[str, str]

    def restore(self, images: ImageTable) -> None:
        """Write the lost files.

        Parameters
        ----------
        images : ImageTable
            The images as they are now. Splits and groups are theirs, since shards have none:
            without them, a head would be trained on held-out images.

        Raises
        ------
        SpecMismatchError
            None of the images is in the cache. Nothing has been written.
        OSError
            A file could not be written.
        """
        merged = merge_with_cache(self.cache, images)
        if "images.csv" in self.lost:
            table = merged.table.take(np.arange(len(self.cache.images)))
            unknown = np.where(table.exists, _UNKNOWN, -1)
            table = replace(table, size=unknown, mtime_ns=unknown)
            table.write_csv(self.cache.path / "images.csv")
        if "spec.json" in self.lost:
            write_text_atomic(self.cache.path / "spec.json", manifest_text(self.cache.manifest))


def recover_cache(path: Path) -> RecoveredCache:
    """Open a cache, if necessary from its shards alone.

    Parameters
    ----------
    path : Path

    Raises
    ------
    CacheError
        There is no cache at `path`, or no intact shard to recover it from.

    Examples
    --------
    >>> recover_cache(Path("tests/data/before/cache")).lost
    {}
    """
    lost: dict[str, str] = {}
    try:
        manifest = read_manifest(path)
    except UnsupportedCacheError:
        raise  # it is not lost
    except CacheError as error:
        counts = Counter(manifest for manifest, _ in _intact_shards(path))
        if not counts:
            raise
        lost["spec.json"] = _reason(path / "spec.json", error)
        manifest = _majority(counts)
    try:
        images = ImageTable.read_csv(path / "images.csv")
    except (FileNotFoundError, ImagesTableError) as error:
        lost["images.csv"] = _reason(path / "images.csv", error)
        images = _table_of_shards(path, manifest)
    return RecoveredCache(Cache(path, manifest, images), lost)


def _majority(counts: Counter[Manifest]) -> Manifest:
    """Return the manifest of the cache: a shard of another one may have been copied into it.

    Shards from before the cache had views know no recipe, so that is decided by the others.
    """
    caches, recipes = Counter[Manifest](), Counter[Manifest]()
    for manifest, count in counts.items():
        caches[replace(manifest, view_recipe=None)] += count
    ((cache, _),) = caches.most_common(1)
    for manifest, count in counts.items():
        if manifest.view_recipe and replace(manifest, view_recipe=None) == cache:
            recipes[manifest] += count
    return recipes.most_common(1)[0][0] if recipes else cache


def _reason(file: Path, error: OSError | ImagesTableError) -> str:
    return str(error).rpartition(f"{file.name}")[2].lstrip(": ") if file.is_file() else "missing"


def _intact_shards(path: Path) -> Iterator[tuple[Manifest, ShardData]]:
    """Verify all shards, and read the rows of those that are intact."""
    files = [file for series in list_series(path) for file in files_in(series_dir(path, series))]
    for file in files:
        if file.suffix == ".h5":
            try:
                with open_shard(file) as shard:
                    shard.verify()
                    content = shard.header.manifest, shard.metadata()
            except ShardError:
                continue  # `verify` names it
            yield content


def _table_of_shards(path: Path, manifest: Manifest) -> ImageTable:
    names: dict[int, tuple[str, str]] = {}
    for own, rows in _intact_shards(path):
        if own.is_of(manifest):
            columns = zip(rows.path, rows.label, strict=True)
            names.update(zip(rows.row.tolist(), columns, strict=True))
    if not names:
        raise CacheError(
            f"{path}: images.csv is lost, and no shard is intact from which it could be "
            "recovered: extract into a new directory"
        )
    count = max(names) + 1
    # A row that is in no intact shard stays without an image; the image becomes a new row.
    table = [names.get(row, (f"lost: row {row}", "")) for row in range(count)]
    size = np.array([_UNKNOWN if row in names else -1 for row in range(count)], dtype=np.int64)
    blank = [""] * count
    return ImageTable(
        [name for name, _ in table], [label for _, label in table], blank, blank, size, size
    )
