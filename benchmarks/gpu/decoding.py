"""Measure decoding on a GPU: images a second, and what it changes in codes.

`python -m benchmarks.gpu` runs it.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.extraction.stages import Job, make_encoder, read_some, seconds_each
from benchmarks.gpu.extraction import FULL, QUICK, Profile
from benchmarks.helpers.synthetic_images import write_jpegs
from bottleneck.data.decoding.nvjpeg import decode_jpegs, nvjpeg_obstacle, read_for_nvjpeg
from bottleneck.data.resizing.device_squares import make_squares
from bottleneck.data.sources.files.file_source import FileSource
from bottleneck.input_transform import InputTransform
from bottleneck.runtime import choose_device

__all__ = ["FULL", "QUICK", "measure"]

_BATCH = 64
_COMPARED = 512  # images whose codes by both decoders are compared


def measure(profile: Profile, device: str) -> Iterator[str]:
    """Yield a line for each measurement as soon as it is known.

    Codes are those of the profile's first network.
    """
    if why := nvjpeg_obstacle(choose_device(device)):
        yield f"Decoding on the card: {why}"
        return
    (model, layer), *_ = profile.networks
    job = profile.job(model, layer, device)
    job = dataclasses.replace(job, precision="float32", batch=profile.batches[-1])
    with TemporaryDirectory() as place:
        paths = write_jpegs(Path(place), profile.drawn)
        yield from _rates(read_some(paths, profile.drawn), job, at_least=profile.seconds)
        yield _compare(job, paths[:_COMPARED])


def _rates(data: Sequence[bytes], job: Job, *, at_least: float) -> Iterator[str]:
    device, transform = choose_device(job.device), InputTransform(**job.transform)
    jpegs = [jpeg for content in data if (jpeg := read_for_nvjpeg(content))]

    def alone(start: int) -> None:
        decode_jpegs(jpegs[start : start + _BATCH], device)

    def with_squares(start: int) -> None:
        read = map(read_for_nvjpeg, data[start : start + _BATCH])
        make_squares(decode_jpegs([jpeg for jpeg in read if jpeg], device), transform)

    for name, once in (
        ("nvJPEG alone", alone),
        ("headers, nvJPEG and resizing, in one thread", with_squares),
    ):
        rate = _rate(once, len(jpegs), device, at_least=at_least)
        yield f"* {name}: {rate:.0f} images/s, {_BATCH} at a time"


def _compare(job: Job, paths: Sequence[Path]) -> str:
    exact, gpu = (_codes(job, decoder, paths) for decoder in ("exact", "gpu"))
    cosine = (exact * gpu).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(gpu, axis=1)
    return (
        f"* Codes of {len(paths)} of the images beside those of the exact decoder, {job.model}, "
        f"{', '.join(job.layers)}, {job.precision}: cosine {cosine.mean():.5f} on average, "
        f"{cosine.min():.5f} at the least"
    )


def _rate(
    once: Callable[[int], None], count: int, device: torch.device, *, at_least: float
) -> float:
    """Return images per second of a function of the first image of a batch."""

    def all_batches() -> int:
        for start in range(0, count, _BATCH):
            once(start)
        torch.cuda.synchronize(device)
        return count

    return 1 / seconds_each(all_batches, at_least=at_least)


def _codes(job: Job, decoder: str, paths: Sequence[Path]) -> NDArray[np.float32]:
    """Return the codes of the first layer, one row for each image."""
    transform: dict[str, Any] = job.transform | {"decoder": decoder}
    encoder = make_encoder(dataclasses.replace(job, transform=transform))
    batches = [range(i, min(i + _BATCH, len(paths))) for i in range(0, len(paths), _BATCH)]
    encoded = encoder.encode(FileSource.from_paths(paths), batches)
    codes = np.concatenate([batch.codes[job.layers[0]] for batch in encoded])
    return codes.reshape(len(codes), -1)
