"""Verify: read every byte that counts in a cache; repair: extract again what is bad."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bottleneck.errors import ShardError
from bottleneck.shard import read_header
from bottleneck.store import Cache, open_cache

if TYPE_CHECKING:
    from bottleneck.extract import Extraction


@dataclass(frozen=True)
class Bad:
    """A file that fails a check.

    Attributes
    ----------
    file : str
        Relative to the cache.
    why : str
    layer : str
        Whose folder it is in.
    shard : int or None
        Which shard it should be; None for a file that has no place in the plan.
    """

    file: str
    why: str
    layer: str
    shard: int | None


def verify(cache: Cache) -> list[Bad]:
    """Say what is absent, damaged or foreign in a cache.

    Returns
    -------
    list of Bad
        Layer by layer; empty where every shard is there and is what was written.
    """
    return [bad for layer in cache.layers for bad in _verify_layer(cache, layer)]


def repair(
    path: Path,
    images: Path,
    *,
    model: str | None = None,
    weights: str | None = None,
    **options: Any,
) -> "tuple[list[Bad], Extraction]":
    """Find the shards of a cache that fail their checks, and extract those again.

    Files that are no shards of the plan are named, and left for the user to remove.

    Parameters
    ----------
    path : Path
        The cache.
    images : Path
        Where its images are now.
    model, weights : str, optional
        Where the network is now, if it moved since.
    options
        As in `extract`: device, batch_size, workers, force, announce, progress.

    Returns
    -------
    bad : list of Bad
        What failed, before it was repaired.
    extraction : Extraction

    Raises
    ------
    BottleneckError
        As `extract` does.
    """
    from bottleneck.extract import extract  # only a repair needs a network

    cache = open_cache(path)
    bad = verify(cache)
    done = extract(
        images,
        path,
        model=model or cache.source.model,
        weights=weights or cache.source.weights,
        layers=cache.layers,
        preprocess=dataclasses.asdict(cache.spec.preprocess),
        pool=cache.spec.pool,
        relu=cache.spec.relu,
        redo=[(item.layer, item.shard) for item in bad if item.shard is not None],
        **options,
    )
    return bad, done


def _verify_layer(cache: Cache, layer: str) -> Iterator[Bad]:
    expected = {cache.shard_path(layer, shard): shard for shard in range(cache.shard_count)}
    for path in sorted(cache.folder(layer).glob("[!.]*")):
        if path not in expected:
            why = "not a shard of the plan: remove it by hand"
            yield Bad(path.relative_to(cache.path).as_posix(), why, layer, None)
    for path, shard in expected.items():
        why = _why_bad(cache, layer, shard)
        if why:
            yield Bad(path.relative_to(cache.path).as_posix(), why, layer, shard)


def _why_bad(cache: Cache, layer: str, shard: int) -> str:
    path = cache.shard_path(layer, shard)
    if not path.exists():
        return "missing"
    try:
        if read_header(path).spec_digest != cache.spec.digest(layer):
            return "of another spec or layer"
        cache.read_checked(layer, shard)
    except ShardError as error:
        return str(error).removeprefix(f"{path}").lstrip(": ")
    return ""
