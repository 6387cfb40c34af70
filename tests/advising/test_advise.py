"""Advice on generated codes whose best strategy is known, and on tails that were tuned."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bottleneck as bn
from bottleneck.advising.comparison import Comparison
from bottleneck.advising.rule import decide
from bottleneck.errors import HeadError, LabelsError, UnknownNameError
from bottleneck.fitting import Features, SearchOptions
from tests.helpers.codes import layered_cache
from tests.helpers.datasets import cache_of_layers, clouds, reject_row, several, written_cache
from tests.helpers.tuning import BOUNDARY, QUICK, hard_images, maps_cache

LARGE, MEDIUM, SMALL = 1260, 900, 75  # of which four fifths train
QUICK_SEARCH = SearchOptions(c=[0.01, 0.1])


@pytest.fixture(autouse=True)
def quick_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two values of C: which is the best is not what is tested here."""
    monkeypatch.setattr("bottleneck.advising.strategies.SEARCH", QUICK_SEARCH)


@pytest.mark.parametrize(
    ("n", "early", "late", "kinds"),
    [
        (SMALL, 0.0, 5.0, {"last layer"}),
        pytest.param(LARGE, 0.0, 5.0, {"last layer"}, marks=pytest.mark.slow),  # as of few images
        (SMALL, 5.0, 0.5, {"one layer"}),
        (LARGE, 2.0, 0.5, {"whole network"}),
        (MEDIUM, 2.0, 0.5, {"all layers"}),  # too few to train a network
    ],
    ids=[
        *("small, similar", "large, similar", "small, different", "large, different"),
        "neither, different",
    ],
)
def test_the_four_corners(
    tmp_path: Path, n: int, early: float, late: float, kinds: set[str]
) -> None:
    found = bn.advise(layered_cache(tmp_path / "cache", n, early=early, late=late))
    assert found.decision.kind in kinds
    assert found.findings.unlike is (early > late)
    assert found.decision.measured is (found.decision.kind != "whole network")
    layer = "layer1" if early > late else "layer2"
    assert layer in found.decision.linear.features.layers
    text = str(found)
    assert ("train the whole network: expected" in text) is not found.decision.measured
    assert ("unlike those that the network was trained on" in text) is (early > late)


def test_few_images_that_differ_are_expected_to_gain_from_views(tmp_path: Path) -> None:
    cache = layered_cache(tmp_path / "cache", 150, early=2.2, late=0.2, d=60)
    found = bn.advise(cache)
    assert (found.decision.kind, found.decision.measured) == ("views", False)
    assert [step.verb for step in found.steps] == ["extract", "advise", "fit"]
    images = found.examined.images
    assert repr(found) == f"<Advice on {images} images in {cache}: extract, advise, fit>"
    assert found.decision.linear.features.layers == ("layer1",)


def test_views_that_are_there_are_measured_and_take_part(tmp_path: Path) -> None:
    cache = layered_cache(tmp_path / "cache", 240, early=1.5, late=1.0, views=4)
    found = bn.advise(cache)
    assert found.findings.images == 240 * 4 // 5  # a view is no image
    names = [one.name for one in found.comparison.strategies]
    assert names == ["layer1", "layer2", "all 2 layers", "layer1, 4 views", "all 2 layers, 4 views"]
    assert (found.decision.kind, found.decision.measured) == ("views", True)
    assert found.decision.gain.value > 0.1
    (step,) = found.steps
    assert step.arguments["views"] == 4


def test_the_score_is_that_of_cross_validation_and_nothing_is_written(tmp_path: Path) -> None:
    path = layered_cache(tmp_path / "cache", 90, early=1.0, late=2.0)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    told: list[bn.Progress] = []
    found = bn.advise(path, on_progress=told.append)
    for one in found.comparison.strategies:
        cv = bn.fit(path, "svm", layers=one.features.layers, search=QUICK_SEARCH).search
        assert cv is not None
        # Folds of nearly the same size: the mean over folds is nearly that over images.
        assert found.comparison.score(one) == pytest.approx(cv.best.mean, abs=0.03)
    stages = {
        unit: [one for one in told if one.unit == unit]
        for unit in dict.fromkeys(one.unit for one in told)
    }
    assert list(stages) == ["fits at most", "fits of the curve"]
    for stage in stages.values():
        done, (total,) = [one.done for one in stage], {one.total for one in stage}
        assert (done[0], done[-1]) == (0, total)
        assert done == sorted(done)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("views", [1, 2])
