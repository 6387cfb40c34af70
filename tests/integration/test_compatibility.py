"""Caches and heads that earlier versions of the program made open, verify and predict as before."""

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from safetensors import safe_open

from bottleneck.cache.store import open_cache
from bottleneck.cache.verify import verify
from bottleneck.errors import SpecMismatchError
from bottleneck.extraction.extract import extract
from bottleneck.extraction.options import ComputeOptions, RunOptions
from bottleneck.fitting.fit import fit
from bottleneck.fitting.heads.head import Head
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.prediction.predict import predict
from tests.helpers.cli import contents

BEFORE = Path(__file__).parents[1] / "data" / "before"
CACHES = ["cache", "cache.grid"]
HEADS = ["svm", "softmax", "margins", "several"]


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """A copy of the old folder; the images have the times that the caches have recorded."""
    copy = tmp_path / "before"
    shutil.copytree(BEFORE, copy)
    for path, _, _, _, size, mtime_ns in stored_rows(copy / "cache"):
        image = copy / "images" / path
        assert image.stat().st_size == int(size)
        os.utime(image, ns=(int(mtime_ns), int(mtime_ns)))
    return copy


def stored_rows(cache: Path) -> list[list[str]]:
    """The columns path, label, split, group, size and mtime_ns of images.csv, by row."""
    with (cache / "images.csv").open(newline="") as file:
        return [row[:6] for row in list(csv.reader(file))[1:]]


