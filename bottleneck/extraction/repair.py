"""Repair a cache: extract again what fails its checks."""

from os import PathLike

from torch import nn

from bottleneck.cache import CacheLike, Series, cache_path, find_problems, recover_cache
from bottleneck.data import ImageSource, open_images, require_existing
from bottleneck.errors import CacheError
from bottleneck.extraction.extract import extract
from bottleneck.extraction.options import ComputeOptions, RunOptions, StorageOptions
from bottleneck.extraction.result import RepairResult
from bottleneck.extraction.setup.loading import locate_network, require_decoder_of
from bottleneck.runtime import Executor, OnProgress, ignore_progress, require_options


def repair(
    cache: CacheLike,
    images: str | PathLike[str] | ImageSource,
    *,
    model: str | nn.Module | None = None,
    weights: str | PathLike[str] | None = None,
    compute: ComputeOptions = ComputeOptions(),
    executor: Executor | None = None,
    on_progress: OnProgress = ignore_progress,
    force: bool = False,
) -> RepairResult:
    """Find what fails its checks in a cache, and compute it again.

    ``spec.json`` and ``images.csv`` are restored from the shards and the images, shards are
    extracted. Files that do not belong to the cache are named, and left for the user to remove.

    Parameters
    ----------
    cache : path-like, Cache or result with a cache
        The cache.
    images : path-like or ImageSource
        The cache's images, as `bottleneck.extract` takes them.
    model : str or nn.Module, optional
        The network, if its file has moved, if it is code that you have not given before, or if it
        was given as an object.
    weights : str or PathLike, optional
        The weights, if their file has moved.
    compute : ComputeOptions
        Where the codes are computed.
    executor : Executor, optional
        Workers that make the shards, as in `RunOptions`.
    on_progress : callable, optional
        Called with a `Progress`, as in `RunOptions`.
    force : bool
        Whether to start although the disk may be too small.

    Returns
    -------
    RepairResult

    Raises
    ------
    CacheError
        There is no cache, it has no layer, or no sound shard to restore it from.
    UntrustedCodeError
        The cache's network is code that you have not named before.
    BottleneckError, OSError
        The extraction failed.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> network, folder = nn.Sequential(nn.Conv2d(3, 8, 3)), TemporaryDirectory()
    >>> options = {"layers": ["0"], "transform": {"resize": 32, "crop": 32}}
    >>> result = extract("data/digits/test/7", folder.name, model=network, **options)
    >>> result.cache.shard_path("0", 0).unlink()
    >>> print(repair(result, "data/digits/test/7", model=network))
    repaired: codes/0/00000.h5: missing
    169 images encoded again
    >>> folder.cleanup()
    """
    require_options(compute=(compute, ComputeOptions))
    path = cache_path(cache)
    recovered = recover_cache(path)
    if not recovered.cache.layers:
        raise CacheError(f"cache {path} has no codes of any layer: `bottleneck.extract` makes them")
    source = require_existing(open_images(images))
    problems, spec = find_problems(recovered), recovered.cache.spec
    reference = recovered.cache.reference
    model, weights = locate_network(reference, model, weights, owner=f"cache {path}")
    if any(item.shard is not None for item in problems):
        require_decoder_of(spec, compute.device, owner=f"cache {path}")
    recovered.restore(source.table)
    done = extract(
        source,
        path,
        model=model,
        weights=weights,
        layers=recovered.cache.layers,
        transform=spec.transform.to_fields(),
        pool=spec.pool,
        relu=spec.relu,
        storage=StorageOptions(force=force),
        compute=compute,
        run=RunOptions(
            executor=executor,
            on_progress=on_progress,
            check_content="images.csv" in recovered.lost,  # sizes and times were lost with it
            redo=[
                (Series(item.layer, item.view), item.shard)
                for item in problems
                if item.shard is not None
            ],
        ),
    )
    return RepairResult(problems, done)
