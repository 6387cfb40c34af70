import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bottleneck.cache.store import open_cache
from bottleneck.cache.verify import verify
from bottleneck.errors import ShardError
from tests.helpers.fixture_types import Extract
from tests.helpers.shards import flip, forge, reasons


def test_verify_reports_each_kind_of_damage(cache: Path) -> None:
    found = open_cache(cache)
    assert verify(cache).ok
    found.shard_path("layer2", 0).unlink()
    with h5py.File(found.shard_path("layer2", 1), "r+") as file:
        file["codes"][3, 3] += 1
    shutil.copy(found.shard_path("layer3", 2), found.shard_path("layer2", 2))
    flip(found.shard_path("layer2", 3), 100)
    cut = found.shard_path("layer2", 4)
    cut.write_bytes(cut.read_bytes()[:-1])
    (cache / "codes" / "layer2" / "00099.h5").write_bytes(b"")
    flip(cache / "codes.h5", 3000)
    bad = {name.split("/")[-1]: why for name, why in reasons(cache).items()}
    assert bad["00000.h5"] == "missing"
    assert bad["00001.h5"] == "its bytes are not those that were written (sha256 differs)"
    assert bad["00002.h5"] == "of another spec or layer (layer3)"
    assert bad["00003.h5"] == "its header is not that which was written (sha256 differs)"
    assert bad["00004.h5"].startswith("has ")
    assert bad["00099.h5"] == "not a shard of the plan: remove it by hand"
    assert bad["codes.h5"].startswith("its bytes are not those that were written")
    assert len(bad) == 7


@pytest.mark.parametrize("column", ["path", "label", "valid", "image_sha256", "codes"])
def test_a_column_of_another_length_is_found_in_a_shard_that_was_forged(
    column: str, cache: Path
) -> None:
    def shorten(file: Any) -> None:
        short = file[column][:-1]
        del file[column]
        file[column] = short

    forge(open_cache(cache).shard_path("layer2", 1), hdf5=shorten)
    assert list(reasons(cache)) == ["codes/layer2/00001.h5"]


@pytest.mark.parametrize("position", range(10))
def test_a_changed_byte_is_found_at_any_offset(cache: Path, position: int) -> None:
    path = open_cache(cache).shard_path("layer2", 0)
    flip(path, position * path.stat().st_size // 10)
    assert list(reasons(cache)) == ["codes/layer2/00000.h5"]
    with pytest.raises(ShardError):
        open_cache(cache).read_codes("layer2", np.array([0]))


def test_a_changed_list_of_rejected_images_is_found(
    photos: Path, extract_tiny: Extract, cache: Path
) -> None:
    (photos / "train" / "ants" / "broken.jpg").write_bytes(b"no image")
    (photos / "train" / "bees" / "bees000.jpg").unlink()
    extract_tiny(photos, cache, layers=["layer2"])
    rejected = cache / "rejected.csv"
    whole = rejected.read_bytes()
    assert whole.count(b"\r\n") == 3
    assert list(reasons(cache)) == ["codes/layer3/00004.h5"]  # of which it says nothing
    extract_tiny(photos, cache, layers=["layer3"])
    assert reasons(cache) == {}
    for place in (0, -1, len(whole) // 2):
        flip(rejected, place)
        expected = (
            "its lines are not what the shards and images.csv say: any extract makes it again"
        )
        assert reasons(cache) == {"rejected.csv": expected}
        extract_tiny(photos, cache)
        assert rejected.read_bytes() == whole
    rejected.unlink()  # it is derived
    assert verify(cache).ok


def test_swapped_shards_are_found(cache: Path) -> None:
    found = open_cache(cache)
    a, b = found.shard_path("layer2", 0), found.shard_path("layer2", 1)
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)
    assert list(reasons(cache)) == ["codes/layer2/00000.h5", "codes/layer2/00001.h5"]


def test_verify_decompresses_no_codes(
    photos: Path, extract_tiny: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = extract_tiny(photos, tmp_path / "gzip", compression="gzip", layers=["layer2"]).cache
    names: set[str] = set()
    getitem = h5py.Dataset.__getitem__

    def spy(dataset: Any, *arguments: Any, **options: Any) -> Any:
        names.add(dataset.name)
        return getitem(dataset, *arguments, **options)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", spy)
    assert verify(cache).ok
    assert "/row" in names
    assert "/codes" not in names


def test_a_folder_that_is_of_no_layer_is_named_and_is_no_layer(cache: Path) -> None:
    (cache / "codes" / "thumbs").mkdir()
    (cache / "codes" / "thumbs" / "0.png").touch()
    assert reasons(cache) == {"codes/thumbs": "without a shard of a layer: move it elsewhere"}
    assert open_cache(cache).layers == ["layer2", "layer3"]


def test_a_report_is_a_sequence_that_prints_each_problem(cache: Path) -> None:
    report = verify(cache)
    assert (report.ok, len(report), report.to_dict()) == (True, 0, {"ok": True, "bad": []})
    assert str(report) == f"ok: every byte of {cache} is what was written"
    open_cache(cache).shard_path("layer2", 0).unlink()
    (cache / "codes" / "layer2" / "<b>\n.h5").touch()
    report = verify(open_cache(cache))
    assert [problem.why for problem in report] == [
        "not a shard of the plan: remove it by hand",
        "missing",
    ]
    assert (report[1].shard, report[1].layer, report.ok) == (0, "layer2", False)
    assert str(report).splitlines() == [
        "bad: codes/layer2/<b>\\n.h5: not a shard of the plan: remove it by hand",
        "missing: 1 of 5 shards of layer2: run the same `bottleneck.extract` again",
    ]
    assert "&lt;b&gt;" in report._repr_html_()
    assert report.to_dict()["bad"][1] == {"file": "codes/layer2/00000.h5", "why": "missing"}


def test_a_shard_that_lacks_images_added_since_is_missing_and_not_damaged(
    cache: Path, photos: Path, extract_tiny: Extract
) -> None:
    shutil.copy(photos / "val/ants/ants000.jpg", photos / "val/ants/new.jpg")
    extract_tiny(photos, cache, layers=["layer2"])
    (problem,) = verify(cache)
    why = "intact, and lacks images that were added after it was made"
    assert (problem.file, problem.why) == ("codes/layer3/00004.h5", why)
    line = "missing: 1 of 5 shards of layer3: run the same `bottleneck.extract` again"
    assert str(verify(cache)) == line
    flip(open_cache(cache).shard_path("layer3", 4), 3000)
    assert str(verify(cache)).startswith("bad: codes/layer3/00004.h5: its bytes are not those")


def test_missing_shards_are_one_line_a_layer_and_damage_one_a_file(cache: Path) -> None:
    found = open_cache(cache)
    for layer, shards in (("layer2", (0, 1, 3)), ("layer3", (2, 4))):
        for shard in shards:
            found.shard_path(layer, shard).unlink()
    flip(found.shard_path("layer3", 0), 100)
    report = verify(cache)
    damage, *missing = str(report).splitlines()
    assert damage.startswith("bad: codes/layer3/00000.h5: its header is not")
    assert missing == [
        f"missing: {count} of 5 shards of {layer}: run the same `bottleneck.extract` again"
        for layer, count in (("layer2", 3), ("layer3", 2))
    ]
    assert (len(report), len(report.to_dict()["bad"])) == (6, 6)
