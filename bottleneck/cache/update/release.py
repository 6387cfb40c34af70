"""Remove a cache that has no shards, so that the next run may use another spec.

Until a cache has its first shard, its spec may still be replaced. A run therefore checks, before it
writes a shard, that no other run has replaced the spec meanwhile.
"""

from contextlib import suppress
from pathlib import Path

from bottleneck.cache.format.manifest import is_cache, read_manifest
from bottleneck.cache.format.paths import list_series, series_dir
from bottleneck.cache.store import Cache
from bottleneck.errors import SpecMismatchError
from bottleneck.runtime import remove_stale_temp_files


def release_empty_cache(path: Path) -> bool:
    """Remove the files of a run that ended before it had written its first shard.

    Parameters
    ----------
    path : Path
        The cache's directory.

    Returns
    -------
    bool
        Whether there is no cache any more. One that has a shard, or of which another process is
        writing the first, is left as it is.

    Examples
    --------
    >>> release_empty_cache(Path("tests/data/before/cache"))
    False
    """
    if not is_cache(path):
        return False
    remove_stale_temp_files(path)
    folders = [series_dir(path, series) for series in list_series(path)]
    if any(folder.is_dir() and any(folder.iterdir()) for folder in folders):
        return False
    for name in ("spec.json", "codes.h5", "rejected.csv", "images.csv"):
        (path / name).unlink(missing_ok=True)
    for folder in (*folders, path / "codes"):
        with suppress(OSError):  # it is not there, or another process has begun a shard meanwhile
            folder.rmdir()
    return True


def require_spec_of_run(cache: Cache) -> None:
    """Require that a cache has the spec and views of the run that is about to write a shard.

    Parameters
    ----------
    cache : Cache
        As it was when the run began.

    Raises
    ------
    SpecMismatchError
        Another run has replaced it meanwhile, as there was no shard.
    """
    if not is_cache(cache.path):
        return  # it is only a folder of shards
    manifest = read_manifest(cache.path)
    if cache.view_recipe not in (None, manifest.view_recipe):
        raise SpecMismatchError(
            f"another run has begun views by {manifest.view_recipe} in cache {cache.path}, this "
            f"run makes them by {cache.view_recipe}: name another cache with `out`"
        )
    manifest.spec.require(
        cache.spec,
        this=f"cache {cache.path}, which another run has begun anew,",
        that="this run",
        next_step="name another cache with `out`",
    )
