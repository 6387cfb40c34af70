"""Measure the seconds that a run spends in its stages, which run in parallel threads."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field


class StageTimer:
    """Seconds spent in each stage, summed over threads.

    Examples
    --------
    >>> timer = StageTimer()
    >>> with timer.measure("decode"):
    ...     pass
    >>> timer.add({"forward": 3.0, "write": 1.0})
    >>> timer.fractions("forward", "write")
    {'forward': 0.75, 'write': 0.25}
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, float]:
        return dict(self.seconds)  # a lock cannot be pickled or copied

    def __setstate__(self, seconds: Mapping[str, float]) -> None:
        StageTimer.__init__(self)
        self.add(seconds)

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

    def drain(self) -> dict[str, float]:
        """Return the seconds of each stage since the last call, and start again from zero."""
        with self._lock:
            seconds, self.seconds = dict(self.seconds), defaultdict(float)
        return seconds

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add seconds that another timer has measured, by stage."""
        with self._lock:
            for stage, spent in seconds.items():
                self.seconds[stage] += spent

    def fractions(self, *stages: str) -> dict[str, float]:
        """Return each stage's fraction of the time of these stages, from 0 to 1."""
        seconds = {stage: self.seconds.get(stage, 0.0) for stage in stages}
        total = sum(seconds.values())
        return {stage: spent / total if total else 0.0 for stage, spent in seconds.items()}


@dataclass
class RunStats:
    """Measurements of a run: the time of each stage, and the batch size that fitted.

    The run passes this object to its parts, and they add to it.

    Attributes
    ----------
    timer : StageTimer
        Seconds of each stage.
    max_batch_size : int or None
        Images that fit into the device's memory at once, if a larger batch did not.

    Examples
    --------
    >>> stats = RunStats()
    >>> stats.merge({"forward": 2.0}, max_batch_size=8)
    >>> stats.max_batch_size
    8
    """

    timer: StageTimer = field(default_factory=StageTimer)
    max_batch_size: int | None = None

    def merge(self, seconds: Mapping[str, float], max_batch_size: int | None) -> None:
        """Add what a part of the run has measured, for example on a worker."""
        self.timer.add(seconds)
        self.max_batch_size = max_batch_size or self.max_batch_size
