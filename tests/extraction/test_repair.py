import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bottleneck.cache.store import open_cache
from bottleneck.cache.verify import verify
from bottleneck.errors import (
    BackboneError,
    CacheError,
    DiskSpaceError,
    ImagesNotFoundError,
    SpecMismatchError,
    UntrustedCodeError,
)
from bottleneck.extraction.repair import repair
from tests.helpers.fixture_types import Extract
from tests.helpers.shards import flip, missing_shards, reasons


def by_index(cache: Path, layer: str) -> Any:
    with h5py.File(cache / "codes.h5") as index:
        return index[layer][...]


def both_layers(cache: Path) -> dict[str, Any]:
    return {layer: by_index(cache, layer) for layer in ("layer2", "layer3")}


def table(cache: Path) -> list[list[str]]:
    with (cache / "images.csv").open(newline="") as file:
        return list(csv.reader(file))[1:]


def test_repair_makes_again_only_what_is_bad(cache: Path, photos: Path) -> None:
    before = both_layers(cache)
    found = open_cache(cache)
    with h5py.File(found.shard_path("layer2", 1), "r+") as file:
        file["codes"][0, 0] += 1
    found.shard_path("layer3", 4).unlink()
    flip(cache / "codes.h5", 3000)
    foreign = cache / "codes" / "layer3" / "notes.txt"
    foreign.write_text("dear to somebody")
    repaired = repair(cache, photos)
    bad, done = repaired.problems, repaired.extraction
    assert {item.file for item in bad if item.shard is not None} == {
        "codes/layer2/00001.h5",
        "codes/layer3/00004.h5",
    }
    assert done.rows == 8 + 4
    assert list(reasons(cache)) == ["codes/layer3/notes.txt"]
    assert foreign.read_text() == "dear to somebody"
    for layer, expected in before.items():
        np.testing.assert_allclose(by_index(cache, layer), expected, rtol=1e-6)


def test_a_shard_is_made_again_in_the_caches_own_pooling_and_without_its_relu(
    photos: Path, extract_tiny: Extract
) -> None:
    cache = extract_tiny(photos, pool="max", relu=False).cache
    before = by_index(cache.path, "layer2")
    cache.shard_path("layer2", 1).unlink()
    assert repair(cache, photos).extraction.rows == 8
    np.testing.assert_allclose(by_index(cache.path, "layer2"), before, rtol=1e-6)


def test_a_disk_that_is_too_small_is_refused_unless_that_is_forced(
    cache: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: usage)
    found = open_cache(cache)
    found.shard_path("layer2", 1).unlink()
    with pytest.raises(DiskSpaceError):
        repair(cache, photos)
    assert missing_shards(found, "layer2") == [1]
    assert repair(cache, photos, force=True).extraction.rows == 8
    assert verify(cache).ok


def _edit_spec(cache: Path) -> None:
    plan = json.loads((cache / "spec.json").read_text())
    plan["spec"]["pool"] = "max"
    (cache / "spec.json").write_text(json.dumps(plan))


def _edit_source(cache: Path) -> None:
    plan = json.loads((cache / "spec.json").read_text())
    plan["source"]["model"] = "resnet18"
    (cache / "spec.json").write_text(json.dumps(plan))


def _lose_spec(cache: Path) -> None:
    (cache / "spec.json").unlink()


def _empty_spec(cache: Path) -> None:
    (cache / "spec.json").write_bytes(b"")


def _edit_label(cache: Path) -> None:
    path = cache / "images.csv"
    path.write_bytes(path.read_bytes().replace(b",ants,", b",bees,", 1))


def _edit_time(cache: Path) -> None:
    flip(cache / "images.csv", -5)


def _lose_table(cache: Path) -> None:
    (cache / "images.csv").unlink()


def _lose_lines(cache: Path) -> None:
    path = cache / "images.csv"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-3]))


def _lose_both(cache: Path) -> None:
    _lose_spec(cache)
    _lose_table(cache)


LOSSES: dict[Callable[[Path], None], list[str]] = {
    _edit_spec: ["spec.json"],
    _edit_source: ["spec.json"],
    _lose_spec: ["spec.json"],
    _empty_spec: ["spec.json"],
    _edit_label: ["images.csv"],
    _edit_time: ["images.csv"],
    _lose_table: ["images.csv"],
    _lose_lines: ["images.csv"],
    _lose_both: ["spec.json", "images.csv"],
}


@pytest.mark.parametrize(
    "lose",
    [
        pytest.param(
            lose,
            marks=[pytest.mark.slow] if lose in (_edit_source, _lose_spec, _lose_table) else [],
        )
        for lose in LOSSES  # the slow ones are like another, or two of them
    ],
    ids=lambda lose: lose.__name__[1:],
)
def test_the_small_files_come_back_from_the_shards_without_a_forward_pass(
    lose: Callable[[Path], None], cache: Path, photos: Path
) -> None:
    before = both_layers(cache)
    spec, rows = (cache / "spec.json").read_bytes(), table(cache)
    shards = {path: path.stat().st_ino for path in cache.rglob("0*.h5")}
    lose(cache)
    found = reasons(cache)
    assert list(found) == LOSSES[lose]
    assert all("\n" not in why and why for why in found.values())
    with pytest.raises(CacheError):
        open_cache(cache)
    repaired = repair(cache, photos)
    bad, done = repaired.problems, repaired.extraction
    assert [item.file for item in bad] == LOSSES[lose]
    assert done.rows == 0
    assert verify(cache).ok
    assert (cache / "spec.json").read_bytes() == spec
    assert table(cache) == rows
    assert {path: path.stat().st_ino for path in cache.rglob("0*.h5")} == shards
    for layer, codes in before.items():
        np.testing.assert_array_equal(by_index(cache, layer), codes)


