"""Training in several processes, a GPU each, as torchrun starts them: PyTorch's own DDP."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


@contextmanager
def process_group() -> Iterator[None]:
    """Join the processes that torchrun has started, while the block runs; alone, do nothing.

    Each gets the GPU of its local rank.

    Examples
    --------
    >>> with process_group():
    ...     processes()
    1
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or distributed.is_initialized():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def processes() -> int:
    """Return the number of processes that train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Return the number of this process among them."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def share_gradients(module: nn.Module) -> nn.Module:
    """Wrap a module in `DistributedDataParallel`; in a single process, return it."""
    return DistributedDataParallel(module) if distributed.is_initialized() else module


def own_part(count: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the images of this process in an epoch, ascending.

    Each process has the same number, since each step needs all of them. Of images that are left
    over, each epoch leaves out others.

    Parameters
    ----------
    count : int
        Images of an epoch.
    seed, epoch : int

    Examples
    --------
    >>> own_part(4, seed=0, epoch=0)
    array([0, 1, 2, 3])
    """
    size = processes()
    kept = np.random.default_rng((seed, epoch)).permutation(count)[: count - count % size]
    return np.sort(kept)[rank() :: size]


def mean_over_processes(value: Tensor) -> float:
    """Return the mean of a number over all processes: the same in each."""
    if distributed.is_initialized():
        distributed.all_reduce(value)
    return float(value) / processes()


def of_first_process(value: T) -> T:
    """Return a value as the first process has it, so that all decide the same."""
    values = [value]
    if distributed.is_initialized():
        distributed.broadcast_object_list(values)
    return values[0]
