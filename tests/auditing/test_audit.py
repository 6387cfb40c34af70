"""An audit of generated photographs, with what was planted among them."""

import csv
import shutil
from hashlib import sha256
from importlib import import_module
from itertools import count, groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bottleneck as bn
from bottleneck.auditing import AuditResult
from bottleneck.errors import CacheError, InvalidOptionError, UnknownNameError
from bottleneck.fitting import CrossValidation
from bottleneck.linear import TrainingSet
from tests.helpers.datasets import cache_of_layers, clouds, written_cache
from tests.helpers.fixture_types import Extract
from tests.helpers.photographs import photograph

audit_module = import_module("bottleneck.auditing.audit")  # the package's name is the verb's


@pytest.fixture
def planted(photos: Path) -> Path:
    """The photographs with copies across splits and labels, a near copy, and a black image."""
    shutil.copy(photos / "train/ants/ants000.jpg", photos / "val/ants/copy.jpg")
    shutil.copy(photos / "train/ants/ants002.jpg", photos / "train/bees/wrong.jpg")
    photograph(1, "ants").save(photos / "val/ants/again.bmp")  # ants001.png in other bytes
    return photos


def test_copies_leaks_and_the_wrong_label_are_found(planted: Path, extract_tiny: Extract) -> None:
    cache = extract_tiny(planted, layers=["layer2", "layer3"]).cache
    before = {path: path.read_bytes() for path in cache.path.rglob("*") if path.is_file()}
    told: list[bn.Progress] = []
    found = bn.audit(cache, on_progress=told.append)
    assert [group.paths for group in found.duplicates] == [
        ("train/ants/ants000.jpg", "val/ants/copy.jpg"),
        ("train/ants/ants002.jpg", "train/bees/wrong.jpg"),
    ]
    assert {"train/ants/ants001.png", "val/ants/again.bmp"} in [
        set(group.paths) for group in found.near
    ]
    assert set(found.leaked) >= {"val/ants/copy.jpg", "val/ants/again.bmp"}
    assert found.leaks == len(found.leaked) <= 4
    assert found.labels.examined == 39
    assert [(one.path, one.split, one.suggested) for one in found.suspects] == [
        ("train/bees/wrong.jpg", "train", "ants")
    ]
    score, clean = found.labels.score, found.labels.without_leaks
    assert score is not None
    assert clean is not None
    assert (score.n, clean.n) == (14, 14 - found.leaks)
    compared, *trained = [
        list(of_one) for _, of_one in groupby(told, lambda each: (each.unit, each.total))
    ]
    # Without the second of two equal images.
    assert (compared[0].done, str(compared[-1])) == (0, "37 of 37 images compared")
    assert len(trained) == 2  # to select C on the images in train, then to judge all of them
    for stage in trained:
        assert {progress.unit for progress in stage} == {"fits at most"}
        assert (stage[0].done, stage[-1].done) == (0, stage[0].total)
    assert {path: path.read_bytes() for path in before} == before


def test_copies_that_lack_codes_at_a_layer_change_nothing_for_others(
    planted: Path, extract_tiny: Extract
) -> None:
    copied = [planted / "train/ants/ants000.jpg", planted / "train/ants/ants002.jpg"]
    digests = [sha256(path.read_bytes()).digest() for path in copied]
    large = planted / "train/bees/large.bmp"
    for side in count(200):  # until its copies are numbered before the others
        photograph(0, "bees").resize((side, side)).save(large)
        if sha256(large.read_bytes()).digest() < min(digests):
            break
    shutil.copy(large, large.with_name("larger.bmp"))
    extract_tiny(planted, layers=["layer2"])
    cache = extract_tiny(planted, layers=["layer2", "layer3"], max_pixels=100 * 100).cache
    found = bn.audit(cache)
    assert found.examined.without_codes == 2
    assert [group.paths for group in found.duplicates] == [
        ("train/ants/ants000.jpg", "val/ants/copy.jpg"),
        ("train/ants/ants002.jpg", "train/bees/wrong.jpg"),
    ]


