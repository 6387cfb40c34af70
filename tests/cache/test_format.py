"""A second reader and a second writer, made from docs/format.md.

`tests/helpers/format_reader.py` and what follows under "The writer" use h5py, csv, json, hashlib
and numpy, and nothing of the package: where the two agree, the page is exact.
"""

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import save_file

from bottleneck.cache.recovery import recover_cache
from bottleneck.cache.store import open_cache
from bottleneck.cache.verify import verify
from bottleneck.errors import CacheError, ShardError, UnsupportedCacheError
from bottleneck.extraction.extract import extract
from bottleneck.extraction.options import ComputeOptions
from bottleneck.fitting.fit import fit
from bottleneck.fitting.heads.head import Head
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.linear.scaling import SCALINGS
from bottleneck.prediction.predict import predict
from bottleneck.runtime.schedulers.array_task import ArrayTask
from tests.helpers.fixture_types import Extract
from tests.helpers.format_reader import (
    Answer,
    Reader,
    answer_by_hand,
    codes_digest,
    encoded,
    layer_digest,
    layer_text,
    plan_digest,
    read_csv,
    read_envelope,
    read_safetensors,
    read_text,
    rows_digest,
    sha256,
    strict_json,
    weights_digest,
)
from tests.helpers.networks import PLAIN, SMALL
from tests.helpers.photographs import write_photographs
from tests.helpers.tiny_networks import plain

PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")


def agrees(head: Head, path: Path, codes: NDArray[Any]) -> list[Answer]:
    """The package's margins, probabilities and labels are those by hand, which are returned."""
    answers = [answer_by_hand(path, code) for code in codes]
    margins = head.decision_function(codes.reshape(len(codes), -1))
    np.testing.assert_allclose(
        margins, [answer.margins for answer in answers], rtol=1e-12, atol=1e-12
    )
    assert head.predict_labels(margins) == [answer.label for answer in answers]
    probabilities = [answer.probabilities for answer in answers]
    if head.calibration is None:
        assert probabilities == [None] * len(codes)
        assert np.array_equal(head.predict_scores(margins), margins)
    else:
        np.testing.assert_allclose(head.predict_scores(margins), np.array(probabilities), rtol=1e-9)
    return answers


