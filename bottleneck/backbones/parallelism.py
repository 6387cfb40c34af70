"""How work is divided: images of a batch, batches at a time on a device, threads of each."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bottleneck.runtime import available_cpus

_MAX_CPU_BATCHES = 16  # more threads would wait for Python's lock rather than for a core
_BATCHES_PER_GPU = 2


def images_within(budget: int, largest: int, *, most: int) -> int:
    """Return the largest power of two of images whose largest maps fit into a budget.

    Parameters
    ----------
    budget : int
        Most that the maps may take, in bytes or values.
    largest : int
        What the largest map of one image takes.
    most : int
        Images, at most. The least is one.

    Examples
    --------
    >>> [images_within(2000, largest, most=64) for largest in (1, 400, 5000)]
    [64, 4, 1]
    """
    return min(1 << max(0, (budget // largest).bit_length() - 1), most)


def batches_at_a_time(device: torch.device) -> int:
    """Return how many batches are computed at a time on a device.

    Parameters
    ----------
    device : torch.device
        On a CPU each core computes one.

    Examples
    --------
    >>> batches_at_a_time(torch.device("cuda", 0))
    2
    """
    if device.type == "cuda":
        return _BATCHES_PER_GPU
    return min(available_cpus(), _MAX_CPU_BATCHES)


def threads_of_a_batch(batches: int) -> int:
    """Return with how many threads a CPU computes each of the batches that share its cores.

    Parameters
    ----------
    batches : int
        Batches at a time.

    Examples
    --------
    >>> threads_of_a_batch(10_000)
    1
    """
    return max(1, available_cpus() // batches)


def use_all_cpus(batches: int) -> bool:
    """Return whether batches, each computed by a thread at least, leave no CPU core idle.

    Parameters
    ----------
    batches : int
        Batches at a time.

    Examples
    --------
    >>> use_all_cpus(10_000)
    True
    """
    return batches >= available_cpus()


@contextmanager
def arithmetic_threads(count: int) -> Iterator[None]:
    """Let the operations of this thread use a number of threads until the block ends.

    Parameters
    ----------
    count : int
        Threads of one operation.

    Examples
    --------
    >>> with arithmetic_threads(1):
    ...     torch.get_num_threads()
    1
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
