import os
import pickle
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from bottleneck.cache.directory import REMOVED
from bottleneck.cache.format.series import Series
from bottleneck.cache.store import open_cache
from bottleneck.data.image_source import ImageSource
from bottleneck.data.images import open_images
from bottleneck.data.table.image_table import ImageTable
from bottleneck.errors import NonFiniteCodesError, SpecMismatchError, WorkerError
from bottleneck.extraction.options import ComputeOptions
from bottleneck.extraction.result import ExtractionProgress
from bottleneck.extraction.running.distributed import ShardTask, WorkerJob
from bottleneck.model_reference import ModelReference
from bottleneck.runtime.executors.backends import Executor, open_executor
from bottleneck.runtime.process.shutdown import StopRequested, clear_stop_request, request_stop
from tests.helpers.archives import write_tar
from tests.helpers.executors import Elsewhere
from tests.helpers.fixture_types import Extract, Run
from tests.helpers.networks import NETWORKS, PLAIN
from tests.helpers.photographs import write_photographs
from tests.helpers.shards import missing_shards

CPU = ComputeOptions(device="cpu")


def codes(cache: Path, layer: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    with h5py.File(cache / "codes.h5") as file:
        return np.asarray(file[layer][...])


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the network `noted` notes who builds it."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("notes")
        patch.setenv("NOTED", str(folder))
        yield folder


@pytest.fixture(scope="module")
def workers(notes: Path) -> Iterator[Executor]:
    """Two processes for all tests of this file: each imports PyTorch once."""
    with open_executor("loky", jobs=2) as executor:
        yield executor


@pytest.fixture
def job(cache: Path, photos: Path) -> WorkerJob:
    store = open_cache(cache)
    return WorkerJob.from_cache(store, store.reference, open_images(photos), CPU)


def test_workers_make_the_codes_that_one_process_makes(
    photos: Path, tmp_path: Path, extract_tiny: Extract, workers: Executor
) -> None:
    (photos / "train" / "ants" / "broken.jpg").write_bytes(b"no image")
    layers = ["layer1", "layer3"]
    alone = extract_tiny(photos, tmp_path / "alone", layers=layers)
    extract_tiny(photos, tmp_path / "workers", layers=["layer1"], task=(1, 2))
    calls: list[tuple[int, int]] = []
    done = extract_tiny(
        photos,
        tmp_path / "workers",
        layers=layers,
        executor=workers,
        on_progress=lambda at: calls.append((at.done, at.total)),
    )
    assert done.rows == 37
    assert calls[0] == (0, 37)
    assert calls[-1] == (37, 37)
    assert [rows for rows, _ in calls] == sorted({rows for rows, _ in calls})
    assert done.rejected == alone.rejected
    assert len(done.rejected) == 1
    assert done.stats.timer.fractions("forward")["forward"] > 0
    for layer in layers:
        np.testing.assert_array_equal(
            codes(tmp_path / "workers", layer), codes(tmp_path / "alone", layer)
        )


def test_workers_read_archives_as_one_process_does(
    photos: Path, tmp_path: Path, extract_tiny: Extract, workers: Executor
) -> None:
    files = sorted(path for path in photos.rglob("*") if path.is_file())
    members = {path.relative_to(photos).as_posix(): path.read_bytes() for path in files}
    write_tar(tmp_path / "photos.tar", members)
    extract_tiny(photos, tmp_path / "alone")
    done = extract_tiny(tmp_path / "photos.tar", tmp_path / "workers", executor=workers)
    assert done.rows == 36
    np.testing.assert_array_equal(
        codes(tmp_path / "workers", "layer2"), codes(tmp_path / "alone", "layer2")
    )


def test_the_network_is_built_once_by_each_worker(
    photos: Path, extract_tiny: Extract, workers: Executor, notes: Path
) -> None:
    before = set(notes.iterdir())
    extract_tiny(photos, model=f"{NETWORKS}:noted", shard_size=2, executor=workers)
    built = [note.name.partition("-")[0] for note in set(notes.iterdir()) - before]
    assert len(built) == len(set(built))
    assert set(built) - {str(os.getpid())}


def test_a_worker_says_how_it_computes(
    photos: Path, extract_tiny: Extract, workers: Executor
) -> None:
    seen: list[ExtractionProgress] = []
    done = extract_tiny(photos, precision="float16", executor=workers, on_progress=seen.append)
    assert done.notes == ("precision: float16, computed in float32 on this device",)
    assert (seen[0].notes, seen[1].notes) == ((), done.notes)


@dataclass
class Listed:
    """A source as a user may write one: of a class that is not hashable."""

    images: ImageSource

    @property
    def table(self) -> ImageTable:
        return self.images.table

    def read(self, row: int) -> bytes:
        return self.images.read(row)

    def path(self, row: int) -> str:
        return self.images.path(row)

    def with_table(self, table: ImageTable) -> "Listed":
        return Listed(self.images.with_table(table))

    def missing_here(self) -> str:
        return self.images.missing_here()


class Compared(Listed):
    """One whose copies are not equal."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


@pytest.mark.parametrize("kind", [Listed, Compared])
def test_a_network_is_built_once_for_a_source_of_any_class(
    photos: Path, extract_tiny: Extract, notes: Path, kind: type[Listed]
) -> None:
    cache = extract_tiny(photos, model=f"{NETWORKS}:noted", task=(17, 18), shard_size=2).cache
    before = len(list(notes.iterdir()))
    job = WorkerJob.from_cache(cache, cache.reference, kind(open_images(photos)), CPU)
    for shard in (3, 4):
        copy = pickle.loads(pickle.dumps(job))
        assert copy.make(ShardTask((Series("layer2"),), shard)).rows == 2
    assert len(list(notes.iterdir())) == before + 1


def test_a_worker_with_several_threads_has_one_network(
    photos: Path, tmp_path: Path, extract_tiny: Extract, notes: Path
) -> None:
    options = {"model": f"{NETWORKS}:noted", "shard_size": 2}
    expected = codes(extract_tiny(photos, tmp_path / "alone", **options).cache.path, "layer2")
    cache = extract_tiny(photos, task=(17, 18), **options).cache
    before = len(list(notes.iterdir()))
    job = WorkerJob.from_cache(cache, cache.reference, open_images(photos), CPU)
    with ThreadPoolExecutor(4) as threads:
        made = list(
            threads.map(job.make, [ShardTask((Series("layer2"),), shard) for shard in range(17)])
        )
    assert sum(piece.rows for piece in made) == 34
    assert len(list(notes.iterdir())) == before + 1
    cache.write_derived_files()
    np.testing.assert_array_equal(codes(cache.path, "layer2"), expected)


def test_a_worker_knows_what_was_removed(
    photos: Path, extract_tiny: Extract, workers: Executor
) -> None:
    gone = photos / extract_tiny(photos).cache.images.path[11]
    gone.unlink()
    calls: list[tuple[int, int]] = []
    options = {"executor": workers, "on_progress": lambda at: calls.append((at.done, at.total))}
    done = extract_tiny(photos, layers=["layer3"], **options)
    assert (done.rows, done.rejected, calls[-1]) == (35, {}, (35, 35))
    assert done.cache.finished_shards("layer3")[1].rejected == {3: REMOVED}


def test_workers_report_errors_of_a_network_as_one_process_does(
    tmp_path: Path, extract_tiny: Extract, workers: Executor
) -> None:
    write_photographs(tmp_path / "photos", 4, label="ants")
    Image.new("RGB", (40, 40), "white").save(tmp_path / "photos" / "white.png")
    poisoned = pytest.raises(NonFiniteCodesError, match=r"white\.png")
    with poisoned:
        extract_tiny(tmp_path / "photos", model=f"{NETWORKS}:poisoned", executor=workers)


def test_a_stop_request_finishes_the_current_shards_only(
    photos: Path, tmp_path: Path, extract_tiny: Extract, workers: Executor
) -> None:
    def ask(progress: ExtractionProgress) -> None:
        if progress.done:
            request_stop()

    try:
        with pytest.raises(StopRequested):
            extract_tiny(photos, shard_size=2, executor=workers, on_progress=ask)
    finally:
        clear_stop_request()
    assert 1 <= len(open_cache(tmp_path / "cache").finished_shards("layer2")) <= 3
    assert missing_shards(extract_tiny(photos, shard_size=2).cache, "layer2") == []


def test_a_job_is_sent_to_workers_without_the_table_of_images(job: WorkerJob, photos: Path) -> None:
    assert len(job.images.table) == 1
    assert len(pickle.dumps(job)) < 4000
    again = pickle.loads(pickle.dumps(job))
    assert (again, hash(again)) == (job, hash(job))  # a worker keeps the network of equal jobs
    assert again.images.read(0) == (photos / job.images.table.path[0]).read_bytes()


def test_workers_that_see_everything_leave_nothing(job: WorkerJob, cache: Path) -> None:
    before = sorted(cache.rglob("*"))
    with ThreadPoolExecutor(8) as workers:  # of one process number, as those of containers have
        assert set(workers.map(lambda _: job.missing_on_worker(), range(100))) == {""}
    assert sorted(cache.rglob("*")) == before


def test_a_file_that_a_worker_does_not_see_is_named(
    job: WorkerJob, cache: Path, photos: Path
) -> None:
    image = photos / job.images.table.path[0]
    image.rename(photos / "elsewhere")
    assert job.missing_on_worker() == str(image.resolve())
    (photos / "elsewhere").rename(image)
    table = (cache / "images.csv").read_bytes()
    (cache / "images.csv").write_bytes(b"another\n" + table)
    assert job.missing_on_worker() == f"the cache {cache.resolve()}"
    (cache / "images.csv").unlink()
    assert job.missing_on_worker() == f"the cache {cache.resolve()}"


@pytest.mark.parametrize("what", ["model", "weights"])
def test_a_network_that_a_worker_does_not_see_is_named(
    what: str, cache: Path, photos: Path
) -> None:
    files = {"model": "/nowhere/net.py:make", "weights": "/nowhere/net.pth"}
    source = ModelReference(**{"model": PLAIN, "weights": "none", what: files[what]})
    found = WorkerJob.from_cache(
        open_cache(cache), source, open_images(photos), CPU
    ).missing_on_worker()
    assert found == files[what].partition(":")[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_a_worker_may_not_write_is_named(job: WorkerJob, cache: Path) -> None:
    cache.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert "how to write into" in job.missing_on_worker()
    finally:
        cache.chmod(stat.S_IRWXU)


def test_workers_of_another_file_system_are_refused_before_any_work(
    photos: Path, extract_tiny: Extract
) -> None:
    with pytest.raises(WorkerError, match="worker tcp://node7 does not see the cache /data/photos"):
        extract_tiny(photos, executor=Elsewhere())


def test_a_worker_with_another_network_is_refused(
    photos: Path, tmp_path: Path, extract_tiny: Extract, workers: Executor
) -> None:
    network = tmp_path / "net.py"
    network.write_text("from tests.helpers.tiny_networks import plain\n")
    done = extract_tiny(photos, model=f"{network}:plain")
    job = WorkerJob.from_cache(done.cache, done.cache.reference, open_images(photos), CPU)
    network.write_text("from tests.helpers.tiny_networks import plain  # or another\n")
    refused = pytest.raises(
        SpecMismatchError, match=r"in a worker on .*need the weights and versions"
    )
    with refused:
        list(workers.map_unordered(job.make, [ShardTask((Series("layer2"),), 0)]))


@pytest.mark.slow
def test_the_command_spreads_over_processes(photos: Path, tmp_path: Path, run: Run) -> None:
    words = ("extract", photos, "--model", PLAIN, "--layer", "layer2", "--crop", 32, "--resize", 32)
    spread = run(*words, "-o", "spread", "--shard-size", 8, "--backend", "loky", "--jobs", 2)
    assert spread.exit_code == 0, spread.stderr
    assert run(*words, "-o", "alone").exit_code == 0
    np.testing.assert_array_equal(
        codes(tmp_path / "spread", "layer2"), codes(tmp_path / "alone", "layer2")
    )
    for wrong in ([*words, "--jobs", 2], [*words, "--scheduler", "tcp://node1:8786"]):
        refused = run(*wrong, "-o", "spread")
        assert refused.exit_code == 2
        assert "given with --backend " in refused.stderr
