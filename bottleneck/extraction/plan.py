"""ExtractionPlan: how many shards a run makes, what they take on the disk, and how long tasks take.

The layout is computed as `extract` would lay it down; the time is measured, on some of the images.
Nothing is written.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Self

import numpy as np

from bottleneck.backbones.backbone import load_backbone
from bottleneck.backbones.layers import check_pool
from bottleneck.cache.manifest import DTYPES
from bottleneck.data.images import ImageSource, open_images
from bottleneck.errors import ImagesNotFoundError
from bottleneck.extraction.disk_space import shard_bytes, usual_shard_size
from bottleneck.extraction.encoder import Encoder, make_spec
from bottleneck.extraction.extract import require_layers
from bottleneck.extraction.options import ComputeOptions, StorageOptions
from bottleneck.runtime.devices import choose_devices, resolve_precision
from bottleneck.runtime.formatting import duration
from bottleneck.runtime.timing import StageTimer, slowest_stage
from bottleneck.runtime.validation import require_positive

_SECONDS = 10.0  # of measuring: enough for all lanes to be at work nearly all of the time
_IMAGES = 4096  # at most, for a GPU is through them before
_HOUR, _DAY = 3600.0, 86_400.0
_FILES = 20_000  # of a layer: as many as any disk lists in a moment
_LARGE = 1 << 30  # bytes of a shard: what a reader may have to check before it has the first row


@dataclass(frozen=True)
class LayerSize:
    """What one layer takes on the disk.

    Attributes
    ----------
    code_shape : tuple of int
        Of one image.
    row_bytes : int
        Of one code.
    bytes : int
        Of all shards, with paths and digests, uncompressed.
    """

    code_shape: tuple[int, ...]
    row_bytes: int
    bytes: int

    @classmethod
    def of(cls, code_shape: tuple[int, ...], *, dtype: str, rows: int, shard_size: int) -> Self:
        """The size of a layer of so many rows."""
        row_bytes = math.prod(code_shape) * np.dtype(dtype).itemsize
        full, rest = divmod(rows, shard_size)
        last = shard_bytes(rest, row_bytes) if rest else 0
        return cls(code_shape, row_bytes, full * shard_bytes(shard_size, row_bytes) + last)


@dataclass(frozen=True)
class Pace:
    """How fast this machine is.

    Attributes
    ----------
    images : int
        That were encoded.
    seconds : float
        That this took.
    startup : float
        Seconds before the first image: finding the images, loading the network.
    limit : str
        The stage that the others wait for: ``"read"``, ``"decode"`` or ``"forward"``.
    """

    images: int
    seconds: float
    startup: float
    limit: str

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds


@dataclass(frozen=True)
class ExtractionPlan:
    """A run before it is begun.

    Attributes
    ----------
    rows : int
        Images.
    shard_size : int
        Rows of a shard.
    tasks : int
        Among which the shards are dealt out.
    layers : dict of str to LayerSize
        By name.
    pace : Pace
        Of one task, if each has a machine like this one.
    """

    rows: int
    shard_size: int
    tasks: int
    layers: dict[str, LayerSize]
    pace: Pace

    @property
    def shards(self) -> int:
        """How many each layer has."""
        return math.ceil(self.rows / self.shard_size)

    @property
    def bytes(self) -> int:
        """What the cache takes on the disk, at most."""
        return sum(layer.bytes for layer in self.layers.values())

    @property
    def shard_bytes(self) -> int:
        """What a shard takes at the layer with the largest codes."""
        return max(
            shard_bytes(self._rows_a_shard, layer.row_bytes) for layer in self.layers.values()
        )

    @property
    def shards_a_task(self) -> int:
        """Of the task with the most."""
        return math.ceil(self.shards / self.tasks)

    @property
    def seconds(self) -> float:
        """One task for everything."""
        return self.pace.startup + self.rows / self.pace.rate

    @property
    def task_seconds(self) -> float:
        """The task with the most shards."""
        rows = min(self.rows, self.shards_a_task * self.shard_size)
        return self.pace.startup + rows / self.pace.rate

    @property
    def shard_seconds(self) -> float:
        """What a task that is killed loses, at most."""
        return self._rows_a_shard / self.pace.rate

    @property
    def _rows_a_shard(self) -> int:
        return min(self.rows, self.shard_size)

    def advice(self) -> list[str]:
        """What would serve better, a sentence each; empty where nothing stands out."""
        return [text for text in (self._on_tasks(), self._on_time(), self._on_shards()) if text]

    def _on_tasks(self) -> str:
        if self.tasks > self.shards:
            even = math.ceil(self.rows / self.tasks)
            smaller = f", or `shard_size={even}`" if even < self.shard_size else ""
            return (
                f"{self.tasks - self.shards} of {self.tasks} tasks have no shard: use "
                f"{self.shards}{smaller}"
            )
        # The others wait for the task that has one shard more.
        idle = 1 - self.shards / (self.shards_a_task * self.tasks)
        if idle > 0.2:
            size = math.ceil(self.rows / (self.tasks * self.shards_a_task))
            return (
                f"some tasks have {self.shards_a_task} shards and some {self.shards_a_task - 1}, "
                f"so that {idle:.0%} of the time is lost: `shard_size={size}` deals them out evenly"
            )
        return ""

    def _on_time(self) -> str:
        work = self.task_seconds - self.pace.startup
        if self.tasks > 1 and self.pace.startup > work:
            fewer = max(1, int(self.seconds / (10 * self.pace.startup)))
            return (
                f"a task starts for {duration(self.pace.startup)} and works for {duration(work)}: "
                f"use no more than {fewer}"
            )
        if self.task_seconds > _DAY:
            more = math.ceil(self.rows / self.pace.rate / (_DAY / 2))
            return f"a task takes more than a day: with {more} tasks it takes half of one"
        return ""

    def _on_shards(self) -> str:
        if self.shard_seconds > _HOUR and self.shard_size > 1:
            size = max(1, int(self.pace.rate * _HOUR / 4))
            return (
                f"a task that is killed loses up to {duration(self.shard_seconds)}: "
                f"`shard_size={size}` makes that a quarter of an hour"
            )
        largest = max(layer.row_bytes for layer in self.layers.values())
        size = min(math.ceil(self.rows / _FILES), _LARGE // largest)
        if self.shards > 5 * _FILES and size > self.shard_size:
            files = math.ceil(self.rows / size)
            return f"{self.shards} files a layer are many: `shard_size={size}` makes {files}"
        return ""


def plan(
    images: str | PathLike[str] | ImageSource,
    *,
    model: str,
    layers: Sequence[str],
    weights: str = "DEFAULT",
    transform: dict[str, Any] | None = None,
    pool: str = "avg",
    relu: bool = True,
    storage: StorageOptions = StorageOptions(),
    compute: ComputeOptions = ComputeOptions(),
    tasks: int = 1,
) -> ExtractionPlan:
    """Compute what an extraction would write, and measure how fast this machine is.

    Some of the images are encoded, for about ten seconds. Nothing is written.

    Parameters
    ----------
    images : path-like or ImageSource
        A directory or CSV; see `bottleneck.data.images.open_images`.
    model : str
        A torchvision name, or ``path/to/file.py:factory``, which is run: it is code.
    layers : sequence of str
        Names of layers.
    weights : str
        ``"DEFAULT"``, a torchvision weights name, ``"none"``, or a .pth or .safetensors file.
    transform : dict, optional
        Fields of `bottleneck.spec.InputTransform` that replace those of the weights.
    pool : str
        ``"avg"``, ``"max"``, ``"none"`` or the side of a grid of averages, for example ``"2"``.
    relu : bool
        Whether negative activations are set to zero before pooling.
    storage : StorageOptions
        How the codes would be stored: `dtype` and `shard_size` are used.
    compute : ComputeOptions
        Where the codes would be computed: `device`, `precision`, `batch_size` and `workers` are
        used.
    tasks : int
        Tasks that would share the shards.

    Returns
    -------
    ExtractionPlan

    Raises
    ------
    InvalidOptionError, UnknownNameError, BackboneError, WeightsError
        An argument is wrong.
    ImagesNotFoundError
        There are no images, or none of those that were tried can be decoded.
    """
    start = time.perf_counter()
    require_positive("tasks", tasks)
    check_pool(pool)
    require_layers(layers)
    devices = choose_devices(compute.device)
    precision = resolve_precision(compute.precision, devices[0])
    source = open_images(images)
    backbone = load_backbone(model, weights, preprocess=transform)
    chosen = backbone.select_layers(layers)
    dtype = storage.dtype or DTYPES[0]
    largest = max(layer.code_size(pool) for layer in chosen) * np.dtype(dtype).itemsize
    size = storage.shard_size or usual_shard_size(largest)
    spec = make_spec(backbone, precision=precision, relu=relu, pool=pool)
    encoder = Encoder(backbone, chosen, spec, devices, clock=StageTimer())
    batch_size = compute.batch_size or encoder.runner.default_batch_size
    pace = _measure(encoder, source, batch_size, compute.workers, start)
    sizes = {
        layer.name: LayerSize.of(
            layer.code_shape(pool), dtype=dtype, rows=len(source.table), shard_size=size
        )
        for layer in chosen
    }
    return ExtractionPlan(len(source.table), size, tasks, sizes, pace)


def _measure(
    encoder: Encoder,
    source: ImageSource,
    batch_size: int,
    workers: int | None,
    start: float,
) -> Pace:
    """How fast an encoder is; what it does at first use counts as starting, from `start` on."""
    n = len(source.table)
    rows = np.linspace(0, n - 1, min(n, _IMAGES), dtype=np.int64).tolist()
    batches = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    first = list(
        encoder.encode(source, batches[: encoder.runner.parallel_batches], workers=workers)
    )
    if not any(batch.valid.any() for batch in first):
        raise ImagesNotFoundError(
            f"none of the images that were tried gives codes: {source.path(rows[0])}: "
            f"{first[0].reason[0]}"
        )
    startup = time.perf_counter() - start
    encoder.clock.seconds.clear()
    begin = time.perf_counter()

    def for_some_seconds() -> Iterator[Sequence[int]]:
        for batch in batches:
            yield batch
            if time.perf_counter() - begin > _SECONDS:
                return

    done = sum(
        len(batch.row) for batch in encoder.encode(source, for_some_seconds(), workers=workers)
    )
    seconds = time.perf_counter() - begin
    return Pace(done, seconds, startup, slowest_stage(encoder.clock))
