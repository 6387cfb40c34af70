"""Comparing images with shards; what an update makes of it is tested with `plan`."""

from pathlib import Path

import numpy as np

from bottleneck.cache.store import open_cache
from bottleneck.cache.update.content import compare_content
from bottleneck.data.images import open_images
from bottleneck.runtime import Progress


def test_progress_counts_the_rows_up_to_all(cache: Path, photos: Path) -> None:
    told: list[Progress] = []
    opened, source, rows = open_cache(cache), open_images(photos), np.arange(3, 20)
    compare_content(opened, source, rows, told.append)
    of_shards = [0, 5, 13, 17]  # which have eight rows
    assert told == [Progress(done, 17, "images compared") for done in of_shards]
    told.clear()
    compare_content(opened, source, rows[:0], told.append)
    assert told == []
