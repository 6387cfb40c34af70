"""Measure planning, `status` and finishing on a cache of ten million rows in ten thousand shards.

The shards have a header and no codes, because planning, `status` and the index read no more. The
images are names in a CSV.
"""

import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import compress, islice
from pathlib import Path
from typing import Any, BinaryIO
from unittest.mock import patch

import numpy as np

from benchmarks.helpers.isolated_process import run_isolated
from bottleneck.cache import Series
from bottleneck.cache.format.envelope import build_envelope
from bottleneck.cache.format.manifest import Manifest, StorageLayout, manifest_text, read_manifest
from bottleneck.cache.format.shard import FILE_TYPE
from bottleneck.cache.store import Cache, open_cache
from bottleneck.cache.update.merge import merge_images
from bottleneck.cache.update.plan import plan_update
from bottleneck.data.images import open_images
from bottleneck.data.table.image_table import TEXT_COLUMNS, ImageTable
from bottleneck.data.table.string_column import StringColumn
from bottleneck.extraction.planning.missing_shards import find_missing, finish_task
from bottleneck.input_transform import InputTransform
from bottleneck.model_reference import ModelReference
from bottleneck.runtime.schedulers.array_task import ArrayTask
from bottleneck.spec import Spec

LAYER = "layer4"
SERIES = Series(LAYER)
_CODE, _BYTES = 2048, 4096
_SIZES = ((1_000_000, 1_000, 100), (10_000_000, 10_000, 1_000))  # rows, shards, tasks
_CLASS = 500  # images of one: 20 000 classes in ten million
_SPEC = Spec("net", "ab" * 32, InputTransform(decoder="pillow-1"), "float32", True, "avg")


