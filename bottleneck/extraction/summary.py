"""Reports on caches: what `extract`, `status` and `verify` print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bottleneck.runtime.formatting import duration, format_shape, printable, size, table
from bottleneck.runtime.scheduler import array_expression, pending_by_task
from bottleneck.runtime.timing import StageTimer, slowest_stage

if TYPE_CHECKING:  # `status` prints without loading PyTorch
    from bottleneck.cache.store import Cache, LayerStatus
    from bottleneck.cache.verify import Problem
    from bottleneck.extraction.disk_space import DiskEstimate
    from bottleneck.extraction.extract import ExtractionResult
    from bottleneck.extraction.plan import ExtractionPlan

_STAGES = ("read", "decode", "forward", "write")
_MOST_REJECTED = 10
_MOST_LAYERS = 8

_ADVICE = {
    "read": "reading is the limit: raise `workers`, or move the images to a faster disk",
    # No more --workers: they would share the cores that they are short of.
    "decode": "decoding is the limit: store the images smaller, or use more cores",
    "forward": "the network is the limit: a GPU, an earlier layer or a smaller network would help",
    "write": "writing is the limit: a faster disk for the cache would help",
}


# plan


def sizing_text(sizing: ExtractionPlan) -> str:
    """Shards and bytes of each layer, the time of a task, and what would serve better."""
    pace = sizing.pace
    lines = [
        f"{sizing.rows} images, shards a layer: {sizing.shards}, of up to {sizing.shard_size} rows "
        f"and {size(sizing.shard_bytes)}",
        table(
            ["layer", "code", "bytes/image", "all"],
            (
                [name, format_shape(layer.code_shape), size(layer.row_bytes), size(layer.bytes)]
                for name, layer in sizing.layers.items()
            ),
        ),
        f"{size(sizing.bytes)} in all, uncompressed",
        "",
        f"measured here on {pace.images} images: {pace.rate:.1f} images/s, and "
        f"{pace.startup:.1f} s to start; {advice_on(pace.limit)}",
        f"one task: {duration(sizing.seconds)}",
    ]
    if sizing.tasks > 1:
        lines.append(
            f"{sizing.tasks} tasks on machines like this one: {duration(sizing.task_seconds)}, the "
            f"one with the most shards ({sizing.shards_a_task})"
        )
    return "\n".join([*lines, *(f"advice: {text}" for text in sizing.advice())])


def sizing_json(sizing: ExtractionPlan) -> dict[str, Any]:
    """What ``plan --json`` prints."""
    return {
        "rows": sizing.rows,
        "shard_size": sizing.shard_size,
        "shards": sizing.shards,
        "shard_bytes": sizing.shard_bytes,
        "bytes": sizing.bytes,
        "layers": {
            name: {
                "code_shape": list(layer.code_shape),
                "row_bytes": layer.row_bytes,
                "bytes": layer.bytes,
            }
            for name, layer in sizing.layers.items()
        },
        "tasks": sizing.tasks,
        "shards_a_task": sizing.shards_a_task,
        "images_a_second": sizing.pace.rate,
        "limit": sizing.pace.limit,
        "startup_seconds": sizing.pace.startup,
        "seconds": sizing.seconds,
        "task_seconds": sizing.task_seconds,
        "advice": sizing.advice(),
    }


# extract, status, verify


def preflight_text(ahead: DiskEstimate) -> str:
    """What a run is about to do, what it takes on the disk, and what is free there."""
    layers = []
    for name, layer in list(ahead.layers.items())[:_MOST_LAYERS]:
        fewer = f", {layer.rows} images" if layer.rows < ahead.rows else ""
        layers.append(f"{name} ({format_shape(layer.code_shape)}{fewer})")
    if len(ahead.layers) > _MOST_LAYERS:
        layers.append(f"… and {len(ahead.layers) - _MOST_LAYERS} more")
    return (
        f"{ahead.rows} images to encode at {', '.join(layers)}: at most {size(ahead.bytes)}, "
        f"{size(ahead.free)} free on the disk"
    )


def extraction_text(done: ExtractionResult) -> str:
    """What was done, where the run's part of each layer stands, where the time went."""
    lines = []
    changes = done.changes
    if changes:
        lines.append(
            f"images: {changes.added} added, {changes.changed} changed, {changes.removed} removed "
            "since the last run"
        )
    lines.append(status_text(done.cache, done.cache.status(shards=done.shards), done.rejected))
    part, parts = done.task
    if parts > 1:
        count = f"{len(done.shards)} of {done.cache.shard_count} shards"
        lines.append(f"of task {part}/{parts}, which has {count}: `bottleneck status` has all")
    lines.append("")
    if done.rows:
        lines += [
            f"encoded {done.rows} images in {done.seconds:.1f} s "
            f"({done.rows / done.seconds:.0f} images/s)",
            "time: " + ", ".join(f"{k} {v:.0%}" for k, v in done.clock.shares(*_STAGES).items()),
            advice(done.clock),
        ]
        if done.fitting:
            lines.append(
                f"memory: the device holds {done.fitting} images at a time, larger batches were "
                f"divided: `batch_size={done.fitting}` saves the attempt"
            )
    else:
        lines.append(f"nothing to do: every code is in the cache ({done.seconds:.1f} s)")
    return "\n".join(lines)


