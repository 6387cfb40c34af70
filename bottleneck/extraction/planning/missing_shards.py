"""A task's part of an extraction: the shards that are missing, and what is done at its end.

Tasks share nothing but the cache. There may be a thousand, on a slow network disk: so each task
opens its own shards alone, and looks only at the names of the others.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from bottleneck.cache import Cache, Series
from bottleneck.runtime import ArrayTask

# Shards to make, by the series that lack them. An image is decoded once for all of these, and for
# each of their views there is one forward pass, which gives all layers.
MissingShards = dict[tuple[Series, ...], list[int]]


def layers_of(series: Iterable[Series]) -> tuple[str, ...]:
    """Return the names of the layers of some series, each once, in their order.

    Examples
    --------
    >>> layers_of([Series("b"), Series("a"), Series("b", 1)])
    ('b', 'a')
    """
    return tuple(dict.fromkeys(each.layer for each in series))


def views_of(series: Iterable[Series]) -> tuple[int, ...]:
    """Return the numbers of the views of some series, ascending.

    Examples
    --------
    >>> views_of([Series("b", 2), Series("a", 2), Series("b", 0)])
    (0, 2)
    """
    return tuple(sorted({each.view for each in series}))


def find_missing(
    cache: Cache,
    series: Sequence[Series],
    task: ArrayTask,
    redo: Collection[tuple[Series, int]] = (),
) -> MissingShards:
    """Return the shards that a task is to make, by the series that lack them.

    Parameters
    ----------
    cache : Cache
        The cache as it will be; its directory need not exist yet.
    series : sequence of Series
        The series of the run.
    task : ArrayTask
        Which shards to look at.
    redo : collection of (Series, int)
        Shards that are made again although they exist.

    Returns
    -------
    dict of tuple of Series to list of int
        The shards, by the series that lack them.
    """
    shards = task.shards(cache.shard_count)
    lacking: defaultdict[int, list[Series]] = defaultdict(list)
    for each in dict.fromkeys(series):
        finished = cache.finished_shards(each, shards)
        for shard in shards:
            if shard not in finished or (each, shard) in redo:
                lacking[shard].append(each)
    missing: defaultdict[tuple[Series, ...], list[int]] = defaultdict(list)
    for shard in sorted(lacking):
        missing[tuple(lacking[shard])].append(shard)
    return dict(missing)


def finish_task(cache: Cache, series: Sequence[Series], task: ArrayTask) -> dict[int, str]:
    """Bring ``rejected.csv`` and ``codes.h5`` up to date, or leave that to a task that ends later.

    If each of a thousand tasks opened ten thousand shards for that, they would open ten million
    files. So of several tasks only those update these files for which every shard of their series
    exists by its name. None is forgotten: each task lists the names after its own last shard has
    one, so that of tasks which end together, the one that lists last sees all shards.

    Parameters
    ----------
    cache : Cache
    series : sequence of Series
        The series of the run.
    task : ArrayTask
        The task that ends.

    Returns
    -------
    dict of int to str
        The rows without codes, and why: of all shards if the files were updated, else of the
        task's own.
    """
    if task.count == 1 or cache.is_full(series):
        return cache.write_derived_files()
    return cache.rejected(task.shards(cache.shard_count))


@dataclass(frozen=True)
class OtherTasks:
    """What the other tasks of a run have made of its series at the end of one task.

    Attributes
    ----------
    series : tuple of Series
        The series of the run.
    missing : tuple of int
        Shards without a file in one of the series.
    begun : bool
        Whether a shard of theirs has a file in one of the series.
    """

    series: tuple[Series, ...]
    missing: tuple[int, ...]
    begun: bool

    @property
    def layers(self) -> tuple[str, ...]:
        """Return the names of the layers of the run."""
        return layers_of(self.series)

    @classmethod
    def find(cls, cache: Cache, series: Sequence[Series], task: ArrayTask) -> "OtherTasks":
        """Look for the files of their shards; only names are looked at.

        Parameters
        ----------
        cache : Cache
        series : sequence of Series
            The series of the run.
        task : ArrayTask
            The task that ends.
        """
        absent = [cache.absent_shards(each) for each in series]
        others = set(range(cache.shard_count)) - set(task.shards(cache.shard_count))
        return cls(
            series=tuple(series),
            missing=tuple(sorted(set[int]().union(*absent))),
            begun=any(others - shards for shards in absent),
        )
