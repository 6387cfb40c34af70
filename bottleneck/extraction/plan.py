"""Plan: compute what an extraction would write, and measure how fast this machine is."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from os import PathLike

import numpy as np
from torch import nn

from bottleneck.backbones import Layer, load_backbone
from bottleneck.cache import StorageLayout
from bottleneck.data import (
    ImageSource,
    ImageTable,
    ViewSet,
    open_images,
    require_existing,
    summarize_images,
)
from bottleneck.errors import ImagesNotFoundError
from bottleneck.extraction.encoding.encoder import Encoder
from bottleneck.extraction.options import ComputeOptions, StorageOptions, ViewOptions
from bottleneck.extraction.planning.disk_space import LayerEstimate, longest_text
from bottleneck.extraction.planning.extraction_plan import ExtractionPlan, Throughput
from bottleneck.extraction.planning.limiting_stage import slowest_stage
from bottleneck.extraction.setup.depth import choose_range
from bottleneck.extraction.setup.layer_names import layer_names, pool_names
from bottleneck.extraction.setup.notes import setup_notes
from bottleneck.extraction.setup.precision import choose_spec
from bottleneck.extraction.setup.transform import TransformLike
from bottleneck.extraction.setup.views import choose_views
from bottleneck.pooling import DEFAULT_POOL, name_poolings
from bottleneck.runtime import (
    choose_devices,
    import_seconds,
    require_options,
    require_positive,
)

_SECONDS = 10.0  # of measuring: enough for all threads to be busy nearly all of the time
_IMAGES = 4096  # at most: a GPU encodes them in less time


def plan(
    images: str | PathLike[str] | ImageSource,
    *,
    model: str | nn.Module,
    layers: str | Sequence[str],
    weights: str | PathLike[str] = "DEFAULT",
    transform: TransformLike | None = None,
    pool: str | Sequence[str] | None = None,
    relu: bool = True,
    storage: StorageOptions = StorageOptions(),
    compute: ComputeOptions = ComputeOptions(),
    views: ViewOptions | int = ViewOptions(),
    tasks: int = 1,
) -> ExtractionPlan:
    """Compute what an extraction would write, and measure how fast this machine is.

    Some of the images are encoded, for about ten seconds. Nothing is written.

    Parameters
    ----------
    images : path-like or ImageSource
        A directory, CSV, archive, table or array; see `bottleneck.data.images.open_images`.
    model : str or nn.Module
        A torchvision name; ``timm:NAME`` or ``hf-hub:org/name``, for timm's models;
        ``path/to/file.py:factory``, which is executed; or a network, which is copied and never
        changed.
    layers : str or sequence of str
        Names of layers.
    weights : str or PathLike
        ``"DEFAULT"``, a torchvision weights name, ``"none"``, or a weights file; see
        `bottleneck.backbones.load_backbone`.
    transform : InputTransform or mapping, optional
        What replaces the input of the weights, or some of its fields; see `bottleneck.extract`.
    pool : str or sequence of str, optional
        ``"avg"``, ``"max"``, ``"none"``, the side of a grid of averages, for example ``"2"``, or
        ``"cls"``: a transformer's class token. The average of tokens is over all of them. By
        default ``"avg"``. Of several, one forward pass gives each layer in each:
        ``pool=("avg", "2")`` gives ``layer3`` and ``layer3@2x2``. Such a name among `layers` gives
        a layer a pooling of its own.
    relu : bool
        Whether negative activations are set to zero before pooling.
    storage : StorageOptions
        How the codes would be stored: `dtype` and `shard_size` are used.
    compute : ComputeOptions
        Where the codes would be computed: `device`, `precision`, `runtime`, `batch_size`, `workers`
        and `max_pixels` are used.
    views : ViewOptions or int
        Other pictures that would be made of each image; or how many views there would be, with the
        image itself.
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

    Examples
    --------
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    >>> found = plan("data/digits/test/7", model=network, layers=["1"], transform={"crop": 32})
    >>> found.rows, found.layers["1"].code_shape, found.throughput.rate > 0
    (169, (8,), True)
    """
    start, imported = time.perf_counter(), import_seconds()  # a task imports the same
    require_options(storage=(storage, StorageOptions), compute=(compute, ComputeOptions))
    require_positive("tasks", tasks)
    pools = pool_names(pool) or [DEFAULT_POOL]
    layers = name_poolings(layer_names(layers), pools)
    devices = choose_devices(compute.device)
    source = require_existing(open_images(images))
    backbone = load_backbone(model, weights, transform=choose_range(transform, source, None))
    chosen_views = choose_views(views, None)
    chosen_views.require_possible(backbone.transform)
    needed = backbone.select_layers(layers)
    layout = storage.new_layout(backbone.largest_code(layers, pools[0]))
    chosen = choose_spec(backbone, layers, devices, compute=compute, relu=relu, pool=pools[0])
    encoder = chosen.encoder or Encoder(backbone, needed, chosen.spec, devices, compute=compute)
    encoder.choose_runtime(len(source.table) * chosen_views.count)
    wanted = ViewSet(range(chosen_views.count), chosen_views.recipe)
    batches = _sample_batches(source, encoder.batch_size)
    # A batch on every device, because the first use of a device is slow.
    first = batches[: encoder.runner.parallel_batches]
    deque(encoder.encode(source, first, wanted), maxlen=0)
    encoder.stats.timer.drain()
    startup = imported + time.perf_counter() - start
    encoded, seconds = _measure(encoder, source, batches, wanted)
    notes = setup_notes(source, backbone, layers, chosen, chosen_views)
    return ExtractionPlan(
        rows=len(source.table),
        shard_size=layout.shard_size,
        tasks=tasks,
        layers=_estimate_layers(needed, pools[0], layout, source.table, chosen_views.count),
        throughput=Throughput(encoded, seconds, startup, slowest_stage(encoder.stats.timer)),
        notes=(*notes, *encoder.runner.notes),
        images=summarize_images(source),
        views=chosen_views.count,
    )


def _estimate_layers(
    layers: Sequence[Layer], pool: str, layout: StorageLayout, images: ImageTable, views: int
) -> dict[str, LayerEstimate]:
    rows, size = len(images), layout.shard_size
    full, rest = divmod(rows, size)
    shard_rows = {layout.shard_size: full * views} | ({rest: views} if rest else {})
    text = longest_text(images, (range(k, min(k + size, rows)) for k in range(0, rows, size)))
    return {
        layer.name: LayerEstimate.from_shards(
            layer.code_shape(pool), layout.dtype, shard_rows, text
        )
        for layer in layers
    }


def _sample_batches(source: ImageSource, size: int) -> list[list[int]]:
    """Return batches of rows that are spread evenly over the images."""
    count = len(source.table)
    rows = np.linspace(0, count - 1, min(count, _IMAGES), dtype=np.int64).tolist()
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def _measure(
    encoder: Encoder, source: ImageSource, batches: list[list[int]], views: ViewSet
) -> tuple[int, float]:
    """Encode batches for some seconds; return how many images, all views of each, and the time.

    Raises
    ------
    ImagesNotFoundError
        None of them gives codes.
    """
    start = time.perf_counter()

    def for_some_seconds() -> Iterator[Sequence[int]]:
        for batch in batches:
            yield batch
            if time.perf_counter() - start > _SECONDS:
                return

    encoded, any_valid, why = 0, False, ""
    for batch in encoder.encode(source, for_some_seconds(), views):
        encoded += 0 if batch.view else len(batch.row)
        any_valid |= bool(batch.valid.any())
        why = why or f"{source.path(int(batch.row[0]))}: {batch.reason[0]}"
    if not any_valid:
        raise ImagesNotFoundError(
            f"none of the images that were tried ({encoded}) gives codes: {why}"
        )
    return encoded, time.perf_counter() - start
