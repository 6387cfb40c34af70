"""Compare epochs from cached maps with epochs that run the frozen layers on every image.

Run from the project's root: python -m benchmarks.finetuning.epochs. Each epoch trains the same tail
with the same optimizer on the same batches. Images are decoded before, once for all: what is
compared is the networks' work. --threads 1 makes CPU time meaningful beside other work.
"""

import argparse
import copy
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.helpers.interleave import interleave, median, ratio
from benchmarks.helpers.log import log_row
from benchmarks.helpers.machine import machine
from benchmarks.helpers.synthetic_images import write_jpegs
from bottleneck.backbones.backbone import Backbone, load_backbone
from bottleneck.backbones.cutting.tail import Tail
from bottleneck.backbones.layers.truncated import TruncatedNetwork
from bottleneck.backbones.probing.probe import probe
from bottleneck.backbones.tracing.traced import trace
from bottleneck.data import open_images
from bottleneck.extraction.extract import extract
from bottleneck.extraction.options import ComputeOptions
from bottleneck.finetuning.loading.batches import Batch, Batches, Examples, batch_bounds
from bottleneck.finetuning.loading.images import ImageBatches
from bottleneck.finetuning.loading.maps import open_maps
from bottleneck.finetuning.options import TuneOptions
from bottleneck.finetuning.training.loop import train
from bottleneck.finetuning.training.module import TunedModule
from bottleneck.fitting.loading.features import Features
from bottleneck.runtime import retain_freed_memory

NETWORKS = (
    ("squeezenet1_0", "features.11"),
    ("resnet50", "layer3"),
    ("timm:tf_efficientnet_lite0", "blocks.4"),
)
_CLASSES = 4
_OPTIONS = TuneOptions(lr=1e-5, device="cpu")  # small: no loss becomes infinite
_OF_ALL = 8  # out of core, the budget is that part of the maps


@dataclass(frozen=True)
class Epoch:
    """Seconds of an epoch: of the clock, of all cores, and of the clock while maps were awaited."""

    wall: float
    cpu: float
    waiting: float


@dataclass
class Timed:
    """Batches, and the seconds until each of them was there."""

    batches: Batches
    waiting: float = field(default=0.0)

    def shuffled(self, rows: NDArray[np.int64], **options: Any) -> Iterator[Batch]:
        """Yield batches as they are, and count the seconds until they come."""
        arriving = self.batches.shuffled(rows, **options)
        while True:
            start = time.perf_counter()
            batch = next(arriving, None)
            self.waiting += time.perf_counter() - start
            if batch is None:
                return
            yield batch


@dataclass(frozen=True)
class Recomputed:
    """Maps that the frozen layers compute anew in every epoch, from images in memory."""

    frozen: Callable[[Tensor], Tensor]
    images: Tensor

    def shuffled(
        self, rows: NDArray[np.int64], *, seed: int, epoch: int, batch_size: int
    ) -> Iterator[Batch]:
        """Yield each image's maps once, in the order in which they come from memory."""
        order = np.random.default_rng((seed, epoch)).permutation(len(rows))
        for start, end in pairwise(batch_bounds(len(rows), batch_size)):
            index = order[start:end]
            yield self.frozen(self.images[rows[index]]), index


def frozen_layers(
    backbone: Backbone, boundary: str, *, fused: bool
) -> Callable[[Tensor], Tensor] | None:
    """Return the layers up to a boundary as a function; None if they cannot be fused.

    Parameters
    ----------
    backbone : Backbone
    boundary : str
    fused : bool
        Whether as `extract` runs them, or as the network's modules do.
    """
    layers = backbone.select_layers([boundary])
    modules = TruncatedNetwork(backbone.network, layers, pool="none")
    forward: Callable[[Tensor], dict[str, Tensor]] | None = modules
    if fused:
        probed = probe(modules, backbone.transform.crop)
        forward = trace(modules, probed, dtype=torch.float32, device=torch.device("cpu"))
    if forward is None:
        return None
    run = forward

    def maps(images: Tensor) -> Tensor:
        with torch.inference_mode():
            found = run(images)[boundary]
        return found.clone()  # outside, so that the tail may keep them for its gradients

    return maps


