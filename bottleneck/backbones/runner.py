"""BatchRunner: the truncated network on the devices at hand, in as many threads as keep them busy.

On a CPU, one batch on each core goes through the network faster than all cores on one batch: no
core waits for another, and a core's activations stay in its own cache. On a GPU, two batches at a
time hide the transfer of the one behind the work on the other.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Lock, local

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bottleneck.backbones.backbone import Backbone
from bottleneck.backbones.layers import Layer, TruncatedNetwork
from bottleneck.backbones.malloc import retain_freed_memory
from bottleneck.backbones.tracing import Forward, trace
from bottleneck.errors import (
    USER_CODE_ERRORS,
    BackboneError,
    DeviceMemoryError,
    format_error,
)
from bottleneck.runtime.resources import available_cpus
from bottleneck.spec import Spec

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

_MOST_LANES = 16  # beyond, threads would rather wait for Python's lock than for a core
_LANES_A_GPU = 2

# A GPU wants work. On a CPU small maps are better, for its caches, and because in a thread glibc
# takes each block above 64 MiB from the system, and gives it back.
_BATCH = {"cpu": 16, "cuda": 64}
_LARGEST_MAP = 32 << 20  # bytes
_LARGEST_BATCH = 64  # where maps are small


@dataclass(frozen=True)
class _Place:
    """Where a lane runs: the network as it stands on a device, and its input's normalisation."""

    device: torch.device
    forward: Forward
    mean: Tensor
    std: Tensor


