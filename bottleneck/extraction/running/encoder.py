"""Encoder: read and decode images in threads, run the truncated network, keep the order."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bottleneck.backbones import Backbone, BatchRunner, Layer
from bottleneck.data import (
    ImageSource,
    decode_image,
    make_view,
    pixel_limit,
    resample_by_torchvision,
)
from bottleneck.errors import ImageError, NonFiniteCodesError
from bottleneck.runtime import RunStats, available_cpus, sha256
from bottleneck.spec import Spec, ViewRecipe

_BATCHES_AHEAD = 2  # decoded while all of the network's threads are busy: hides one, bounds memory

# Tasks that read and decode a batch: few, since each costs as much as an image does outside of its
# decoding, and enough that many threads share a batch and finish it at about the same time.
_TASKS_OF_A_BATCH = 16


@dataclass(frozen=True)
class EncodedBatch:
    """The codes of a batch of images at one view, in the order of the rows that were asked for.

    Attributes
    ----------
    row : ndarray of int64, shape (n,)
        Rows of the source's table, handed through with the images.
    valid : ndarray of bool, shape (n,)
        Whether the image gave codes.
    reason : list of n str
        Why an image gave no codes; empty if it did.
    image_sha256 : list of n str
        SHA-256 of the image's bytes; empty if they could not be read.
    codes : dict of str to ndarray of float32, shape (n, ...)
        By layer; zeros in rows that are not valid.
    view : int
        Number of the view; 0 is the image itself.
    """

    row: NDArray[np.int64]
    valid: NDArray[np.bool_]
    reason: list[str]
    image_sha256: list[str]
    codes: dict[str, NDArray[np.float32]]
    view: int = 0


@dataclass(frozen=True)
class _Views:
    """The views to make of each image."""

    numbers: Sequence[int]
    recipe: ViewRecipe | None


class _File(NamedTuple):
    """What is known of an image's file; `reason` says why it gives no codes, or is empty."""

    data: bytes
    sha256: str
    reason: str


@dataclass(frozen=True)
class _Threads:
    """Pools of threads; the network's threads may be the decoders as well."""

    readers: ThreadPoolExecutor
    decoders: ThreadPoolExecutor
    network: ThreadPoolExecutor


