"""Measure decoding on a GPU: images a second, and what it changes in codes.

`python -m benchmarks.gpu` runs it.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.extraction.stages import Job, make_encoder, seconds_each
from benchmarks.helpers.log import log_row
from bottleneck.data.decoding.nvjpeg import decode_jpegs, read_for_nvjpeg, require_nvjpeg
from bottleneck.data.resizing.device_squares import make_squares
from bottleneck.data.sources.files.file_source import FileSource
from bottleneck.errors import InvalidOptionError
from bottleneck.input_transform import InputTransform
from bottleneck.runtime import choose_device

_BATCH = 64


def why_not(device: str) -> str:
    """Return why JPEGs cannot be decoded on a device; empty if they can."""
    if not device.startswith("cuda"):
        return "needs a CUDA device"
    try:
        require_nvjpeg(choose_device(device))
    except InvalidOptionError as error:
        return f"not available ({str(error)[:100]})"
    return ""


def measure(
    data: Sequence[bytes], paths: Sequence[Path], job: Job, *, at_least: float
) -> Iterator[str]:
    """Yield a line for each measurement as soon as it is known.

    Parameters
    ----------
    data : sequence of bytes
        JPEGs.
    paths : sequence of Path
        Files whose codes are compared.
    job : Job
        The network that makes the codes, and the device.
    at_least : float
        Seconds for which each rate is measured.
    """
    if why := why_not(job.device):
        yield log_row(f"* Decoding on the card: {why}")
        return
    device = choose_device(job.device)
    transform = InputTransform(**job.transform)
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
        yield log_row(f"* {name}: {rate:.0f} images/s, {_BATCH} at a time")
    exact, gpu = (_codes(job, decoder, paths) for decoder in ("exact", "gpu"))
    cosine = (exact * gpu).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(gpu, axis=1)
    yield log_row(
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
