"""Verify a cache: read every byte that counts, and compare it with its digest."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bottleneck.cache.envelope import verify_envelope
from bottleneck.cache.index import FILE_TYPE as INDEX
from bottleneck.cache.paths import files_in
from bottleneck.cache.recovery import RecoveredCache, recover_cache
from bottleneck.cache.shard import read_shard
from bottleneck.cache.store import Cache
from bottleneck.errors import ShardError


@dataclass(frozen=True)
class Problem:
    """A file that fails a check.

    Attributes
    ----------
    file : str
        Relative to the cache.
    why : str
    layer : str
        Whose folder it is in; empty for a file of the whole cache.
    shard : int or None
        Which shard it should be; None for a file that has no place in the plan.
    """

    file: str
    why: str
    layer: str
    shard: int | None


def verify(path: Path) -> list[Problem]:
    """Say what is absent, damaged or foreign in a cache.

    Every byte that counts is read and compared with what was written. Where ``spec.json`` or
    ``images.csv`` is damaged, the shards say what stood there, and are compared with each other.

    Parameters
    ----------
    path : Path
        The cache.

    Returns
    -------
    list of Problem
        Empty where everything is there and is what was written.

    Raises
    ------
    CacheError
        There is no cache at `path`, or none of its files is sound.
    """
    return find_problems(recover_cache(path))


def find_problems(found: RecoveredCache) -> list[Problem]:
    """Say what is absent, damaged or foreign in a cache that has been opened."""
    cache = found.cache
    return [
        *(Problem(name, why, "", None) for name, why in found.lost.items()),
        *_verify_index(cache),
        *(bad for layer in cache.layers for bad in _verify_layer(cache, layer)),
    ]


def _verify_index(cache: Cache) -> Iterator[Problem]:
    path = cache.path / "codes.h5"
    if path.exists():
        try:
            verify_envelope(path, INDEX)
        except ShardError as error:
            yield Problem(
                path.name, f"{_without_path(path, error)}: any extract makes it again", "", None
            )


def _verify_layer(cache: Cache, layer: str) -> Iterator[Problem]:
    expected = {cache.shard_path(layer, shard): shard for shard in range(cache.shard_count)}
    for path in files_in(cache.folder(layer)):
        if path not in expected:
            why = "not a shard of the plan: remove it by hand"
            yield Problem(path.relative_to(cache.path).as_posix(), why, layer, None)
    for path, shard in expected.items():
        why = _why_bad(cache, layer, shard)
        if why:
            yield Problem(path.relative_to(cache.path).as_posix(), why, layer, shard)


def _why_bad(cache: Cache, layer: str, shard: int) -> str:
    path = cache.shard_path(layer, shard)
    if not path.exists():
        return "missing"
    try:
        cache.require_matching_rows(layer, shard, read_shard(path))
    except ShardError as error:
        return _without_path(path, error)
    return ""


def _without_path(path: Path, error: ShardError) -> str:
    return str(error).removeprefix(f"{path}").lstrip(": ").removeprefix("is ")
