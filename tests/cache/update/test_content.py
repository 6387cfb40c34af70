"""Comparing images with shards; what an update makes of it is tested with `plan`."""

from pathlib import Path

import numpy as np

from bottleneck.cache.store import open_cache
from bottleneck.cache.update.content import compare_content
from bottleneck.data.images import open_images


def test_progress_counts_the_rows_up_to_all(cache: Path, photos: Path) -> None:
    counts: list[tuple[int, int]] = []
    opened, source, rows = open_cache(cache), open_images(photos), np.arange(3, 20)
    compare_content(opened, source, rows, lambda *n: counts.append(n))
    assert counts == [(0, 17), (5, 17), (13, 17), (17, 17)]  # of shards of eight rows
    counts.clear()
    compare_content(opened, source, rows[:0], lambda *n: counts.append(n))
    assert counts == []
