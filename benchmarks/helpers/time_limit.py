"""End a table when its time is over."""

import time
from collections.abc import Iterator


def within(seconds: float, rows: Iterator[str]) -> Iterator[str]:
    """Yield rows as they are measured, of which none is begun after so many seconds."""
    end = time.perf_counter() + seconds
    for row in rows:
        yield row
        if time.perf_counter() > end:
            return
