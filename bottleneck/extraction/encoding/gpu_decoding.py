"""GpuDecoder: decode and resize a batch of JPEGs on a GPU, for the decoder ``"gpu"``."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bottleneck.data import (
    EncodedJpeg,
    ImageSource,
    ViewSet,
    decode_jpegs,
    make_squares,
    read_for_nvjpeg,
    require_nvjpeg,
)
from bottleneck.errors import InvalidOptionError
from bottleneck.extraction.encoding.decoding import (
    DecodedBatch,
    DecodedImage,
    ReadImage,
    Threads,
    begin_reading,
    decode_into,
)
from bottleneck.input_transform import InputTransform
from bottleneck.runtime import StageTimer

_PLAIN = ViewSet()


@dataclass(frozen=True)
class _Prepared:
    """A JPEG for the GPU, or an image with its pixels, shape (crop, crop, 3)."""

    file: ReadImage
    jpeg: EncodedJpeg | None
    decoded: tuple[DecodedImage, Tensor] | None


class GpuDecoder:
    """Decode and resize the JPEGs of a batch on a GPU; all other images on a CPU, in threads.

    The network's own threads decode, each in its stream: while one decodes, by the GPU's decoding
    hardware, another's network runs. Memory that a stream has freed is not used by another, and
    torchvision's decoder, which does not wait for the stream, writes over nothing that is in use.

    Parameters
    ----------
    transform : InputTransform
    device : torch.device
    timer : StageTimer
        Where the stages ``read``, ``decode`` and ``wait`` are added up.
    """

    def __init__(self, transform: InputTransform, device: torch.device, timer: StageTimer) -> None:
        self._transform, self._device, self._timer = transform, device, timer

    def begin(
        self, source: ImageSource, rows: Sequence[int], views: ViewSet, threads: Threads
    ) -> list[Callable[[], DecodedBatch]]:
        """Begin to read and decode: see `Decoder`. There is no view but the image itself."""
        assert tuple(views.numbers) == _PLAIN.numbers
        preparing = [
            threads.decoders.submit(self._prepare, reading)
            for _, reading in begin_reading(source, rows, threads, self._timer)
        ]
        return [lambda: self._decode(preparing)]

    def _prepare(self, reading: Future[list[ReadImage]]) -> list[_Prepared]:
        files = reading.result()
        with self._timer.measure("decode"):
            return [self._prepare_file(file) for file in files]

    def _prepare_file(self, file: ReadImage) -> _Prepared:
        jpeg = None if file.reason else read_for_nvjpeg(file.data)
        return _Prepared(file, jpeg, None if jpeg else self._decode_alone(file))

    def _decode(self, preparing: Sequence[Future[list[_Prepared]]]) -> DecodedBatch:
        with self._timer.measure("wait"):
            prepared = [each for part in preparing for each in part.result()]
        with self._timer.measure("decode"):
            jpegs = [each.jpeg for each in prepared if each.jpeg]
            squares = iter(make_squares(decode_jpegs(jpegs, self._device), self._transform))
            found = [self._finish(each, next(squares) if each.jpeg else None) for each in prepared]
            pixels = torch.stack([pixels.to(self._device) for _, pixels in found])
        return DecodedBatch([image for image, _ in found], pixels)

    def _finish(self, prepared: _Prepared, square: Tensor | None) -> tuple[DecodedImage, Tensor]:
        if square is not None:
            return DecodedImage(prepared.file.row, prepared.file.sha256, ""), square
        return prepared.decoded or self._decode_alone(prepared.file)

    def _decode_alone(self, file: ReadImage) -> tuple[DecodedImage, Tensor]:
        """Decode an image as the exact decoder does."""
        side = self._transform.crop
        pixels = np.zeros((side, side, 3), dtype=np.uint8)
        return decode_into([pixels], file, self._transform, _PLAIN), torch.from_numpy(pixels)


def require_decoder(transform: InputTransform, devices: Sequence[torch.device]) -> None:
    """Refuse a decoder that these devices have not, before anything is done.

    Parameters
    ----------
    transform : InputTransform
    devices : sequence of torch.device
        Of one process.

    Raises
    ------
    InvalidOptionError
        Images are to be decoded on a GPU, and there is none, or more than one: torchvision has one
        decoder in a process, and makes it again for every other device.

    Examples
    --------
    >>> require_decoder(InputTransform(), [torch.device("cpu")])
    """
    if not transform.decodes_on_gpu:
        return
    if len(devices) > 1:
        raise InvalidOptionError(
            "decoder",
            "gpu",
            f"exact or fast for {len(devices)} GPUs in one process",
            "take one by `device=cuda:0`, or one process for each GPU",
        )
    require_nvjpeg(devices[0])
