"""Encoder: read and decode images in threads, run the truncated network, keep the order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bottleneck.backbones import Backbone, BatchRunner, Layer
from bottleneck.data import ImageSource, ViewSet, pixel_limit
from bottleneck.errors import NonFiniteCodesError
from bottleneck.extraction.encoding.decoding import (
    DecodedBatch,
    DecodedImage,
    Decoder,
    ThreadDecoder,
    open_threads,
)
from bottleneck.extraction.encoding.gpu_decoding import (
    GpuDecoder,
    require_decoder,
)
from bottleneck.extraction.options import ComputeOptions
from bottleneck.runtime import RunStats, available_cpus
from bottleneck.spec import Spec

_BATCHES_AHEAD = 2  # decoded while all of the network's threads are busy: hides one, bounds memory


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
    compute : ComputeOptions
        `runtime`, `batch_size`, `workers` and `max_pixels` are used.
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
        compute: ComputeOptions = ComputeOptions(),
        stats: RunStats | None = None,
        images: int | None = None,
    ) -> None:
        self.layers = tuple(layers)
        self._compute = compute
        self.stats = stats or RunStats()
        self.transform = backbone.transform
        require_decoder(self.transform, devices)
        self.runner = BatchRunner(backbone, layers, spec, devices, images=images)
        self._decoder: Decoder = (
            GpuDecoder(self.transform, devices[0], self.stats.timer)
            if self.transform.decodes_on_gpu
            else ThreadDecoder(self.transform, self.runner, self.stats.timer)
        )
        self._shapes = {layer.name: layer.code_shape(spec.pool) for layer in layers}

    @property
    def batch_size(self) -> int:
        """Images in a forward pass: those asked for, or what suits the network and the device."""
        return self._compute.batch_size or self.runner.default_batch_size

    def choose_runtime(self, images: int) -> None:
        """Choose what runs the network, once; see `BatchRunner.choose_runtime`.

        Parameters
        ----------
        images : int
            Images to encode, each counted once a view.

        Raises
        ------
        InvalidOptionError
            The runtime that was asked for cannot run the network.
        """
        self.runner.choose_runtime(self._compute.runtime, images, batch_size=self.batch_size)

    def encode(
        self,
        source: ImageSource,
        batches: Iterable[Sequence[int]],
        views: ViewSet = ViewSet(),
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
        views : ViewSet
            The default is the image itself.

        Yields
        ------
        EncodedBatch
            For each batch, in the given order, one for each view, in their order.

        Raises
        ------
        NonFiniteCodesError
            The network gave NaN or infinity; the message names the image and the layer.
        DeviceMemoryError
            Not even one image fits into the device's memory, or into that of this process.
        """
        ahead: deque[Future[EncodedBatch]] = deque()
        # On a CPU the network's own threads decode: there are as many as cores, so that no thread
        # displaces another's data from a core's cache.
        workers = self._compute.workers or available_cpus()
        limit = pixel_limit(self._compute.max_pixels)
        with limit, open_threads(self.runner, workers) as threads:
            for rows in batches:
                decoding = self._decoder.begin(source, rows, views, threads)
                for view, batch in zip(views.numbers, decoding, strict=True):
                    ahead.append(threads.network.submit(self._encode, source, batch, view))
                while len(ahead) >= self.runner.parallel_batches + _BATCHES_AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def _encode(
        self, source: ImageSource, decoding: Callable[[], DecodedBatch], view: int
    ) -> EncodedBatch:
        batch = decoding()
        valid = np.array([image.valid for image in batch.images], dtype=bool)
        with self.stats.timer.measure("forward"):
            codes = self._run_network(batch.pixels, valid)
        for layer, values in codes.items():
            _require_finite(layer, values, source, batch.images)
        return EncodedBatch(
            row=np.array([image.row for image in batch.images], dtype=np.int64),
            valid=valid,
            reason=[image.reason for image in batch.images],
            image_sha256=[image.sha256 for image in batch.images],
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


def _require_finite(
    layer: str, codes: NDArray[np.float32], source: ImageSource, images: list[DecodedImage]
) -> None:
    finite = np.isfinite(codes).all(axis=tuple(range(1, codes.ndim)))
    if not finite.all():
        path = source.path(images[int(np.argmin(finite))].row)
        raise NonFiniteCodesError(
            f"the network gave NaN or infinity at layer {layer!r} for {path}: try "
            "`precision=float32`, or bfloat16, which has its range, and look at the "
            "weights and at `mean` and `std`"
        )
