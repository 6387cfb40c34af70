"""Resources of this machine that a process may use: CPUs and memory."""

import math
import os

from bottleneck.runtime.process.cgroup import cpu_limit, free_memory


def available_cpus() -> int:
    """Count the CPUs that this process may use.

    Those that the system allows it, or fewer where its container has a limit, or where
    ``OMP_NUM_THREADS`` says so, as torchrun, Dask and batch scripts tell a process how many threads
    it may have.

    Examples
    --------
    >>> available_cpus() >= 1
    True
    """
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    allowed = min(allowed, math.ceil(cpu_limit() or allowed))
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(allowed, int(asked)) if asked.isdecimal() and int(asked) else allowed


def available_memory() -> int:
    """Return the bytes of free memory: this machine's, or less within a container's or job's limit.

    Examples
    --------
    >>> available_memory() > 0
    True
    """
    import psutil

    free, within_limit = int(psutil.virtual_memory().available), free_memory()
    return free if within_limit is None else min(free, within_limit)


def spare_memory() -> int:
    """Return how many bytes a training may take by default: half of the free memory.

    Examples
    --------
    >>> 0 < spare_memory() <= available_memory()
    True
    """
    return available_memory() // 2
