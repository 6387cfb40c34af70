import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bottleneck.cache.format.shard_writer import write_shard
from bottleneck.cache.store import open_cache
from bottleneck.extraction.result import ExtractionProgress
from bottleneck.extraction.running.pipeline import _batches, _concatenate_codes, _WriteBehind
from bottleneck.runtime.process.shutdown import StopRequested, clear_stop_request, request_stop
from bottleneck.runtime.schedulers.array_task import ArrayTask
from bottleneck.runtime.timing import StageTimer
from tests.helpers.fixture_types import Extract
from tests.helpers.shards import missing_shards


def test_batches_cover_a_shard_and_never_leave_it() -> None:
    assert list(_batches(range(8, 15), 3)) == [range(8, 11), range(11, 14), range(14, 15)]
    assert list(_batches(range(0, 4), 9)) == [range(0, 4)]


@pytest.mark.parametrize("large", [0, 1])
def test_one_batch_beyond_float16_widens_its_whole_shard(large: int) -> None:
    batches = [np.ones((2, 3), np.float32), np.ones((1, 3), np.float32)]
    assert _concatenate_codes(batches, "float16").dtype == np.float16
    batches[large][0, 1] = 7e4
    found = _concatenate_codes(batches, "float16")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.concatenate(batches))


def test_shards_are_written_by_a_thread_of_their_own(
    photos: Path, extract_tiny: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []

    def spy(*args: Any, **kwargs: Any) -> None:
        threads.append(threading.current_thread().name)
        write_shard(*args, **kwargs)

    monkeypatch.setattr("bottleneck.extraction.running.pipeline.write_shard", spy)
    extract_tiny(photos)
    assert len(threads) == 5
    assert all(name.startswith("write") for name in threads)


def test_submit_waits_for_the_write_before() -> None:
    running: list[int] = []

    def slow() -> None:
        time.sleep(0.02)
        running.append(1)

    timer = StageTimer()
    with _WriteBehind(timer) as writer:
        for i in range(6):
            writer.submit(slow)
            assert len(running) >= i  # all before it are written, as `shard_memory` counts on
    assert len(running) == 6
    assert timer.seconds["blocked"] > 0.8 * timer.seconds["write"]  # the last ones too


def test_an_error_of_the_writer_reaches_the_caller(
    photos: Path, extract_tiny: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: Any, **_kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr("bottleneck.extraction.running.pipeline.write_shard", full)
        extract_tiny(photos)
    assert missing_shards(open_cache(tmp_path / "cache"), "layer2") == [0, 1, 2, 3, 4]
    assert extract_tiny(photos).rows == 36


def test_an_error_in_the_very_last_shard_reaches_the_caller_too(
    photos: Path, extract_tiny: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_at_last(path: Path, *args: Any, **kwargs: Any) -> None:
        if path.name == "00004.h5":
            raise OSError(28, "No space left on device")
        write_shard(path, *args, **kwargs)

    monkeypatch.setattr("bottleneck.extraction.running.pipeline.write_shard", full_at_last)
    with pytest.raises(OSError, match="No space left"):
        extract_tiny(photos)
    assert missing_shards(open_cache(tmp_path / "cache"), "layer2") == [4]


@pytest.fixture
def request_to_stop() -> Iterator[None]:
    yield
    clear_stop_request()


@pytest.mark.usefixtures("request_to_stop")
@pytest.mark.parametrize(
    ("rows", "missing"),
    [
        *((0, [0, 1, 2, 3, 4]), (8, [1, 2, 3, 4]), (9, [2, 3, 4]), (33, [])),
        pytest.param(3, [1, 2, 3, 4], marks=pytest.mark.slow),
    ],
)
def test_a_stop_request_finishes_the_current_shard_only(
    photos: Path, extract_tiny: Extract, tmp_path: Path, rows: int, missing: list[int]
) -> None:
    def on_progress(progress: ExtractionProgress) -> None:
        if progress.done >= rows:
            request_stop()  # a first time, and then again and again

    def run() -> None:
        extract_tiny(photos, batch_size=3, on_progress=on_progress)

    if missing:
        with pytest.raises(StopRequested):
            run()
    else:  # nothing is left to stop for
        run()
        assert (tmp_path / "cache" / "codes.h5").exists()
    assert missing_shards(open_cache(tmp_path / "cache"), "layer2") == missing
    clear_stop_request()
    assert extract_tiny(photos).rows == 8 * len(missing) - 4 * (4 in missing)


@pytest.mark.usefixtures("request_to_stop")
def test_a_request_in_the_last_shard_of_one_pass_ends_before_the_next_pass(
    photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    extract_tiny(photos, layers=["layer2"], task=ArrayTask(0, 5))

    def on_progress(progress: ExtractionProgress) -> None:
        if progress.done:
            request_stop()

    with pytest.raises(StopRequested):
        extract_tiny(photos, layers=["layer2", "layer3"], on_progress=on_progress)
    cache = open_cache(tmp_path / "cache")
    assert missing_shards(cache, "layer2") == missing_shards(cache, "layer3") == [1, 2, 3, 4]
