"""A stopwatch for the stages of a pipeline that run side by side."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
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

    def shares(self, *stages: str) -> dict[str, float]:
        """Each stage's part of the time that these stages took together, 0…1."""
        total = sum(self.seconds[stage] for stage in stages)
        return {stage: self.seconds[stage] / total if total else 0.0 for stage in stages}
