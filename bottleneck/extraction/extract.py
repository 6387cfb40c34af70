"""Extract: compute the codes of images that are missing in a cache."""

import time
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any

from bottleneck.cache import (
    Cache,
    CacheLike,
    Duplicates,
    StorageLayout,
    cache_path,
    find_duplicates,
    is_cache,
    open_cache,
)
from bottleneck.data import ImageSource, open_images, require_existing
from bottleneck.errors import InvalidOptionError, ShardError
from bottleneck.extraction.options import (
    ComputeOptions,
    RunOptions,
    StorageOptions,
    ViewOptions,
)
from bottleneck.extraction.planning.disk_space import DiskEstimate, estimate_disk_use
from bottleneck.extraction.planning.missing_shards import (
    MissingShards,
    OtherTasks,
    finish_task,
    layers_of,
)
from bottleneck.extraction.planning.shard_memory import require_shard_memory
from bottleneck.extraction.result import ExtractionProgress, ExtractionResult
from bottleneck.extraction.setup.depth import choose_range
from bottleneck.extraction.setup.layer_names import layer_names, pool_names
from bottleneck.extraction.setup.notes import setup_notes
from bottleneck.extraction.setup.request import ExtractionRequest, PlannedRun
from bottleneck.extraction.setup.transform import TransformLike
from bottleneck.extraction.setup.unchanged import recall_unchanged
from bottleneck.extraction.setup.views import choose_views
from bottleneck.pooling import DEFAULT_POOL, name_poolings
from bottleneck.runtime import (
    Executor,
    OnProgress,
    RunStats,
    choose_devices,
    importing,
    remove_stale_temp_files,
    require_options,
    trust_code,
)

if TYPE_CHECKING:  # PyTorch takes seconds, and a run that finds nothing to do needs none
    import torch
    from torch import nn

    from bottleneck.backbones import Backbone, Layer
    from bottleneck.extraction.encoding.encoder import Encoder
    from bottleneck.extraction.running.distributed import DistributedRunner
    from bottleneck.extraction.running.local import LocalRunner


