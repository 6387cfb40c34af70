"""Many rows, shards and tasks: what is counted stays linear, and what is held stays small."""

import csv
import dataclasses
import os
import tracemalloc
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from benchmarks.extraction.scale import LAYER, SERIES, instant_stats, make_cache, write_instantly
from bottleneck.cache.format.manifest import manifest_text
from bottleneck.cache.format.shard import ShardData, read_header
from bottleneck.cache.format.shard_writer import write_shard
from bottleneck.cache.recovery import recover_cache
from bottleneck.cache.store import Cache
from bottleneck.cache.update.merge import ImageChanges
from bottleneck.cache.update.plan import plan_update
from bottleneck.cache.verify import verify
from bottleneck.data.images import open_images
from bottleneck.data.table.image_table import ImageTable
from bottleneck.extraction.planning.missing_shards import find_missing, finish_task
from bottleneck.runtime.schedulers.array_task import ArrayTask
from tests.helpers.format_reader import Reader
from tests.helpers.shards import missing_shards

REJECTED = 100  # of so many instant shards, one has an image without a code


class Spy:
    """Counts the calls of a function, by its first argument."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.calls = function, Counter[str]()

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.calls[os.fspath(arguments[0])] += 1
        return self.function(*arguments, **options)


@pytest.fixture
def headers(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each shard's header was read."""
    spy = Spy(read_header)
    monkeypatch.setattr("bottleneck.cache.directory.read_header", spy)
    return spy.calls


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each folder was listed."""
    spy = Spy(os.scandir)
    monkeypatch.setattr(os, "scandir", spy)
    return spy.calls


def anew(cache: Cache) -> Cache:
    """Return the cache as another process opens it: without remembered headers."""
    return dataclasses.replace(cache, _headers={})


def work(cache: Cache, task: ArrayTask) -> None:
    """What a task does to a new cache, with an instant network."""
    cache = anew(cache)
    todo = find_missing(cache, [SERIES], task)
    assert todo == {(SERIES,): list(task.shards(cache.shard_count))}
    write_instantly(cache, todo[(SERIES,)])
    rejected = finish_task(cache, [SERIES], task)
    own = {cache.rows(k).start for k in task.shards(cache.shard_count) if k % REJECTED == 0}
    assert own <= rejected.keys()


def require_complete(cache: Cache) -> None:
    """The index and the list of rejections show every shard."""
    rejected = [cache.rows(k).start for k in range(0, cache.shard_count, REJECTED)]
    with (cache.path / "rejected.csv").open(newline="") as file:
        assert [int(row["row"]) for row in csv.DictReader(file)] == rejected
    with h5py.File(cache.path / "codes.h5", locking=False) as index:
        usable = index[f"{LAYER}:valid"][...]
        assert len(index[LAYER].virtual_sources()) == cache.shard_count
    assert np.flatnonzero(~usable).tolist() == rejected


@pytest.mark.parametrize(
    ("shards", "tasks"),
    [(250, 10), pytest.param(1000, 10, marks=pytest.mark.slow), (1000, 40)],
)
def test_headers_read_by_all_tasks_are_linear_in_the_shards(
    tmp_path: Path, headers: Counter[str], listings: Counter[str], shards: int, tasks: int
) -> None:
    cache = make_cache(tmp_path, rows=3 * shards, shards=shards)
    for task in range(tasks):
        work(cache, ArrayTask(task, tasks))
    require_complete(cache)
    assert headers.total() == shards + (tasks - 1) * shards // tasks
    assert max(headers.values()) == 2  # by its own task, and by the last one
    assert listings.total() <= 4 * tasks


@pytest.mark.parametrize("shards", [250, 1000])
def test_a_command_reads_a_header_once(tmp_path: Path, headers: Counter[str], shards: int) -> None:
    cache = make_cache(tmp_path, rows=3 * shards, shards=shards)
    write_instantly(cache, range(shards))
    found = cache.status().layers[LAYER]
    assert (found.done, found.missing) == (3 * shards - len(cache.rejected()), 0)
    assert found.rejected == len(cache.write_derived_files()) == -(-shards // REJECTED)
    assert cache.valid_rows(LAYER).sum() == found.done
    assert missing_shards(cache, LAYER) == []
    assert headers.total() == shards
    write_instantly(cache, [7])  # another file in its place
    assert missing_shards(cache, LAYER) == []
    assert headers.total() == shards + 1


def test_tasks_that_end_together_leave_a_complete_index(tmp_path: Path) -> None:
    cache = make_cache(tmp_path, rows=600, shards=200)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda task: work(cache, ArrayTask(task, 40)), range(40)))
    require_complete(cache)


def test_a_task_that_is_not_the_last_leaves_the_index_to_others(tmp_path: Path) -> None:
    cache = make_cache(tmp_path, rows=30, shards=10)
    write_instantly(cache, range(9))
    assert finish_task(anew(cache), [SERIES], ArrayTask(0, 2)) == {0: "cannot be decoded"}
    assert not (cache.path / "codes.h5").exists()
    write_instantly(cache, [9])
    assert finish_task(anew(cache), [SERIES], ArrayTask(0, 2)) == {0: "cannot be decoded"}
    require_complete(cache)


def test_a_run_that_is_alone_leaves_an_index_of_what_there_is(tmp_path: Path) -> None:
    cache = make_cache(tmp_path, rows=30, shards=10)
    write_instantly(cache, range(9))
    assert finish_task(cache, [SERIES], ArrayTask(0, 1)) == {0: "cannot be decoded"}
    with h5py.File(cache.path / "codes.h5", locking=False) as index:
        assert len(index[LAYER].virtual_sources()) == 9


def test_planning_what_has_not_changed_makes_no_second_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(tmp_path, rows=20_000, shards=10)
    before = (cache.path / "images.csv").stat().st_ino
    with instant_stats():
        source = open_images(tmp_path / "images.csv")
    monkeypatch.setattr("bottleneck.data.table.image_table.iter_chunks", None)
    have = cache.manifest
    plan = plan_update(
        cache.path, source, spec=have.spec, layout=have.layout, reference=have.reference
    )
    assert (plan.changes, plan.cache.manifest) == (ImageChanges(), have)
    assert plan.finish(plan.apply(), [LAYER]).images is source.table
    assert (cache.path / "images.csv").stat().st_ino == before


def test_a_row_takes_a_few_dozen_bytes(tmp_path: Path) -> None:
    rows = 30_000
    with instant_stats():
        cache = make_cache(tmp_path, rows=rows, shards=1000)
        reads: list[Callable[[], ImageTable]] = [
            lambda: ImageTable.read_csv(cache.path / "images.csv"),
            lambda: open_images(tmp_path / "images.csv").table,
        ]
        for read in reads:
            tracemalloc.start()
            try:
                images = read()
                held, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert len(images) == rows
            assert held < 24 * rows + 600_000  # 16 for size and time; as lists, 280
            assert peak < 40 * rows + 5_000_000
            assert images.digest == cache.images.digest


# Shards in folders of a thousand


@pytest.fixture
def sparse(tmp_path: Path) -> Cache:
    """A cache of 2101 rows and as many shards, of which five are there."""
    cache = make_cache(tmp_path, rows=2101, shards=2101)
    for shard in (0, 999, 1000, 1999, 2100):
        here = slice(shard, shard + 1)
        content = ShardData(
            codes=np.full((1, 3), shard, dtype=np.float32),
            row=np.array([shard]),
            path=cache.images.path[here],
            label=cache.images.label[here],
            valid=np.array([True]),
            reason=[""],
            image_sha256=["ab" * 32],
        )
        path = cache.shard_path(LAYER, shard)
        write_shard(path, content, manifest=cache.manifest, series=LAYER)
    return cache


def test_shards_beyond_the_first_thousand_are_read_listed_and_verified(sparse: Cache) -> None:
    there = [0, 999, 1000, 1999, 2100]
    assert list(sparse.finished_shards(LAYER)) == there
    assert sparse.shard_path(LAYER, 2100) == sparse.path / "codes" / LAYER / "2" / "02100.h5"
    codes = sparse.read_codes(LAYER, np.array(there))
    np.testing.assert_array_equal(codes, np.repeat(there, 3).reshape(5, 3))
    stranger = sparse.path / "codes" / LAYER / "2" / "00003.h5"
    stranger.write_bytes(b"")
    bad = {item.file: item.why for item in verify(sparse.path)}
    assert bad.pop(stranger.relative_to(sparse.path).as_posix()).startswith("not a shard")
    assert set(bad.values()) == {"missing"}
    assert len(bad) == 2101 - 5


def test_a_second_reader_finds_shards_in_their_folders_and_in_the_index(sparse: Cache) -> None:
    sparse.write_derived_files()
    reading = Reader(sparse.path).read(LAYER)
    assert np.flatnonzero(reading.usable).tolist() == [0, 999, 1000, 1999, 2100]
    with h5py.File(sparse.path / "codes.h5", locking=False) as index:
        np.testing.assert_array_equal(index[LAYER][...], reading.codes)


def test_lost_files_are_recovered_from_shards_in_folders(sparse: Cache) -> None:
    (sparse.path / "images.csv").unlink()
    (sparse.path / "spec.json").unlink()
    found = recover_cache(sparse.path)
    assert found.cache.manifest == sparse.manifest
    assert manifest_text(found.cache.manifest) == manifest_text(sparse.manifest)
    assert found.cache.images.path[1999:] == [
        sparse.images.path[1999],
        *(f"lost: row {row}" for row in range(2000, 2100)),
        sparse.images.path[2100],
    ]
