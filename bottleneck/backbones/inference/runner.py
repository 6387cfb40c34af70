"""BatchRunner: run a truncated network on the available devices, in several threads.

On a CPU, one batch on each core is faster than all cores on one batch: no core waits for another,
and a core's activations stay in its own cache. On a GPU, two batches at a time hide the transfer
of one behind the computation of the other.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from threading import local

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bottleneck.backbones.backbone import Backbone
from bottleneck.backbones.inference.forward_choice import choose_forwards
from bottleneck.backbones.inference.process_state import INFERENCE_SETTINGS
from bottleneck.backbones.inference.replica import Replica, TorchReplica
from bottleneck.backbones.inference.runtime_choice import choose_runtime
from bottleneck.backbones.inference.runtime_trial import RuntimeChoice
from bottleneck.backbones.inference.untraced import UntracedNetwork
from bottleneck.backbones.layers.layer import Layer
from bottleneck.backbones.layers.truncated import Forward, TruncatedNetwork
from bottleneck.backbones.parallelism import (
    batches_at_a_time,
    images_within,
    threads_of_a_batch,
    use_all_cpus,
)
from bottleneck.backbones.tracing.traced import TracedNetwork
from bottleneck.backbones.user_code import describe_error
from bottleneck.errors import USER_CODE_EXCEPTIONS, BackboneError, DeviceMemoryError
from bottleneck.runtime import is_out_of_memory, memory_errors, native_precision
from bottleneck.spec import Spec

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

# A GPU needs large batches. On a CPU small maps are better, for its caches, and because in a
# thread glibc takes each block above 64 MiB from the system, and gives it back.
_BATCH_SIZE = {"cpu": 16, "cuda": 64}
_LARGEST_MAP = 32 << 20  # bytes
_LARGEST_BATCH = 64  # where maps are small

# What to do where not even one image fits into a device's memory.
_HINTS = {
    "cpu": "take an earlier layer or a smaller `crop`",
    "cuda": "take an earlier layer, `precision=bfloat16` or `device=cpu`",
}


class BatchRunner:
    """The truncated network of a backbone, for several threads to run at a time.

    Parameters
    ----------
    backbone : Backbone
        Its network is copied and stays as it is.
    layers : sequence of Layer
        Layers of that network.
    spec : Spec
        Its `relu`, `pool` and `precision` are used. `precision` is that of weights and
        activations, where the devices compute in it, and float32 elsewhere; codes are always
        float32.
    devices : sequence of torch.device
        Of one kind; each gets a copy of the network.
    images : int, optional
        Images that are to be encoded, each counted once a view, if that is known. A few of them are
        not worth tracing the network: its own modules run it, one batch at a time.

    Attributes
    ----------
    parallel_batches : int
        Number of batches that are in the network at a time.
    default_batch_size : int
        Images in a forward pass, unless the user asks for another number.
    max_batch_size : int or None
        Largest number of images known to fit into a device's memory; None until a batch did not
        fit.
    uses_all_cpus : bool
        Whether the runner's own threads are as many as there are CPU cores.
    deviation : float
        Difference of codes in this precision from those in float32, relative to their norm, on two
        random images: infinite if they are not finite, 0 if it is known to be rounding.
    runtime : RuntimeChoice
        The runtime that was chosen; PyTorch until `choose_runtime` is called.
    notes : tuple of str
        Unusual facts of how codes are computed, a sentence each; empty if there are none.

    Raises
    ------
    InvalidOptionError
        A layer does not support this pooling.
    BackboneError
        A code is no function of its image, or the network can be neither traced nor copied.
    PrecisionError
        The network works in float32, and not in the spec's precision.
    DeviceMemoryError
        The network does not fit into a device's memory.

    Examples
    --------
    >>> from torch import nn
    >>> from bottleneck.backbones.backbone import load_backbone
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    >>> backbone = load_backbone(network, transform={"resize": 32, "crop": 32})
    >>> spec = Spec(backbone.model, backbone.weights_digest, backbone.transform,
    ...             precision="float32", relu=True, pool="avg")
    >>> runner = BatchRunner(backbone, backbone.layers[:1], spec, [torch.device("cpu")])
    >>> images = runner.allocate_batch(5, side=32)
    >>> with runner.threads() as threads:
    ...     codes = threads.submit(runner.run, images).result()
    >>> codes["0"].shape, codes["0"].dtype
    ((5, 8), dtype('float32'))
    """

    def __init__(
        self,
        backbone: Backbone,
        layers: Sequence[Layer],
        spec: Spec,
        devices: Sequence[torch.device],
        *,
        images: int | None = None,
    ) -> None:
        self.max_batch_size: int | None = None
        precision = native_precision(spec.precision, devices[0])
        self._dtype = _DTYPES[precision]
        self._precision_note = (
            f"precision: {spec.precision}, computed in {precision} on this device"
            if precision != spec.precision
            else ""
        )
        self._thread = local()
        truncated = TruncatedNetwork(backbone.network, layers, relu=spec.relu, pool=spec.pool)
        too_small = f"the network does not fit into the memory of {' or '.join(map(str, devices))}"
        with INFERENCE_SETTINGS, memory_errors(too_small, _HINTS[devices[0].type]):
            forwards = choose_forwards(
                truncated,
                backbone.transform.crop,
                dtype=self._dtype,
                devices=devices,
                images=images,
            )
        first, per_device = forwards[0], batches_at_a_time(devices[0])
        self.deviation = 0.0
        if isinstance(first, UntracedNetwork):
            # It may not be safe to run such a network in several threads: one batch at a time.
            self.deviation, per_device = first.deviation, 1
        self._by_torch = [
            TorchReplica(forward, backbone.transform, self._dtype, device)
            for forward, device in zip(forwards, devices, strict=False)
        ] * per_device
        self.runtime, self._chosen = RuntimeChoice(self._by_torch), False
        self.parallel_batches = len(self._by_torch)
        self.uses_all_cpus = devices[0].type == "cpu" and use_all_cpus(self.parallel_batches)
        self.default_batch_size = self._choose_batch_size(devices[0], first)
        for device in devices:
            if device.type == "cuda":  # weights are there before the streams of `threads` use them
                torch.cuda.synchronize(device)

    def _choose_batch_size(self, device: torch.device, forward: Forward) -> int:
        if not isinstance(forward, TracedNetwork) or device.type != "cpu":
            return _BATCH_SIZE[device.type]
        largest = forward.largest * self._dtype.itemsize
        return images_within(_LARGEST_MAP, largest, most=_LARGEST_BATCH)

    @property
    def notes(self) -> tuple[str, ...]:
        """Describe what is unusual in how codes are computed, a sentence each."""
        return tuple(filter(None, (self._precision_note, self.runtime.note)))

    def choose_runtime(self, runtime: str, images: int, *, batch_size: int | None = None) -> None:
        """Choose what runs the network; until then PyTorch does. The first choice stays.

        Parameters
        ----------
        runtime : str
            ``"torch"``, ``"openvino"``, or ``"auto"``: on a CPU OpenVINO if it is installed, on a
            GPU a CUDA graph, if that gives the network's codes, and saves more time than it costs.
        images : int
            Images that are to be encoded, each counted once a view.
        batch_size : int, optional
            Images in a forward pass; the default is `default_batch_size`.

        Raises
        ------
        InvalidOptionError
            OpenVINO is asked for, and cannot run the network; the message says why.
        """
        if self._chosen:
            return
        with self.threads() as threads:
            choosing = threads.submit(
                choose_runtime,
                runtime,
                self._by_torch,
                batch_size=batch_size or self.default_batch_size,
                images=images,
            )
            self.runtime, self._chosen = choosing.result(), True

    @contextmanager
    def threads(self) -> Iterator[ThreadPoolExecutor]:
        """Open a pool of threads in which `run` may be called, `parallel_batches` of them.

        Several pools may be open at a time, as in a worker of a cluster that makes several shards:
        their threads take turns at what runs the network. Until the block ends, arithmetic threads
        share the cores among them, freed memory stays with the process, and what is in float32 is
        computed in it, not in TF32 or bfloat16.
        """
        before = torch.get_num_threads()
        share = threads_of_a_batch(self.parallel_batches)
        runtime, replicas = self.runtime, SimpleQueue[Replica]()
        for replica in runtime.replicas:
            replicas.put(replica)

        def enter() -> None:
            self._thread.replica = replica = replicas.get()
            self._thread.turn = runtime.turns[replica]
            torch.set_num_threads(share)
            if replica.device.type == "cuda":
                torch.cuda.set_device(replica.device)
                torch.cuda.set_stream(torch.cuda.Stream(replica.device))  # type: ignore[no-untyped-call, unused-ignore]

        pool = ThreadPoolExecutor(
            self.parallel_batches, thread_name_prefix="network", initializer=enter
        )
        with INFERENCE_SETTINGS:
            try:
                yield pool
            finally:
                pool.shutdown(cancel_futures=True)
                torch.set_num_threads(before)  # the default of threads that start later

    def run(self, images: Tensor) -> dict[str, NDArray[np.float32]]:
        """Compute the codes of a batch; call it in one of `threads`.

        A batch that does not fit into the device's memory is divided.

        Parameters
        ----------
        images : Tensor of uint8, shape (n, height, width, 3)
            At least one image, in memory from `allocate_batch`.

        Returns
        -------
        dict of str to ndarray of float32, shape (n, ...)
            By layer.

        Raises
        ------
        DeviceMemoryError
            Not even one image fits into the device's memory.
        BackboneError
            The network raised an error, or gave a layer another number of codes than images.
        """
        parts, start = [], 0
        device = self._thread.replica.device
        while start < len(images):
            size = min(self.max_batch_size or len(images), len(images) - start)
            try:
                parts.append(self._forward(images[start : start + size]))
                start += size
            except USER_CODE_EXCEPTIONS as error:
                if not is_out_of_memory(error):
                    raise BackboneError(f"the network failed: {describe_error(error)}") from error
                if size == 1:
                    raise DeviceMemoryError(
                        f"one image does not fit into the memory of {device}",
                        hint=_HINTS[device.type],
                    ) from error
                self.max_batch_size = min(self.max_batch_size or size, size // 2)
            else:
                continue
            if device.type == "cuda":  # after the except block, which keeps tensors alive
                torch.cuda.empty_cache()
        codes = {layer: np.concatenate([part[layer] for part in parts]) for layer in parts[0]}
        for layer, rows in codes.items():
            if len(rows) != len(images):  # though it had one for each image of the probe
                raise BackboneError(
                    f"layer {layer!r} gives {len(rows)} codes for {len(images)} images",
                    hint="take another layer",
                )
        return codes

    def _forward(self, images: Tensor) -> dict[str, NDArray[np.float32]]:
        replica: Replica = self._thread.replica
        with self._thread.turn:
            return replica(images)

    def allocate_batch(self, count: int, side: int) -> Tensor:
        """Allocate memory for `count` images of `side` × `side` pixels.

        It is pinned for a GPU, which can then copy it while it computes.

        Returns
        -------
        Tensor of uint8, shape (count, side, side, 3)
            Not initialised.
        """
        pinned = self._by_torch[0].device.type == "cuda"
        shape = (count, side, side, 3)
        return torch.empty(shape, dtype=torch.uint8, device="cpu", pin_memory=pinned)