def extract(
    images: str | PathLike[str] | ImageSource,
    out: CacheLike,
    *,
    model: "str | nn.Module",
    layers: str | Sequence[str],
    weights: str | PathLike[str] = "DEFAULT",
    transform: TransformLike | None = None,
    pool: str | Sequence[str] | None = None,
    relu: bool = True,
    storage: StorageOptions = StorageOptions(),
    compute: ComputeOptions = ComputeOptions(),
    run: RunOptions = RunOptions(),
    views: ViewOptions | int = ViewOptions(),
) -> ExtractionResult:
    """Compute the codes of every image at some layers of a frozen network, into a cache.

    A second run computes only what is missing: new images, and images whose bytes have changed.
    With new images, the last shard is made again where it is not full. If nothing is missing, a
    network of torchvision or timm is not loaded again. A shard is written completely or not at all,
    whenever the run ends.

    Parameters
    ----------
    images : path-like or ImageSource
        A directory, CSV, archive, table or array; see `bottleneck.data.images.open_images`.
    out : path-like, Cache or result with a cache
        The cache's directory; a new one is made.
    model : str or nn.Module
        A torchvision name; ``timm:NAME`` or ``hf-hub:org/name``, for timm's models;
        ``path/to/file.py:factory``, which is executed; or a network, which is copied and never
        changed.
    layers : str or sequence of str
        Names of layers; `bottleneck.layers` lists them. One forward pass computes all of them.
    weights : str, PathLike or member of torchvision's enum
        ``"DEFAULT"``, a torchvision weights name, ``"none"``, or a weights file; see
        `bottleneck.backbones.load_backbone`.
    transform : InputTransform or mapping, optional
        What replaces the input of the weights, or some of its fields. ``"auto"`` for
        `range` means that of the cache, and where it has none percentiles 0.1 and 99.9 of the
        pixels deeper than 8 bits in 256 of the images.
    pool : str or sequence of str, optional
        ``"avg"``, ``"max"``, ``"none"``, the side of a grid of averages, for example ``"2"``, or
        ``"cls"``: a transformer's class token. The average of tokens is over all of them. By
        default that of the cache, and ``"avg"`` for a new one. Of several, one forward pass gives
        each layer in each: ``pool=("avg", "2")`` gives ``layer3`` and ``layer3@2x2``. Such a name
        among `layers` gives a layer a pooling of its own.
    relu : bool
        Whether negative activations are set to zero before pooling.
    storage : StorageOptions
        How the codes are stored.
    compute : ComputeOptions
        Where the codes are computed, and how fast.
    run : RunOptions
        Which shards are made, by which workers, and whom to tell how far it is.
    views : ViewOptions or int
        Other pictures that are made of each image, and encoded as the image is; or how many views
        there are, with the image itself.

    Returns
    -------
    ExtractionResult

    Raises
    ------
    DiskSpaceError
        The disk cannot hold the codes. Nothing has been written.
    CacheError
        The memory cannot hold the codes of a shard. Nothing has been written.
    InvalidOptionError, UnknownNameError, ImagesNotFoundError, BackboneError, WeightsError
        An argument is wrong. Nothing has been written.
    SpecMismatchError
        The cache has codes of another network, transform, layout or recipe of views. Nothing has
        been written. (One without any codes, left by a run that failed, is begun anew.)
    PrecisionError
        The network does not run in the precision that was asked for. Nothing has been written.
    WorkerError
        The executor's workers do not see the files, or die repeatedly.
    NonFiniteCodesError
        The network gave NaN or infinity. Finished shards stay.
    DeviceMemoryError
        The memory cannot hold one image. Finished shards stay.
    OSError
        The disk refused something. Finished shards stay.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from torch import nn
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    >>> options = {"model": network, "transform": {"resize": 32, "crop": 32}}
    >>> folder = TemporaryDirectory()
    >>> extract("data/digits/test/7", folder.name, layers=["1"], **options).rows
    169
    >>> again = extract("data/digits/test/7", folder.name, layers=["1", "2"], **options)
    >>> again.rows, again.cache.layers
    (169, ['1', '2'])
    >>> extract("data/digits/test/7", folder.name, layers=["1"], **options).rows
    0
    >>> folder.cleanup()
    """
    start = time.monotonic()
    require_options(
        storage=(storage, StorageOptions), compute=(compute, ComputeOptions), run=(run, RunOptions)
    )
    path, names, pools = cache_path(out), layer_names(layers), pool_names(pool)
    _require_possible(model, compute.device, run.executor)
    source = require_existing(open_images(images))
    trust_code(model)
    present = open_cache(path, source.table) if is_cache(path) else None
    existing = _with_codes(present)
    pools = pools or [existing.spec.pool if existing else DEFAULT_POOL]
    layers = name_poolings(names, pools)
    chosen_views = choose_views(views, existing)
    fields = choose_range(transform, source, existing)
    series, recipe = chosen_views.series(layers), chosen_views.recipe
    request = ExtractionRequest(present or path, source, series, recipe, run)
    asked: dict[str, Any] = {"relu": relu, "pool": pools[0]}
    plan = None
    known = recall_unchanged(existing, model, weights, fields, compute=compute, **asked)
    if existing is not None and known is not None:
        plan = request.plan(existing.spec, storage.layout_of(existing.layout), known)
        if not plan.missing:
            begin = _begin_progress(plan, RunStats(), _estimate(plan, [], storage))
            return _finish(plan, plan.update.apply(), begin, start=start, begun=time.monotonic())
    with importing():  # of torch: not where nothing is to be done
        from bottleneck.backbones import load_backbone
        from bottleneck.extraction.setup.precision import choose_spec

    devices = choose_devices(compute.device)
    if run.executor is not None:
        devices = devices[:1]  # workers have their own; one is enough to try the precision
    backbone = load_backbone(model, weights, transform=fields)
    chosen_views.require_possible(backbone.transform)
    chosen = choose_spec(backbone, layers, devices, compute=compute, existing=present, **asked)
    if plan is None or plan.update.cache.spec != chosen.spec:
        layout = _choose_layout(storage, existing, backbone, layers, pools[0])
        plan = request.plan(chosen.spec, layout, backbone.reference)
    estimate = _estimate(plan, backbone.select_layers(layers) if plan.missing else [], storage)
    cache, runner = _begin(plan, backbone, devices, compute=compute, encoder=chosen.encoder)
    what = (source, backbone, layers, chosen, chosen_views)
    notes = (*plan.notes, *setup_notes(*what)) if plan.missing else ()
    begin = _begin_progress(plan, runner.stats, estimate, notes)
    begun = time.monotonic()
    end = _run(runner, plan.missing, begin, run.on_progress)
    return _finish(plan, cache, end, start=start, begun=begun)


def _with_codes(present: Cache | None) -> Cache | None:
    """Return a cache if it has codes, and else None: one without is begun anew.

    It decides the precision alone, which tasks on different machines would each choose otherwise.
    """
    return present if present is not None and present.layers else None