def test_maps_and_their_averages_have_the_same_findings(
    planted: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    maps, averages = (
        bn.audit(extract_tiny(planted, tmp_path / pool, layers=["layer2", "layer3"], pool=pool))
        for pool in ("none", "avg")
    )
    assert [group.paths for group in maps.near] == [group.paths for group in averages.near] != []
    assert maps.leaked == averages.leaked
    assert [one.path for one in maps.suspects] == [one.path for one in averages.suspects]
    assert [one.path for one in maps.outliers] == [one.path for one in averages.outliers]
    assert "layer2, layer3 (18 values), in" in str(averages)
    assert "layer2, layer3 (18 values, averaged over positions), in" in str(maps)
    both = extract_tiny(planted, tmp_path / "both", layers=["layer2"], pool=["avg", "none"])
    assert "layer2 (8 values), in" in str(bn.audit(both))
    beside = str(bn.audit(both, layers=["layer2@none"]))
    assert "layer2@none (8 values, averaged over positions), in" in beside


def test_labels_and_splits_may_come_from_a_csv(planted: Path, extract_tiny: Extract) -> None:
    cache = extract_tiny(planted).cache
    path = planted.parent / "labels.csv"
    names = cache.images.path[:]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split", "group"])
        writer.writerows(
            [name, name.split("/")[1], "", f"g{i % 9}"] for i, name in enumerate(names)
        )
    found = bn.audit(cache, labels=path)
    assert found.leaks == 0
    assert found.labels.score is None
    assert found.summary is not None
    assert str(found) == f"{found.summary}\n\n{found.format()}"
    assert [group.across_groups for group in found.duplicates].count(True) > 0
    assert {one.path for one in found.suspects} <= {"train/bees/wrong.jpg"}
    assert found.labels.examined == 39


def test_folds_keep_duplicates_together(
    planted: Path, extract_tiny: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = extract_tiny(planted).cache
    seen: list[TrainingSet] = []

    class Recorded(CrossValidation):
        def __init__(self, training: TrainingSet, *options: Any) -> None:
            seen.append(training)
            super().__init__(training, *options)

    monkeypatch.setattr(audit_module, "CrossValidation", Recorded)
    bn.audit(cache)
    (training,) = seen
    assert training.groups is not None
    of = dict(zip(cache.images.path, training.groups.tolist(), strict=True))
    assert of["train/ants/ants000.jpg"] == of["val/ants/copy.jpg"]
    assert of["train/ants/ants001.png"] == of["val/ants/again.bmp"]
    assert of["train/ants/ants000.jpg"] != of["train/ants/ants001.png"]
    assert len(set(of.values())) >= 30


def test_groups_that_duplicates_join_to_one_are_left_out_of_the_folds(
    planted: Path, extract_tiny: Extract
) -> None:
    cache = extract_tiny(planted).cache
    path = planted.parent / "labels.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split", "group"])
        for name in cache.images.path:
            writer.writerow([name, name.split("/")[1], "", name.split("/")[1]])
    found = bn.audit(cache, labels=path)
    assert found.labels.examined == 39
    assert "not the images' groups" in found.labels.remark
    assert found.labels.remark in str(found)
    assert bn.audit(cache).labels.remark == ""


def test_images_without_labels_are_compared_all_the_same(
    photos: Path, extract_tiny: Extract
) -> None:
    flat = photos.parent / "flat"
    flat.mkdir()
    for i in range(20):
        photograph(i).save(flat / f"{i:02d}.png")
    shutil.copy(flat / "03.png", flat / "99.png")
    found = bn.audit(extract_tiny(flat))
    assert [group.paths for group in found.duplicates] == [("03.png", "99.png")]
    assert found.suspects == []
    assert "no labelled image" in found.labels.reason
    assert f"labels: not examined: {found.labels.reason}" in str(found)
    assert "`" not in found.labels.reason  # what to do for a training is no advice here


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["avg", "none"])
def test_a_small_budget_finds_the_same(planted: Path, extract_tiny: Extract, pool: str) -> None:
    cache = extract_tiny(planted, pool=pool).cache
    whole, small = bn.audit(cache), bn.audit(cache, memory=1500)
    assert whole.near == small.near
    assert [one.path for one in whole.suspects] == [one.path for one in small.suspects]


@pytest.mark.parametrize("other", ["val", "holdout"])  # held out to judge a head, and not
def test_each_split_has_a_wrong_label_to_find(cache: Path, other: str) -> None:
    """Of each split one label is changed, and the class that it had is suggested."""
    opened = bn.open_cache(cache)
    names = opened.images.path[:]
    wrong = {"train/ants/ants003.png": "bees", "val/wasps/wasps002.jpg": "ants"}
    path = cache.parent / "labels.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for name in names:
            split, label, _ = name.split("/")
            split = "train" if split == "train" else other
            writer.writerow([name, wrong.get(name, label), split])
    found = bn.audit(opened, labels=path)
    assert {one.path: one.suggested for one in found.suspects} == {
        name: name.split("/")[1] for name in wrong
    }


def test_no_label_is_doubted_where_classes_are_apart_and_folds_uneven(tmp_path: Path) -> None:
    # The smallest C of all is right on the training split, whose folds are of equal classes.
    codes, y = clouds(54, apart=20)
    cache = written_cache(
        tmp_path / "cache", codes, [f"class{k}" for k in y], split=["train"] * 30 + ["test"] * 24
    )
    found = bn.audit(cache)
    assert found.labels.examined == 54
    assert found.suspects == []


def test_copies_whose_codes_at_one_layer_are_zeros_are_near(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    one, other = (random.random((40, size)).astype(np.float32) for size in (16, 8))
    one[11], other[10:12] = one[10], 0
    cache = cache_of_layers(tmp_path / "c", {"one": [one], "other": [other]}, [""] * 40)
    assert [found.paths for found in bn.audit(cache).near] == [("010.jpg", "011.jpg")]


def test_unknown_layers_and_caches_without_codes_are_refused(
    cache: Path, extract_tiny: Extract
) -> None:
    with pytest.raises(UnknownNameError, match="layer2"):
        bn.audit(cache, layers="layer22")
    empty = cache.parent / "broken"
    empty.mkdir()
    (empty / "a.jpg").write_bytes(b"no image")
    broken = extract_tiny(empty, cache.parent / "other").cache
    with pytest.raises(CacheError, match="none of its images could be read"):
        bn.audit(broken)


@pytest.mark.parametrize("memory", [0, -5, 1.5, "1G"])
def test_memory_that_is_no_number_of_bytes_is_refused_before_images_are_compared(
    cache: Path, memory: Any
) -> None:
    told: list[bn.Progress] = []
    with pytest.raises(InvalidOptionError, match="`memory="):
        bn.audit(cache, memory=memory, on_progress=told.append)
    assert told == []


def test_the_result_has_the_examined_layers_and_images(cache: Path) -> None:
    found = bn.audit(cache, layers=["layer2"])
    assert isinstance(found, AuditResult)
    assert found.examined.layers == ("layer2",)
    assert found.examined.images.images == 36
    assert np.isfinite(found.near_pairs.chance)
