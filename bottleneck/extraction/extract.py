"""ExtractionResult: images → codes → shards. Does only what is missing."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bottleneck.backbones.backbone import load_backbone
from bottleneck.backbones.trusted_code import trust_code
from bottleneck.cache.manifest import (
    COMPRESSIONS,
    DTYPES,
    Manifest,
    StorageLayout,
    is_cache,
    read_manifest,
)
from bottleneck.cache.store import Cache, layers_in, open_cache
from bottleneck.cache.update import ImageChanges, find_modified_images, plan_update
from bottleneck.data.table import open_images
from bottleneck.errors import InvalidOptionError
from bottleneck.extraction.disk_space import DiskEstimate, estimate_disk_use, usual_shard_size
from bottleneck.extraction.distributed import DistributedRunner, Job
from bottleneck.extraction.encoder import make_spec
from bottleneck.extraction.local import LocalRunner
from bottleneck.extraction.work import Task, find_missing, finish, own_shards
from bottleneck.runtime.devices import choose_devices, resolve_precision
from bottleneck.runtime.executors import Executor
from bottleneck.runtime.files import remove_stale_temp_files
from bottleneck.runtime.timing import StageTimer
from bottleneck.runtime.validation import require_positive

Progress = Callable[[int, int, StageTimer], None]  # rows done, rows in all, where the time goes


@dataclass(frozen=True)
class ExtractionResult:
    """What a run of `extract` did.

    Attributes
    ----------
    cache : Cache
        As it is now.
    changes : ImageChanges
        What had happened to the images since the last run.
    rows : int
        How many images were encoded in this run.
    rejected : dict of int to str
        The rows that gave no codes, and why: as `bottleneck.extraction.work.finish` says.
    clock : StageTimer
        Where the time went.
    seconds : float
        From start to end.
    task : tuple of 2 int
        Which part of the cache's shards the run was for.
    fitting : int or None
        Where a batch did not fit into the device's memory: the images that do.
    """

    cache: Cache
    changes: ImageChanges
    rows: int
    rejected: dict[int, str]
    clock: StageTimer
    seconds: float
    task: Task
    fitting: int | None = None

    @property
    def shards(self) -> range:
        """Those that the run was for."""
        return own_shards(self.cache, self.task)


def extract(
    images: Path,
    out: Path,
    *,
    model: str,
    layers: Sequence[str],
    weights: str = "DEFAULT",
    preprocess: dict[str, Any] | None = None,
    pool: str = "avg",
    relu: bool = True,
    dtype: str | None = None,
    compression: str | None = None,
    precision: str = "auto",
    device: str = "auto",
    batch_size: int | None = None,
    workers: int | None = None,
    shard_size: int | None = None,
    task: Task = (0, 1),
    retry_rejected: bool = False,
    check_content: bool = False,
    redo: Collection[tuple[str, int]] = (),
    force: bool = False,
    engine: Executor | None = None,
    on_start: Callable[[DiskEstimate], None] | None = None,
    progress: Progress | None = None,
) -> ExtractionResult:
    """Compute the codes of every image at some layers of a frozen network, into a cache.

    Run again, it does only what is missing; images that changed are done again, new ones are
    added. Each shard is whole or absent, whenever the run ends.

    Parameters
    ----------
    images : Path
        A directory or CSV, as in `bottleneck.data.table.open_images`.
    out : Path
        The cache's directory.
    model, weights, preprocess
        As in `bottleneck.backbones.backbone.load_backbone`.
    layers : sequence of str
        Names as in `bottleneck.backbones.layers.list_layers`; all are read in one pass.
    pool, relu
        As in `bottleneck.backbones.layers.TruncatedNetwork`.
    dtype : str, optional
        Of stored codes: the cache's own, and ``"float16"`` for a new one.
    compression : str, optional
        Of stored codes, one of `COMPRESSIONS`: the cache's own, and ``"none"``
        for a new one.
    precision : str
        Of weights and activations. ``"auto"`` is the cache's own, and for a new one
        `bottleneck.backbones.runner.best_precision` of the device.
    device : str
        As in `bottleneck.backbones.runner.choose_devices`.
    batch_size : int, optional
        Images in one forward pass; what serves the device best unless given.
    workers : int, optional
        As in `bottleneck.extraction.encoder.Encoder.stream`.
    shard_size : int, optional
        Rows of a shard: the cache's own, and for a new one 4096, or fewer where that would
        be more than 64 MiB.
    task : tuple of 2 int
        (i, n): do every n-th shard, from the i-th, counted from 0.
    retry_rejected : bool
        Try the rejected images again, though their files look unchanged.
    check_content : bool
        Compare the digest of every image with that in the shards, in place of size and time.
    redo : collection of (str, int)
        Layers and shards to make again although they are there; each stays until it is replaced.
    force : bool
        Go on though the disk is too small for what is to be written.
    engine : Executor, optional
        Whose workers make the shards, each with a device of its own; this process unless given.
    on_start : callable, optional
        Called once before any image is read, if there is something to do, with what that is.
    progress : callable, optional
        Called with the rows done, the rows to do in this run, and its clock (whose stages
        `timing.slowest_stage` explains): first with 0 rows, then after each batch, or where
        workers make them, after each shard.

    Returns
    -------
    ExtractionResult

    Raises
    ------
    DiskSpaceError
        The disk cannot hold the codes. Nothing has been written, or changed in a cache.
    BottleneckError
        Of many kinds, before any image is read: see `bottleneck.errors`.
    WorkerError
        Workers do not see the files, before any work, or die again and again.
    NonFiniteCodesError
        The network gave NaN or infinity. What was finished stays.
    OSError
        The disk refused something. What was finished stays.
    """
    start = time.monotonic()
    _require_counts(batch_size=batch_size, workers=workers, shard_size=shard_size, task=task)
    if not layers:
        raise InvalidOptionError(
            "layers", [], "at least one name", "`bottleneck.layers` lists them"
        )
    devices = choose_devices(device)
    root, table = open_images(images)
    trust_code(model)
    backbone = load_backbone(model, weights, preprocess=preprocess)
    before = read_manifest(out) if is_cache(out) else None
    if before and precision == "auto":  # it was decided when the cache was planned
        precision = before.spec.precision
    precision = resolve_precision(precision, devices[0])
    spec = make_spec(backbone, precision=precision, relu=relu, pool=pool)
    if before is None or not set(layers) <= set(layers_in(out)):
        backbone.largest_code(layers, pool)  # a misspelt layer leaves no cache behind
    compression = _resolve_compression(compression, before)
    layout = _layout(
        before, dtype, shard_size, compression, lambda: backbone.largest_code(layers, pool)
    )
    changed = find_modified_images(open_cache(out), root) if before and check_content else None
    plan = plan_update(
        out, table, spec=spec, layout=layout, reference=backbone.source, changed=changed
    )
    remove_stale_temp_files(out)  # they may be what fills the disk
    cache, outdated = plan.cache, set(plan.stale)
    if retry_rejected and not plan.new:
        own = own_shards(cache, task)
        outdated |= {row // cache.layout.shard_size for row in cache.rejected(own)}
    again = {*redo, *((layer, shard) for layer in layers for shard in outdated)}

    todo = find_missing(cache, layers, task, again)
    ahead = estimate_disk_use(cache, backbone.select_layers(layers) if todo else [], todo)
    if not force:
        ahead.require_free_space()
    cache = plan.apply()
    studio: LocalRunner | DistributedRunner
    sizes = {"batch_size": batch_size, "workers": workers}
    if engine is None:
        studio = LocalRunner(cache, backbone, images=root, devices=devices, **sizes)
    else:
        job = Job.of(cache, backbone.source, images=root, device=device, **sizes)
        studio = DistributedRunner(job, engine)
    if todo and on_start:
        on_start(ahead)
    done, clock = 0, studio.clock
    if todo and progress:
        progress(done, ahead.rows, clock)
    for rows in studio.make(todo):
        done += rows
        if progress:
            progress(done, ahead.rows, clock)
    rejected = finish(cache, layers, task)
    seconds = time.monotonic() - start
    return ExtractionResult(
        cache, plan.changes, done, rejected, clock, seconds, task, studio.fitting
    )


def _layout(
    before: Manifest | None,
    dtype: str | None,
    shard_size: int | None,
    compression: str,
    largest_code: Callable[[], int],
) -> StorageLayout:
    if before is not None:
        own = before.layout
        return StorageLayout(dtype or own.dtype, shard_size or own.shard_size, compression)
    dtype = dtype or DTYPES[0]
    if shard_size is None:
        shard_size = usual_shard_size(largest_code() * np.dtype(dtype).itemsize)
    return StorageLayout(dtype, shard_size, compression)


def _resolve_compression(compression: str | None, before: Manifest | None) -> str:
    if compression is None:
        compression = before.layout.compression if before else COMPRESSIONS[0]
    if compression not in COMPRESSIONS:
        raise InvalidOptionError("compression", compression, f"one of {', '.join(COMPRESSIONS)}")
    return compression


def _require_counts(
    *, batch_size: int | None, workers: int | None, shard_size: int | None, task: tuple[int, int]
) -> None:
    require_positive("batch_size", batch_size)
    require_positive("workers", workers)
    require_positive("shard_size", shard_size)
    index, count = task
    if count < 1:
        raise InvalidOptionError("task", f"{index}/{count}", "I/N with N at least 1")
    if not 0 <= index < count:
        raise InvalidOptionError(
            "task", f"{index}/{count}", f"I/N with I one of 0…{count - 1}, counted from 0"
        )