class BatchRunner:
    """The truncated network of a backbone, for several threads to run at a time.

    Parameters
    ----------
    backbone : Backbone
        Its network is copied, or, where it cannot be traced, moved to the device and precision.
    layers : sequence of Layer
        Of that network.
    spec : Spec
        Its `relu`, `pool` and `precision` are used; `precision` is that of weights and
        activations, codes are float32.
    devices : sequence of torch.device
        Of one kind; each gets the network.

    Attributes
    ----------
    parallel_batches : int
        How many batches are in the network at a time.
    default_batch_size : int
        The images of a forward pass, where the user asks for no other number.
    uses_all_cpus : bool
        Whether the lanes' threads are as many as there are cores to compute with.
    max_batch_size : int or None
        Where a batch did not fit into a device's memory: the images that do.
    """

    def __init__(
        self,
        backbone: Backbone,
        layers: Sequence[Layer],
        spec: Spec,
        devices: Sequence[torch.device],
    ) -> None:
        self.max_batch_size: int | None = None
        self._dtype = _DTYPES[spec.precision]
        self._here = local()
        tap = TruncatedNetwork(backbone.network, layers, relu=spec.relu, pool=spec.pool)
        size = backbone.preprocess.crop
        graphs = [trace(tap, size, dtype=self._dtype, device=device) for device in devices]
        forwards: list[tuple[torch.device, Forward]] = [
            (device, graph) for device, graph in zip(devices, graphs, strict=True) if graph
        ]
        lanes = _LANES_A_GPU if devices[0].type == "cuda" else min(available_cpus(), _MOST_LANES)
        if len(forwards) < len(devices):
            # Nothing is known of what such a network does beside: a batch at a time, as it is.
            network = backbone.network.to(devices[0], self._dtype)
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]
            forwards, lanes = [(devices[0], _OneAtATime(tap))], 1
        self._places = [
            _Place(
                device,
                forward,
                _row_of(backbone.preprocess.mean, size, device),
                _row_of(backbone.preprocess.std, size, device),
            )
            for device, forward in forwards
        ] * lanes
        self.parallel_batches = len(self._places)
        self.uses_all_cpus = devices[0].type == "cpu" and self.parallel_batches >= available_cpus()
        self.default_batch_size = _BATCH[devices[0].type]
        if graphs[0] and devices[0].type == "cpu":
            most = _LARGEST_MAP // (graphs[0].largest * self._dtype.itemsize)
            self.default_batch_size = min(1 << max(0, most.bit_length() - 1), _LARGEST_BATCH)

    @contextmanager
    def threads(self) -> Iterator[ThreadPoolExecutor]:
        """The threads in which `run` may be called, one a lane, for as long as they are needed.

        Threads that do arithmetic share the cores among them, freed memory stays with the process,
        and float32 is no less on a GPU; all of this ends with the block.
        """
        before = torch.get_num_threads()
        share = max(1, available_cpus() // self.parallel_batches)
        places: SimpleQueue[_Place] = SimpleQueue()
        for place in self._places:
            places.put(place)

        def enter() -> None:
            self._here.place = place = places.get()
            torch.set_num_threads(share)
            if place.device.type == "cuda":
                torch.cuda.set_device(place.device)
                torch.cuda.set_stream(torch.cuda.Stream(place.device))  # type: ignore[no-untyped-call, unused-ignore]

        pool = ThreadPoolExecutor(
            self.parallel_batches, thread_name_prefix="lane", initializer=enter
        )
        with _PREPARED:
            try:
                yield pool
            finally:
                pool.shutdown(cancel_futures=True)
                torch.set_num_threads(before)  # what threads to come begin with

    def run(self, images: Tensor) -> dict[str, NDArray[np.float32]]:
        """The codes of a batch, in one of `threads`.

        Parameters
        ----------
        images : Tensor of uint8, shape (n, height, width, 3)
            At least one; in the memory that `allocate_batch` gives.

        Returns
        -------
        dict of str to ndarray of float32, shape (n, ...)
            By layer.

        Raises
        ------
        DeviceMemoryError
            Not even one image fits into the device's memory.
        BackboneError
            The network raised something.
        """
        parts, start = [], 0
        while start < len(images):
            size = min(self.max_batch_size or len(images), len(images) - start)
            try:
                parts.append(self._forward(images[start : start + size]))
                start += size
            except USER_CODE_ERRORS as error:
                if not _is_lack_of_memory(error):
                    raise BackboneError(f"the network failed: {format_error(error)}") from error
                if size == 1:
                    raise DeviceMemoryError(
                        f"one image does not fit into the memory of {self._here.place.device}: "
                        "take an earlier layer, `precision=bfloat16` or `device=cpu`"
                    ) from error
                self.max_batch_size = min(self.max_batch_size or size, size // 2)
            else:
                continue
            if self._here.place.device.type == "cuda":
                torch.cuda.empty_cache()
        return {layer: np.concatenate([part[layer] for part in parts]) for layer in parts[0]}

    def _forward(self, images: Tensor) -> dict[str, NDArray[np.float32]]:
        place: _Place = self._here.place
        with torch.inference_mode():
            rows = images.to(place.device, non_blocking=True).flatten(2)
            # In torchvision's order of operations, so that the input is equal bit by bit.
            normalised = rows.float().div_(255).sub_(place.mean).div_(place.std)
            batch = normalised.to(self._dtype).view(images.shape).permute(0, 3, 1, 2)
            found = place.forward(batch)
            return {layer: codes.cpu().numpy() for layer, codes in found.items()}

    def allocate_batch(self, count: int, side: int) -> Tensor:
        """Memory for so many images, from which a device can fetch them while it works."""
        pinned = self._places[0].device.type == "cuda"
        return torch.empty((count, side, side, 3), dtype=torch.uint8, pin_memory=pinned)


class _OneAtATime:
    """A forward pass that knows nothing of threads, for lanes of several streams."""

    def __init__(self, forward: Forward) -> None:
        self._forward, self._lock = forward, Lock()

    def __call__(self, batch: Tensor) -> dict[str, Tensor]:
        with self._lock:
            return self._forward(batch)


def _is_lack_of_memory(error: BaseException) -> bool:
    # PyTorch has a type of its own for a GPU's memory, and for a CPU's only a message.
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


class _Shared:
    """A state of the whole process: it begins with the first who needs it, ends with the last.

    A worker of a cluster may be at several shards at a time, each with lanes of its own.
    """

    def __init__(self, state: Callable[[], AbstractContextManager[None]]) -> None:
        self._state, self._lock, self._users = state, Lock(), 0
        self._entered: AbstractContextManager[None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._entered is None:
                self._entered = self._state()
                self._entered.__enter__()
            self._users += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users and self._entered is not None:
                self._entered.__exit__(None, None, None)
                self._entered = None


@contextmanager
def _tf32_disabled() -> Iterator[None]:
    """Convolutions in float32 as such: cuDNN's would be in TF32, with ten of its 23 bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@contextmanager
def _prepared() -> Iterator[None]:
    with retain_freed_memory(), _tf32_disabled():
        yield


_PREPARED = _Shared(_prepared)


def _row_of(values: Sequence[float], width: int, device: torch.device) -> Tensor:
    """A value for each channel, at each pixel of a row: arithmetic is fast on long rows."""
    return torch.tensor(values, dtype=torch.float32, device=device).repeat(width)