def _require_possible(model: "str | nn.Module", device: str, executor: Executor | None) -> None:
    """Refuse arguments that cannot be, before anything is loaded."""
    if device not in ("auto", "cpu"):  # these always exist; PyTorch knows the others
        choose_devices(device)
    if executor is not None and not isinstance(model, str):
        raise InvalidOptionError(
            "model",
            type(model).__name__,
            "a torchvision name or path/to/file.py:factory or timm:NAME if there is an `executor`",
            "its workers cannot load a network that is an object of this process",
        )


def _estimate(plan: PlannedRun, needed: "Sequence[Layer]", storage: StorageOptions) -> DiskEstimate:
    """Estimate what the run writes, and refuse what memory or the disk cannot hold."""
    cache = plan.update.cache
    remove_stale_temp_files(cache.path)  # they take up space on the disk
    estimate = estimate_disk_use(cache, needed, plan.missing, plan.update.removed_rows)
    if not storage.force:
        estimate.require_free_space()
        if plan.request.run.executor is None:  # the memory of other processes is unknown here
            require_shard_memory(cache, needed, plan.missing)
    return estimate


def _choose_layout(
    storage: StorageOptions,
    existing: Cache | None,
    backbone: "Backbone",
    layers: Sequence[str],
    pool: str,
) -> StorageLayout:
    """Choose how codes are stored. A misspelt layer is refused, and leaves no cache behind."""
    if existing is not None and set(layers) <= set(existing.layers):
        return storage.layout_of(existing.layout)
    largest = backbone.largest_code(layers, pool)
    return storage.new_layout(largest) if existing is None else storage.layout_of(existing.layout)


def _begin(
    plan: PlannedRun,
    backbone: "Backbone",
    devices: "Sequence[torch.device]",
    *,
    compute: ComputeOptions,
    encoder: "Encoder | None",
) -> "tuple[Cache, LocalRunner | DistributedRunner]":
    """Write the update, once the network has proved to give codes."""
    from bottleneck.extraction.running.distributed import DistributedRunner, WorkerJob
    from bottleneck.extraction.running.local import LocalRunner

    update, source, executor = plan.update, plan.source, plan.request.run.executor
    if executor is not None:
        cache = update.apply()
        job = WorkerJob.from_cache(cache, backbone.reference, source, compute)
        return cache, DistributedRunner(job, executor)
    runner = LocalRunner(update.cache, backbone, source, devices, compute, encoder=encoder)
    runner.prepare(plan.missing)
    cache = update.apply()
    runner.use(cache)
    return cache, runner


def _begin_progress(
    plan: PlannedRun, stats: RunStats, estimate: DiskEstimate, notes: tuple[str, ...] = ()
) -> ExtractionProgress:
    return ExtractionProgress(
        0, estimate.passes, estimate.unit, stats, estimate, plan.images, notes
    )


def _run(
    runner: "LocalRunner | DistributedRunner",
    missing: MissingShards,
    begin: ExtractionProgress,
    on_progress: OnProgress,
) -> ExtractionProgress:
    """Make the missing shards, report progress, and return the last."""

    def report(done: int) -> ExtractionProgress:
        progress = replace(begin, done=done, notes=(*begin.notes, *runner.notes))
        on_progress(progress)
        return progress

    if not missing:
        return begin
    last = report(0)
    for rows in runner.make(missing):
        last = report(last.done + rows)
    return last


def _finish(
    plan: PlannedRun, cache: Cache, end: ExtractionProgress, *, start: float, begun: float
) -> ExtractionResult:
    """Record that the shards are of the images as they are now, and describe what was done."""
    series, task = plan.request.series, plan.request.run.task
    cache, removed_rows = plan.update.finish(cache, series), plan.update.removed_rows
    rejected = finish_task(cache, series, task)
    return ExtractionResult(
        cache=cache,
        changes=plan.update.changes,
        rows=end.estimate.rows,
        passes=end.total,
        rejected={row: reason for row, reason in rejected.items() if row not in removed_rows},
        stats=end.stats,
        seconds=time.monotonic() - start,
        startup=begun - start,
        task=task,
        others=OtherTasks.find(cache, series, task),
        images=end.images,
        duplicates=_find_duplicates(cache, layers_of(series)) if end.total else None,
        notes=end.notes,
    )


def _find_duplicates(cache: Cache, layers: Sequence[str]) -> Duplicates | None:
    """Return the images with the same bytes, if the shards of all tasks are there and sound."""
    if not cache.is_full(layers):
        return None
    try:
        return find_duplicates(cache, layers[0])
    except ShardError:
        return None  # an older shard is damaged; `bottleneck.verify` names it