def test_a_fit_to_longer_codes_counts_for_more(tmp_path: Path, views: int) -> None:
    random = np.random.default_rng(0)
    classes = np.arange(40) % 2
    short, long = (
        [random.normal(size=(40, d)) + far * classes[:, None] for _ in range(views)]
        for d, far in ((3, 5.0), (9, 0.0))
    )
    labels = np.array(["ant", "bee"])[classes].tolist()
    cache = cache_of_layers(tmp_path / "cache", {"short": short, "long": long}, labels)
    told: list[bn.Progress] = []
    found = bn.advise(cache, on_progress=told.append)
    names = [one.name for one in found.comparison.strategies]
    done = [one.done for one in told if one.unit == "fits at most"]
    total = told[0].total
    assert (done[0], done[-1], total % len(names)) == (0, total, 0)
    assert done == sorted(done)
    sizes = {"long": 9, "short": 3, "all 2 layers": 12}
    if views == 2:  # the best layer counts as the longest: it is known when it is measured
        sizes |= {"short, 2 views": 18, "all 2 layers, 2 views": 24}
    assert sorted(names) == sorted(sizes)
    ends = np.cumsum([sizes[name] for name in names])
    assert {math.ceil(total * end / ends[-1]) for end in ends} <= set(done)
    each = len(names) * sizes[names[0]] / ends[-1]
    assert done[:4] == [math.ceil(n * each) for n in range(4)]


def test_the_held_out_images_change_nothing(tmp_path: Path) -> None:
    path = layered_cache(tmp_path / "cache", 90, early=1.0, late=2.0)
    images = bn.open_cache(path).images
    labels = tmp_path / "labels.csv"
    with labels.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for name, label, split in zip(images.path, images.label, images.split, strict=True):
            writer.writerow([name, "a" if split == "test" else label, split])
    plain, relabelled = bn.advise(path), bn.advise(path, labels=labels)
    assert relabelled.summary is not None
    assert relabelled.steps[-1].arguments["labels"] == str(labels)
    np.testing.assert_array_equal(plain.comparison.scores, relabelled.comparison.scores)
    assert plain.examined == relabelled.examined


def test_training_from_images_needs_the_labels_that_were_given(tmp_path: Path) -> None:
    path = layered_cache(tmp_path / "cache", 30, early=1.0, late=2.0)
    labels = tmp_path / "labels.csv"
    images = bn.open_cache(path).images
    rows = [f"{name},{label}" for name, label in zip(images.path, images.label, strict=True)]
    labels.write_text("\n".join(["path,label", *rows]))
    for given, needed in ((None, False), (labels, True)):
        found = bn.advise(path, labels=given)
        untried = replace(found.decision, kind="whole network", measured=False)
        text = replace(found, decision=untried).recommendation
        assert (f"a CSV of images with those of {labels}" in text) is needed


def test_images_without_codes_at_a_layer_take_no_part(tmp_path: Path) -> None:
    path = layered_cache(tmp_path / "cache", 60, early=2.0, late=2.0)
    reject_row(path, "layer2", 3)
    found = bn.advise(path)
    assert found.examined.images == 47
    assert {len(one.values) for one in found.comparison.strategies} == {47}


def test_groups_widen_errors_and_are_no_neighbours(tmp_path: Path) -> None:
    alone = bn.advise(layered_cache(tmp_path / "a", 150, early=1.0, late=0.7))
    copied = bn.advise(layered_cache(tmp_path / "b", 150, early=1.0, late=0.7, copies=3))
    errors = [one.comparison.standard_error(one.comparison.last) for one in (alone, copied)]
    assert errors[1] == pytest.approx(errors[0], rel=0.3)  # not smaller by the root of 3
    assert copied.examined.groups == 120
    assert alone.findings.neighbours is not None
    assert copied.findings.neighbours == pytest.approx(alone.findings.neighbours, abs=0.15)


def test_neighbours_that_beat_the_head_betray_copies(tmp_path: Path) -> None:
    """Pairs of copies without a group: neighbours find them, a linear head does not."""
    random = np.random.default_rng(0)
    codes = random.normal(size=(120, 30)).astype(np.float32)
    labels = [str(label) for label in random.integers(2, size=120)]
    every = np.repeat(np.arange(120), 6)
    path = written_cache(tmp_path / "cache", codes[every], [labels[i] for i in every])
    found = bn.advise(path)
    assert found.findings.neighbours == 1
    assert "copies of one picture" in str(found)
    assert found.examined.pool == "avg"
    maps = replace(found, examined=replace(found.examined, pool="none"))
    assert "copies of one picture" not in str(maps)
    comparison = found.comparison
    (one,) = comparison.strategies
    named = replace(one, features=Features(("layer@none",)))
    decision = replace(found.decision, linear=named)
    compared = Comparison((named,), comparison.scores, named)
    assert "copies of one picture" not in str(
        replace(found, comparison=compared, decision=decision)
    )


def test_one_layer_leaves_the_depth_unknown(tmp_path: Path) -> None:
    path = layered_cache(tmp_path / "cache", 60, early=2.0, late=2.0)
    found = bn.advise(path, layers="layer1")
    assert found.findings.unlike is None
    assert found.decision.kind == "last layer"
    assert "other layers" in " ".join(found.not_measured)
    with pytest.raises(UnknownNameError, match="layer2"):
        bn.advise(path, layers="layer22")


