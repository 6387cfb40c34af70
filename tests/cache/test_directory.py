import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bottleneck.cache.directory import REMOVED
from bottleneck.cache.format.shard import open_shard
from bottleneck.cache.store import (
    open_cache,
)
from bottleneck.cache.verify import verify
from bottleneck.errors import ShardError
from tests.helpers.format_reader import Reader
from tests.helpers.shards import forge, missing_shards, reasons


def test_a_cache_has_layers_shards_and_rows(cache: Path) -> None:
    found = open_cache(cache)
    assert (found.layers, found.shard_count) == (["layer2", "layer3"], 5)  # 36 images, 8 a shard
    assert [len(found.rows(shard)) for shard in range(5)] == [8, 8, 8, 8, 4]
    assert missing_shards(found, "layer2") == []
    assert len(found.images) == 36


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other layer"])
def test_a_damaged_shard_is_missing(cache: Path, damage: str) -> None:
    found = open_cache(cache)
    path = found.shard_path("layer2", 1)
    if damage == "other layer":
        shutil.copy(found.shard_path("layer3", 1), path)
    else:
        whole = path.read_bytes()
        path.write_bytes({"cut": whole[:2000], "empty": b"", "text": b"text"}[damage])
    assert missing_shards(found, "layer2") == [1]


def test_a_shard_that_must_not_be_read_is_not_missing(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = open_cache(cache)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PermissionError, match=r"Permission denied: '.*codes/layer2/0000\d\.h5'"):
        found.finished_shards("layer2")


def test_a_shard_must_hold_the_rows_and_images_of_its_number(cache: Path) -> None:
    found = open_cache(cache)
    path = found.shard_path("layer2", 4)
    rows, images = range(32, 36), found.images.path[32:36]
    with open_shard(path) as shard:
        found.verify_open("layer2", 4, shard)
        shard.require_images(rows, images)
        for other in (range(31, 35), range(35, 31, -1), range(32, 35), range(32, 40)):
            with pytest.raises(ShardError, match=r"00004\.h5 holds other rows than"):
                shard.require_images(other, images)
        for others in (images[::-1], images[:3], [*images[:3], "other.jpg"]):
            with pytest.raises(ShardError, match=r"00004\.h5 holds other images than images\.csv"):
                shard.require_images(rows, others)


def test_a_shard_of_a_run_without_an_image_that_is_there_is_missing(cache: Path) -> None:
    path = open_cache(cache).shard_path("layer2", 1)

    def without_row_11(shard: Any) -> None:
        shard["valid"][3], shard["reason"][3] = False, REMOVED

    forge(path, hdf5=without_row_11, header=lambda header: header.update(rejected={"3": REMOVED}))
    found = open_cache(cache)
    assert missing_shards(found, "layer2") == [1]
    assert [rows.start for rows, _ in Reader(cache).done("layer2")] == [0, 16, 24, 32]
    why = "intact, and has an image as removed that is there"
    assert reasons(cache) == {"codes/layer2/00001.h5": why}
    line = "missing: 1 of 5 shards of layer2: run the same `bottleneck.extract` again"
    assert str(verify(cache)) == line  # it is not damaged
    size = found.images.size.copy()
    size[11] = -1
    replace(found.images, size=size).write_csv(cache / "images.csv")
    assert missing_shards(open_cache(cache), "layer2") == []  # it is removed


def test_rows_are_divided_among_their_shards(cache: Path) -> None:
    found, rows = open_cache(cache), np.array([0, 7, 8, 33, 35])
    divided = [(n, rows[part].tolist(), at.tolist()) for n, part, at in found.by_shard(rows)]
    assert divided == [(0, [0, 7], [0, 7]), (1, [8], [0]), (4, [33, 35], [1, 3])]
    assert not list(found.by_shard(rows[:0]))


def test_shards_without_a_file_are_found_by_their_names(cache: Path) -> None:
    found = open_cache(cache)
    assert found.absent_shards("layer2") == set()
    assert found.absent_shards("fc") == {0, 1, 2, 3, 4}  # a layer that was not begun
    found.shard_path("layer2", 1).write_bytes(b"")  # only the name counts
    found.shard_path("layer2", 3).unlink()
    assert found.absent_shards("layer2") == {3}
    assert not found.is_full(["layer3", "layer2"])
    assert found.is_full(["layer3"])
