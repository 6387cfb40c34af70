"""Repair a cache: extract again what fails its checks."""

import dataclasses
from pathlib import Path
from typing import Any

from bottleneck.backbones.trusted_code import require_trusted_code
from bottleneck.cache.recovery import recover_cache
from bottleneck.cache.verify import Problem, find_problems
from bottleneck.extraction.extract import ExtractionResult, extract


def repair(
    path: Path,
    images: Path,
    *,
    model: str | None = None,
    weights: str | None = None,
    **options: Any,
) -> tuple[list[Problem], ExtractionResult]:
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
        As in `extract`: device, batch_size, workers, force, on_start, progress.

    Returns
    -------
    bad : list of Problem
        What failed, before it was repaired.
    extraction : ExtractionResult

    Raises
    ------
    BottleneckError
        As `extract` does.
    """
    found = recover_cache(path)
    cache, bad = found.cache, find_problems(found)
    model = model or require_trusted_code(cache.reference.model, where=f"cache {path}")
    found.restore()
    done = extract(
        images,
        path,
        model=model,
        weights=weights or cache.reference.weights,
        layers=cache.layers,
        preprocess=dataclasses.asdict(cache.spec.preprocess),
        pool=cache.spec.pool,
        relu=cache.spec.relu,
        redo=[(item.layer, item.shard) for item in bad if item.shard is not None],
        check_content="images.csv" in found.lost,  # sizes and times were lost with it
        **options,
    )
    return bad, done
