import dataclasses
import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from bottleneck.cache.index import IndexedLayer, write_index
from bottleneck.cache.shard import read_header, read_shard
from bottleneck.cache.shard_writer import write_shard
from bottleneck.cache.store import open_cache
from bottleneck.cache.verify import verify
from bottleneck.errors import CacheError, ShardError
from bottleneck.fitting.sharded_matrix import ShardedMatrix
from tests.helpers.fixture_types import Extract
from tests.helpers.shards import missing_shards


def test_a_cache_opens_with_its_plan(cache: Path) -> None:
    found = open_cache(cache)
    assert (found.layers, found.shard_count) == (["layer2", "layer3"], 5)  # 36 images, 8 a shard
    assert [len(found.rows(shard)) for shard in range(5)] == [8, 8, 8, 8, 4]
    assert missing_shards(found, "layer2") == []
    assert len(found.images) == 36


def test_codes_are_read_by_row_over_shards(cache: Path) -> None:
    found = open_cache(cache)
    rows = np.array([1, 7, 8, 20, 35])
    expected = []
    for row in rows.tolist():
        with h5py.File(cache / "codes" / "layer3" / f"{row // 8:05d}.h5") as shard:
            expected.append(shard["codes"][row % 8])
    codes = found.read_codes("layer3", rows)
    assert codes.dtype == np.float32
    np.testing.assert_array_equal(codes, expected)


def test_maps_are_read_flat(photos: Path, extract_tiny: Extract) -> None:
    done = extract_tiny(photos, pool="none", layers=["layer2"])
    assert done.cache.read_codes("layer2", np.array([0, 1])).shape == (2, 8 * 8 * 8)


def test_a_missing_shard_is_missing(cache: Path) -> None:
    found = open_cache(cache)
    found.shard_path("layer2", 3).unlink()
    assert missing_shards(found, "layer2") == [3]
    status = found.status().layers
    assert (status["layer2"].done, status["layer2"].missing) == (28, 8)
    assert (status["layer3"].done, status["layer3"].missing) == (36, 0)
    with pytest.raises(CacheError, match=r"'layer2' lacks 1 of 5 shards"):
        found.valid_rows("layer2")


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other layer"])
def test_a_shard_that_is_not_whole_is_missing(cache: Path, damage: str) -> None:
    found = open_cache(cache)
    path = found.shard_path("layer2", 1)
    if damage == "other layer":
        shutil.copy(found.shard_path("layer3", 1), path)
    else:
        whole = path.read_bytes()
        path.write_bytes({"cut": whole[:2000], "empty": b"", "text": b"text"}[damage])
    assert missing_shards(found, "layer2") == [1]


def test_swapped_shards_are_missing_and_are_not_read(cache: Path) -> None:
    found = open_cache(cache)
    a, b = found.shard_path("layer2", 0), found.shard_path("layer2", 1)
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)
    assert missing_shards(found, "layer2") == [0, 1]
    with pytest.raises(ShardError, match="of rows 8 to 15, which is another place"):
        found.read_codes("layer2", np.array([0]))


