import threading
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Extract

from bottleneck.clock import Clock
from bottleneck.pipeline import _batches, _Writer
from bottleneck.shard import write_shard
from bottleneck.store import open_cache


def test_batches_cover_a_shard_and_never_leave_it() -> None:
    assert list(_batches(range(8, 15), 3)) == [range(8, 11), range(11, 14), range(14, 15)]
    assert list(_batches(range(0, 4), 9)) == [range(0, 4)]


def test_shards_are_written_by_a_thread_of_their_own(
    photos: Path, extract_tiny: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []

    def spy(*args: Any, **kwargs: Any) -> None:
        threads.append(threading.current_thread().name)
        write_shard(*args, **kwargs)

    monkeypatch.setattr("bottleneck.pipeline.write_shard", spy)
    extract_tiny(photos)
    assert len(threads) == 5
    assert all(name.startswith("write") for name in threads)


def test_whoever_submits_too_much_waits() -> None:
    running: list[int] = []

    def slow() -> None:
        running.append(1)
        time.sleep(0.02)

    with _Writer(Clock()) as writer:
        for i in range(6):
            writer.submit(slow)
            assert len(running) >= i - 1  # one being written, one waiting
    assert len(running) == 6


def test_an_error_of_the_writer_reaches_the_caller(
    photos: Path, extract_tiny: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: Any, **_kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr("bottleneck.pipeline.write_shard", full)
        extract_tiny(photos)
    assert open_cache(tmp_path / "cache").missing("layer2") == [0, 1, 2, 3, 4]
    assert extract_tiny(photos).rows == 36


def test_an_error_in_the_very_last_shard_reaches_the_caller_too(
    photos: Path, extract_tiny: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_at_last(path: Path, *args: Any, **kwargs: Any) -> None:
        if path.name == "00004.h5":
            raise OSError(28, "No space left on device")
        write_shard(path, *args, **kwargs)

    monkeypatch.setattr("bottleneck.pipeline.write_shard", full_at_last)
    with pytest.raises(OSError, match="No space left"):
        extract_tiny(photos)
    assert open_cache(tmp_path / "cache").missing("layer2") == [4]
