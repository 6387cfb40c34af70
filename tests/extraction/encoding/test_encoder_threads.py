"""The threads of an encoder: errors in them, early ends, and images that give no codes."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bottleneck.backbones.inference.runner import BatchRunner
from bottleneck.data.sources.files.file_source import FileSource
from bottleneck.errors import BackboneError, DeviceMemoryError, ImageError
from bottleneck.extraction import ComputeOptions
from bottleneck.extraction.encoding.encoder import Encoder
from tests.helpers import runners
from tests.helpers.networks import PLAIN
from tests.helpers.photographs import write_photographs
from tests.helpers.runners import (
    BRANCHING,
    Codes,
    assert_close,
    fresh,
    joined,
    known_parts,
    left_behind,
    limit_memory,
)

arithmetic, several = runners.arithmetic, runners.several


def encoder(model: str = PLAIN, *, workers: int | None = None, **changes: Any) -> Encoder:
    return Encoder(*known_parts(model, **changes), compute=ComputeOptions(workers=workers))


def test_arithmetic_threads_are_as_before_after_a_stream(
    arithmetic: int, several: int, tmp_path: Path
) -> None:
    paths = write_photographs(tmp_path, 6, label="ants")
    for stop in (None, 1):
        stream = encoder(workers=2).encode(*asked(paths, 1))
        for _ in range(stop or 6):
            next(stream)
        stream.close()
        assert (torch.get_num_threads(), fresh()) == (arithmetic, arithmetic)


def asked(paths: list[Path], size: int) -> tuple[FileSource, list[range]]:
    rows = range(len(paths))
    return FileSource.from_paths(paths), [rows[i : i + size] for i in range(0, len(rows), size)]


def test_an_error_in_a_network_thread_reaches_the_caller(
    several: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_photographs(tmp_path, 20, label="ants")
    plain, count = BatchRunner._forward, iter(range(1000))

    def forward(self: BatchRunner, images: Tensor) -> Codes:
        if next(count) == 5:
            raise RuntimeError("the network's own")
        return plain(self, images)

    monkeypatch.setattr(BatchRunner, "_forward", forward)
    with pytest.raises(BackboneError, match="the network failed: RuntimeError: the network's own"):
        list(encoder(workers=3).encode(*asked(paths, 2)))
    assert not left_behind()


def test_too_little_memory_reaches_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_memory(monkeypatch, 0)
    with pytest.raises(DeviceMemoryError):
        list(encoder().encode(*asked(write_photographs(tmp_path, 3, label="ants"), 2)))
    assert not left_behind()


def test_an_error_in_a_decoder_that_is_not_the_images_reaches_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise LookupError("no such decoder")

    monkeypatch.setattr("bottleneck.data.resizing.views.decode_image", broken)
    with pytest.raises(LookupError, match="no such decoder"):
        list(encoder().encode(*asked(write_photographs(tmp_path, 6, label="ants"), 2)))
    assert not left_behind()


def test_an_error_of_the_iterator_of_rows_reaches_the_caller(several: int, tmp_path: Path) -> None:
    paths = write_photographs(tmp_path, 12, label="ants")

    source, batches = asked(paths, 2)

    def naming() -> Iterator[range]:
        yield from batches
        raise LookupError("no more names")

    with pytest.raises(LookupError, match="no more names"):
        list(encoder().encode(source, naming()))
    assert not left_behind()


@pytest.mark.parametrize("taken", [0, pytest.param(1, marks=pytest.mark.slow), 3])
def test_a_stream_that_is_closed_early_leaves_no_thread(
    several: int, taken: int, tmp_path: Path
) -> None:
    paths = write_photographs(tmp_path, 40, label="ants")
    stream = encoder(workers=3).encode(*asked(paths, 2))
    for _ in range(taken):
        next(stream)
    stream.close()
    assert not left_behind()


def test_a_stream_closed_while_a_thread_waits_for_a_slow_image_ends(
    several: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_photographs(tmp_path, 40, label="ants")
    from bottleneck.data.decoding.decode import decode_image

    def slow(data: bytes, limits: Any) -> Any:
        time.sleep(0.05)
        return decode_image(data, limits)

    monkeypatch.setattr("bottleneck.data.resizing.views.decode_image", slow)
    stream = encoder(workers=1).encode(*asked(paths, 4))
    next(stream)
    begun = time.monotonic()
    stream.close()
    assert time.monotonic() - begun < 0.5  # what has not begun does not begin
    assert not left_behind()


def test_a_finished_stream_leaves_no_thread_and_keeps_the_order(
    several: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_photographs(tmp_path, 31, label="bees")
    plain, delays = BatchRunner._forward, iter([0.05, 0, 0.03, 0.01] * 10)

    def forward(self: BatchRunner, images: Tensor) -> Codes:
        time.sleep(next(delays))
        return plain(self, images)

    one_by_one = joined([batch.codes for batch in encoder().encode(*asked(paths, 1))])
    monkeypatch.setattr(BatchRunner, "_forward", forward)
    found = list(encoder(workers=4).encode(*asked(paths, 3)))
    assert np.concatenate([batch.row for batch in found]).tolist() == list(range(31))
    assert_close(joined([batch.codes for batch in found]), one_by_one)
    assert not left_behind()


@pytest.mark.parametrize(
    ("images", "at_a_time"), [(12, 8), pytest.param(64, 8, marks=pytest.mark.slow), (200, 8)]
)
def test_as_many_files_are_read_at_a_time_as_there_are_workers(
    images: int, at_a_time: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = write_photographs(tmp_path, 1, label="ants")
    together = threading.Barrier(at_a_time, timeout=20)
    first = iter(range(at_a_time))

    def read(self: FileSource, row: int) -> bytes:
        if next(first, None) is not None:
            together.wait()  # fails unless so many threads read
        return path.read_bytes()

    monkeypatch.setattr(FileSource, "read", read)
    (batch,) = encoder(workers=at_a_time).encode(*asked([path] * images, images))
    assert batch.valid.all()


@pytest.mark.parametrize(
    "bad",
    [
        *([0, 1, 2, 3, 4], [2], [0, 1, 3, 4]),
        *(pytest.param([row], marks=pytest.mark.slow) for row in (0, 4)),
    ],
)
def test_images_that_are_not_valid_are_not_run(
    bad: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_photographs(tmp_path, 5, label="ants")
    (good,) = encoder().encode(*asked(paths, len(paths)))
    for i in bad:
        paths[i].write_bytes(b"no image")
    tried = limit_memory(monkeypatch, 5)
    (batch,) = encoder().encode(*asked(paths, len(paths)))
    kept = [i for i in range(5) if i not in bad]
    assert tried == ([len(kept)] if kept else [])
    assert np.flatnonzero(batch.valid).tolist() == kept
    assert batch.codes.keys() == good.codes.keys()
    for layer, codes in batch.codes.items():
        assert codes.shape == good.codes[layer].shape
        assert codes.dtype == np.float32
        assert not codes[bad].any()
        np.testing.assert_allclose(codes[kept], good.codes[layer][kept], rtol=1e-5, atol=1e-7)


def test_an_image_that_fails_after_half_of_its_pixels_were_written_gives_zeros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_photographs(tmp_path, 3, label="ants")

    def refuse(*_: Any, **__: Any) -> None:
        raise ImageError("refused")

    monkeypatch.setattr("bottleneck.data.resizing.views.resize_and_crop", refuse)
    (batch,) = encoder().encode(*asked(paths, len(paths)))
    assert not batch.valid.any()
    assert batch.reason == ["refused"] * 3
    assert not any(codes.any() for codes in batch.codes.values())


def test_a_network_that_cannot_be_traced_goes_through_the_stream(
    several: int, tmp_path: Path
) -> None:
    paths = write_photographs(tmp_path, 7, label="ants")
    odd = encoder(BRANCHING, workers=3)
    assert odd.runner.parallel_batches == 1
    found = joined([batch.codes for batch in odd.encode(*asked(paths, 2))])
    plain = joined([batch.codes for batch in encoder(BRANCHING).encode(*asked(paths, 7))])
    assert_close(found, plain)
    assert found["layer3"].any()
