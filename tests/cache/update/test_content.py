"""Comparing images with shards; what an update makes of it is tested with `plan`."""

from pathlib import Path

import numpy as np
import pytest

from bottleneck.cache.store import open_cache
from bottleneck.cache.update.content import compare_content
from bottleneck.data.images import open_images
from bottleneck.errors import ContainerError
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


def test_a_container_that_changes_meanwhile_says_nothing_about_the_codes_of_its_images(
    cache: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, source = open_cache(cache), open_images(photos)

    def read(*_: object) -> bytes:
        raise ContainerError("a.tar changed while it was in use")

    monkeypatch.setattr(type(source), "read", read)
    with pytest.raises(ContainerError, match="changed while it was in use"):
        compare_content(opened, source, np.arange(3))
