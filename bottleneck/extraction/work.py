"""A task's share of a cache: which shards are its own, what they lack, and what is done at its end.

Tasks know nothing of each other but what stands in the cache. There may be a thousand, on a disk
that is far away: so each looks at its own shards alone, and at the names of the others.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence

from bottleneck.cache.store import Cache
from bottleneck.runtime.scheduler import ArrayTask


def find_missing(
    cache: Cache, layers: Sequence[str], task: ArrayTask, again: Collection[tuple[str, int]] = ()
) -> dict[tuple[str, ...], list[int]]:
    """The shards of a task that are to be made, by the layers that lack them.

    Parameters
    ----------
    cache : Cache
    layers : sequence of str
        Those of the run.
    task : ArrayTask
    again : collection of (str, int)
        Layers and shards that are to be made though they are there.
    """
    shards = task.shards(cache.shard_count)
    by_shard: defaultdict[int, list[str]] = defaultdict(list)
    for layer in dict.fromkeys(layers):
        done = cache.finished_shards(layer, shards)
        for shard in shards:
            if shard not in done or (layer, shard) in again:
                by_shard[shard].append(layer)
    todo: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for shard in sorted(by_shard):
        todo[tuple(by_shard[shard])].append(shard)
    return dict(todo)


def finish(cache: Cache, layers: Sequence[str], task: ArrayTask) -> dict[int, str]:
    """Bring ``rejected.csv`` and ``codes.h5`` up to date, or leave that to a task that ends later.

    If each of a thousand tasks looked into ten thousand shards for that, they would open ten
    million files. So of several tasks only those do it that find a file in every place of their
    layers. None is forgotten: each lists the places after its own last shard has its name, so that
    of tasks which end together, the one that lists last finds them all.

    Returns
    -------
    dict of int to str
        The rows that gave no codes, and why: of all shards where the files were brought up to
        date, else of the task's own.
    """
    if task.count == 1 or cache.is_full(layers):
        return cache.write_index()
    return cache.rejected(task.shards(cache.shard_count))