# The page against itself


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def tables(first: str) -> list[list[str]]:
    """The names in the first column of the page's tables whose first heading is `first`."""
    found = re.findall(rf"^\| {first} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [re.findall(r"^\| `([^`]+)` \|", rows, re.MULTILINE) for rows in found]


def test_the_example_of_spec_json_has_the_digests_that_stand_beside_it() -> None:
    plan = json.loads(blocks("json")[0])
    assert plan["spec_digest"] == layer_digest(plan, "")
    assert plan["sha256"] == plan_digest(plan)
    text = blocks("text")[0].replace("\n", "")
    assert text == layer_text(plan, "features.12")
    assert f"these {len(text)} bytes" in PAGE
    assert f"`{sha256(text.encode())}`" in PAGE


def test_the_examples_of_a_shards_digests_are_right() -> None:
    codes = np.array([[1.0, 0.5], [0.0, 0.0]], dtype="<f2")
    assert f"the line `float16 2x2` and the bytes `{codes.tobytes().hex(' ')}`" in PAGE
    assert f"`{codes_digest(codes)}`" in PAGE
    lines = blocks("text")[1]
    parsed = [json.loads(line) for line in lines.splitlines()]
    assert lines == "".join(strict_json(row) + "\n" for row in parsed)
    assert parsed[1][3].encode("utf-8", errors="surrogateescape").hex(" ") in PAGE
    assert f"`{sha256(lines.encode())}`" in PAGE


@given(st.text(st.characters(codec=None)) | st.floats(-1e6, 1e6) | st.integers() | st.booleans())
def test_strict_json_is_what_python_writes(value: Any) -> None:
    assert strict_json([value, {"b": value, "a": [value]}]) == json.dumps(
        [value, {"a": [value], "b": value}]
    )


# A cache, read


@pytest.fixture
def lived_in(photos: Path, extract_tiny: Extract) -> Path:
    """A cache whose images were hostile from the start, and have come and gone since."""
    ants = photos / "train" / "ants"
    (ants / "broken.jpg").write_bytes(b"not an image")
    (ants / "empty.png").write_bytes(b"")
    hostile = photos / "train" / os.fsdecode(b'caf\xe9, "\xf0\x9f\x90\x9c"\n\x7f')
    try:
        hostile.mkdir()
    except OSError:
        pytest.skip("this file system takes no file names that are not UTF-8")
    for i, path in enumerate(write_photographs(photos / "new", 3, label="bees", first_seed=70)):
        path.rename(hostile / f"{i}{path.suffix}")
    (photos / "new").rmdir()
    extract_tiny(photos, layers=["layer2", "layer3"], dtype="float16")

    (photos / "train" / "bees" / "bees000.jpg").unlink()
    write_photographs(photos / "train" / "ants", 1, label="zebra")
    (photos / "val" / "wasps" / "wasps001.png").write_bytes((ants / "ants001.png").read_bytes())
    return extract_tiny(photos, layers=["layer2", "layer3"], dtype="float16").cache.path


def test_shards_stitched_by_row_numbers_are_what_the_package_reads(cache: Path) -> None:
    for layer in ("layer2", "layer3"):
        reading = Reader(cache).read(layer)
        assert reading.usable.all()
        assert reading.types == ["float32"] * 5
        assert np.array_equal(open_cache(cache).read_codes(layer, np.arange(36)), reading.codes)


def test_codes_h5_is_the_stitched_array_from_any_working_directory(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = cache.rename(tmp_path / "moved")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for name in (moved / "codes.h5", Path("..") / "moved" / "codes.h5"):
        with h5py.File(name, "r", locking=False) as index:
            assert sorted(index) == ["layer2", "layer2:valid", "layer3", "layer3:valid"]
            for layer in ("layer2", "layer3"):
                reading = Reader(moved).read(layer)
                assert np.array_equal(index[layer][...], reading.codes)
                assert np.array_equal(index[f"{layer}:valid"][...], reading.usable)


def test_the_views_that_the_package_makes_are_read_by_the_page_alone(
    photos: Path, extract_tiny: Extract
) -> None:
    (photos / "train" / "ants" / "broken.jpg").write_bytes(b"no image")
    extract_tiny(photos, count=1)
    path = extract_tiny(photos, count=3, augmentations=["rotate", "color"], seed=5).cache.path
    reader, cache = Reader(path), open_cache(path)
    assert set(reader.plan["views"][0]) == set(tables("recipe")[0])
    assert reader.plan["views"] == [
        {"rule": "sha256-1", "augmentations": ["rotate", "color"], "seed": 5}
    ]
    views = [reader.read("layer2", view) for view in range(3)]
    assert not np.array_equal(views[1].codes, views[2].codes)
    for view, reading in enumerate(views):
        assert reading.usable.sum() == 36
        rows = np.flatnonzero(reading.usable)
        assert np.array_equal(cache.read_codes("layer2", rows, view), reading.codes[rows])
    with h5py.File(path / "codes.h5", "r", locking=False) as index:
        assert {re.sub("layer2", "<layer>", name) for name in index} == set(tables("dataset")[1])
        assert np.array_equal(index["layer2"][...], views[0].codes)
        for view, reading in enumerate(views):
            assert np.array_equal(index["layer2:views"][:, view], reading.codes)
            assert np.array_equal(index["layer2:views:valid"][:, view], reading.usable)


def test_rows_that_were_rejected_or_removed_are_known_as_such(lived_in: Path) -> None:
    reader = Reader(lived_in)
    reading = reader.read("layer3")
    assert reading.types == ["float16"] * 6
    assert len(reader.images) == 42
    assert reader.images[-1]["path"] == "train/ants/zebra000.jpg"  # new: at the end

    unusable = {reader.images[i]["path"]: i for i in np.flatnonzero(~reading.usable).tolist()}
    gone = "train/bees/bees000.jpg"
    assert set(unusable) == {"train/ants/broken.jpg", "train/ants/empty.png", gone}
    image = reader.images[unusable[gone]]
    assert (image["size"], image["mtime_ns"]) == ("-1", "-1")
    assert reading.codes[unusable[gone]].any()  # its code is still there
    assert not reading.codes[unusable["train/ants/empty.png"]].any()

    rejected = read_csv(lived_in / "rejected.csv")
    assert [int(row["row"]) for row in rejected] == sorted(unusable.values())
    assert all(reader.images[int(row["row"])]["path"] == row["path"] for row in rejected)
    reasons = {row["path"]: row["reason"] for row in rejected}
    assert reasons[gone] == "removed: it is no longer among the images"
    assert reasons["train/ants/empty.png"] == "cannot be decoded: the file is empty"

    with h5py.File(lived_in / "codes.h5", "r", locking=False) as index:
        assert index["layer3"].dtype == np.float16
        assert np.array_equal(index["layer3"][...], reading.codes)
        assert np.array_equal(index["layer3:valid"][...], reading.usable)


def test_images_csv_and_the_shards_say_the_same_of_each_image(lived_in: Path, photos: Path) -> None:
    reader = Reader(lived_in)
    for rows, shard in reader.done("layer2"):
        names = ("path", "label", "reason", "image_sha256")
        columns = [read_text(shard[name]) for name in names]
        for row, name, label, reason, digest in zip(rows, *columns, strict=True):
            image = reader.images[row]
            assert (name, label) == (image["path"], image["label"])
            assert image["path"].split("/")[:2] == [image["split"], label]
            path = photos / image["path"]
            assert bool(reason) == (path.name in ("broken.jpg", "empty.png"))
            if int(image["size"]) == -1:
                assert not path.exists()
                continue
            assert digest == sha256(path.read_bytes())
            status = path.stat()
            assert (int(image["size"]), int(image["mtime_ns"])) == (
                status.st_size,
                status.st_mtime_ns,
            )


def rfc_4180(path: Path) -> list[list[str]]:
    """The fields of a CSV, by RFC 4180 alone: a bare CR or LF, or a last line without, fails."""
    text = path.read_bytes().decode("utf-8", errors="surrogateescape")
    field = r'("(?:[^"]|"")*"|[^",\r\n]*)'
    assert re.fullmatch(rf"(?:{field}(?:,{field})*\r\n)+", text)
    lines: list[list[str]] = [[]]
    for value, end in re.findall(rf"{field}(,|\r\n)", text):
        lines[-1].append(value[1:-1].replace('""', '"') if value.startswith('"') else value)
        if end != ",":
            lines.append([])
    return lines[:-1]


def test_both_tables_are_rfc_4180_whatever_a_name_holds(
    photos: Path, extract_tiny: Extract
) -> None:
    names = ["a\rb.jpg", "a\nb.jpg", "a\r\nb.jpg", "a,b.jpg", '"a" b.jpg', " a\u2028b.jpg"]
    for folder in ("ants", "new\rlabel"):
        (photos / "train" / folder).mkdir(exist_ok=True)
        for name in names:
            (photos / "train" / folder / name).write_bytes(b"no image")
    reader = Reader(extract_tiny(photos).cache.path)
    head, *lines = rfc_4180(reader.cache / "images.csv")
    assert [dict(zip(head, line, strict=True)) for line in lines] == reader.images
    found = {image["path"]: image["label"] for image in reader.images}
    for folder in ("ants", "new\rlabel"):
        assert {found[f"train/{folder}/{name}"] for name in names} == {folder}

    head, *lines = rfc_4180(reader.cache / "rejected.csv")
    rejected = [dict(zip(head, line, strict=True)) for line in lines]
    assert rejected == read_csv(reader.cache / "rejected.csv")
    assert len(rejected) == 2 * len(names)


def test_labels_that_hold_are_those_of_images_csv(
    photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    names = [f"photos/train/bees/bees{i:03d}.{'png' if i % 2 else 'jpg'}" for i in range(8)]
    table = tmp_path / "images.csv"
    for label in ("bees", "honey bees"):
        table.write_text("path,label\n" + "".join(f"{name},{label}\n" for name in names))
        reader = Reader(extract_tiny(table).cache.path)
        assert {image["label"] for image in reader.images} == {label}
    ((_, shard),) = [(rows, read_text(shard["label"])) for rows, shard in reader.done("layer2")]
    assert set(shard) == {"bees"}
    assert reader.read("layer2").usable.all()  # its digests hold as well


def test_rows_of_shards_that_are_not_there_yet_are_nan(photos: Path, extract_tiny: Extract) -> None:
    cache = extract_tiny(photos, task=ArrayTask(1, 2)).cache
    cache.write_derived_files()
    path = cache.path
    reading = Reader(path).read("layer2")
    there = np.arange(36) // 8 % 2 == 1
    assert np.array_equal(reading.usable, there)
    with h5py.File(path / "codes.h5", "r", locking=False) as index:
        assert np.array_equal(index["layer2"][...], reading.codes, equal_nan=True)
        assert np.isnan(index["layer2"][...][~there]).all()
        assert np.array_equal(index["layer2:valid"][...], there)


def test_a_shard_counts_only_at_its_own_layer_and_with_all_of_its_rows(cache: Path) -> None:
    folder = cache / "codes"
    (folder / "layer2" / "00001.h5").replace(folder / "layer3" / "00001.h5")
    (folder / "layer2" / "00004.h5").replace(folder / "layer2" / "00003.h5")
    reader = Reader(cache)
    for layer in ("layer2", "layer3"):
        done = [rows.start // 8 for rows, _ in reader.done(layer)]
        assert done == list(open_cache(cache).finished_shards(layer))
        assert done == ([0, 2] if layer == "layer2" else [0, 2, 3, 4])


def test_a_shard_of_a_changed_image_is_not_finished_before_the_update_is(
    cache: Path, photos: Path, extract_tiny: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / Reader(cache).images[20]["path"]).write_bytes(b"no image")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("bottleneck.extraction.running.local.write_shards", killed)
        extract_tiny(photos, layers=["layer2"])
    assert (cache / "codes" / "layer2" / "00002.h5").exists()
    reader = Reader(cache)
    assert (reader.images[20]["size"] != "-1", reader.images[20]["mtime_ns"]) == (True, "-1")
    for layer in ("layer2", "layer3"):
        assert [rows.start // 8 for rows, _ in reader.done(layer)] == [0, 1, 3, 4]
        assert list(open_cache(cache).finished_shards(layer)) == [0, 1, 3, 4]
    with pytest.raises(CacheError, match="lacks 1 of 5 shards: run the same"):
        open_cache(cache).read_codes("layer2", open_cache(cache).labelled_rows("layer2"))


@pytest.mark.parametrize("moved", [slice(None), slice(16, 18)])
def test_lines_of_images_csv_that_were_moved_are_found(moved: slice, cache: Path) -> None:
    table = cache / "images.csv"
    head, *lines = table.read_bytes().splitlines(keepends=True)
    lines[moved] = lines[moved][::-1]
    table.write_bytes(head + b"".join(lines))
    with pytest.raises(CacheError, match="its lines are not those that were written"):
        open_cache(cache)
    with pytest.raises(AssertionError):
        Reader(cache)

    # Somebody who gives the table another digest is found by the shards.
    new = f"sha256:{sha256(b''.join(lines))}\r\n".encode()
    table.write_bytes(head[: head.index(b"sha256:")] + new + b"".join(lines))
    shards = sorted({row // 8 for row in range(len(lines))[moved]})
    why = "holds other images than images.csv has in its rows"
    assert [(item.file, item.why) for item in verify(cache)] == [
        (f"codes/{layer}/{shard:05d}.h5", why) for layer in ("layer2", "layer3") for shard in shards
    ]
    opened = open_cache(cache)
    with pytest.raises(ShardError, match=why):
        opened.read_codes("layer2", np.arange(36))
    with pytest.raises(AssertionError):
        Reader(cache).read("layer2")
    other = np.array([row for row in range(36) if row // 8 not in shards], dtype=np.int64)
    assert len(opened.read_codes("layer2", other)) == len(other)


@pytest.mark.parametrize("layers", [["layer2", "layer3"], ["layer2"]], ids=len)
def test_the_order_of_an_update_is_that_of_the_page(
    layers: list[str],
    cache: Path,
    photos: Path,
    extract_tiny: Extract,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[tuple[str, str]] = []
    unlink, replace = Path.unlink, Path.replace

    def removed(path: Path, missing_ok: bool = False) -> None:
        if path.exists() and cache in path.parents and not path.name.startswith("."):
            steps.append(("removed", path.relative_to(cache).as_posix()))
        unlink(path, missing_ok=missing_ok)

    def written(path: Path, target: Path) -> Path:
        steps.append(("written", target.relative_to(cache).as_posix()))
        return replace(path, target)

    changed = Reader(cache).images[20]["path"]
    (photos / changed).write_bytes(b"no image")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", removed)
        patch.setattr(Path, "replace", written)
        extract_tiny(photos, layers=layers)
    assert steps == [
        ("removed", "codes.h5"),
        ("removed", "rejected.csv"),
        ("written", "images.csv"),
        *(("written", f"codes/{layer}/00002.h5") for layer in layers),
        *([] if "layer3" in layers else [("removed", "codes/layer3/00002.h5")]),
        ("written", "images.csv"),
        ("written", "rejected.csv"),
        ("written", "codes.h5"),
    ]
    assert [row["path"] for row in read_csv(cache / "rejected.csv")] == [changed]

    for name in ("codes.h5", "rejected.csv"):
        unlink(cache / name)
    extract_tiny(photos, layers=["layer2"])  # has nothing else to do
    assert {path.name for path in cache.iterdir()} >= {"codes.h5", "rejected.csv"}


LOUD = """
from torch import nn

def loud():
    network = nn.Sequential()
    network.add_module("{name}", nn.Conv2d(3, 4, 1))
    nn.init.constant_(network[0].weight, 1e5)
    nn.init.constant_(network[0].bias, 0.0)
    return network
"""


def test_a_shard_that_float16_cannot_hold_is_float32(tmp_path: Path, extract_tiny: Extract) -> None:
    from PIL import Image

    (tmp_path / "loud.py").write_text(LOUD.format(name="conv"))
    for label, colour in {"a dark": "black", "b bright": "white"}.items():
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(8):
            Image.new("RGB", (40, 40), colour).save(tmp_path / "photos" / label / f"{i}.png")
    path = extract_tiny(
        tmp_path / "photos", model=f"{tmp_path / 'loud.py'}:loud", layers=["conv"], dtype="float16"
    ).cache.path
    reading = Reader(path).read("conv")
    assert reading.types == ["float16", "float32"]
    assert float(reading.codes[8:].min()) > 65504
    with h5py.File(path / "codes.h5", "r", locking=False) as index:
        assert index["conv"].dtype == np.float32
        assert np.array_equal(index["conv"][...], reading.codes)


@pytest.mark.parametrize("layer", ["conv 1", "é/b", "100%b"])
def test_a_layers_name_is_percent_encoded(
    layer: str, tmp_path: Path, photos: Path, extract_tiny: Extract
) -> None:
    (tmp_path / "loud.py").write_text(LOUD.format(name=layer), encoding="utf-8")
    path = extract_tiny(photos, model=f"{tmp_path / 'loud.py'}:loud", layers=[layer]).cache.path
    assert [folder.name for folder in (path / "codes").iterdir()] == [encoded(layer)]
    with h5py.File(path / "codes.h5", "r", locking=False) as index:
        assert np.array_equal(index[layer][...], Reader(path).read(layer).codes)
        assert index[f"{layer}:valid"][...].all()
        sources = {source.file_name for source in index[layer].virtual_sources()}
    doubled = encoded(layer).replace("%", "%%")
    assert sources == {f"codes/{doubled}/{k:05d}.h5" for k in range(5)}


@pytest.mark.parametrize("pool", ["avg", "max", "2", "none"])
def test_shapes_and_chunks(pool: str, photos: Path, extract_tiny: Extract) -> None:
    reader = Reader(extract_tiny(photos, pool=pool).cache.path)
    assert reader.plan["spec"]["pool"] == pool
    shape = {"avg": (8,), "max": (8,), "2": (8, 2, 2), "none": (8, 8, 8)}[pool]
    for rows, shard in reader.done("layer2"):
        codes = shard["codes"]
        assert codes.shape == (len(rows), *shape)
        assert codes.chunks[1:] == shape
        assert codes.chunks[0] * codes[0].nbytes <= 1 << 20
        types = {name: dataset.dtype for name, dataset in shard.items()}
        assert (types["row"], types["valid"]) == (np.int64, np.bool_)
        for name in ("path", "label", "reason", "image_sha256"):
            assert h5py.check_string_dtype(types[name]) == ("utf-8", None)


@pytest.mark.parametrize(
    ("compression", "filters"), [("none", []), ("lzf", [32000]), ("gzip", [1])]
)
def test_codes_have_the_filters_of_the_layout_and_nothing_else_has_any(
    photos: Path, extract_tiny: Extract, compression: str, filters: list[int]
) -> None:
    reader = Reader(extract_tiny(photos, compression=compression).cache.path)
    assert reader.plan["layout"]["compression"] == compression
    assert reader.read("layer2").usable.all()  # and the digests are those of the codes
    for _, shard in reader.done("layer2"):
        for name, dataset in shard.items():
            plist = dataset.id.get_create_plist()
            found = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
            assert found == (filters if name == "codes" else [])


def test_weights_digest_is_that_of_a_file_of_the_same_tensors(
    photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    weights = tmp_path / "plain.safetensors"
    save_file(plain().state_dict(), weights)
    reader = Reader(extract_tiny(photos, weights=str(weights)).cache.path)
    assert reader.plan["spec"]["weights_digest"] == weights_digest(weights)
    assert reader.plan["source"]["weights"] == str(weights)


def test_mean_and_std_are_floats_whatever_they_were_given_as(
    photos: Path, extract_tiny: Extract
) -> None:
    given = SMALL | {"mean": (0, 0.5, np.float64(1)), "std": [1, True, 2]}
    reader = Reader(extract_tiny(photos, transform=given).cache.path)  # checks the digest
    preprocess = reader.plan["spec"]["preprocess"]
    assert [preprocess["mean"], preprocess["std"]] == [[0, 0.5, 1], [1, 1, 2]]
    assert {type(value) for name in ("mean", "std") for value in preprocess[name]} == {float}
    assert reader.read("layer2").usable.all()


# Names: whatever occurs in a file is on the page, and the other way round


def keys(value: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, inner in value.items():
        yield prefix + key
        if isinstance(inner, dict):
            yield from keys(inner, f"{prefix}{key}.")


def test_the_page_names_every_key_of_spec_json_and_no_other(cache: Path) -> None:
    plan = Reader(cache).plan
    assert list(keys(plan)) == tables("key")[0]
    assert list(keys(json.loads(blocks("json")[0]))) == tables("key")[0]


def test_the_page_names_every_column_attribute_and_dataset_and_no_other(cache: Path) -> None:
    images, rejected = (
        (cache / name).read_text(encoding="utf-8").splitlines()[0].split(",")
        for name in ("images.csv", "rejected.csv")
    )
    images[-1] = images[-1][: len("sha256:")] + "<digest>"
    assert [images, rejected] == tables("column")
    headers = [
        read_envelope(path, b"bottleneck-shard 3") or {} for path in cache.glob("codes/*/*.h5")
    ]
    assert {tuple(header) for header in headers} == {tuple(tables("header")[0])}
    assert {tuple(header["manifest"]) for header in headers} == {
        ("spec", "layout", "source", "identity", "views")
    }
    assert all(0 < header["work"] < 1 for header in headers)  # there is a layer behind both
    shard_datasets, index_datasets = tables("dataset")
    for layer in ("layer2", "layer3"):
        for _, shard in Reader(cache).done(layer):
            assert set(shard.attrs) == set(tables("attribute")[0])
            assert set(shard) == set(shard_datasets)
            assert shard.attrs["spec"] == layer_text(Reader(cache).plan, layer)
            assert shard.attrs["spec_digest"] == sha256(shard.attrs["spec"].encode())
            assert not any(set(dataset.attrs) for dataset in shard.values())
    with h5py.File(cache / "codes.h5", "r", locking=False) as index:
        assert not index.attrs
        found = {re.sub("layer[23]", "<layer>", name) for name in index}
        assert found == {name for name in index_datasets if ":views" not in name}
    header = read_envelope(cache / "codes.h5", b"bottleneck-index 2") or {}
    assert set(header) == {"says", "bytes", "sha256"}
    assert "`says`" in PAGE


def test_the_page_names_every_file_of_a_cache(cache: Path) -> None:
    files = {path.relative_to(cache).as_posix() for path in cache.rglob("*") if path.is_file()}
    for name in files:
        shown = re.sub(r"codes/layer[23]/0000\d", "codes/<layer>/00000", name)
        assert f"      {shown}  " in PAGE, name


# Heads

How = tuple[str, str, int]  # classifier, preprocessing, folds

CLASSIFIERS: list[How] = [
    ("svm", "standardize", 0),
    ("svm", "sqrt", 2),
    ("svm", "l2", 2),
    ("softmax", "standardize", 0),
    ("softmax", "none", 2),
]

SEVERAL = {"ants": "red", "bees": "green|bright", "wasps": "bright"}


def train(cache: Path, path: Path, clf: str, preprocess: str, folds: int = 0) -> Head:
    search = SearchOptions(c=[0.1], cv=folds, scaling=preprocess)
    head = fit(cache, clf, layers="layer2", search=search).head
    head.save(path)
    return Head.load(path)


@pytest.fixture
def several(photos: Path, extract_tiny: Extract, tmp_path: Path) -> Path:
    """A cache of images that have one label or two."""
    lines = ["path,label"]
    for image in sorted(photos.rglob("*.*")):
        lines.append(f"{image.relative_to(photos)},{SEVERAL[image.parent.name]}")
    (photos / "several.csv").write_text("\n".join(lines))
    return extract_tiny(photos / "several.csv", tmp_path / "several").cache.path


@pytest.mark.parametrize("how", CLASSIFIERS, ids=str)
def test_answers_by_hand_are_the_packages(
    how: How, cache: Path, photos: Path, tmp_path: Path
) -> None:
    path = tmp_path / "head.safetensors"
    head = train(cache, path, *how)
    reader = Reader(cache)
    codes = reader.read("layer2").codes
    codes[3] = 0
    answers = agrees(head, path, codes)
    assert head.classes == ["ants", "bees", "wasps"]
    assert (head.calibration is None) == (how == ("svm", "standardize", 0))

    rows = [0, 10, 20, 35]
    names = [str(photos / reader.images[row]["path"]) for row in rows]
    for row, prediction in zip(
        rows, predict(head, names, compute=ComputeOptions(device="cpu")), strict=True
    ):
        answer = answers[row]
        assert prediction.label == answer.label
        scores = answer.probabilities or answer.margins.tolist()
        named = dict(zip(head.classes, scores, strict=True))
        assert prediction.scores == pytest.approx(named, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("preprocess", SCALINGS)
def test_answers_of_several_layers_by_hand_are_the_packages(
    preprocess: str, cache: Path, tmp_path: Path
) -> None:
    search = SearchOptions(c=[0.1], cv=0, scaling=preprocess)
    fit(cache, "softmax", layers=["layer3", "layer2"], search=search).head.save(tmp_path / "head")
    both = [Reader(cache).read(layer).codes for layer in ("layer3", "layer2")]
    codes = np.hstack([layer.reshape(len(layer), -1) for layer in both])
    agrees(Head.load(tmp_path / "head"), tmp_path / "head", codes)


@pytest.mark.parametrize("how", CLASSIFIERS, ids=str)
def test_answers_by_hand_are_the_packages_for_several_labels(
    how: How, several: Path, tmp_path: Path
) -> None:
    head = train(several, tmp_path / "head", *how)
    assert head.classes == ["bright", "green", "red"]
    codes = Reader(several).read("layer2").codes
    codes[3] = 0
    answers = agrees(head, tmp_path / "head", codes)
    if "standardize" in how:
        assert {answer.label for answer in answers} >= {"bright", "bright|green"}


@pytest.mark.parametrize("how", CLASSIFIERS, ids=str)
def test_two_classes_have_two_rows_as_well(
    how: How, photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    for split in ("train", "val"):
        for path in (photos / split / "wasps").iterdir():
            path.unlink()
    cache = extract_tiny(photos).cache.path
    head = train(cache, tmp_path / "head", *how)
    tensors, _ = read_safetensors(tmp_path / "head")
    shapes = {"coef": (2, 8), "intercept": (2,), "mean": (8,), "scale": (8,)}
    if head.calibration is not None:
        shapes |= {"slope": (2,), "offset": (2,)}
    assert {name: tensor.shape for name, tensor in tensors.items()} == shapes
    agrees(head, tmp_path / "head", Reader(cache).read("layer2").codes)


@pytest.mark.parametrize("multilabel", [False, True])
def test_the_page_names_every_part_of_a_head_and_no_other(
    multilabel: bool, cache: Path, several: Path, tmp_path: Path
) -> None:
    cache = several if multilabel else cache
    train(cache, tmp_path / "head", "softmax", "l2")
    tensors, metadata = read_safetensors(tmp_path / "head")
    assert set(tensors) == set(tables("tensor")[0])
    assert {tensor.dtype.str for tensor in tensors.values()} == {"<f8"}
    assert list(metadata) == ["bottleneck"]
    values = json.loads(metadata["bottleneck"])
    assert list(values) == tables("key")[1]
    assert values["multilabel"] is multilabel
    plan = Reader(cache).plan
    assert (values["spec"], values["source"]) == (plan["spec"], plan["source"])
    assert not tensors["mean"].any()
    assert (tensors["scale"] == 1).all()
    assert (tensors["slope"] == 1).all()
    assert not tensors["offset"].any()

    train(cache, tmp_path / "svm", "svm", "l2")
    optional = set(tables("tensor")[0]) - set(read_safetensors(tmp_path / "svm")[0])
    assert optional == {"slope", "offset"}
    assert all(f"| `{name}` | (k,) | F64 | optional: " in PAGE for name in optional)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_every_file_has_the_permissions_of_the_users_umask(
    umask: int, mode: int, photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    before = os.umask(umask)
    try:
        path = extract_tiny(photos).cache.path
        train(path, tmp_path / "head", "svm", "none")
    finally:
        os.umask(before)
    files = [file for file in path.rglob("*") if file.is_file()]
    assert len(files) == 4 + 5
    assert {file.stat().st_mode & 0o777 for file in [*files, tmp_path / "head"]} == {mode}


# The page's own examples


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `import bottleneck` fail."""
    monkeypatch.setitem(sys.modules, "bottleneck", None)


@pytest.mark.usefixtures("no_package")
@pytest.mark.parametrize("which", [0, 1])
def test_the_examples_run(
    which: int, lived_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived_in.rename(tmp_path / "photos.cache")
    monkeypatch.chdir(tmp_path)
    reader = Reader(tmp_path / "photos.cache")
    reading = reader.read("layer3")
    names: dict[str, Any] = {}
    assert len(blocks("python")) == 2
    exec(compile(blocks("python")[which], "docs/format.md", "exec"), names)
    codes = names["X"] if which else names["codes"]
    assert np.array_equal(codes, reading.codes[reading.usable])
    if which:
        labels = [image["label"] for image in reader.images]
        assert names["y"] == [labels[i] for i in np.flatnonzero(reading.usable)]


# The writer: a cache and a head of the page alone, read by the package


SPEC: dict[str, Any] = {
    "model": "another program's network",
    "weights_digest": "0" * 64,
    "preprocess": {
        "resize": 64,
        "crop": 64,
        "mean": [0.5, 0.0, 5e-05],
        "std": [0.25, 1.0, 0.1],
        "interpolation": "bicubic",
    },
    "decoder": "another-1",
    "precision": "bfloat16",
    "relu": False,
    "pool": "none",
}
# What version 3 can say beyond that.
ADDED = {"fit": "pad", "range": [0.0, 4095.0]}
RECIPE = {"rule": "sha256-1", "augmentations": ["flip", "crop"], "seed": 2**63 - 1}
LAYER = "block/é 1"
SIZE = 4
REJECTED, REMOVED = 2, 7
HOSTILE = os.fsdecode(b"caf\xe9")


@dataclass(frozen=True)
class Written:
    path: Path
    codes: NDArray[np.float32]
    label: list[str]
    version: int
    spec: dict[str, Any]


@pytest.fixture(params=[2, 3])
def written(tmp_path: Path, request: pytest.FixtureRequest) -> Written:
    version = request.param
    spec = SPEC if version == 2 else SPEC | {"preprocess": SPEC["preprocess"] | ADDED}
    path = tmp_path / "written"
    plan = {
        "format": "bottleneck-cache",
        "format_version": version,
        "spec": spec,
        "layout": {"dtype": "float16", "shard_size": SIZE, "compression": "none"},
        "source": {"model": "somewhere", "weights": "else"},
        "identity": "this one and no other",
        "written_by": "another program",  # the version lets a writer add such keys
    }
    if version == 3:
        plan["views"] = [RECIPE]
    path.mkdir()
    label = [("ants", HOSTILE)[i % 2] for i in range(18)]
    values = np.random.default_rng(0).normal(size=(18, 3, 2))
    values[::2, 0] += 3
    codes = values.astype(np.float16).astype(np.float32)
    codes[9, 1, 1] = 70000.0
    codes[REJECTED] = 0
    table = ""
    for i in range(18):
        size = "-1,-1" if i == REMOVED else f"{100 + i},{10**18 + i}"
        table += f'"{i}, ""x"".png",{label[i]},,,{size},\r\n'
    rows = table.encode("utf-8", errors="surrogateescape")
    first = f"path,label,split,group,size,mtime_ns,sha256:{sha256(rows)}\r\n"
    (path / "images.csv").write_bytes(first.encode() + rows)
    for view in range(3 if version == 3 else 1):
        folder = path / "codes" / (encoded(LAYER) + (f"@{view}" if view else ""))
        folder.mkdir(parents=True)
        for k, start in enumerate(range(0, 18, SIZE)):
            rows_of = range(18)[start : start + SIZE]
            of_view = np.roll(codes, view, axis=1)  # of rejected rows too: zeros
            write_shard(folder / f"{k:05d}.h5", plan, rows_of, of_view, label, view=view)
    plan["spec_digest"] = layer_digest(plan, "")
    plan["sha256"] = plan_digest(plan)
    (path / "spec.json").write_text(json.dumps(plan, indent=1))
    return Written(path, codes, label, version, spec)


def write_shard(
    path: Path,
    plan: dict[str, Any],
    rows: range,
    codes: NDArray[Any],
    label: Sequence[str],
    *,
    view: int = 0,
) -> None:
    codes = codes[rows.start : rows.stop]
    if np.abs(codes).max() <= 65504:
        codes = codes.astype(np.float16)
    text = h5py.string_dtype("utf-8")
    with h5py.File(path, "w", userblock_size=4096) as shard:
        shard["codes"] = codes  # contiguous, which a writer may choose
        shard["row"] = np.array(rows, dtype=np.int64)
        shard["valid"] = np.array([row != REJECTED for row in rows])
        columns = {
            "path": [f'{row}, "x".png'.encode() for row in rows],
            "label": [label[row].encode("utf-8", errors="surrogateescape") for row in rows],
            "reason": [b"no good" if row == REJECTED else b"" for row in rows],
            "image_sha256": [sha256(b"%d" % row).encode() for row in rows],
        }
        for name, values in columns.items():
            shard.create_dataset(name, data=values, dtype=text)
        shard["notes"] = np.arange(3)  # to be ignored
        shard.attrs.update(
            format="bottleneck-shard",
            format_version=plan["format_version"],
            spec=layer_text(plan, LAYER, view),
            spec_digest=layer_digest(plan, LAYER, view),
            written_by="another program",
        )
        if plan["format_version"] == 2:
            digests = {"codes_sha256": codes_digest(codes), "rows_sha256": rows_digest(shard)}
            shard.attrs.update(digests)
    manifest = {key: plan[key] for key in ("spec", "layout", "source", "identity")}
    header: dict[str, Any] = {
        "layer": LAYER,
        "start": rows.start,
        "shape": codes.shape,
        "dtype": codes.dtype.name,
        "rejected": {str(REJECTED - rows.start): "no good"} if REJECTED in rows else {},
        "work": None,
        "manifest": manifest,
        "written_by": "another program",
    }
    if plan["format_version"] == 3:
        # The plain images were there first.
        manifest["views"] = plan["views"] if view else []
        header["view"] = view
    write_envelope(path, header, room=4096, version=plan["format_version"])


def write_envelope(path: Path, header: dict[str, Any], *, room: int, version: int = 3) -> None:
    body = path.read_bytes()[room:]
    values = {key: value for key, value in header.items() if key not in ("bytes", "sha256")}
    rest = b""
    for _ in range(3):  # until the line's length no longer changes with what it says
        values |= {"bytes": room + len(body), "sha256": sha256(rest)}
        line = json.dumps(values, ensure_ascii=False).encode("utf-8") + b"\n"
        first = b"bottleneck-shard %d %s\n" % (version, sha256(line).encode())
        rest = bytes(room - len(first) - len(line)) + body
    path.write_bytes(first + line + rest)


def test_the_package_reads_a_cache_that_another_program_wrote(written: Written) -> None:
    cache = open_cache(written.path)
    assert verify(written.path).ok
    assert cache.layers == [LAYER]
    assert cache.spec.digest(LAYER) == layer_digest({"spec": written.spec}, LAYER)
    assert cache.views(LAYER) == (1 if written.version == 2 else 3)
    for view in range(cache.views(LAYER)):
        rows = np.flatnonzero(cache.valid_rows(LAYER, view + 1))
        expected = np.roll(written.codes, view, axis=1)[rows].reshape(len(rows), -1)
        np.testing.assert_array_equal(cache.read_codes(LAYER, rows, view), expected)
    transform = cache.spec.transform
    expected_fit = ("crop", None) if written.version == 2 else ("pad", (0.0, 4095.0))
    assert (transform.fit, transform.range) == expected_fit
    assert cache.images.label == written.label
    usable = cache.valid_rows(LAYER)
    assert np.flatnonzero(~usable).tolist() == [REJECTED, REMOVED]
    assert list(cache.rejected()) == [REJECTED, REMOVED]
    rows = np.flatnonzero(usable)
    expected = written.codes.reshape(18, -1)[rows]
    assert np.array_equal(cache.read_codes(LAYER, rows), expected)
    assert cache.status().layers[LAYER].dtype == "float16+float32"
    assert {header.cost for header in cache.finished_shards(LAYER).values()} == {None}
    head = fit(written.path, "svm", search=SearchOptions(c=[1.0], cv=0)).head
    assert head.classes == ["ants", HOSTILE]


@pytest.mark.parametrize("change", [{"rule": "sha256-2"}, {"augmentations": ["flip", "shear"]}])
def test_views_by_an_unknown_rule_are_refused_and_not_repaired(
    written: Written, change: dict[str, Any]
) -> None:
    spec = written.path / "spec.json"
    plan = json.loads(spec.read_text()) | {"views": [RECIPE | change]}
    spec.write_text(json.dumps(plan | {"sha256": plan_digest(plan)}))
    for act in (open_cache, verify):
        with pytest.raises(UnsupportedCacheError, match=r"spec\.json names views of each image"):
            act(written.path)


def test_a_cache_of_a_later_version_is_refused_and_not_repaired(written: Written) -> None:
    spec = written.path / "spec.json"
    plan = json.loads(spec.read_text()) | {"format_version": 4}
    spec.write_text(json.dumps(plan | {"sha256": plan_digest(plan)}))
    for act in (open_cache, verify, recover_cache):
        with pytest.raises(UnsupportedCacheError, match=r"version 4; this program reads"):
            act(written.path)


def test_shards_of_a_view_are_no_layer(cache: Path) -> None:
    folder = cache / "codes" / "layer2"
    (cache / "codes" / "layer2@1").mkdir()
    (folder / "00000.h5").rename(cache / "codes" / "layer2@1" / "00000.h5")
    opened = open_cache(cache)
    assert opened.layers == ["layer2", "layer3"]
    assert list(opened.finished_shards("layer2")) == [1, 2, 3, 4]


def test_a_shard_that_says_it_is_of_a_view_or_another_version_is_not_finished(cache: Path) -> None:
    for shard, version in ((1, 3), (2, 2)):
        path = cache / "codes" / "layer2" / f"{shard:05d}.h5"
        header = json.loads(path.read_bytes().split(b"\n", 2)[1]) | {"view": 1}
        if version == 2:
            del header["view"], header["manifest"]["views"]
        with h5py.File(path) as file:
            room = file.userblock_size
        write_envelope(path, header, room=room, version=version)
    assert list(open_cache(cache).finished_shards("layer2")) == [0, 3, 4]
    assert [item.why for item in verify(cache)] == [
        "of view 1 of its images, made by an unnamed recipe",
        "of format version 2, in a cache of version 3",
    ]


def test_the_package_extracts_nothing_where_another_program_has_done_it(
    photos: Path, extract_tiny: Extract
) -> None:
    path = extract_tiny(photos).cache.path
    reader = Reader(path)
    contents = [
        (rows, {name: shard[name][...] for name in shard}, dict(shard.attrs))
        for rows, shard in reader.done("layer2")
    ]
    for (rows, datasets, attributes), (_, target) in zip(
        contents, reader.shards("layer2"), strict=True
    ):
        header = read_envelope(target, b"bottleneck-shard 3") or {}
        target.unlink()
        with h5py.File(target, "w", userblock_size=2048) as shard:
            shard["codes"] = datasets.pop("codes") + 1
            for name, values in datasets.items():
                text = h5py.string_dtype("utf-8") if values.dtype == object else values.dtype
                shard.create_dataset(name, data=values, dtype=text)
            shard.attrs.update(attributes)
        write_envelope(target, header, room=2048)
        assert len(rows) == len(datasets["row"])
    cpu = ComputeOptions(device="cpu")
    again = extract(photos, path, model=PLAIN, layers=["layer2"], transform=SMALL, compute=cpu)
    assert again.rows == 0
    assert verify(path).ok


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("calibrated", [False, True])
def test_the_package_reads_a_head_that_another_program_wrote(
    multilabel: bool, calibrated: bool, written: Written, tmp_path: Path
) -> None:
    coef = np.array([[1.0, 0, 0, 0, 0, 2], [0, 1, 0, 0, 0, 0], [0, 0, -1, 0, 0, 0]])
    tensors = {"coef": coef, "intercept": np.array([0.1, 0.2, 0.3]), "mean": np.full(6, 0.5)}
    tensors |= {"scale": np.full(6, 2.0), "notes": np.zeros(2)}
    if calibrated:
        tensors |= {"slope": np.array([0.5, 2, 0]), "offset": np.array([0, -1, 0.25])}
    layers = [{"name": LAYER, "size": 4}, {"name": "another", "size": 2}]
    of_version_2 = {"layers": layers, "views": 1, "view_recipe": None}
    values = {
        "format": "bottleneck-head",
        "format_version": written.version - 1,
        "clf": "svm",
        **(of_version_2 if written.version == 3 else {"layer": LAYER}),
        "classes": ["ants", "bees", HOSTILE],
        "preprocess": "standardize",
        "multilabel": multilabel,
        "spec": written.spec,
        "source": {"model": "somewhere", "weights": "else"},
        "record": {},
        "written_by": "another program",
    }
    path = tmp_path / "head"
    write_safetensors(path, tensors, {"bottleneck": json.dumps(values), "more": "x"})

    head = Head.load(path)
    head.require(open_cache(written.path).spec, where="the written cache")
    assert (head.calibration is not None) == calibrated
    answers = agrees(head, path, written.codes)
    assert len({answer.label for answer in answers}) == (4 if multilabel else 3)


def write_safetensors(
    path: Path, tensors: dict[str, NDArray[np.float64]], metadata: dict[str, str]
) -> None:
    header: dict[str, Any] = {"__metadata__": metadata}
    data = b""
    for name, tensor in tensors.items():
        offsets = [len(data), len(data) + tensor.nbytes]
        header[name] = {"dtype": "F64", "shape": list(tensor.shape), "data_offsets": offsets}
        data += tensor.astype("<f8").tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
