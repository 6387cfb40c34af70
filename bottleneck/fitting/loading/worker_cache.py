"""A cache on a worker: whether it is seen there, and opened once for all tasks."""

from functools import lru_cache
from pathlib import Path
from threading import Lock

from bottleneck.cache import Cache, cache_fingerprint, open_cache
from bottleneck.data import ImageTable
from bottleneck.errors import CacheError
from bottleneck.fitting.loading.labelled_rows import labelled_images

_LOCK = Lock()  # a Dask worker runs tasks in several threads


def fingerprint_of(cache: Cache) -> str:
    """Return the fingerprint of an open cache.

    Raises
    ------
    CacheError
        The cache has changed since it was opened.
    """
    fingerprint = cache_fingerprint(cache.path)
    cache.require_unchanged()
    return fingerprint


def open_on_worker(
    path: Path, fingerprint: str, labels: Path | None = None
) -> tuple[Cache, ImageTable]:
    """Return a cache and its labelled images; they are read only if they changed since last time.

    Parameters
    ----------
    path : Path
        Directory of the cache.
    fingerprint : str
        The cache's `fingerprint_of`.
    labels : Path, optional
        CSV of labels that replaces those of the cache.

    Raises
    ------
    CacheError
        The cache has another fingerprint now, and its rows may be other images.
    """
    status = labels.stat() if labels else None
    mark = (status.st_mtime_ns, status.st_size) if status else None
    with _LOCK:
        return _open(path, fingerprint, labels, mark)


def missing_on_worker(path: Path, fingerprint: str, labels: Path | None = None) -> str:
    """Return what this worker does not see; empty if it sees everything.

    The parameters are those of `open_on_worker`.
    """
    if cache_fingerprint(path) != fingerprint:
        return f"the cache {path}"
    return str(labels) if labels and not labels.is_file() else ""


@lru_cache(maxsize=1)
def _open(
    path: Path, fingerprint: str, labels: Path | None, _mark: tuple[int, int] | None
) -> tuple[Cache, ImageTable]:
    cache = open_cache(path)
    if cache_fingerprint(path) != fingerprint:
        raise CacheError(f"{path}: the cache has changed since it was opened: open it again")
    return cache, labelled_images(cache, labels).table
