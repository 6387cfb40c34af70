"""Measure extraction on a GPU: end to end, the network alone, and decoding alone.

`python -m benchmarks.gpu` runs it.
"""

import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.extraction.stages import (
    Job,
    decode_alone,
    end_to_end,
    forward_each,
    read_some,
    seconds_each,
)
from benchmarks.helpers.synthetic_images import repeat, write_jpegs
from benchmarks.helpers.time_limit import within
from bottleneck.backbones.backbone import load_backbone
from bottleneck.backbones.layers.listing import list_layers, select_layers
from bottleneck.backbones.layers.truncated import TruncatedNetwork
from bottleneck.data.decoding.nvjpeg import nvjpeg_obstacle
from bottleneck.runtime.devices import choose_device
from bottleneck.runtime.process.resources import available_cpus

_IN_MEMORY = Path("/dev/shm")
_SPACE_FACTOR, _JPEG_BYTES = 4, 64 << 10  # more space than the images take: caches come too
_PASSES_QUEUED = 10  # forward passes in the device's queue before a synchronisation


@dataclass(frozen=True)
class Profile:
    """How much is measured.

    Attributes
    ----------
    networks : tuple of (str, str)
        Models and layers.
    batches : tuple of int
        Images in a forward pass.
    drawn, most, few : int
        Different images; most images of a run (the others are links); images of a warm-up run.
    work : float
        Target seconds of a run, as far as `most` allows.
    seconds : float
        For which a stage alone is measured.
    limit : float
        Seconds after which no further row begins.
    transform : dict
        Fields of `bottleneck.InputTransform` that replace the networks' own.
    """

    networks: tuple[tuple[str, str], ...] = (("resnet50", "layer4"), ("resnet18", "layer4"))
    batches: tuple[int, ...] = (64, 256)
    drawn: int = 2048
    most: int = 30_000
    few: int = 512
    work: float = 8.0
    seconds: float = 3.0
    limit: float = 75.0
    transform: dict[str, Any] = field(default_factory=dict)

    def job(self, model: str, layer: str, device: str) -> Job:
        """Return the job of a network, without a precision of its own."""
        return Job(model, (layer,), "auto", device=device, transform=self.transform)


FULL = Profile()
QUICK = Profile(
    networks=(("resnet18", "layer4"),),
    batches=(2, 4),
    drawn=6,
    most=8,
    few=4,
    work=0.0,
    seconds=0.0,
    transform={"resize": 64, "crop": 64},
)


def measure(profile: Profile, device: str) -> Iterator[str]:
    """Yield the lines of a table as soon as they are known."""
    with _places(profile) as places:
        drawn = {
            name: write_jpegs(place / "drawn", profile.drawn) for name, place in places.items()
        }
        yield (
            f"Generated JPEGs of 500 × 375, {profile.drawn} different ones and links to them, on "
            f"{' and in '.join(places)}, the disk's in the system's file cache; `extract` with "
            "random weights into a new cache, the network's loading included. *Network* runs on "
            "random images that lie on the device in its precision; *forward* is what the encoder "
            "does with decoded pixels in the host's memory; *decoding* is decoding and resizing "
            f"from memory, on {available_cpus()} cores. The share is that of the smaller of "
            "network and decoding; where the card decodes, of the network. No row is begun after "
            f"{profile.limit:g} s.\n\n"
            "| network | decoder | images from | precision | batch | images | end to end, images/s "
            "| network | forward | decoding | share |\n"
            "|---|---|---|---|---|---|---|---|---|---|---|"
        )
        yield from within(profile.limit, _rows(profile, device, places, drawn))


def network_alone(job: Job, *, at_least: float) -> float:
    """Return seconds per image of the truncated network on images already on the device."""
    backbone = load_backbone(job.model, "none", transform=dict(job.transform))
    crop, dtype = backbone.transform.crop, getattr(torch, job.precision)
    layers = select_layers(list_layers(backbone.network, crop), job.layers)
    network: Any = backbone.network.to(job.device, dtype)
    tap = TruncatedNetwork(network.to(memory_format=torch.channels_last), layers, pool=job.pool)
    images: Any = torch.randn((job.batch or 1, 3, crop, crop), device=job.device).to(dtype)
    images = images.to(memory_format=torch.channels_last)

    def once() -> int:
        for _ in range(_PASSES_QUEUED):
            tap(images)
        if job.device.startswith("cuda"):
            torch.cuda.synchronize(job.device)
        return _PASSES_QUEUED * len(images)

    return seconds_each(once, at_least=at_least)


def _rows(
    profile: Profile, device: str, places: dict[str, Path], drawn: dict[str, list[Path]]
) -> Iterator[str]:
    """Yield a row for each network, batch size, folder and decoder."""
    data = read_some(drawn["disk"], profile.drawn)
    for model, layer in profile.networks:
        asked = profile.job(model, layer, device)
        transform = load_backbone(model, "none", transform=dict(asked.transform)).transform
        decode = decode_alone(data, transform, at_least=profile.seconds)
        with _repeated(drawn["disk"], places["disk"], profile.few) as few:
            chosen = end_to_end(asked, few).precision  # and what is done at first use
        for batch in profile.batches:
            job = dataclasses.replace(asked, precision=chosen, batch=batch)
            network = network_alone(job, at_least=profile.seconds)
            through = forward_each(job, at_least=profile.seconds)
            for place, decoder in _sources(places, device, first=batch == profile.batches[0]):
                slower = network if decoder == "gpu" else max(network, decode)
                count = min(max(round(profile.work / slower), profile.few), profile.most)
                with _repeated(drawn[place], places[place], count) as images:
                    ran = end_to_end(_job_of(asked, decoder, batch), images)
                yield (
                    f"| {model}, {layer} | {decoder} | {place} | {ran.precision} | {batch} "
                    f"| {ran.images} | {ran.rate:.0f} | {1 / network:.0f} | {1 / through:.0f} "
                    f"| {1 / decode:.0f} | {ran.rate * slower:.2f} |"
                )


def _sources(places: dict[str, Path], device: str, *, first: bool) -> list[tuple[str, str]]:
    """Return the folders to extract from, and the decoders, at a batch size.

    Disk and memory are compared at one batch size; batch sizes and decoders in memory.
    """
    memory = list(places)[-1]
    if first:
        return [(place, "exact") for place in places]
    on_card = [] if nvjpeg_obstacle(choose_device(device)) else [(memory, "gpu")]
    return [(memory, "exact"), *on_card]


def _job_of(asked: Job, decoder: str, batch: int) -> Job:
    transform = asked.transform | {"decoder": decoder}
    return dataclasses.replace(asked, batch=batch, runtime="auto", transform=transform)


@contextmanager
def _places(profile: Profile) -> Iterator[dict[str, Path]]:
    """Make a folder on disk, and one in memory where there is enough of it."""
    with ExitStack() as stack:
        found = {"disk": Path(stack.enter_context(TemporaryDirectory()))}
        needed = _SPACE_FACTOR * _JPEG_BYTES * profile.drawn
        if _IN_MEMORY.is_dir() and shutil.disk_usage(_IN_MEMORY).free > needed:
            found["memory"] = Path(stack.enter_context(TemporaryDirectory(dir=_IN_MEMORY)))
        yield found


@contextmanager
def _repeated(drawn: Sequence[Path], place: Path, count: int) -> Iterator[Path]:
    """Make a temporary folder of `count` images."""
    with TemporaryDirectory(dir=place) as folder:
        repeat(drawn, Path(folder) / "images", count)
        yield Path(folder) / "images"
