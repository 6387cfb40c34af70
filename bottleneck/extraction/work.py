"""A task's share of a cache: which shards are its own, what they lack, and what is done at its end.

Tasks know nothing of each other but what stands in the cache. There may be a thousand, on a disk
that is far away: so each looks at its own shards alone, and at the names of the others.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence

from bottleneck.cache.store import Cache

Task = tuple[int, int]  # part i of n, counted from 0


def own_shards(cache: Cache, task: Task) -> range:
    """The shards that are a task's: every n-th, from the i-th."""
    index, count = task
    return range(index, cache.shard_count, count)


def find_missing(
    cache: Cache, layers: Sequence[str], task: Task, again: Collection[tuple[str, int]] = ()
) -> dict[tuple[str, ...], list[int]]:
    """The shards of a task that are to be made, by the layers that lack them.

    Parameters
    ----------
    cache : Cache
    layers : sequence of str
        Those of the run.
    task : tuple of 2 int
    again : collection of (str, int)
        Layers and shards that are to be made though they are there.
    """
    shards = own_shards(cache, task)
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


def finish(cache: Cache, layers: Sequence[str], task: Task) -> dict[int, str]:
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
    if task[1] == 1 or cache.is_full(layers):
        return cache.write_index()
    return cache.rejected(own_shards(cache, task))
