"""Verify: read every byte that counts in a cache; repair: extract again what is bad."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bottleneck.backbones.trusted_code import require_named_code
from bottleneck.cache.envelope import check_seal
from bottleneck.cache.index import KIND as INDEX
from bottleneck.cache.paths import files_in
from bottleneck.cache.recovery import Salvaged, salvage
from bottleneck.cache.shard import read_shard
from bottleneck.cache.store import Cache
from bottleneck.errors import ShardError

if TYPE_CHECKING:
    from bottleneck.extraction.extract import Extraction


@dataclass(frozen=True)
class Bad:
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


def verify(path: Path) -> list[Bad]:
    """Say what is absent, damaged or foreign in a cache.

    Every byte that counts is read and compared with what was written. Where ``spec.json`` or
    ``images.csv`` is damaged, the shards say what stood there, and are compared with each other.

    Parameters
    ----------
    path : Path
        The cache.

    Returns
    -------
    list of Bad
        Empty where everything is there and is what was written.

    Raises
    ------
    CacheError
        There is no cache at `path`, or none of its files is sound.
    """
    return _bad(salvage(path))


def repair(
    path: Path,
    images: Path,
    *,
    model: str | None = None,
    weights: str | None = None,
    **options: Any,
) -> "tuple[list[Bad], Extraction]":
    """Find what fails its checks in a cache, and make that again.

    ``spec.json`` and ``images.csv`` are restored from the shards, shards are extracted. Files that
    are no part of the plan are named, and left for the user to remove.

    Parameters
    ----------
    path : Path
        The cache.
    images : Path
        Where its images are now.
    model, weights : str, optional
        Where the network is now, if it moved since, or if it is code that was never named.
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
    from bottleneck.extraction.extract import extract  # only a repair needs a network

    found = salvage(path)
    cache, bad = found.cache, _bad(found)
    model = model or require_named_code(cache.source.model, where=f"cache {path}")
    found.restore()
    done = extract(
        images,
        path,
        model=model,
        weights=weights or cache.source.weights,
        layers=cache.layers,
        preprocess=dataclasses.asdict(cache.spec.preprocess),
        pool=cache.spec.pool,
        relu=cache.spec.relu,
        redo=[(item.layer, item.shard) for item in bad if item.shard is not None],
        check_content="images.csv" in found.lost,  # sizes and times were lost with it
        **options,
    )
    return bad, done


def _bad(found: Salvaged) -> list[Bad]:
    cache = found.cache
    return [
        *(Bad(name, why, "", None) for name, why in found.lost.items()),
        *_verify_index(cache),
        *(bad for layer in cache.layers for bad in _verify_layer(cache, layer)),
    ]


def _verify_index(cache: Cache) -> Iterator[Bad]:
    path = cache.path / "codes.h5"
    if path.exists():
        try:
            check_seal(path, INDEX)
        except ShardError as error:
            yield Bad(
                path.name, f"{_without_path(path, error)}: any extract makes it again", "", None
            )


def _verify_layer(cache: Cache, layer: str) -> Iterator[Bad]:
    expected = {cache.shard_path(layer, shard): shard for shard in range(cache.shard_count)}
    for path in files_in(cache.folder(layer)):
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
        cache.require_place(layer, shard, read_shard(path))
    except ShardError as error:
        return _without_path(path, error)
    return ""


def _without_path(path: Path, error: ShardError) -> str:
    return str(error).removeprefix(f"{path}").lstrip(": ").removeprefix("is ")
