"""A stopwatch for the stages of a pipeline that run side by side."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class StageTimer:
    """Seconds spent in each stage, added up over threads."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time that the block takes to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - start
            with self._lock:
                self.seconds[stage] += elapsed

    def take(self) -> dict[str, float]:
        """The seconds of each stage since the last time, and begin anew."""
        with self._lock:
            seconds, self.seconds = dict(self.seconds), defaultdict(float)
        return seconds

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add what another clock has measured."""
        with self._lock:
            for stage, spent in seconds.items():
                self.seconds[stage] += spent

    def shares(self, *stages: str) -> dict[str, float]:
        """Each stage's part of the time that these stages took together, 0…1."""
        seconds = {stage: self.seconds.get(stage, 0.0) for stage in stages}
        total = sum(seconds.values())
        return {stage: spent / total if total else 0.0 for stage, spent in seconds.items()}


def slowest_stage(clock: StageTimer) -> str:
    """The stage of an extraction that the others wait for.

    Parameters
    ----------
    clock : StageTimer
        With the stages ``read`` and ``decode``, ``forward`` and ``wait`` (what the network's
        threads spend on getting images), and ``blocked`` (waiting for the writer).

    Returns
    -------
    str
        ``"read"``, ``"decode"``, ``"forward"`` or ``"write"``.
    """
    shares = clock.shares("wait", "forward", "blocked")
    # Where the writer keeps up nobody ever waits for it, so that a fifth is much. For images a
    # network on the CPU always waits a little, with decoding on the same cores: half is much.
    if shares["blocked"] > 0.2:
        return "write"
    if shares["wait"] > 0.5:
        decoding = clock.shares("read", "decode")
        return "read" if decoding["read"] > decoding["decode"] else "decode"
    return "forward"
