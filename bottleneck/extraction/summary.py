"""Reports on caches: what `status` and `verify` print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bottleneck.runtime.formatting import format_shape, printable, size, table
from bottleneck.runtime.scheduler import array_expression, pending_by_task

if TYPE_CHECKING:  # `status` prints without loading PyTorch
    from bottleneck.cache.store import Cache, LayerStatus
    from bottleneck.cache.verify import Problem

_MOST_REJECTED = 10


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
        f"{spec.weights_digest[:12]}, {spec.transform.crop} px, {spec.precision}, "
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
