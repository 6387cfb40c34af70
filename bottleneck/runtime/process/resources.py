"""Resources of this machine that a process may use: CPUs and memory."""

import os


def available_cpus() -> int:
    """Count the CPUs that this process may use.

    Those that the system allows it, or fewer where ``OMP_NUM_THREADS`` says so, as torchrun, Dask
    and batch scripts tell a process how many threads it may have.

    Examples
    --------
    >>> available_cpus() >= 1
    True
    """
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(allowed, int(asked)) if asked.isdecimal() and int(asked) else allowed


def spare_memory() -> int:
    """Return how many bytes a training may take by default: half of the free memory.

    Examples
    --------
    >>> spare_memory() > 0
    True
    """
    import psutil

    return int(psutil.virtual_memory().available) // 2
