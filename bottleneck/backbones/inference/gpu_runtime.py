"""Choose how a GPU runs a truncated network: by launches of PyTorch, or by a CUDA graph.

A graph takes away what Python and the driver do for each operation. PyTorch's compiler fuses
operations as well, and takes a minute or so. Neither is trusted: see
`bottleneck.backbones.inference.runtime_choice`.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bottleneck.backbones.inference.graph_replica import GraphReplica, compile_replicas
from bottleneck.backbones.inference.replica import TorchReplica
from bottleneck.backbones.inference.runtime_trial import (
    LEAST_GAIN,
    RuntimeChoice,
    gives_its_codes,
    random_images,
    seconds_of,
    speed_ratio,
)
from bottleneck.backbones.tracing.traced import TracedNetwork
from bottleneck.backbones.user_code import describe_error
from bottleneck.errors import USER_CODE_EXCEPTIONS


class _GpuRuntime(NamedTuple):
    """A runtime of a network on a GPU, beside the launches of PyTorch.

    Attributes
    ----------
    name : str
        For the user.
    runtime : str
        For the shards.
    worth : float
        Seconds of forward passes from which it is tried.
    prepare : callable
        What is done to the replicas before they are recorded.
    """

    name: str
    runtime: str
    worth: float
    prepare: Callable[[Sequence[TorchReplica]], Sequence[TorchReplica]]


# To record takes about a second, to compile about a minute: a fifth of what may become faster.
_GPU_RUNTIMES = (
    _GpuRuntime("CUDA graph", "torch", 5.0, list),
    _GpuRuntime(
        "compiled CUDA graph", f"torch.compile {torch.__version__}", 300.0, compile_replicas
    ),
)


def choose_on_gpu(
    by_torch: Sequence[TorchReplica],
    *,
    batch_size: int,
    images: int,
) -> RuntimeChoice:
    """Choose what runs a network on a GPU; call it in a thread that runs it.

    Parameters
    ----------
    by_torch : sequence of TorchReplica
        The network by PyTorch, one for each thread.
    batch_size : int
        Images of a batch.
    images : int
        Images, each counted once a view, that are to be encoded.

    Returns
    -------
    RuntimeChoice
        A runtime is tried if the forward passes are expected to take the seconds from which it is
        worth a trial. It is taken if it gives the network's codes, and is faster than those before
        it. The note has the seconds of the trial.
    """
    choice, first = RuntimeChoice(by_torch), by_torch[0]
    if not isinstance(first.forward, TracedNetwork):
        return choice
    try:
        batch = random_images(batch_size, first.transform).to(first.device)
        each = seconds_of(first, batch) / batch_size
    except USER_CODE_EXCEPTIONS:  # the run itself says so, or takes smaller batches
        return choice
    devices = len({replica.device for replica in by_torch})
    for candidate in _GPU_RUNTIMES:
        if each * images / devices < candidate.worth:
            break
        choice = _try(candidate, choice, by_torch, batch)
    return choice


def _try(
    candidate: _GpuRuntime,
    best: RuntimeChoice,
    by_torch: Sequence[TorchReplica],
    batch: Tensor,
) -> RuntimeChoice:
    """Return a runtime if its codes are right and it is faster than the best; else the best."""
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's, that TF32 is off
            recorded = [GraphReplica(each, len(batch)) for each in candidate.prepare(by_torch)]
        right = gives_its_codes(recorded[0], by_torch[0])
        gain = speed_ratio(best.replicas[0], recorded[0], batch) if right else 0.0
    except USER_CODE_EXCEPTIONS as error:
        return _stay(best, f"no {candidate.name}, because of {describe_error(error)}")
    seconds = time.perf_counter() - start
    if not right:
        return _stay(best, f"the codes of a {candidate.name} are not those of the network")
    speed = f"{gain:.2f} times as fast in a trial of {seconds:.1f} s"
    if gain < LEAST_GAIN:
        return _stay(best, f"a {candidate.name} is {speed}")
    return RuntimeChoice(recorded, candidate.runtime, f"runtime: {candidate.name}, {speed}")


def _stay(best: RuntimeChoice, why: str) -> RuntimeChoice:
    return RuntimeChoice(best.replicas, best.name, f"{best.note or 'runtime: torch'}; {why}")