class Encoder:
    """A frozen network that turns images into the codes of some layers.

    Parameters
    ----------
    backbone : Backbone
        The network; it is copied.
    layers : sequence of Layer
        Layers of that network.
    spec : Spec
        The spec of the codes.
    devices : sequence of torch.device
        Devices of one kind, each of which gets a copy of the network.
    stats : RunStats, optional
        Where the stages ``read``, ``decode`` and ``forward`` are added up, and ``wait``: the time
        that the network's threads spend on getting images, by waiting or by decoding.
    images : int, optional
        Images that are to be encoded, each counted once a view, if that is known.

    Attributes
    ----------
    layers : tuple of Layer
    transform : InputTransform
    runner : BatchRunner
        Runs the network.
    stats : RunStats

    Examples
    --------
    >>> from bottleneck.backbones import load_backbone
    >>> from bottleneck.data import open_images
    >>> from bottleneck.extraction.setup.loading import make_spec
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3))
    >>> backbone = load_backbone(network, transform={"resize": 32, "crop": 32})
    >>> spec = make_spec(backbone, precision="float32", relu=True, pool="avg")
    >>> encoder = Encoder(backbone, backbone.layers, spec, [torch.device("cpu")])
    >>> (batch,) = encoder.encode(open_images("data/digits/test/7"), [[0]])
    >>> batch.codes["0"].shape
    (1, 8)
    """

    def __init__(
        self,
        backbone: Backbone,
        layers: Sequence[Layer],
        spec: Spec,
        devices: Sequence[torch.device],
        *,
        stats: RunStats | None = None,
        images: int | None = None,
    ) -> None:
        self.layers = tuple(layers)
        self.runner = BatchRunner(backbone, layers, spec, devices, images=images)
        self.stats = stats or RunStats()
        self.transform = backbone.transform
        self._shapes = {layer.name: layer.code_shape(spec.pool) for layer in layers}

    def encode(
        self,
        source: ImageSource,
        batches: Iterable[Sequence[int]],
        *,
        views: Sequence[int] = (0,),
        recipe: ViewRecipe | None = None,
        workers: int | None = None,
        max_pixels: int | None = None,
    ) -> Generator[EncodedBatch, None, None]:
        """Yield the codes of batches of images, in order.

        An image is read and decoded once for all its views. Each view of a batch is a forward pass
        of its own, so that its codes do not depend on which other views are made.

        Parameters
        ----------
        source : ImageSource
            The images.
        batches : iterable of sequences of int
            Rows of the source's table. Each batch is one forward pass for each view: its size
            bounds the memory.
        views : sequence of int
            Numbers of the views to encode.
        recipe : ViewRecipe, optional
            How views are made, if there are others than view 0.
        workers : int, optional
            Threads that read files ahead, and for a GPU those that decode. The default is one per
            core. On a CPU the network's own threads decode: there are as many as cores, so that no
            thread displaces another's data from a core's cache.
        max_pixels : int, optional
            Pixels of an image, at most. The default is Pillow's limit, about 89 million.

        Yields
        ------
        EncodedBatch
            For each batch, in the given order, one for each of `views`, in their order.

        Raises
        ------
        NonFiniteCodesError
            The network gave NaN or infinity; the message names the image and the layer.
        DeviceMemoryError
            Not even one image fits into the device's memory.
        """
        ahead: deque[Future[EncodedBatch]] = deque()
        wanted = _Views(views, recipe)
        with pixel_limit(max_pixels), self._threads(workers or available_cpus()) as threads:
            for batch in batches:
                ahead += self._begin(source, batch, wanted, threads)
                while len(ahead) >= self.runner.parallel_batches + _BATCHES_AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    @contextmanager
    def _threads(self, workers: int) -> Iterator[_Threads]:
        with self.runner.threads() as network, _pool("read", workers) as readers:
            if self.runner.uses_all_cpus:
                # Tasks start in order, so that no batch waits for an image that has not started.
                yield _Threads(readers, network, network)
            else:
                with _pool("decode", workers) as decoders:
                    yield _Threads(readers, decoders, network)

    def _begin(
        self, source: ImageSource, batch: Sequence[int], views: _Views, threads: _Threads
    ) -> list[Future[EncodedBatch]]:
        size = self.transform.crop
        images = [self.runner.allocate_batch(len(batch), size) for _ in views.numbers]
        pixels = [view.numpy() for view in images]
        decoding = []
        for part in _parts(len(batch)):
            reading = threads.readers.submit(self._read, source, batch[part])
            targets = [view[part] for view in pixels]
            decoding.append(threads.decoders.submit(self._decode, reading, views, targets))
        return [
            threads.network.submit(self._encode, source, batch, decoding, batch_of_view, view)
            for view, batch_of_view in zip(views.numbers, images, strict=True)
        ]

    def _read(self, source: ImageSource, rows: Sequence[int]) -> list[_File]:
        with self.stats.timer.measure("read"):
            return [_read_file(source, row) for row in rows]

    def _decode(
        self, reading: Future[list[_File]], views: _Views, targets: Sequence[NDArray[np.uint8]]
    ) -> list[_File]:
        with self._measure_wait():
            files = reading.result()
            with self.stats.timer.measure("decode"):
                return [
                    _File(b"", file.sha256, file.reason or self._decode_into(pixels, views, file))
                    for file, *pixels in zip(files, *targets, strict=True)
                ]

    def _decode_into(self, targets: Sequence[NDArray[np.uint8]], views: _Views, file: _File) -> str:
        try:
            pixels = decode_image(file.data, self.transform)
            for target, view in zip(targets, views.numbers, strict=True):
                target[...] = make_view(
                    pixels,
                    self.transform,
                    view=view,
                    recipe=views.recipe,
                    image_sha256=file.sha256,
                    resample=resample_by_torchvision,
                )
        except ImageError as error:
            return str(error)
        return ""

    def _measure_wait(self) -> AbstractContextManager[None]:
        return self.stats.timer.measure("wait") if self.runner.uses_all_cpus else nullcontext()

    def _encode(
        self,
        source: ImageSource,
        rows: Sequence[int],
        decoding: list[Future[list[_File]]],
        images: Tensor,
        view: int,
    ) -> EncodedBatch:
        with self.stats.timer.measure("wait"):
            files = [file for part in decoding for file in part.result()]
        valid = np.array([not file.reason for file in files], dtype=bool)
        with self.stats.timer.measure("forward"):
            codes = self._run_network(images, valid)
        for layer, values in codes.items():
            _require_finite(layer, values, source, rows)
        return EncodedBatch(
            row=np.array(rows, dtype=np.int64),
            valid=valid,
            reason=[file.reason for file in files],
            image_sha256=[file.sha256 for file in files],
            codes=codes,
            view=view,
        )

    def _run_network(
        self, images: Tensor, valid: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.float32]]:
        if valid.all():
            return self._run(images)
        codes = {
            layer: np.zeros((len(valid), *shape), dtype=np.float32)
            for layer, shape in self._shapes.items()
        }
        if valid.any():
            for layer, values in self._run(images[torch.from_numpy(valid)]).items():
                codes[layer][valid] = values
        return codes

    def _run(self, images: Tensor) -> dict[str, NDArray[np.float32]]:
        codes = self.runner.run(images)
        self.stats.merge({}, self.runner.max_batch_size)
        return codes


@contextmanager
def _pool(name: str, workers: int) -> Iterator[ThreadPoolExecutor]:
    # The images of a batch are decoded at the same time, so that each gets one core.
    pool = ThreadPoolExecutor(workers, name, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _parts(images: int) -> Iterator[slice]:
    """Divide a batch into what one task reads or decodes."""
    length = max(1, images // _TASKS_OF_A_BATCH)
    return (slice(start, start + length) for start in range(0, images, length))


def _read_file(source: ImageSource, row: int) -> _File:
    try:
        data = source.read(row)
    except ImageError as error:
        return _File(b"", "", str(error))
    return _File(data, sha256(data), "")


def _require_finite(
    layer: str, codes: NDArray[np.float32], source: ImageSource, rows: Sequence[int]
) -> None:
    finite = np.isfinite(codes).all(axis=tuple(range(1, codes.ndim)))
    if not finite.all():
        path = source.path(rows[int(np.argmin(finite))])
        raise NonFiniteCodesError(
            f"the network gave NaN or infinity at layer {layer!r} for {path}: try "
            "`precision=float32`, or bfloat16, which has its range, and look at the "
            "weights and at `mean` and `std`"
        )
