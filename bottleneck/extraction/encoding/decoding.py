"""The step before the network: read the images of a batch, and make their pixels.

It has two implementations. `ThreadDecoder` decodes each image in a thread of a CPU. On a GPU,
`bottleneck.extraction.encoding.gpu_decoding` decodes a batch at once.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bottleneck.backbones import BatchRunner
from bottleneck.data import (
    ImageSource,
    ViewSet,
    decode_views,
    resample_by_torchvision,
)
from bottleneck.errors import ImageError
from bottleneck.input_transform import InputTransform
from bottleneck.runtime import StageTimer, memory_errors, sha256

# Tasks that read and decode a batch: few, since each costs as much as an image does outside of its
# decoding, and enough that many threads share a batch and finish it at about the same time.
_TASKS_OF_A_BATCH = 16


class ReadImage(NamedTuple):
    """The bytes of an image's file, or why there are none."""

    row: int
    data: bytes
    sha256: str
    reason: str  # why the image gives no codes; empty if nothing is wrong so far


class DecodedImage(NamedTuple):
    """What is known of an image whose pixels are in a batch."""

    row: int
    sha256: str
    reason: str

    @property
    def valid(self) -> bool:
        """Whether it has pixels."""
        return not self.reason


@dataclass(frozen=True)
class DecodedBatch:
    """A batch of images at one view.

    Attributes
    ----------
    images : list of DecodedImage
    pixels : Tensor of uint8, shape (n, crop, crop, 3)
        On any device; anything at all for images that are not valid.
    """

    images: list[DecodedImage]
    pixels: Tensor


@dataclass(frozen=True)
class Threads:
    """Pools of threads; the network's threads may be the decoders as well."""

    readers: ThreadPoolExecutor
    decoders: ThreadPoolExecutor
    network: ThreadPoolExecutor


class Decoder(Protocol):
    """Read and decode batches of images."""

    def begin(
        self, source: ImageSource, rows: Sequence[int], views: ViewSet, threads: Threads
    ) -> list[Callable[[], DecodedBatch]]:
        """Begin to read and decode the images of some rows.

        Returns
        -------
        list of callable
            For each view, what returns its pixels once they are there. To be called in a thread of
            the network.
        """


class ThreadDecoder:
    """Decode and resize images on a CPU, each in a thread.

    Parameters
    ----------
    transform : InputTransform
    runner : BatchRunner
        Where the pixels go.
    timer : StageTimer
        Where the stages ``read``, ``decode`` and ``wait`` are added up.
    """

    def __init__(self, transform: InputTransform, runner: BatchRunner, timer: StageTimer) -> None:
        self._transform, self._runner, self._timer = transform, runner, timer

    @memory_errors(
        "the memory is too small for the pixels of a batch", "a smaller `batch_size` needs less"
    )
    def begin(
        self, source: ImageSource, rows: Sequence[int], views: ViewSet, threads: Threads
    ) -> list[Callable[[], DecodedBatch]]:
        """Begin to read and decode: see `Decoder`."""
        size = self._transform.crop
        batches = [self._runner.allocate_batch(len(rows), size) for _ in views.numbers]
        pixels = [batch.numpy() for batch in batches]
        decoding = [
            threads.decoders.submit(self._decode, reading, views, [view[part] for view in pixels])
            for part, reading in begin_reading(source, rows, threads, self._timer)
        ]

        def wait_for(batch: Tensor) -> DecodedBatch:
            with self._timer.measure("wait"):
                return DecodedBatch([image for part in decoding for image in part.result()], batch)

        return [partial(wait_for, batch) for batch in batches]

    def _decode(
        self, reading: Future[list[ReadImage]], views: ViewSet, pixels: Sequence[NDArray[np.uint8]]
    ) -> list[DecodedImage]:
        with self._measure_wait():
            files = reading.result()
            with self._timer.measure("decode"):
                return [
                    decode_into(targets, file, self._transform, views)
                    for file, *targets in zip(files, *pixels, strict=True)
                ]

    def _measure_wait(self) -> AbstractContextManager[None]:
        return self._timer.measure("wait") if self._runner.uses_all_cpus else nullcontext()


def begin_reading(
    source: ImageSource, rows: Sequence[int], threads: Threads, timer: StageTimer
) -> Iterator[tuple[slice, Future[list[ReadImage]]]]:
    """Begin to read the files of some rows, and yield which part of the rows a task reads."""

    def read(part: Sequence[int]) -> list[ReadImage]:
        with timer.measure("read"):
            return [_read_file(source, row) for row in part]

    length = max(1, len(rows) // _TASKS_OF_A_BATCH)
    for start in range(0, len(rows), length):
        part = slice(start, start + length)
        yield part, threads.readers.submit(read, rows[part])


def _read_file(source: ImageSource, row: int) -> ReadImage:
    try:
        data = source.read(row)
    except ImageError as error:
        return ReadImage(row, b"", "", str(error))
    return ReadImage(row, data, sha256(data), "")


@memory_errors(
    "the memory is too small to resize an image", "a smaller `max_pixels` rejects the largest"
)
def decode_into(
    targets: Sequence[NDArray[np.uint8]], file: ReadImage, transform: InputTransform, views: ViewSet
) -> DecodedImage:
    """Decode an image on a CPU, and write a picture for each view, of shape (crop, crop, 3).

    Raises
    ------
    DeviceMemoryError
        The memory cannot hold the resized image. One that cannot be decoded is rejected.
    """
    reason = file.reason
    try:
        if not reason:
            made = decode_views(
                file.data,
                transform,
                views,
                image_sha256=file.sha256,
                resample=resample_by_torchvision,
            )
            for target, view in zip(targets, made, strict=True):
                target[...] = view
    except ImageError as error:
        reason = str(error)
    return DecodedImage(file.row, file.sha256, reason)


@contextmanager
def open_threads(runner: BatchRunner, workers: int) -> Iterator[Threads]:
    """Open the pools of threads in which images are read and decoded and the network runs."""
    with runner.threads() as network, _pool("read", workers) as readers:
        if runner.uses_all_cpus:
            # Tasks start in order, so that no batch waits for an image that has not started.
            yield Threads(readers, network, network)
        else:
            with _pool("decode", workers) as decoders:
                yield Threads(readers, decoders, network)


@contextmanager
def _pool(name: str, workers: int) -> Iterator[ThreadPoolExecutor]:
    # The images of a batch are decoded at the same time, so that each gets one core.
    pool = ThreadPoolExecutor(workers, name, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