def test_poolings_of_the_last_layer_are_measured_and_are_no_other_layers(tmp_path: Path) -> None:
    random, classes = np.random.default_rng(0), np.arange(60) % 3
    clear = (5 * np.eye(3, 4)[classes] + random.normal(size=(60, 4))).astype(np.float32)
    noise, labels = random.normal(size=clear.shape).astype(np.float32), ["abc"[k] for k in classes]
    layers = {"layer2": [noise], "layer2@2x2": [clear], "layer2@none": [noise]}
    found = bn.advise(cache_of_layers(tmp_path / "one", layers, labels))
    assert found.examined.layers == ("layer2", "layer2@2x2")
    assert found.comparison.last.name == "layer2"
    assert (found.decision.kind, found.decision.linear.name) == ("one layer", "layer2@2x2")
    assert found.findings.unlike is None
    assert "other layers" in " ".join(found.not_measured)
    grids = {"layer1": [noise], "layer1@2x2": [clear]}
    two = bn.advise(cache_of_layers(tmp_path / "two", layers | grids, labels))
    assert two.findings.unlike is False  # the grid is what is worth something, at either layer
    assert "earlier layers add nothing to layer2@2x2" in str(two)
    parts = {"layer1": [clear * [1, 0, 0, 0]], "layer2": [clear * [0, 1, 0, 0]]}
    parts = {name: [codes.astype(np.float32)] for name, (codes,) in parts.items()}
    three = bn.advise(cache_of_layers(tmp_path / "three", parts | {"layer2@2x2": [noise]}, labels))
    assert three.findings.unlike is True  # each layer tells a class of its own
    assert "points over layer2: the images, or what is asked of them, are unlike" in str(three)


def test_several_labels_are_advised_by_precision(tmp_path: Path) -> None:
    codes, targets = several(120)
    labels = [
        "|".join(name for name, has in zip("abc", row, strict=True) if has) for row in targets
    ]
    found = bn.advise(written_cache(tmp_path / "cache", codes, labels))
    assert found.metric == "mean_average_precision"
    assert found.findings.neighbours is None
    assert found.decision.pairs is None
    json.dumps(found.to_dict())


def test_a_cache_without_labels_is_refused(tmp_path: Path) -> None:
    path = written_cache(tmp_path / "cache", np.zeros((4, 2), np.float32), [""] * 4)
    with pytest.raises(LabelsError, match="no labelled image"):
        bn.advise(path)


def test_the_name_of_one_tail_is_no_list_of_letters(tmp_path: Path) -> None:
    codes, y = clouds(30)
    cache = written_cache(tmp_path / "cache", codes, [f"class{k}" for k in y])
    for tail in (tmp_path / "tail.safetensors", str(tmp_path / "tail.safetensors")):
        with pytest.raises(HeadError, match=r"no head at .*tail\.safetensors"):
            bn.advise(cache, tuned=tail)


def test_a_tail_is_compared_on_the_images_that_it_kept_back(tmp_path: Path) -> None:
    cache = maps_cache(hard_images(tmp_path), tmp_path / "maps.cache")
    result = bn.tune(cache, layer=BOUNDARY, options=QUICK)
    path = tmp_path / "tail.safetensors"
    result.tail.save(path)
    found = bn.advise(cache, tuned=[path])
    (tail,) = found.tuned
    trial = next(run for run in result.choice.runs if run.lr == result.choice.lr)
    assert tail.kept_back == trial.curves[result.choice.epochs].kept_back_score
    assert tail.images == result.choice.kept_back
    assert tail.linear is not None
    assert tail.standard_error > 0
    assert str(path) in str(found)
    better = replace(tail, kept_back=1.0, linear=0.2, standard_error=0.1)
    assert better.better
    assert not replace(better, standard_error=0.9).better
    decision = decide(found.comparison, found.findings, (tail, better), None)
    assert (decision.kind, decision.measured, decision.tuned) == ("tail", True, better)
    advice = replace(found, decision=decision, tuned=(tail, better))
    assert f"tail behind {BOUNDARY} ({path}). On the {tail.images}" in advice.recommendation
    assert "80.0 points ± 10.0" in advice.recommendation
    changes: dict[str, dict[str, Any]] = {
        "not comparable, no record of a training on these images": {"train_digest": None},
        "not comparable, its score is the balanced accuracy": {"class_weight": "balanced"},
        "training was no better than its start": {
            "choice": result.choice.to_dict() | {"epochs": 0}
        },
        "not comparable, its record of the training is not one of": {"heldout": {"right": 9}},
    }
    others = [tmp_path / f"other{i}.safetensors" for i in range(len(changes))]
    for other, change in zip(others, changes.values(), strict=True):
        replace(result.tail, training_record=result.to_dict() | change).save(other)
    found = bn.advise(cache, tuned=others)
    assert found.decision.tuned is None
    for other, tail, reason in zip(others, found.tuned, changes, strict=True):
        assert tail.gain is tail.kept_back is tail.linear is None
        assert f"{other}): {reason}" in str(found)
    replace(result.tail, classes=["x", "y", "z"]).save(path)
    with pytest.raises(HeadError, match="x, y, z"):
        bn.advise(cache, tuned=[path])
