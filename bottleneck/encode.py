"""Images in, codes out: decode in threads, run the truncated network, keep the order."""

import os
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bottleneck.allocator import keeping_pages
from bottleneck.backbone import Backbone
from bottleneck.clock import Clock
from bottleneck.decode import DECODER, decode_image, prepare_image, read_image
from bottleneck.errors import ImageError, InvalidOptionError, NonFiniteCodesError
from bottleneck.files import sha256
from bottleneck.layers import Layer, Tap, check_pool
from bottleneck.spec import Spec

PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

_BATCHES_AHEAD = 2  # decoded while the network works: enough to hide one, and memory is bounded


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
class _Decoded:
    row: int
    path: Path
    pixels: NDArray[np.uint8] | None
    reason: str
    sha256: str


class Encoder:
    """A frozen network with its preprocessing, from files to the codes of some layers.

    Parameters
    ----------
    backbone : Backbone
        Its network is moved to the device and the precision.
    layers : sequence of Layer
        Of that network.
    relu, pool
        As in `bottleneck.layers.Tap`.
    precision : str
        A key of `PRECISIONS`: of weights and activations; codes are float32.
    device : torch.device
        Where the network runs.
    clock : Clock, optional
        Where the stages ``read``, ``decode``, ``wait`` (for images) and ``forward`` are added up.
    """

    def __init__(
        self,
        backbone: Backbone,
        layers: Sequence[Layer],
        *,
        relu: bool,
        pool: str,
        precision: str,
        device: torch.device,
        clock: Clock | None = None,
    ) -> None:
        self.preprocess = backbone.preprocess
        self.layers = tuple(layers)
        self.clock = clock or Clock()
        self._pool = pool
        self._device = device
        self._dtype = PRECISIONS[precision]
        network = backbone.network.to(device, self._dtype)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]
        self._tap = Tap(network, layers, relu=relu, pool=pool)
        self._mean = _per_channel(self.preprocess.mean, device)
        self._std = _per_channel(self.preprocess.std, device)

    def stream(
        self, batches: Iterable[Sequence[tuple[int, Path]]], *, workers: int | None = None
    ) -> Generator[Batch, None, None]:
        """Encode batches of files, one after another.

        Parameters
        ----------
        batches : iterable of sequences of (row, path)
            Each becomes one forward pass, so that its size bounds the memory.
        workers : int, optional
            Threads that read and decode ahead of the network; one a core unless given.

        Yields
        ------
        Batch
            One for each of `batches`, in their order.

        Raises
        ------
        NonFiniteCodesError
            The network gave NaN or infinity; names the image and the layer.
        """
        pool = ThreadPoolExecutor(workers or _cores(), thread_name_prefix="decode")
        ahead: deque[list[Future[_Decoded]]] = deque()
        with keeping_pages():
            try:
                for batch in batches:
                    ahead.append([pool.submit(self._decode, row, path) for row, path in batch])
                    if len(ahead) > _BATCHES_AHEAD:
                        yield self._encode(ahead.popleft())
                while ahead:
                    yield self._encode(ahead.popleft())
            finally:
                pool.shutdown(cancel_futures=True)

    def _decode(self, row: int, path: Path) -> _Decoded:
        digest = ""
        try:
            with self.clock.measure("read"):
                data = read_image(path)
                digest = sha256(data)
            with self.clock.measure("decode"):
                pixels = prepare_image(decode_image(data), self.preprocess)
        except ImageError as error:
            return _Decoded(row, path, None, str(error), digest)
        return _Decoded(row, path, pixels, "", digest)

    def _encode(self, futures: list[Future[_Decoded]]) -> Batch:
        with self.clock.measure("wait"):
            images = [future.result() for future in futures]
        good = [image for image in images if image.pixels is not None]
        with self.clock.measure("forward"):
            found = self._codes([image.pixels for image in good if image.pixels is not None])
        for layer, codes in found.items():
            _require_finite(layer, codes, good)
        valid = np.array([image.pixels is not None for image in images], dtype=bool)
        return Batch(
            row=np.array([image.row for image in images], dtype=np.int64),
            valid=valid,
            reason=[image.reason for image in images],
            image_sha256=[image.sha256 for image in images],
            codes={layer: _spread(codes, valid) for layer, codes in found.items()},
        )

    def _codes(self, pixels: list[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
        if not pixels:
            return {
                layer.name: np.zeros((0, *layer.code_shape(self._pool)), dtype=np.float32)
                for layer in self.layers
            }
        images = torch.from_numpy(np.stack(pixels)).to(self._device).permute(0, 3, 1, 2)
        # In torchvision's order of operations, so that the input is equal bit by bit.
        normalised = images.float().div_(255).sub_(self._mean).div_(self._std)
        return {
            layer: codes.cpu().numpy()
            for layer, codes in self._tap(normalised.to(self._dtype)).items()
        }


def check_count(option: str, value: int | None) -> None:
    """Refuse a number of something that is below 1; None means that it was not given.

    Raises
    ------
    InvalidOptionError
        Names the option.
    """
    if value is not None and value < 1:
        raise InvalidOptionError(f"{option} {value}: must be at least 1")


def spec_of(backbone: Backbone, *, precision: str, relu: bool, pool: str) -> Spec:
    """The spec of the codes that a backbone gives here and now."""
    return Spec(
        model=backbone.model,
        weights_digest=backbone.weights_digest,
        preprocess=backbone.preprocess,
        decoder=DECODER,
        precision=precision,
        relu=relu,
        pool=check_pool(pool),
    )


def choose_device(device: str) -> torch.device:
    """The device of ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    InvalidOptionError
        There is no such device here.
    """
    count = torch.cuda.device_count()
    if device == "auto":
        return torch.device("cuda" if count else "cpu")
    known = ["auto", "cpu", *(["cuda"] if count else []), *(f"cuda:{i}" for i in range(count))]
    if device not in known:
        raise InvalidOptionError(f"--device {device!r}: this machine has {', '.join(known)}")
    return torch.device(device)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _per_channel(values: Sequence[float], device: torch.device) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1)


def _spread(codes: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Codes of the valid rows among zeros for the others."""
    if valid.all():
        return codes
    spread = np.zeros((len(valid), *codes.shape[1:]), dtype=np.float32)
    spread[valid] = codes
    return spread


def _require_finite(layer: str, codes: NDArray[np.float32], images: list[_Decoded]) -> None:
    finite = np.isfinite(codes).all(axis=tuple(range(1, codes.ndim)))
    if not finite.all():
        path = images[int(np.argmin(finite))].path
        raise NonFiniteCodesError(
            f"the network gave NaN or infinity at layer {layer!r} for {path}: try --precision "
            "float32, and look at the weights and at --mean and --std"
        )
