"""Images in, codes out: decode in threads, run the truncated network in lanes, keep the order."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bottleneck.backbones.backbone import Backbone
from bottleneck.backbones.layers import Layer, check_pool
from bottleneck.backbones.runner import BatchRunner
from bottleneck.data.decode import DECODER, decode_image, resize_and_crop
from bottleneck.data.images import ImageSource
from bottleneck.errors import ImageError, NonFiniteCodesError
from bottleneck.runtime.files import sha256
from bottleneck.runtime.resources import available_cpus
from bottleneck.runtime.timing import StageTimer
from bottleneck.spec import Spec

_BATCHES_AHEAD = 2  # decoded while every lane works: enough to hide one, and memory is bounded


@dataclass(frozen=True)
class Batch:
    """The outcome of some images, in the order in which they were asked for.

    Attributes
    ----------
    row : ndarray of int64, shape (n,)
        As they were given; they travelled with the images.
    valid : ndarray of bool, shape (n,)
        Whether the image gave codes.
    reason : list of n str
        Why not; empty where it did.
    image_sha256 : list of n str
        Of the bytes that were decoded; empty where none could be read.
    codes : dict of str to ndarray of float32, shape (n, ...)
        By layer; zeros where a row is not valid.
    """

    row: NDArray[np.int64]
    valid: NDArray[np.bool_]
    reason: list[str]
    image_sha256: list[str]
    codes: dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class _Read:
    row: int
    data: bytes
    sha256: str
    reason: str  # why it gives no codes; empty where nothing is wrong so far


@dataclass(frozen=True)
class _Decoded:
    row: int
    sha256: str
    reason: str

    @property
    def valid(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class _Threads:
    """Who reads, who decodes and who runs the network; the latter two may be the same."""

    readers: ThreadPoolExecutor
    decoders: ThreadPoolExecutor
    lanes: ThreadPoolExecutor


class Encoder:
    """A frozen network with its preprocessing, from files to the codes of some layers.

    Parameters
    ----------
    backbone : Backbone
    layers : sequence of Layer
        Of its network.
    spec : Spec
        Of the codes.
    devices : sequence of torch.device
        As in `bottleneck.backbones.runner.BatchRunner`.
    clock : StageTimer, optional
        Where the stages ``read``, ``decode`` and ``forward`` are added up, and ``wait``: what the
        lanes' threads spend on getting images, whether they wait for them or decode them.
    """

    def __init__(
        self,
        backbone: Backbone,
        layers: Sequence[Layer],
        spec: Spec,
        devices: Sequence[torch.device],
        *,
        clock: StageTimer | None = None,
    ) -> None:
        self.transform = backbone.transform
        self.layers = tuple(layers)
        self.clock = clock or StageTimer()
        self.runner = BatchRunner(backbone, layers, spec, devices)
        self._shapes = {layer.name: layer.code_shape(spec.pool) for layer in layers}

    def encode(
        self,
        source: ImageSource,
        batches: Iterable[Sequence[int]],
        *,
        workers: int | None = None,
    ) -> Generator[Batch, None, None]:
        """Encode batches of images, one after another.

        Parameters
        ----------
        source : ImageSource
        batches : iterable of sequences of int
            Rows of the source's table.
            Each becomes one forward pass, so that its size bounds the memory.
        workers : int, optional
            Threads that read files ahead, and those that decode for a GPU; one a core unless
            given. On a CPU the lanes' own threads decode: as many threads as cores have work, and
            none takes another's place in a core's cache.

        Yields
        ------
        Batch
            One for each of `batches`, in their order.

        Raises
        ------
        NonFiniteCodesError
            The network gave NaN or infinity; names the image and the layer.
        DeviceMemoryError
            Not even one image fits into the device's memory.
        """
        ahead: deque[Future[Batch]] = deque()
        with self._threads(workers or available_cpus()) as threads:
            for batch in batches:
                ahead.append(self._begin(source, batch, threads))
                if len(ahead) >= self.runner.parallel_batches + _BATCHES_AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    @contextmanager
    def _threads(self, workers: int) -> Iterator[_Threads]:
        with self.runner.threads() as lanes, _pool("read", workers) as readers:
            if self.runner.uses_all_cpus:
                # Tasks are begun in order, so that nobody waits for an image that is not begun.
                yield _Threads(readers, lanes, lanes)
            else:
                with _pool("decode", workers) as decoders:
                    yield _Threads(readers, decoders, lanes)

    def _begin(self, source: ImageSource, batch: Sequence[int], threads: _Threads) -> Future[Batch]:
        images = self.runner.allocate_batch(len(batch), self.transform.crop)
        reading = [threads.readers.submit(self._read, source, row) for row in batch]
        decoding = [
            threads.decoders.submit(self._decode, file, place)
            for file, place in zip(reading, images.numpy(), strict=True)
        ]
        return threads.lanes.submit(self._encode, source, decoding, images)

    def _read(self, source: ImageSource, row: int) -> _Read:
        with self.clock.measure("read"):
            try:
                data = source.read(row)
            except ImageError as error:
                return _Read(row, b"", "", str(error))
            return _Read(row, data, sha256(data), "")

    def _decode(self, reading: Future[_Read], place: NDArray[np.uint8]) -> _Decoded:
        with self._lanes_wait():
            file = reading.result()
            reason = file.reason or self._pixels_into(place, file.data)
            return _Decoded(file.row, file.sha256, reason)

    def _pixels_into(self, place: NDArray[np.uint8], data: bytes) -> str:
        with self.clock.measure("decode"):
            try:
                place[...] = resize_and_crop(decode_image(data), self.transform)
            except ImageError as error:
                return str(error)
            return ""

    def _lanes_wait(self) -> AbstractContextManager[None]:
        return self.clock.measure("wait") if self.runner.uses_all_cpus else nullcontext()

    def _encode(
        self, source: ImageSource, decoding: list[Future[_Decoded]], images: Tensor
    ) -> Batch:
        with self.clock.measure("wait"):
            decoded = [future.result() for future in decoding]
        valid = np.array([image.valid for image in decoded], dtype=bool)
        with self.clock.measure("forward"):
            found = self._codes(images, valid)
        for layer, codes in found.items():
            _require_finite(layer, codes, source, decoded)
        return Batch(
            row=np.array([image.row for image in decoded], dtype=np.int64),
            valid=valid,
            reason=[image.reason for image in decoded],
            image_sha256=[image.sha256 for image in decoded],
            codes=found,
        )

    def _codes(self, images: Tensor, valid: NDArray[np.bool_]) -> dict[str, NDArray[np.float32]]:
        if valid.all():
            return self.runner.run(images)
        codes = {
            layer: np.zeros((len(valid), *shape), dtype=np.float32)
            for layer, shape in self._shapes.items()
        }
        if valid.any():
            for layer, found in self.runner.run(images[torch.from_numpy(valid)]).items():
                codes[layer][valid] = found
        return codes


@contextmanager
def _pool(name: str, workers: int) -> Iterator[ThreadPoolExecutor]:
    # The images of a batch are side by side already, so none is worth more than one core.
    pool = ThreadPoolExecutor(workers, name, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def make_spec(backbone: Backbone, *, precision: str, relu: bool, pool: str) -> Spec:
    """The spec of the codes that a backbone gives here and now."""
    return Spec(
        model=backbone.model,
        weights_digest=backbone.weights_digest,
        transform=backbone.transform,
        decoder=DECODER,
        precision=precision,
        relu=relu,
        pool=check_pool(pool),
    )


def _require_finite(
    layer: str, codes: NDArray[np.float32], source: ImageSource, images: list[_Decoded]
) -> None:
    finite = np.isfinite(codes).all(axis=tuple(range(1, codes.ndim)))
    if not finite.all():
        path = source.path(images[int(np.argmin(finite))].row)
        raise NonFiniteCodesError(
            f"the network gave NaN or infinity at layer {layer!r} for {path}: try "
            "`precision=float32`, and look at the weights and at `mean` and `std`"
        )
