import dataclasses
import html
import json
import os
import re
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

from bottleneck.cache.format import manifest
from bottleneck.cache.format.shard_writer import write_shard
from bottleneck.cache.store import (
    cache_path,
    holds_codes,
    kept_text,
    open_cache,
    status,
)
from bottleneck.cache.verify import verify
from bottleneck.data.images import open_images
from bottleneck.data.table.image_table import ImageTable
from bottleneck.errors import CacheError, InvalidOptionError, ShardError
from bottleneck.fitting.loading.features import Features
from bottleneck.fitting.loading.sharded_matrix import ShardedMatrix
from tests.helpers.fixture_types import Extract
from tests.helpers.shards import missing_shards, read_shard


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


@pytest.mark.parametrize("wrong", [None, 3, b"photos.cache", []])
def test_objects_that_are_no_cache_are_refused_by_their_type(wrong: Any) -> None:
    message = f"`cache='{type(wrong).__name__}'`: must be a path, a Cache, or a result"
    with pytest.raises(InvalidOptionError, match=message):
        open_cache(wrong)
    if wrong is not None:
        with pytest.raises(InvalidOptionError, match=r"`images=.*: must be a ImageTable"):
            open_cache("photos.cache", images=wrong)


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


def test_status_reads_no_hdf5(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h5py, "File", None)
    found = open_cache(cache)
    assert missing_shards(found, "layer2") == []
    assert found.status().layers["layer2"].done == 36
    assert found.rejected() == {}
    assert found.valid_rows("layer3").all()


def test_codes_are_read_while_a_notebook_holds_the_index_open(cache: Path) -> None:
    with h5py.File(cache / "codes.h5") as index:
        expected = index["layer2"][...]
        np.testing.assert_array_equal(
            open_cache(cache).read_codes("layer2", np.arange(36)), expected
        )


def test_a_layer_can_be_deleted_without_touching_another(cache: Path) -> None:
    shutil.rmtree(cache / "codes" / "layer2")
    found = open_cache(cache)
    found.write_derived_files()
    assert found.layers == ["layer3"]
    with h5py.File(cache / "codes.h5") as index:
        assert set(index) == {"layer3", "layer3:valid"}