def measure(model: str, boundary: str, photographs: Path, *, turns: int, **transform: int) -> str:
    """Return a row of each table for one network, cut behind a layer."""
    backbone = load_backbone(model, "none", transform=transform or None)
    source, tail = open_images(photographs), backbone.tail(boundary)
    rows = np.arange(len(source.table))
    decoded = ImageBatches(source, backbone.transform).ordered(rows, batch_size=len(rows))
    images, _ = next(decoded)
    with tempfile.TemporaryDirectory() as name:
        cache = extract(
            photographs,
            Path(name) / "maps",
            model=backbone.network,
            layers=[boundary],
            pool="none",
            compute=ComputeOptions(precision="float32", device="cpu"),
            transform=transform or None,
        ).cache
        features = Features((boundary,))
        largest = len(rows) * int(np.prod(tail.in_shape)) * 2
        batches: dict[str, Any] = {
            "cached": open_maps(cache, features, rows),
            "out of core": open_maps(cache, features, rows, memory=largest // _OF_ALL),
        }
        for how, fused in (("modules", False), ("fused", True)):
            if frozen := frozen_layers(backbone, boundary, fused=fused):
                batches[how] = Recomputed(frozen, images)
        run = {how: _epoch_of(tail, some, rows) for how, some in batches.items()}
        with retain_freed_memory():  # as `tune` does it; the other epochs profit as well
            interleave(run, 1)  # warm
            epochs = interleave(run, turns)
    return _row(f"{model}, `{boundary}`", tail, epochs)


def _epoch_of(tail: Tail, batches: Any, rows: NDArray[np.int64]) -> Callable[[], Epoch]:
    def epoch() -> Epoch:
        module = TunedModule(copy.deepcopy(tail), classes=_CLASSES)
        timed = Timed(batches)
        examples = Examples(timed, rows, rows % _CLASSES, _CLASSES)  # type: ignore[arg-type]
        wall, cpu = time.perf_counter(), time.process_time()
        train(module, examples, _OPTIONS, lr=1e-5, epochs=1)
        return Epoch(time.perf_counter() - wall, time.process_time() - cpu, timed.waiting)

    return epoch


def _row(name: str, tail: Tail, epochs: dict[str, list[Epoch]]) -> str:
    """Return a row: the work, seconds of the clock (of all cores), ratios over the work's."""
    steps = 3 * tail.multiply_adds  # a step: forward, and backward twice as much
    work = (steps + tail.frozen_multiply_adds) / steps
    wall = {how: [epoch.wall for epoch in some] for how, some in epochs.items()}
    cpu = {how: [epoch.cpu for epoch in some] for how, some in epochs.items()}

    def seconds(how: str) -> str:
        return f"{median(wall[how]):.2f} ({median(cpu[how]):.2f})" if how in wall else "–"

    def times(how: str) -> str:
        if how not in wall:
            return "–"
        ratios = [ratio(each[how], each["cached"]) for each in (wall, cpu)]
        return f"{ratios[0]:.2f} ({ratios[1]:.2f})"

    awaited = median([epoch.waiting / epoch.wall for epoch in epochs["out of core"]])
    cells = [
        name,
        f"{tail.frozen_multiply_adds / 1e6:.0f} + {tail.multiply_adds / 1e6:.0f}",
        f"{work:.2f}",
        *(seconds(how) for how in ("cached", "modules", "fused")),
        *(times(how) for how in ("modules", "fused", "out of core")),
        f"{awaited:.0%}",
    ]
    return log_row(f"| {' | '.join(cells)} |")


def markdown(
    networks: tuple[tuple[str, str], ...] = NETWORKS,
    *,
    images: int = 256,
    turns: int = 5,
    threads: int | None = None,
    **transform: int,
) -> str:
    """Return a table with a row for each network.

    Parameters
    ----------
    networks : tuple of (str, str)
        Model and boundary. Weights are random: they do not matter to the time.
    images : int
    turns : int
        Epochs of each kind; they take turns.
    threads : int, optional
        Of PyTorch; its own number by default.
    **transform : int
        Fields of `bottleneck.InputTransform` that replace the networks' own.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        with tempfile.TemporaryDirectory() as name:
            write_jpegs(Path(name), images)
            rows = [
                measure(model, boundary, Path(name), turns=turns, **transform)
                for model, boundary in networks
            ]
    finally:
        torch.set_num_threads(before)
    return "\n".join(
        [
            f"{images} generated JPEGs, decoded before; float32, batches of {_OPTIONS.batch_size}, "
            f"{_OPTIONS.optimizer}, {threads or before} threads, medians of {turns} turns. Seconds "
            "of the clock, and in brackets of all cores. The work saved is (3 · tail + frozen) / "
            "(3 · tail) in multiply-adds. The frozen layers run as the network's modules without "
            "gradients, and fused as `extract` runs them. Out of core, the maps are read in every "
            f"epoch within an {_OF_ALL}th of their bytes.",
            "",
            "| network, frozen up to | multiply-adds an image, millions, frozen + tail "
            "| work saved | epoch from the cache, s | frozen layers as modules, s | fused, s "
            "| modules over cache | fused over cache | out of core over cache "
            "| out of core: share of waiting for maps |",
            "|---|---|---|---|---|---|---|---|---|---|",
            *rows,
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None, help="of PyTorch")
    parser.add_argument("--only", choices=[model for model, _ in NETWORKS], help="one network")
    asked = parser.parse_args()
    print(machine(), end="\n\n")
    some = tuple(each for each in NETWORKS if asked.only in (None, each[0]))
    print(markdown(some, images=asked.images, turns=asked.turns, threads=asked.threads))
