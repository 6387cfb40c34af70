"""Extraction and sweeps by a real Dask cluster: a scheduler and two workers, processes all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bottleneck.errors import WorkerError
from bottleneck.extraction.result import ExtractionProgress
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.fitting.sweep import sweep
from bottleneck.fitting.sweep_result import SweepResult
from bottleneck.runtime.executors.backends import open_executor
from bottleneck.runtime.files import remove_stale_temp_files
from tests.faults.trial import require_same
from tests.helpers.dask_cluster import Cluster, dask_cluster
from tests.helpers.fixture_types import Extract, Run
from tests.helpers.networks import NETWORKS

pytest.importorskip("distributed")

SLOW = f"{NETWORKS}:slow"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with dask_cluster(workers=2) as found:
        yield found


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_the_shards_that_it_was_at(
    photos: Path, tmp_path: Path, extract_tiny: Extract, cluster: Cluster
) -> None:
    (photos / "train" / "ants" / "broken.jpg").write_bytes(b"no image")
    options = {"model": SLOW, "layers": ["layer2", "layer3"], "shard_size": 2}
    alone = extract_tiny(photos, tmp_path / "alone", **options)
    standing: dict[Path, int] = {}

    def kill_one(progress: ExtractionProgress) -> None:
        if progress.done >= 6 and not standing:
            shards = (tmp_path / "workers" / "codes").rglob("*.h5")
            standing.update({shard: shard.stat().st_ino for shard in shards})
            cluster.kill_worker("worker-0")

    with open_executor("dask", scheduler=cluster.address) as executor:
        done = extract_tiny(
            photos, tmp_path / "workers", executor=executor, on_progress=kill_one, **options
        )
    assert done.rejected == alone.rejected
    assert len(done.rejected) == 1
    assert 6 <= len(standing) < 38  # in the middle
    # At most the one that the worker had made, and not told of.
    again = [shard for shard in standing if shard.stat().st_ino != standing[shard]]
    assert len({shard.name for shard in again}) <= 1
    remove_stale_temp_files(tmp_path / "workers")  # as the next run does: one may have been written
    require_same(tmp_path / "workers", tmp_path / "alone")


def test_a_sweep_by_workers_is_that_of_one_process(cache: Path, cluster: Cluster) -> None:
    clfs = ["svm", "softmax"]
    with open_executor("dask", scheduler=cluster.address) as executor:
        spread = sweep(cache, clfs, search=SearchOptions(c=(0.01, 1.0)), executor=executor)
    alone = sweep(cache, clfs, search=SearchOptions(c=(0.01, 1.0)))

    def said(rows: SweepResult) -> list[dict[str, object]]:
        return [row.record | {"cost": row.cost, "cv": row.cv, "seconds": 0} for row in rows]

    assert said(spread) == said(alone)


def test_the_command_makes_the_views_of_one_process_by_workers_of_a_scheduler(
    photos: Path, run: Run, cluster: Cluster
) -> None:
    words = ["extract", photos, "--model", f"{NETWORKS}:plain", "--layer", "layer2"]
    words += ["--layer", "layer3", "--views", "3", "--shard-size", "8"]
    workers = ["--backend", "dask", "--scheduler", cluster.address]
    done = [run(*words, "-o", "alone"), run(*words, "-o", "workers", *workers)]
    assert all("encoded 108 views of 36 images" in each.stdout for each in done), done[1].stderr
    require_same(Path("workers"), Path("alone"))


def test_a_scheduler_without_workers_is_refused(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bottleneck.runtime.executors.dask_executor._SECONDS_TO_ANSWER", 1)
    without = pytest.raises(WorkerError, match="has no workers: `dask worker")
    with dask_cluster(workers=0) as empty, without, open_executor("dask", scheduler=empty.address):
        pass