def stored_columns(cache: Path, layer: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The codes and valid flags of a layer, read from its shards by h5py alone."""
    codes, valid = [], []
    for path in sorted((cache / "codes" / layer).glob("*.h5")):
        with h5py.File(path) as file:
            codes.append(file["codes"][...])
            valid.append(file["valid"][...])
    return np.concatenate(codes), np.concatenate(valid).astype(bool)


def record(head: str) -> dict[str, Any]:
    """The training record of an old head, read by safetensors alone."""
    with safe_open(BEFORE / f"head-{head}.safetensors", "np") as file:
        values: dict[str, Any] = json.loads(file.metadata()["bottleneck"])
    return dict(values["record"])


@pytest.mark.parametrize("name", CACHES)
def test_an_old_cache_opens_and_verifies(name: str) -> None:
    cache = open_cache(BEFORE / name)
    assert verify(cache).ok
    assert cache.status().complete
    assert cache.reference.model == "/data/old/network.py:build"
    columns = zip(cache.images.path, cache.images.label, cache.images.split, strict=True)
    assert list(columns) == [tuple(row[:3]) for row in stored_rows(BEFORE / name)]
    assert cache.rejected() == {12: "cannot be decoded: not an image of a known format"}


@pytest.mark.parametrize(
    ("name", "layer"), [("cache", "layer1"), ("cache", "layer2"), ("cache.grid", "layer1")]
)
def test_the_codes_of_an_old_cache_are_those_in_its_shards(name: str, layer: str) -> None:
    codes, valid = stored_columns(BEFORE / name, layer)
    cache = open_cache(BEFORE / name)
    np.testing.assert_array_equal(cache.valid_rows(layer), valid)
    rows = np.flatnonzero(valid)
    expected = codes[rows].reshape(len(rows), -1).astype(np.float32)
    np.testing.assert_array_equal(cache.read_codes(layer, rows), expected)
    features, labels = cache.load(layer)
    np.testing.assert_array_equal(features, expected)
    assert labels.tolist() == [stored_rows(BEFORE / name)[row][1] for row in rows]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cache", {"layers": ["layer1", "layer2"]}),
        ("cache.grid", {"layers": ["layer1"], "pool": "2", "relu": False}),
    ],
)
@pytest.mark.parametrize("check_content", [False, True])
def test_an_old_cache_is_complete_for_an_extraction(
    before: Path, name: str, options: dict[str, Any], check_content: bool
) -> None:
    shards = contents(before / name / "codes")
    manifest = (before / name / "spec.json").read_bytes()
    done = extract(
        before / "images",
        before / name,
        model=f"{before / 'network.py'}:build",
        weights=str(before / "network.safetensors"),
        run=RunOptions(check_content=check_content),
        **options,
    )
    assert (done.rows, bool(done.changes)) == (0, False)
    assert contents(before / name / "codes") == shards
    assert (before / name / "spec.json").read_bytes() == manifest
    assert verify(done).ok


def test_an_old_cache_is_extended_in_its_own_version(before: Path) -> None:
    cache = before / "cache"
    kept, manifest = contents(cache / "codes"), (cache / "spec.json").read_bytes()
    shutil.copy(before / "images/test/ants/ants0.png", before / "images/train/bees/new.png")
    done = extract(
        before / "images",
        cache,
        model=f"{before / 'network.py'}:build",
        weights=str(before / "network.safetensors"),
        layers=["layer1", "layer2"],
    )
    assert (done.changes.added, done.rows) == (1, 4)  # the last shard, which had three rows
    assert (cache / "spec.json").read_bytes() == manifest
    now = contents(cache / "codes")
    assert {name for name in now if now[name] != kept[name]} == {
        f"{layer}/00002.h5" for layer in ("layer1", "layer2")
    }
    for layer in ("layer1", "layer2"):
        with h5py.File(cache / "codes" / layer / "00002.h5") as file:
            assert file.attrs["format_version"] == 2
            assert len(file.attrs["codes_sha256"]) == len(file.attrs["rows_sha256"]) == 64
        lines = (cache / "codes" / layer / "00002.h5").read_bytes().split(b"\n", 2)
        assert lines[0].startswith(b"bottleneck-shard 2 ")
        assert json.loads(lines[1])["manifest"]["spec"] == json.loads(manifest)["spec"]
        assert "view" not in json.loads(lines[1])
    assert verify(cache).ok
    twin = done.cache.images.path.index("test/ants/ants0.png")
    codes = done.cache.read_codes("layer2", np.array([twin, 19]))
    np.testing.assert_allclose(codes[0], codes[1], rtol=1e-2)


def test_a_field_that_an_old_cache_lacks_is_another_spec(before: Path) -> None:
    with pytest.raises(SpecMismatchError, match=r"fit is crop in cache .* and pad in this run"):
        extract(
            before / "images",
            before / "cache",
            model=f"{before / 'network.py'}:build",
            weights=str(before / "network.safetensors"),
            layers=["layer1"],
            transform={"fit": "pad"},
        )


def test_codes_of_old_and_new_caches_have_one_digest(before: Path) -> None:
    old = open_cache(before / "cache")
    new = extract(
        before / "images",
        before / "new",
        model=f"{before / 'network.py'}:build",
        weights=str(before / "network.safetensors"),
        layers=["layer1"],
        compute=ComputeOptions(precision=old.spec.precision),
    ).cache
    assert (old.manifest.version, new.manifest.version) == (2, 3)
    assert old.spec.digest("layer1") == new.spec.digest("layer1")
    with h5py.File(old.shard_path("layer1", 0)) as file:
        assert file.attrs["spec_digest"] == new.spec.digest("layer1")
    Head.load(before / "head-svm.safetensors").require(new.spec, where="the new cache")


@pytest.mark.parametrize("name", HEADS)
def test_an_old_head_predicts_as_before(
    before: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(before)
    lines = Path(f"predictions-{name}.jsonl").read_text().splitlines()
    expected = [json.loads(line) for line in lines]
    head = Head.load(Path(f"head-{name}.safetensors"))
    predictions = predict(
        head,
        [Path(line["path"]) for line in expected],
        model="network.py:build",
        weights="network.safetensors",
    )
    for prediction, line in zip(predictions, expected, strict=True):
        assert str(prediction.path) == line["path"]
        assert prediction.label == line["label"]
        assert prediction.scores == pytest.approx(line["scores"], abs=1e-6)


@pytest.mark.parametrize(
    ("name", "clf", "options"),
    [
        ("svm", "svm", {}),
        ("softmax", "softmax", {}),
        ("margins", "svm", {"search": SearchOptions(c=[1.0], cv=0)}),
        ("several", "svm", {"labels": BEFORE / "several.csv"}),
    ],
)
def test_a_fit_on_an_old_cache_gives_the_old_record(
    name: str, clf: str, options: dict[str, Any]
) -> None:
    old = record(name)
    same_c = {"search": SearchOptions(c=old["c"])}  # the grid is another one today
    new = fit(BEFORE / "cache", clf, layers=old["layer"], **(same_c | options)).to_dict()
    measured = {"seconds", "gap"}  # of the run, not of the result
    # The calibration was fitted to decision values of a smaller tolerance; softmax had none, and of
    # several labels the error was that of the most probable ones.
    calibrations = [(new, old), (new.get("heldout") or {}, old.get("heldout") or {})]
    for found, known in calibrations:
        before, now = known.pop("ece", None), found.pop("ece", None)
        assert name in ("softmax", "several") or now == pytest.approx(before, abs=1e-4)
    assert approximately(new, {key: old[key] for key in old.keys() - measured})


def approximately(new: Any, old: Any) -> bool:
    """Compare nested values, floats within 1e-6."""
    if isinstance(old, dict):
        return set(old) <= set(new) and all(approximately(new[key], old[key]) for key in old)
    if isinstance(old, list):
        return len(new) == len(old) and all(map(approximately, new, old))
    return bool(new == pytest.approx(old, abs=1e-6))
