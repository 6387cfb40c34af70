"""Measure an epoch of tuning on a GPU: images a second from maps in memory.

`python -m benchmarks.gpu` runs it. Maps are random, because speed does not depend on them. Beside
the epoch is the rate of steps on one batch that lies on the device: what is missing to it is the
loop's reading, copying and its own work.
"""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from benchmarks.gpu.fitting import finish
from benchmarks.helpers.machine import machine
from benchmarks.helpers.time_limit import within
from bottleneck.backbones.backbone import load_backbone
from bottleneck.backbones.cutting.tail import Tail
from bottleneck.finetuning.loading.batches import Examples
from bottleneck.finetuning.loading.maps import MapsInMemory
from bottleneck.finetuning.options import PRECISIONS, TuneOptions
from bottleneck.finetuning.training.forward import autocast, memory_format, to_device
from bottleneck.finetuning.training.loop import make_optimizer, set_training, train
from bottleneck.finetuning.training.module import TunedModule

_CLASSES = 10
_LR = 1e-5  # small: no loss becomes infinite
_DRAWN = 64  # different maps, repeated: drawing thousands takes longer than the epochs


@dataclass(frozen=True)
class Profile:
    """How much is measured.

    Attributes
    ----------
    networks : tuple of (str, str)
        Models and boundaries.
    batches : tuple of int
        Images of a step.
    images : int
        Of an epoch.
    steps : int
        Steps on one batch that are timed.
    limit : float
        Seconds after which no further row begins.
    transform : dict of str to int
        Fields of `bottleneck.InputTransform` that replace the networks' own.
    """

    networks: tuple[tuple[str, str], ...] = (
        ("resnet50", "layer3"),
        ("resnet50", "layer2"),
        ("squeezenet1_0", "features.11"),
    )
    batches: tuple[int, ...] = (32, 256)
    images: int = 4096
    steps: int = 20
    limit: float = 30.0
    transform: dict[str, int] = field(default_factory=dict)


FULL = Profile()
QUICK = Profile(
    networks=(("squeezenet1_0", "features.11"),),
    batches=(4,),
    images=8,
    steps=1,
    transform={"resize": 64, "crop": 64},
)


def measure(profile: Profile, device: str) -> Iterator[str]:
    """Yield the lines of a table as soon as they are known."""
    yield (
        f"{machine()}, {profile.images} images of random float16 maps in memory, AdamW. *Steps "
        "alone* are forward pass, backward pass and optimizer on one batch on the device. No row "
        f"is begun after {profile.limit:g} s.\n\n"
        "| network, frozen up to | precision | batch | epoch, images/s | steps alone, images/s "
        "| share |\n"
        "|---|---|---|---|---|---|"
    )
    yield from within(profile.limit, _rows(profile, device))


def _rows(profile: Profile, device: str) -> Iterator[str]:
    for model, boundary in profile.networks:
        tail = load_backbone(model, "none", transform=dict(profile.transform)).tail(boundary)
        examples = _examples(tail, profile.images)
        for precision in PRECISIONS:
            for batch in profile.batches:
                options = TuneOptions(
                    lr=_LR, epochs=1, batch_size=batch, precision=precision, device=device
                )
                module = TunedModule(copy.deepcopy(tail), classes=_CLASSES)
                train(
                    module, examples.take(np.arange(2 * batch)), options, lr=_LR, epochs=1
                )  # warm
                start = time.perf_counter()
                train(module, examples, options, lr=_LR, epochs=1)
                epoch = len(examples) / (time.perf_counter() - start)
                alone = _steps_alone(module, examples, options, profile.steps)
                yield (
                    f"| {model}, {boundary} | {precision} | {batch} | {epoch:.0f} | {alone:.0f} "
                    f"| {epoch / alone:.2f} |"
                )


def _examples(tail: Tail, count: int) -> Examples:
    random = np.random.default_rng(0)
    drawn = random.random((_DRAWN, *tail.in_shape), dtype=np.float32).astype(np.float16)
    maps = np.resize(drawn, (count, *tail.in_shape))
    rows = np.arange(count)
    return Examples(MapsInMemory(rows, [maps]), rows, rows % _CLASSES, _CLASSES)


def _steps_alone(
    module: TunedModule, examples: Examples, options: TuneOptions, steps: int
) -> float:
    """Return images a second of steps on one batch that is on the device."""
    device = torch.device(options.device)
    batches = examples.batches.shuffled(
        examples.rows, seed=0, epoch=0, batch_size=options.batch_size
    )
    maps, index = next(batches)
    maps = to_device(maps, device, memory_format(module, options.precision))
    targets = torch.from_numpy(examples.targets[index]).to(device)
    optimizer = make_optimizer(module.train(), options, _LR)
    set_training(module, options.batch_norm)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(device, options.precision):
            values = module(maps)
        torch.autograd.backward(nn.functional.cross_entropy(values.float(), targets))
        optimizer.step()

    step()
    finish(options.device)
    start = time.perf_counter()
    for _ in range(steps):
        step()
    finish(options.device)
    return steps * len(index) / (time.perf_counter() - start)
