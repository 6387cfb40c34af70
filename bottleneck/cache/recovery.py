"""Salvage: a cache whose ``spec.json`` or ``images.csv`` is lost, read from its shards.

Every shard says whose it is and which images it holds, so that days of work do not hang on two
small files.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bottleneck.cache.manifest import Manifest, manifest_text, read_manifest
from bottleneck.cache.paths import files_in, layer_dir, list_layer_dirs
from bottleneck.cache.shard import ShardData, read_shard_metadata, verify_shard
from bottleneck.cache.store import Cache
from bottleneck.data.table import ImageTable
from bottleneck.errors import CacheError, ImagesTableError, ShardError
from bottleneck.runtime.files import write_text_atomic

_UNKNOWN = 0  # of size and time: a file that has any other is looked into


@dataclass(frozen=True)
class RecoveredCache:
    """A cache, and what was wrong with the files that say what it is.

    Attributes
    ----------
    cache : Cache
        Read from them where they are sound, and else from its shards.
    lost : dict of str to str
        The names of those that are not, and why.
    """

    cache: Cache
    lost: dict[str, str]

    def restore(self) -> None:
        """Write what was lost anew.

        Raises
        ------
        OSError
            The disk refused it.
        """
        if "images.csv" in self.lost:
            self.cache.images.write_csv(self.cache.path / "images.csv")
        if "spec.json" in self.lost:
            write_text_atomic(self.cache.path / "spec.json", manifest_text(self.cache.manifest))


def recover_cache(path: Path) -> RecoveredCache:
    """Open a cache, if need be from its shards alone.

    Raises
    ------
    CacheError
        There is no cache at `path`, or no sound shard to read it from.
    """
    lost: dict[str, str] = {}
    try:
        manifest = read_manifest(path)
    except CacheError as error:
        found = Counter(manifest for _, manifest in _sound_shards(path))
        if not found:
            raise
        lost["spec.json"] = _why(path / "spec.json", error)
        # A shard of another cache may have been put among them, so the most have it.
        ((manifest, _),) = found.most_common(1)
    try:
        images = ImageTable.read_csv(path / "images.csv")
    except (FileNotFoundError, ImagesTableError) as error:
        lost["images.csv"] = _why(path / "images.csv", error)
        images = _table_of_shards(path, manifest)
    return RecoveredCache(Cache(path, manifest, images), lost)


def _why(file: Path, error: OSError | ImagesTableError) -> str:
    return str(error).rpartition(f"{file.name}")[2].lstrip(": ") if file.is_file() else "missing"


def _sound_shards(path: Path) -> Iterator[tuple[Path, Manifest]]:
    files = [file for layer in list_layer_dirs(path) for file in files_in(layer_dir(path, layer))]
    for shard in (file for file in files if file.suffix == ".h5"):
        try:
            yield shard, verify_shard(shard).manifest
        except ShardError:
            continue  # it says nothing that could be believed; `verify` names it


def _table_of_shards(path: Path, manifest: Manifest) -> ImageTable:
    names: dict[int, tuple[str, str]] = {}
    for shard, own in _sound_shards(path):
        if own.is_of(manifest):
            rows = read_shard_metadata(shard)
            names.update(zip(rows.row.tolist(), _names(rows), strict=True))
    if not names:
        raise CacheError(
            f"{path}: images.csv is lost, and no shard is sound that would say what stood there: "
            "extract into a new directory"
        )
    count = max(names) + 1
    # A row that no shard tells of stays without an image; the image comes back as a new row.
    table = [names.get(row, (f"lost: row {row}", "")) for row in range(count)]
    size = np.array([_UNKNOWN if row in names else -1 for row in range(count)], dtype=np.int64)
    nothing = [""] * count
    return ImageTable(
        [name for name, _ in table], [label for _, label in table], nothing, nothing, size, size
    )


def _names(rows: ShardData) -> Iterator[tuple[str, str]]:
    return zip(rows.path, rows.label, strict=True)