def test_a_folder_that_is_not_a_cache_is_refused_with_the_next_step(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent", Path(__file__)):
        words = r"no cache at.*`bottleneck.extract` makes one"
        with pytest.raises(CacheError, match=words) as found:
            open_cache(path)
        assert (", which is a file" in str(found.value)) == path.is_file()


def test_an_edited_spec_is_refused(cache: Path) -> None:
    plan = json.loads((cache / "spec.json").read_text())
    plan["spec"]["pool"] = "max"
    (cache / "spec.json").write_text(json.dumps(plan))
    with pytest.raises(CacheError, match=r"spec\.json was edited"):
        open_cache(cache)


@pytest.mark.parametrize("compression", ["lzf", "gzip"])
def test_a_compressed_cache_gives_the_same_codes_and_reports_its_size_on_disk(
    photos: Path, extract_tiny: Extract, tmp_path: Path, compression: str
) -> None:
    options = {"pool": "none", "shard_size": 36}
    plain = extract_tiny(photos, tmp_path / "plain", **options).cache
    cache = extract_tiny(photos, compression=compression, **options).cache
    rows = np.array([0, 1, 17, 35])
    np.testing.assert_array_equal(
        cache.read_codes("layer2", rows), plain.read_codes("layer2", rows)
    )
    blocks = ShardedMatrix(cache, Features(("layer2",)), rows, 8 * 8 * 8, 10).blocks()
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
    write_shard(path, large, manifest=cache.manifest, series="layer2")
    assert cache.status().layers["layer2"].dtype == "float16+float32"


# How often files are opened and parsed


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was opened: by Python, or by HDF5 itself, which would take a path."""
    counts: Counter[str] = Counter()
    open_path, open_file = Path.open, h5py.File

    def spy(path: Path, *arguments: Any, **options: Any) -> Any:
        counts[path.name] += 1
        return open_path(path, *arguments, **options)

    def spy_hdf5(file: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(file, (str, os.PathLike)):
            counts[Path(file).name] += 1
        return open_file(file, *arguments, **options)

    monkeypatch.setattr(Path, "open", spy)
    monkeypatch.setattr("bottleneck.cache.format.hdf5.h5py.File", spy_hdf5)
    return counts


SHARDS = [f"{shard:05d}.h5" for shard in range(5)]


def test_a_shard_is_opened_once_for_its_header_and_once_to_be_read(
    cache: Path, opens: Counter[str]
) -> None:
    store = open_cache(cache)
    for _ in range(3):
        assert store.valid_rows("layer2").all()
        assert store.status().complete
        assert store.rejected() == {}
    assert {name: opens[name] for name in SHARDS} == dict.fromkeys(SHARDS, 2)  # of two layers
    opens.clear()
    store.read_codes("layer2", np.arange(36))
    assert opens == dict.fromkeys(SHARDS, 1)
    opens.clear()
    assert len(list(store.read_blocks("layer2", 0, 3, verify=True))) == 3
    assert opens == {"00000.h5": 1}


def test_verify_opens_each_file_once(cache: Path, opens: Counter[str]) -> None:
    assert verify(cache).ok
    opens.pop("spec.json", None)
    assert opens.pop("images.csv") == opens.pop("codes.h5") == opens.pop("rejected.csv") == 1
    assert opens == dict.fromkeys(SHARDS, 2)  # of two layers


def test_an_extraction_reads_a_complete_caches_manifest_once_and_its_table_twice(
    cache: Path, photos: Path, extract_tiny: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: Counter[str] = Counter()
    parse, read_csv = manifest.parse_manifest, ImageTable.read_csv

    def parse_spy(path: Path, text: bytes) -> Any:
        parsed["spec.json"] += 1
        return parse(path, text)

    def csv_spy(path: Path, **known: Any) -> ImageTable:
        parsed["images.csv"] += 1
        return read_csv(path, **known)

    monkeypatch.setattr(manifest, "parse_manifest", parse_spy)
    monkeypatch.setattr(ImageTable, "read_csv", csv_spy)
    monkeypatch.delattr(ImageTable, "write_csv")  # it would read the table once more
    for options in ({}, {"check_content": True}):
        parsed.clear()
        assert extract_tiny(photos, cache, layers=["layer2", "layer3"], **options).rows == 0
        assert parsed == {"spec.json": 1, "images.csv": 2}  # another run may have written since


# What is accepted as a cache


def test_a_cache_is_a_path_a_string_a_cache_or_a_result(cache: Path) -> None:
    store = open_cache(str(cache))
    assert store.path == cache
    assert store.layers == ["layer2", "layer3"]
    assert (
        repr(store) == f"<Cache {cache}: {len(store.images)} images, {store.manifest.spec.model}>"
    )
    assert open_cache(store) is store
    assert open_cache(SimpleNamespace(cache=store)) is store
    assert status(store) == status(cache) == store.status()


def test_an_open_cache_that_is_not_there_any_more_is_refused_by_its_whole_path(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cache.parent)
    opened = open_cache(cache.name)
    assert open_cache(opened) is opened
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(CacheError, match=re.escape(f"no cache at {Path.cwd() / cache.name} ")):
        status(opened)
    assert cache_path(opened) == Path(cache.name)  # that which is not there need not be


def test_a_status_is_of_one_layer_or_of_several(cache: Path) -> None:
    assert list(status(cache, "layer3").layers) == ["layer3"]
    assert list(status(cache, ["layer3", "layer2"]).layers) == ["layer3", "layer2"]
    with pytest.raises(InvalidOptionError, match="`tasks=0`: must be at least 1"):
        status(cache, tasks=0)


def test_a_path_holds_codes_if_a_cache_is_there(cache: Path, photos: Path) -> None:
    store = open_cache(cache)
    assert all(map(holds_codes, [cache, str(cache), store, SimpleNamespace(cache=store)]))
    assert not any(map(holds_codes, [photos, cache / "none", open_images(photos), [photos]]))


def test_a_cache_prints_its_status(cache: Path) -> None:
    store = open_cache(cache)
    assert str(store) == str(store.status())
    assert str(store).startswith(f"cache {cache}: 36 rows of ")
    assert store._repr_html_() == f"<pre>{html.escape(str(store))}</pre>"


def test_finished_shards_are_counted_by_layer(cache: Path, tmp_path: Path) -> None:
    store = open_cache(cache)
    store.shard_path("layer3", 1).unlink()
    assert kept_text(cache) == f"{cache} holds 5 of 5 shards of layer2, 4 of 5 shards of layer3"
    (cache / "codes" / "a%0Ab").mkdir()
    assert r"0 of 5 shards of a\nb, 5 of 5" in kept_text(cache)
    assert kept_text(tmp_path / "absent") == ""
    for shard in (cache / "codes").rglob("*.h5"):
        shard.unlink()
    assert kept_text(cache) == ""
