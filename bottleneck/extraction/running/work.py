"""A task's part of an extraction: the shards that are missing, and what is done at its end.

Tasks share nothing but the cache. There may be a thousand, on a slow network disk: so each task
opens its own shards alone, and looks only at the names of the others.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bottleneck.cache import Cache, Series, SeriesLike
from bottleneck.runtime import ArrayTask

# Shards to make, by the names of the layers that lack them: one forward pass gives all of these.
MissingShards = dict[tuple[str, ...], list[int]]


def find_missing(
    cache: Cache,
    layers: Sequence[str],
    task: ArrayTask,
    redo: Collection[tuple[SeriesLike, int]] = (),
) -> MissingShards:
    """Return the shards that a task is to make, by the layers that lack them.

    Parameters
    ----------
    cache : Cache
        The cache as it will be; its directory need not exist yet.
    layers : sequence of str
        Names of the layers of the run.
    task : ArrayTask
        Which shards to look at.
    redo : collection of (str, int)
        Layers and shards that are made again although they exist.

    Returns
    -------
    dict of tuple of str to list of int
        The shards, by the names of the layers that lack them.
    """
    shards = task.shards(cache.shard_count)
    again = {(Series.of(layer), shard) for layer, shard in redo}
    lacking: defaultdict[int, list[str]] = defaultdict(list)
    for layer in dict.fromkeys(layers):
        finished = cache.finished_shards(layer, shards)
        for shard in shards:
            if shard not in finished or (Series(layer), shard) in again:
                lacking[shard].append(layer)
    missing: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for shard in sorted(lacking):
        missing[tuple(lacking[shard])].append(shard)
    return dict(missing)


def finish_task(cache: Cache, layers: Sequence[str], task: ArrayTask) -> dict[int, str]:
    """Bring ``rejected.csv`` and ``codes.h5`` up to date, or leave that to a task that ends later.

    If each of a thousand tasks opened ten thousand shards for that, they would open ten million
    files. So of several tasks only those update these files for which every shard of their layers
    exists by its name. None is forgotten: each task lists the names after its own last shard has
    one, so that of tasks which end together, the one that lists last sees all shards.

    Parameters
    ----------
    cache : Cache
    layers : sequence of str
        Names of the layers of the run.
    task : ArrayTask
        The task that ends.

    Returns
    -------
    dict of int to str
        The rows without codes, and why: of all shards if the files were updated, else of the
        task's own.
    """
    if task.count == 1 or cache.is_full(layers):
        return cache.write_index()
    return cache.rejected(task.shards(cache.shard_count))


@dataclass(frozen=True)
class OtherTasks:
    """What the other tasks of a run have made of its layers at the end of one task.

    Attributes
    ----------
    layers : tuple of str
        Names of the layers of the run.
    missing : tuple of int
        Shards without a file in one of the layers.
    begun : bool
        Whether a shard of theirs has a file in one of the layers.
    """

    layers: tuple[str, ...]
    missing: tuple[int, ...]
    begun: bool

    @classmethod
    def find(cls, cache: Cache, layers: Sequence[str], task: ArrayTask) -> "OtherTasks":
        """Look for the files of their shards; only names are looked at.

        Parameters
        ----------
        cache : Cache
        layers : sequence of str
            Names of the layers of the run.
        task : ArrayTask
            The task that ends.
        """
        names = tuple(dict.fromkeys(layers))
        absent = [cache.absent_shards(layer) for layer in names]
        others = set(range(cache.shard_count)) - set(task.shards(cache.shard_count))
        return cls(
            layers=names,
            missing=tuple(sorted(set[int]().union(*absent))),
            begun=any(others - shards for shards in absent),
        )
