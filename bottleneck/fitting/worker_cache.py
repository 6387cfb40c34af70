"""Open a cache on a worker once for all of its tasks."""

from functools import lru_cache
from os import PathLike
from pathlib import Path
from threading import Lock

from bottleneck.cache import Cache, open_cache
from bottleneck.data import ImageTable, with_labels_from_csv

_LOCK = Lock()  # a Dask worker runs tasks in several threads


def open_on_worker(
    path: Path, fingerprint: str, labels: Path | None = None
) -> tuple[Cache, ImageTable]:
    """Return a cache and its labelled images; they are read only if they changed since last time.

    Parameters
    ----------
    path : Path
        Directory of the cache.
    fingerprint : str
        The cache's `bottleneck.cache.format.manifest.cache_fingerprint`.
    labels : Path, optional
        CSV of labels that replaces those of the cache.
    """
    status = labels.stat() if labels else None
    mark = (status.st_mtime_ns, status.st_size) if status else None
    with _LOCK:
        return _open(path, fingerprint, labels, mark)


def labelled_images(cache: Cache, labels: str | PathLike[str] | None) -> ImageTable:
    """Return a cache's table of images, with the labels of a CSV if there is one.

    Raises
    ------
    ImagesTableError, LabelsError
        The CSV does not describe images of the cache.
    """
    return cache.images if labels is None else with_labels_from_csv(cache.images, Path(labels))


@lru_cache(maxsize=1)
def _open(
    path: Path, _fingerprint: str, labels: Path | None, _mark: tuple[int, int] | None
) -> tuple[Cache, ImageTable]:
    cache = open_cache(path)
    return cache, labelled_images(cache, labels)