@pytest.mark.parametrize("images", ["absent", "other"])
def test_no_table_is_restored_from_other_images(cache: Path, tmp_path: Path, images: str) -> None:
    shutil.copytree(tmp_path / "photos" / "val" / "ants", tmp_path / "other")
    _lose_table(cache)
    with pytest.raises((ImagesNotFoundError, SpecMismatchError), match=images):
        repair(cache, tmp_path / images)
    assert list(reasons(cache)) == ["images.csv"]


def test_a_repair_that_fails_later_leaves_splits_and_no_image_that_is_gone(
    cache: Path, photos: Path
) -> None:
    gone = photos / "train" / "bees" / "bees000.jpg"
    gone.unlink()
    expected = [row[:4] for row in table(cache) if row[0] != "train/bees/bees000.jpg"]
    _lose_table(cache)
    with pytest.raises(BackboneError):
        repair(cache, photos, model="absent.py:build")
    found = open_cache(cache).images
    rows = np.flatnonzero(found.exists).tolist()
    assert [[column[row] for column in found.texts] for row in rows] == expected


def test_a_lost_table_and_an_image_that_changed_since_give_its_shard_again(
    cache: Path, photos: Path
) -> None:
    changed = photos / "train" / "bees" / "bees000.jpg"
    shutil.copy(photos / "train" / "ants" / "ants000.jpg", changed)
    (cache / "images.csv").unlink()
    done = repair(cache, photos).extraction
    assert done.rows == 8
    assert verify(cache).ok
    codes = by_index(cache, "layer2")
    names = [row[0] for row in table(cache)]
    np.testing.assert_allclose(
        codes[names.index("train/bees/bees000.jpg")],
        codes[names.index("train/ants/ants000.jpg")],
        rtol=1e-5,
    )


def test_a_lost_table_and_a_lost_shard_lose_no_image(cache: Path, photos: Path) -> None:
    names = {row[0] for row in table(cache)}
    for layer in ("layer2", "layer3"):
        (cache / "codes" / layer / "00001.h5").unlink()
    (cache / "images.csv").unlink()
    repair(cache, photos)
    assert verify(cache).ok
    found = open_cache(cache)
    usable = found.valid_rows("layer2")
    assert {found.images.path[row] for row in np.flatnonzero(usable).tolist()} == names
    assert len(found.images) == 36 + 8


def test_a_cache_without_intact_shards_cannot_be_restored(cache: Path, photos: Path) -> None:
    shutil.rmtree(cache / "codes")
    with pytest.raises(CacheError, match="has no codes of any layer"):
        repair(cache, photos)
    _edit_spec(cache)
    with pytest.raises(CacheError, match=r"spec\.json was edited"):
        repair(cache, photos)
    (cache / "codes" / "layer2").mkdir(parents=True)
    with pytest.raises(CacheError, match=r"makes it again if any shard is sound"):
        verify(cache)


def test_a_cache_of_another_version_is_not_taken_for_a_damaged_one(
    cache: Path, photos: Path
) -> None:
    for shard in cache.rglob("0*.h5"):
        shard.write_bytes(shard.read_bytes()[2048:])  # without its envelope
    spec = cache / "spec.json"
    spec.write_text(spec.read_text().replace('"format_version": 3', '"format_version": 1'))
    for act in (lambda: verify(cache), lambda: repair(cache, photos)):
        with pytest.raises(CacheError, match=r"version 1; this program reads.* 2 and 3: "):
            act()


def test_code_in_a_cache_is_not_run_by_a_repair_unless_it_was_named(
    cache: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "somebody else"))
    (cache / "codes" / "layer2" / "00000.h5").unlink()
    model = open_cache(cache).reference.model
    with pytest.raises(
        UntrustedCodeError, match=r"tiny_networks\.py:plain: if you trust that file"
    ):
        repair(cache, photos)
    assert repair(cache, photos, model=model).extraction.rows == 8
    (cache / "codes" / "layer2" / "00000.h5").unlink()
    assert repair(cache, photos).extraction.rows == 8  # named once


def test_a_shard_of_another_cache_is_found_and_made_again(
    cache: Path, photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    before = both_layers(cache)
    other = tmp_path / "elsewhere"
    shutil.copytree(photos, other)
    for path in other.rglob("*.jpg"):
        os.utime(path, ns=(1, 1))
    foreign = extract_tiny(other, tmp_path / "foreign", layers=["layer2"]).cache
    shutil.copy(foreign.shard_path("layer2", 3), cache / "codes" / "layer2")
    assert reasons(cache) == {"codes/layer2/00003.h5": "of another cache"}
    assert repair(cache, photos).extraction.rows == 8
    assert verify(cache).ok
    for layer, codes in before.items():
        np.testing.assert_allclose(by_index(cache, layer), codes, rtol=1e-6)
