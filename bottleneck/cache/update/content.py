"""Compare images with the digests of the bytes that the shards of a cache were made of."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.directory import REMOVED, CacheDirectory
from bottleneck.cache.format.series import Series
from bottleneck.cache.format.shard import open_shard
from bottleneck.data import ImageSource
from bottleneck.errors import ContainerError, ImageError, ShardError
from bottleneck.runtime import OnProgress, Progress, ignore_progress, sha256


@dataclass(frozen=True)
class ContentComparison:
    """What the bytes of some images say about the shards that hold them.

    Attributes
    ----------
    same : ndarray of int64
        Rows of which every finished shard was made of the bytes that the image has now.
    changed : ndarray of int64
        Rows of which some finished shard was made of other bytes. A row that no finished shard
        holds is in neither.
    stale : frozenset of (Series, int)
        Series and number of each shard that holds a changed row's code of other bytes.
    digests : dict of int to str
        Digest of the bytes of each changed row's image now.
    """

    same: NDArray[np.int64]
    changed: NDArray[np.int64]
    stale: frozenset[tuple[Series, int]]
    digests: dict[int, str]


def compare_content(
    cache: CacheDirectory,
    source: ImageSource,
    rows: NDArray[np.int64],
    on_progress: OnProgress = ignore_progress,
) -> ContentComparison:
    """Compare images with the shards that hold them. Each image is read once.

    Neither a new time of equal bytes (a copy, a checkout) nor an equal time of new bytes matters.

    Parameters
    ----------
    cache : CacheDirectory
        With the rows as they are now.
    source : ImageSource
        The images as they are now.
    rows : ndarray of int64
        The rows to compare, ascending.
    on_progress : callable, optional
        Called with the `Progress` of the images that are compared; not if there are none.

    Raises
    ------
    ContainerError
        A file that holds images has changed, or cannot be opened any more: that says nothing about
        the bytes of its images, whose codes would be lost.
    OSError
        The storage of the images fails.
    """
    source = source.with_table(cache.images)
    same: list[int] = []
    digests: dict[int, str] = {}
    stale: set[tuple[Series, int]] = set()
    done = 0
    with ThreadPoolExecutor() as readers:
        for shard, where, _ in cache.by_shard(rows):
            on_progress(Progress(done, len(rows), "images compared"))
            members = rows[where].tolist()
            done += len(members)
            if not (known := stored_digests(cache, shard, members)):
                continue
            current = list(readers.map(_digest, [source] * len(members), members))
            now = dict(zip(members, current, strict=True))
            older = {series: now.items() - then.items() for series, then in known.items()}
            stale |= {(series, shard) for series, items in older.items() if items}
            differing = dict(item for items in older.values() for item in items)
            digests |= differing
            same += [row for row in members if row not in differing]
    if done:
        on_progress(Progress(done, len(rows), "images compared"))
    return ContentComparison(
        np.array(same, dtype=np.int64),
        np.array(sorted(digests), dtype=np.int64),
        frozenset(stale),
        digests,
    )


def stored_digests(
    cache: CacheDirectory, shard: int, rows: list[int]
) -> dict[Series, dict[int, str | None]]:
    """Return the digests of the images that a shard was made of, in each series that has it.

    A damaged shard is left out: none of its codes can be used, and `verify` names it.

    Parameters
    ----------
    cache : CacheDirectory
    shard : int
    rows : list of int
        Rows of that shard.

    Returns
    -------
    dict of Series to dict of int to (str or None)
        By series, then by row. None, which no image's digest equals, where the image had been
        removed when the shard was made, so that it was never read.
    """
    known: dict[Series, dict[int, str | None]] = {}
    for series in cache.series:
        if cache.finished_shards(series, [shard]):
            try:
                with open_shard(cache.shard_path(series, shard)) as opened:
                    digests, rejected = opened.image_digests(), opened.header.rejected
            except ShardError:
                continue
            start = cache.rows(shard).start
            known[series] = {
                row: None if rejected.get(i) == REMOVED else digests[i]
                for row, i in ((row, row - start) for row in rows)
            }
    return known


def _digest(source: ImageSource, row: int) -> str:
    """Digest an image's bytes; empty where it cannot be read, as in a shard."""
    try:
        return sha256(source.read(row))
    except ContainerError:
        raise
    except ImageError:
        return ""