def extraction_json(done: ExtractionResult) -> dict[str, Any]:
    """What ``extract --json`` prints: the status of this run's shards, and what it did.

    Only ``complete`` is of all shards.
    """
    found = status_json(done.cache, done.cache.status(shards=done.shards))
    return found | {
        "complete": found["complete"] and done.cache.is_full(found["layers"]),
        "task": list(done.task),
        "encoded": done.rows,
        "changes": {
            "added": done.changes.added,
            "changed": done.changes.changed,
            "removed": done.changes.removed,
        },
        "rejected": {done.cache.images.path[row]: why for row, why in done.rejected.items()},
        "seconds": done.seconds,
        "shares": done.clock.shares(*_STAGES),
    }


def advice(clock: StageTimer) -> str:
    """One sentence on the stage that the others wait for."""
    return advice_on(slowest_stage(clock))


def advice_on(stage: str) -> str:
    """One sentence on a stage that the others wait for."""
    return _ADVICE[stage]


def status_text(
    cache: Cache,
    status: dict[str, LayerStatus],
    rejected: dict[int, str],
    *,
    tasks: int = 1,
) -> str:
    """Where a cache stands, for people; of several tasks, which have work left."""
    spec = cache.spec
    pooled = f"pool {spec.pool}" if spec.pool != "none" else "unpooled"
    lines = [
        f"cache {cache.path}: {len(cache.images)} rows of {spec.model}, weights "
        f"{spec.weights_digest[:12]}, {spec.preprocess.crop} px, {spec.precision}, "
        f"{'relu, ' if spec.relu else ''}{pooled}",
        table(
            ["layer", "done", "rejected", "missing", "code", "dtype", "size"],
            (
                [
                    name,
                    str(layer.done),
                    str(layer.rejected),
                    str(layer.missing),
                    format_shape(layer.shape),
                    layer.dtype,
                    size(layer.bytes),
                ]
                for name, layer in status.items()
            ),
        ),
    ]
    if any("+" in layer.dtype for layer in status.values()):
        lines.append("some shards are float32: their codes exceed float16's range")
    if tasks > 1 and (left := _left(status, tasks)):
        lines.append(f"tasks left of {tasks}: --array={array_expression(left)}")
    for row, reason in list(rejected.items())[:_MOST_REJECTED]:
        lines.append(f"rejected: {printable(cache.images.path[row])}: {reason}")
    if len(rejected) > _MOST_REJECTED:
        more = len(rejected) - _MOST_REJECTED
        lines.append(f"… and {more} more: {cache.path / 'rejected.csv'} names them all")
    return "\n".join(lines)


def status_json(cache: Cache, status: dict[str, LayerStatus], *, tasks: int = 1) -> dict[str, Any]:
    """What ``status --json`` prints, with what is left for each of so many tasks."""
    return {
        "rows": len(cache.images),
        "complete": is_complete(status),
        "spec_digest": cache.spec.digest(),
        "spec": cache.spec.to_json(),
        "layers": {
            name: {
                "done": layer.done,
                "missing": layer.missing,
                "rejected": layer.rejected,
                "shape": list(layer.shape),
                "dtype": layer.dtype,
                "bytes": layer.bytes,
            }
            for name, layer in status.items()
        },
        "missing": {
            name: list(layer.missing_shards)
            for name, layer in status.items()
            if layer.missing_shards
        },
        "by_task": {str(task): shards for task, shards in _left(status, tasks).items()},
    }


def is_complete(status: dict[str, LayerStatus]) -> bool:
    """Whether there are layers, and nothing is missing in them."""
    return bool(status) and not any(layer.missing_shards for layer in status.values())


def _left(status: dict[str, LayerStatus], tasks: int) -> dict[int, int]:
    return pending_by_task(
        (shard for layer in status.values() for shard in layer.missing_shards), tasks
    )


def kept_text(path: Path) -> str:
    """What a cache holds after an interrupt."""
    from bottleneck.cache.manifest import is_cache
    from bottleneck.cache.store import open_cache

    if not is_cache(path):
        return f"{path} was not begun"
    cache = open_cache(path)
    kept = [
        f"{len(cache.finished_shards(name))} of {cache.shard_count} shards of {name}"
        for name in cache.layers
    ]
    return f"{path} holds {', '.join(kept) or 'no shard yet'}"


def verify_text(cache: Path, bad: Sequence[Problem]) -> str:
    """What failed, or that nothing did."""
    if bad:
        return "\n".join(f"bad: {printable(item.file)}: {item.why}" for item in bad)
    return f"ok: every byte of {cache} is what was written"


def verify_json(bad: Sequence[Problem]) -> dict[str, Any]:
    """What ``verify --json`` prints."""
    return {"ok": not bad, "bad": [{"file": item.file, "why": item.why} for item in bad]}


def repair_text(bad: Sequence[Problem], done: ExtractionResult) -> str:
    """What was bad before the repair, and how much was done again."""
    left = [item for item in bad if item.layer and item.shard is None]
    lines = [f"repaired: {item.file}: {item.why}" for item in bad if item not in left]
    return "\n".join([*lines, f"{done.rows} images encoded again"])