def make_cache(place: Path, *, rows: int, shards: int) -> Cache:
    """Make an empty cache, and beside it the CSV of its images."""
    with (place / "images.csv").open("wb") as file:
        _write_image_csv(file, rows)
    with instant_stats():
        images = open_images(place / "images.csv").table
    layout = StorageLayout("float16", -(-rows // shards), "none")
    manifest = Manifest(_SPEC, layout, ModelReference("net", "none"), images.digest)
    cache = Cache(place / "cache", manifest, images)
    images.write_csv(cache.path / "images.csv")
    (cache.path / "spec.json").write_text(manifest_text(manifest))
    return cache


def _write_image_csv(file: BinaryIO, rows: int) -> None:
    file.write(f"{','.join(TEXT_COLUMNS)}\n".encode())
    lines = map(_line, range(rows))
    while some := "".join(islice(lines, 100_000)):
        file.write(some.encode())


def _line(row: int) -> str:
    name, number = f"n{1_440_764 + row // _CLASS * 37:08d}", row % _CLASS * 101
    return f"train/{name}/{name}_{number}.JPEG,{name},train,\n"


def instant_stats() -> Any:
    """Pretend that every image exists: sizes and times are computed from the paths."""
    return patch("bottleneck.data.sources.files.file_source._size_and_mtime", _invented_stat)


def _invented_stat(path: str) -> tuple[int, int]:
    number = zlib.crc32(path.encode())
    return 50_000 + number % 100_000, 1_600_000_000_000_000_000 + 10_000_019 * number


def write_instantly(cache: Cache, shards: Iterable[int]) -> None:
    """Write shards that have a header and no codes."""
    manifest = cache.manifest.to_json()
    for shard in shards:
        rows, path = cache.rows(shard), cache.shard_path(LAYER, shard)
        header = {
            "layer": LAYER,
            "start": rows.start,
            "shape": (len(rows), _CODE),
            "dtype": "float16",
            "rejected": {"0": "cannot be decoded"} if shard % 100 == 0 else {},
            "work": 1.0,
            "manifest": manifest,
            "view": 0,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(build_envelope(bytearray(_BYTES), FILE_TYPE, header).ljust(_BYTES, b"\0"))


# What is measured, each in a process of its own


def _find(place: Path, _: int) -> None:
    open_images(place / "images.csv")


def _find_instantly(place: Path, _: int) -> None:
    with instant_stats():
        open_images(place / "images.csv")


def _plan(place: Path, tasks: int) -> None:
    with instant_stats():
        source = open_images(place / "images.csv")
    have = read_manifest(place / "cache")
    plan = plan_update(
        place / "cache", source, spec=have.spec, layout=have.layout, reference=have.reference
    )
    find_missing(plan.cache, [SERIES], ArrayTask(tasks // 2, tasks))
    assert plan.finish(plan.apply(), [SERIES]).images is source.table


def _merge(place: Path, _: int) -> None:
    cache = open_cache(place / "cache")
    old = cache.images
    kept = np.arange(len(old)) % 10 != 3
    path, label, split, group = (
        StringColumn(compress(column, kept.tolist())) for column in old.texts
    )
    before = ImageTable(path, label, split, group, old.size[kept], old.mtime_ns[kept])
    merged = merge_images(before, old)
    assert merged.added == len(old) - kept.sum()


def _open(place: Path, _: int) -> None:
    open_cache(place / "cache")


def _status(place: Path, _: int) -> None:
    cache = open_cache(place / "cache")
    assert cache.status().layers[LAYER].missing == 0
    assert cache.rejected()


def _end(place: Path, tasks: int) -> None:
    finish_task(open_cache(place / "cache"), [SERIES], ArrayTask(tasks // 2, tasks))


def _all_tasks(place: Path, tasks: int) -> None:
    cache = open_cache(place / "cache")
    for index in range(tasks):
        task = ArrayTask(index, tasks)
        own = task.shards(cache.shard_count)
        assert list(find_missing(cache, [SERIES], task).values()) == [list(own)]
        write_instantly(cache, own)
        finish_task(cache, [SERIES], task)
    assert (cache.path / "codes.h5").is_file()


_ACTIONS: dict[str, Callable[[Path, int], None]] = {
    "a CSV of images is read; its files are not there": _find,
    "the same, told sizes and times": _find_instantly,
    "the same, then a task plans, nothing has changed": _plan,
    "a cache is opened": _open,
    "opened; every task plans, makes its shards, ends": _all_tasks,
    "opened; `status`": _status,
    "opened; every tenth image is new, in the midst of the others": _merge,
    "opened; the last task ends, the index is there": _end,
}


def measure(rows: int, shards: int, tasks: int) -> tuple[dict[str, tuple[float, int]], int]:
    """Return seconds and peak bytes of each action, and the most names in one folder."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        make_cache(place, rows=rows, shards=shards)
        found = {}
        for action in _ACTIONS:
            command = [sys.executable, "-m", __spec__.name, action, str(place), str(tasks)]
            _, peak = run_isolated(command)
            found[action] = float((place / "seconds").read_text()), peak
            print(f"{rows} {action}: {found[action]}", file=sys.stderr, flush=True)
        folders = Counter(path.parent for path in (place / "cache").rglob("*"))
        return found, max(folders.values())


def markdown(sizes: tuple[tuple[int, int, int], ...] = _SIZES) -> str:
    """Return a table of CPU seconds and peak MiB for two sizes, and their ratio."""
    small, large = (measure(*size) for size in sizes)
    columns = " | ".join(f"{rows:,} rows: s | MiB".replace(",", " ") for rows, _, _ in sizes)
    lines = [
        "Shards and tasks: "
        + "; ".join(
            f"{rows} rows in {shards} shards, {tasks} tasks" for rows, shards, tasks in sizes
        )
        + f". Most names in one folder: {small[1]} and {large[1]}.",
        "",
        f"| what a process does | {columns} | times as long |",
        "|---|---|---|---|---|---|",
    ]
    for action, (seconds, peak) in small[0].items():
        later, more = large[0][action]
        lines.append(
            f"| {action} | {seconds:.2f} | {peak / 2**20:.0f} "
            f"| {later:.2f} | {more / 2**20:.0f} | {later / seconds:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        action, place, tasks = sys.argv[1:]
        _ACTIONS[action](Path(place), int(tasks))
        # CPU time, which does not depend on other processes of the machine.
        (Path(place) / "seconds").write_text(str(time.process_time()))
    else:
        print(markdown())