def test_a_shard_of_another_cache_is_missing_and_is_not_read(
    cache: Path, photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    # Of the same names, sizes and spec: only the pixels, and the times, are others.
    for path in sorted(photos.rglob("*.png")):
        content = path.read_bytes()
        path.write_bytes(content)
        os.utime(path, ns=(1, 1))
    other = extract_tiny(photos, tmp_path / "other", layers=["layer2", "layer3"]).cache
    shutil.copy(other.shard_path("layer2", 2), cache / "codes" / "layer2")
    found = open_cache(cache)
    assert missing_shards(found, "layer2") == [2]
    with pytest.raises(ShardError, match=r"00002\.h5 is of another cache"):
        found.read_codes("layer2", np.array([16]))


def test_a_shards_rows_and_images_must_be_those_of_its_place(cache: Path) -> None:
    found = open_cache(cache)
    path = found.shard_path("layer2", 4)
    header, content = read_header(path), read_shard(path)
    found.require_matching_rows("layer2", 4, header, content)
    row, images = content.row, content.path
    for other in (row - 1, row[::-1], row[:3], np.arange(32, 40)):
        with pytest.raises(ShardError, match=r"00004\.h5 holds other rows than 32 to 35"):
            found.require_matching_rows(
                "layer2", 4, header, dataclasses.replace(content, row=other)
            )
    for others in (images[::-1], images[:3], [*images[:3], "other.jpg"]):
        with pytest.raises(ShardError, match=r"00004\.h5 holds other images than images\.csv"):
            found.require_matching_rows(
                "layer2", 4, header, dataclasses.replace(content, path=others)
            )


def test_status_and_plan_open_no_hdf5(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h5py, "File", None)
    found = open_cache(cache)
    assert missing_shards(found, "layer2") == []
    assert found.status().layers["layer2"].done == 36
    assert found.rejected() == {}
    assert found.valid_rows("layer3").all()


def test_a_notebook_that_holds_the_index_open_is_no_obstacle(cache: Path) -> None:
    with h5py.File(cache / "codes.h5") as index:
        expected = index["layer2"][...]
        np.testing.assert_array_equal(
            open_cache(cache).read_codes("layer2", np.arange(36)), expected
        )


def test_a_layer_can_be_deleted_without_touching_another(cache: Path) -> None:
    shutil.rmtree(cache / "codes" / "layer2")
    found = open_cache(cache)
    found.write_index()
    assert found.layers == ["layer3"]
    with h5py.File(cache / "codes.h5") as index:
        assert set(index) == {"layer3", "layer3:valid"}


def test_a_folder_that_is_no_cache_says_how_to_make_one(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent", Path(__file__)):
        with pytest.raises(CacheError, match=r"no cache at.*`bottleneck.extract` makes one"):
            open_cache(path)


def test_an_edited_spec_is_refused(cache: Path) -> None:
    plan = json.loads((cache / "spec.json").read_text())
    plan["spec"]["pool"] = "max"
    (cache / "spec.json").write_text(json.dumps(plan))
    with pytest.raises(CacheError, match=r"spec\.json was edited"):
        open_cache(cache)


@pytest.mark.parametrize("compression", ["lzf", "gzip"])
def test_a_compressed_cache_is_read_as_any_and_its_bytes_are_those_on_disk(
    photos: Path, extract_tiny: Extract, tmp_path: Path, compression: str
) -> None:
    options = {"pool": "none", "shard_size": 36}
    plain = extract_tiny(photos, tmp_path / "plain", **options).cache
    cache = extract_tiny(photos, compression=compression, **options).cache
    rows = np.array([0, 1, 17, 35])
    np.testing.assert_array_equal(
        cache.read_codes("layer2", rows), plain.read_codes("layer2", rows)
    )
    blocks = ShardedMatrix(cache, "layer2", rows, 8 * 8 * 8, 10).blocks()
    np.testing.assert_array_equal(np.concatenate(list(blocks)), plain.read_codes("layer2", rows))
    assert verify(cache.path).ok
    size = cache.status().layers["layer2"].bytes
    assert size == cache.shard_path("layer2", 0).stat().st_size
    assert size < plain.status().layers["layer2"].bytes


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": "bottleneck-cache"}', "null", "[" * 100_000, "\udcff"]
)
def test_a_damaged_spec_is_refused(cache: Path, text: str) -> None:
    (cache / "spec.json").write_text(text, errors="surrogateescape")
    with pytest.raises(CacheError, match=r"spec\.json is damaged"):
        open_cache(cache)


def test_a_later_cache_is_refused_by_its_number(cache: Path) -> None:
    plan = json.loads((cache / "spec.json").read_text()) | {"format_version": 9}
    (cache / "spec.json").write_text(json.dumps(plan))
    with pytest.raises(CacheError, match="version 9; this program reads"):
        open_cache(cache)


def test_an_absent_image_table_is_refused(cache: Path) -> None:
    (cache / "images.csv").unlink()
    with pytest.raises(CacheError, match=r"images\.csv is absent or damaged"):
        open_cache(cache)


def test_float32_shards_of_a_float16_cache_are_shown(photos: Path, extract_tiny: Extract) -> None:
    cache = extract_tiny(photos, dtype="float16").cache
    assert cache.status().layers["layer2"].dtype == "float16"
    path = cache.shard_path("layer2", 0)
    old = read_shard(path)
    large = dataclasses.replace(old, codes=old.codes.astype(np.float32) * 1e7)
    write_shard(path, large, manifest=cache.manifest, layer="layer2")
    assert cache.status().layers["layer2"].dtype == "float16+float32"


def test_of_tasks_that_end_together_the_last_index_has_all_shards(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = open_cache(cache)
    late = found.shard_path("layer2", 4)
    whole = late.read_bytes()
    late.unlink()

    def slowly(path: Path, layers: dict[str, IndexedLayer]) -> None:
        write_index(path, layers)
        late.write_bytes(whole)  # another task's, which has written its own index before this one

    monkeypatch.setattr("bottleneck.cache.index.write_index", slowly)
    found.write_index()
    with h5py.File(cache / "codes.h5") as index:
        assert index["layer2:valid"][...].all()
        assert np.isfinite(index["layer2"][...]).all()
