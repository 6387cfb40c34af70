"""Measure ways to run a network on a GPU: a hand-written loop, compiled or not, and ours.

`python -m benchmarks.gpu` runs it.
"""

import dataclasses
import time
import warnings
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from benchmarks.extraction.stages import Job, forward_alone, make_encoder, seconds_each
from benchmarks.gpu.extraction import FULL, QUICK, Profile
from bottleneck.backbones.inference.graph_replica import GraphReplica, compile_replicas
from bottleneck.backbones.inference.replica import Replica, TorchReplica
from bottleneck.backbones.inference.runtime_trial import RuntimeChoice
from bottleneck.backbones.layers.truncated import Forward
from bottleneck.errors import USER_CODE_EXCEPTIONS, format_error
from bottleneck.extraction.encoding.encoder import Encoder

__all__ = ["FULL", "QUICK", "measure"]

_PASSES_QUEUED = 10  # forward passes in the device's queue before a synchronisation

_HEADER = """\
A loop runs on one normalised batch on the device; ours in two threads, on pixels in the host's
memory.

| network | precision | batch | how | images/s | seconds to make it |
|---|---|---|---|---|---|"""


def measure(profile: Profile, device: str) -> Iterator[str]:
    """Yield the lines of a table as soon as they are known."""
    (model, layer), *_ = profile.networks
    job = profile.job(model, layer, device)
    job = dataclasses.replace(job, precision="bfloat16", batch=profile.batches[-1])
    yield _HEADER
    yield from _rows(job, at_least=profile.seconds)


def _rows(job: Job, *, at_least: float) -> Iterator[str]:
    """Yield a row for each way as soon as it is known.

    A loop runs on one normalised batch that lies on the device. Ours runs in two threads on
    batches of pixels in the host's memory, normalisation and copies included.

    Parameters
    ----------
    job : Job
        The network, its precision, the batch size and the device.
    at_least : float
        Seconds for which each is measured.
    """
    encoder = make_encoder(job)
    by_torch = [each for each in encoder.runner.runtime.replicas if isinstance(each, TorchReplica)]
    batch, forward = job.batch or encoder.runner.default_batch_size, by_torch[0].forward

    def loop(prepare: Callable[[Forward], Forward]) -> float:
        run = prepare(forward)
        return seconds_each(_passes(run, by_torch[0], batch), at_least=at_least)

    def ours(prepare: Callable[[], Sequence[Replica]]) -> float:
        _install(encoder, prepare)
        return forward_alone(encoder, batch, at_least=at_least)

    ways: dict[str, Callable[[], float]] = {
        "a loop": lambda: loop(lambda plain: plain),
        "ours, by PyTorch's launches": lambda: ours(lambda: by_torch),
    }
    if job.device.startswith("cuda"):
        ways |= {
            "ours, CUDA graph": lambda: ours(lambda: [GraphReplica(r, batch) for r in by_torch]),
            "a loop, compiled": lambda: loop(lambda _: compile_replicas(by_torch)[0].forward),
            "ours, compiled CUDA graph": lambda: ours(
                lambda: [GraphReplica(r, batch) for r in compile_replicas(by_torch)]
            ),
        }
    for name, seconds in ways.items():
        yield f"| {job.model} | {job.precision} | {batch} | {name} | {_cells(seconds, at_least)} |"


def _cells(seconds: Callable[[], float], at_least: float) -> str:
    """Return the rate, and the time that was not spent on measuring it; or why there is none."""
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's, that TF32 is off
            each = seconds()
    except USER_CODE_EXCEPTIONS as error:  # without Triton, say
        return f"not available ({format_error(error)[:100]}) | "
    return f"{1 / each:.0f} | {max(0.0, time.perf_counter() - start - at_least):.1f}"


def _passes(run: Forward, replica: TorchReplica, batch: int) -> Callable[[], int]:
    crop = replica.transform.crop
    images = torch.randn((batch, 3, crop, crop), device=replica.device).to(replica.dtype)
    images = images.to(memory_format=torch.channels_last)

    def once() -> int:
        with torch.inference_mode():
            for _ in range(_PASSES_QUEUED):
                run(images)
        _synchronize(images)
        return _PASSES_QUEUED * len(images)

    return once


def _synchronize(images: Tensor) -> None:
    if images.is_cuda:
        torch.cuda.synchronize(images.device)


def _install(encoder: Encoder, prepare: Callable[[], Sequence[Replica]]) -> None:
    """Let an encoder run its network by other replicas, made under its own settings."""
    with encoder.runner.threads() as pool:
        replicas = pool.submit(prepare).result()
    encoder.runner.runtime = RuntimeChoice(replicas)
