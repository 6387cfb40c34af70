"""Measure an extraction end to end, and each of its stages alone."""

import functools
import itertools
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from bottleneck.backbones.backbone import load_backbone
from bottleneck.data import ViewSet
from bottleneck.extraction.encoding.decoding import ReadImage, decode_into
from bottleneck.extraction.encoding.encoder import Encoder
from bottleneck.extraction.extract import extract
from bottleneck.extraction.options import ComputeOptions
from bottleneck.extraction.setup.loading import make_spec
from bottleneck.input_transform import InputTransform
from bottleneck.runtime.devices import choose_devices
from bottleneck.runtime.process.malloc import retain_freed_memory
from bottleneck.runtime.process.resources import available_cpus

_FILES_IN_MEMORY = 256  # while decoding alone is measured
_TASKS_PER_THREAD = 3  # running or queued


@dataclass(frozen=True)
class Job:
    """One extraction; its weights are random, because speed does not depend on them.

    Attributes
    ----------
    model : str
    layers : tuple of str
    precision : str
        ``"auto"`` is allowed where the job runs end to end.
    pool, device : str
    batch : int, optional
        Images in a forward pass; by default the package's own choice.
    runtime : str
        What runs the network where the job runs end to end.
    transform : dict
        Fields of `InputTransform` that replace the network's own.
    """

    model: str
    layers: tuple[str, ...]
    precision: str = "float32"
    pool: str = "avg"
    device: str = "cpu"
    batch: int | None = None
    runtime: str = "torch"
    transform: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """Seconds, images and actual precision of one extraction."""

    seconds: float
    images: int
    precision: str

    @property
    def rate(self) -> float:
        """Return images per second."""
        return self.images / self.seconds


def end_to_end(job: Job, images: Path) -> Run:
    """Extract a folder into a new cache beside it; the time includes loading the network."""
    with tempfile.TemporaryDirectory(dir=images.parent) as place:
        start = time.perf_counter()
        done = extract(
            images,
            Path(place) / "cache",
            model=job.model,
            weights="none",
            layers=job.layers,
            transform=dict(job.transform),
            pool=job.pool,
            compute=ComputeOptions(
                precision=job.precision,
                device=job.device,
                batch_size=job.batch,
                runtime=job.runtime,
            ),
        )
        seconds = time.perf_counter() - start
    if done.rejected:
        raise RuntimeError(f"images were rejected: {next(iter(done.rejected.values()))}")
    return Run(seconds, done.rows, done.cache.spec.precision)


def make_encoder(job: Job) -> Encoder:
    """Make the encoder that `extract` would make; the precision must not be ``"auto"``."""
    backbone = load_backbone(job.model, "none", transform=dict(job.transform))
    spec = make_spec(backbone, precision=job.precision, relu=True, pool=job.pool)
    layers = backbone.select_layers(job.layers)
    return Encoder(backbone, layers, spec, choose_devices(job.device))


def forward_alone(encoder: Encoder, batch: int | None = None, *, at_least: float) -> float:
    """Return seconds per image from decoded pixels in memory to codes, on all cores or the device.

    Random batches go through the encoder's runner as decoded ones do, for `at_least` seconds. No
    other benchmark depends on how an encoder runs its network.
    """
    runner, random = encoder.runner, np.random.default_rng(0)
    batches = [
        runner.allocate_batch(batch or runner.default_batch_size, encoder.transform.crop)
        for _ in range(4)
    ]
    for images in batches:
        images.numpy()[...] = random.integers(0, 256, images.shape, dtype=np.uint8)

    def one(images: Tensor) -> int:
        runner.run(images)
        return len(images)

    tasks = [functools.partial(one, images) for images in batches]
    with runner.threads() as pool:
        return _seconds_per_item(pool, runner.parallel_batches, tasks, at_least=at_least)


def forward_each(job: Job, *, at_least: float) -> float:
    """Return `forward_alone` of a new network, which is released afterwards."""
    return forward_alone(make_encoder(job), job.batch, at_least=at_least)


def decode_alone(data: Sequence[bytes], transform: InputTransform, *, at_least: float) -> float:
    """Return seconds per image from bytes in memory to cropped pixels, one thread on each core."""
    plain = ViewSet()

    def one(content: bytes) -> int:
        target = np.empty((transform.crop, transform.crop, 3), dtype=np.uint8)
        decoded = decode_into([target], ReadImage(0, content, "", ""), transform, plain)
        assert decoded.valid, decoded.reason
        return 1

    tasks = [functools.partial(one, content) for content in data]
    with retain_freed_memory(), ThreadPoolExecutor(available_cpus()) as pool:
        return _seconds_per_item(pool, available_cpus(), tasks, at_least=at_least)


def read_some(paths: Sequence[Path], count: int = _FILES_IN_MEMORY) -> list[bytes]:
    """Return the contents of the first files."""
    return [path.read_bytes() for path in paths[:count]]


def _seconds_per_item(
    pool: ThreadPoolExecutor,
    threads: int,
    tasks: Sequence[Callable[[], int]],
    *,
    at_least: float,
) -> float:
    """Return seconds per item of tasks that are repeated in a cycle for `at_least` seconds.

    More tasks are queued than threads can start, so that no thread is ever idle: idle threads at
    the end would make the stage look slower than it is.
    """
    endless = itertools.cycle(tasks)
    for warm in [pool.submit(next(endless)) for _ in range(threads)]:
        warm.result()
    done, start = 0, time.perf_counter()
    ahead = deque(pool.submit(next(endless)) for _ in range(_TASKS_PER_THREAD * threads))
    while ahead:
        done += ahead.popleft().result()
        if time.perf_counter() - start < at_least:
            ahead.append(pool.submit(next(endless)))
    return (time.perf_counter() - start) / done


def seconds_each(once: Callable[[], int], *, at_least: float) -> float:
    """Return seconds per item of `once`, called for `at_least` seconds."""
    once()  # warm-up
    done, start = 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < at_least or not done:
        done += once()
    return seconds / done
