"""Compare runtimes on random images: their codes and their speed."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Semaphore

import torch
from torch import Tensor

from bottleneck.backbones.inference.replica import Replica, TorchReplica
from bottleneck.backbones.probing.agreement import are_close
from bottleneck.backbones.tracing.traced import TracedNetwork
from bottleneck.input_transform import InputTransform

LEAST_GAIN = 1.05  # times as fast; below it, a difference may be chance
_TURNS = 3  # of both at most, for the quickest pass of each
_SECONDS = 3.0  # after which no further turn begins: a long pass is timed well enough by one


@dataclass(frozen=True)
class RuntimeChoice:
    """The runtime that was chosen for a network, and why.

    Attributes
    ----------
    replicas : sequence of Replica
        One for each thread; one that several threads may call at a time is there several times.
    name : str
        ``"torch"``, or the other runtime that computes the codes, with its version.
    note : str
        The reason, for the user; empty if there was nothing to choose.
    turns : dict of Replica to Semaphore
        A semaphore to hold while a replica is called. It admits as many threads as the replica
        occurs in `replicas`.
    """

    replicas: Sequence[Replica]
    name: str = "torch"
    note: str = ""
    turns: dict[Replica, Semaphore] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        turns = {replica: Semaphore(times) for replica, times in Counter(self.replicas).items()}
        object.__setattr__(self, "turns", turns)


def random_images(count: int, transform: InputTransform) -> Tensor:
    """Return random pixels of the size that a network gets, the same at each call."""
    noise = torch.Generator("cpu").manual_seed(0)
    shape = (count, transform.crop, transform.crop, 3)
    return torch.randint(256, shape, dtype=torch.uint8, generator=noise, device="cpu")


def gives_its_codes(other: Replica, by_torch: TorchReplica) -> bool:
    """Return whether another way to run a network gives its codes of two random images.

    Parameters
    ----------
    other : Replica
    by_torch : TorchReplica
        The network traced, in the same precision.

    Raises
    ------
    Exception
        Whatever running it raises.
    """
    assert isinstance(by_torch.forward, TracedNetwork)  # no other is run in another way
    images = random_images(2, by_torch.transform)
    rounded, codes = _tensors(by_torch, images), _tensors(other, images)
    unchanged, cpu = by_torch.forward.truncated, torch.device("cpu")
    exact = TorchReplica(unchanged, by_torch.transform, torch.float32, cpu)
    return are_close(_tensors(exact, images), codes, by_torch.dtype, rounded=rounded)


def seconds_of(replica: Replica, images: Tensor) -> float:
    """Return the time of the quicker of two passes; the first one takes memory."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        replica(images)
        times.append(time.perf_counter() - start)
    return min(times)


def speed_ratio(one: Replica, other: Replica, images: Tensor) -> float:
    """Return how many times as fast as the first the second is, by one turn or more of both."""
    pairs: list[tuple[float, float]] = []
    start = time.perf_counter()
    while len(pairs) < _TURNS and (not pairs or time.perf_counter() - start < _SECONDS):
        pairs.append((seconds_of(one, images), seconds_of(other, images)))
    return min(first for first, _ in pairs) / min(second for _, second in pairs)


def _tensors(replica: Replica, images: Tensor) -> dict[str, Tensor]:
    return {layer: torch.from_numpy(code) for layer, code in replica(images).items()}
