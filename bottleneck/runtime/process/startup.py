"""Settings of a process that runs this program alone, and not as a part of another one."""

import atexit
import gc
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bottleneck.runtime.process.cgroup import cpu_limit
from bottleneck.runtime.process.resources import available_cpus

# Read by PyTorch's OpenMP and by NumPy's OpenBLAS when they are loaded. Threads that wait for work
# spin: by default some 25 ms, now 2¹⁶ ticks of the clock, about 30 µs.
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_THREAD_TIMEOUT": "16"}

_settings = {"configured": False}
_spent = {"importing": 0.0}  # seconds


def configure_process() -> None:
    """Set up a process that runs this program alone, as the command line and its workers do.

    Arithmetic threads then sleep while they wait. By default they spin, which takes the cores from
    the threads that they wait for wherever another process is busy: a search over C took two to
    three times as long. Python's garbage collector skips the objects that exist after the
    imports, since searching them takes more than a second. In a container with a limit of
    processors, PyTorch and NumPy start as many threads as it allows, and not as many as the machine
    has.

    Call it before NumPy and PyTorch are imported. What the environment says of threads stays.
    """
    for name, value in _WAITING.items():
        os.environ.setdefault(name, value)
    if cpu_limit():
        os.environ.setdefault("OMP_NUM_THREADS", str(available_cpus()))
    atexit.register(_end_without_a_search)
    _settings["configured"] = True


def _end_without_a_search() -> None:
    """Hide all objects from the last search for garbage, which takes half a second.

    nanobind prints as leaks what it has bound for Triton and is left: there, let it be found.
    """
    if "triton" in sys.modules:
        gc.unfreeze()
    else:
        gc.freeze()


@contextmanager
def importing() -> Iterator[None]:
    """Import modules in this block without a search for garbage: what they define stays.

    Examples
    --------
    >>> with importing():
    ...     import colorsys
    """
    collects, before, begun = gc.isenabled(), len(sys.modules), time.perf_counter()
    gc.disable()
    try:
        yield
    finally:
        _spent["importing"] += time.perf_counter() - begun
        if _settings["configured"] and len(sys.modules) > before:
            gc.freeze()
        if collects:
            gc.enable()


def import_seconds() -> float:
    """Return the seconds that this process has spent in blocks of `importing`.

    Examples
    --------
    >>> import_seconds() >= 0
    True
    """
    return _spent["importing"]
