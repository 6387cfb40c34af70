import csv
import dataclasses
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.metrics import accuracy_score, average_precision_score, recall_score

from bottleneck.errors import LabelsError, SpecMismatchError, UnknownNameError
from bottleneck.fitting.fit import fit
from bottleneck.fitting.head import Head
from bottleneck.fitting.metrics import ClassificationScore, MultilabelScore
from bottleneck.linear.calibration import Calibration
from bottleneck.linear.training import Method
from bottleneck.prediction.evaluate import evaluate
from tests.helpers.datasets import calibration_error
from tests.helpers.fixture_types import Extract
from tests.helpers.photographs import write_photographs


def test_a_cache_and_its_images_are_judged_alike(head: Head, cache: Path, photos: Path) -> None:
    on_cache, _ = evaluate(head, cache)
    on_images, _ = evaluate(head, photos, device="cpu")
    assert on_cache.to_dict() == on_images.to_dict()
    assert (on_cache.split, on_cache.n) == ("val", 12)


def judged_rows(cache: Path, split: str) -> tuple[NDArray[np.float64], list[str]]:
    """Codes of layer2 and labels of a split, with h5py and csv alone."""
    with (cache / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = [i for i, row in enumerate(rows) if row["split"] == split]
    with h5py.File(cache / "codes.h5") as index:
        codes = index["layer2"][...][chosen].astype(np.float64)
    return codes, [rows[i]["label"] for i in chosen]


def by_hand(head: Head, codes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Margins of a head that standardizes."""
    prepared = (codes - head.preprocessing.mean) / head.preprocessing.scale
    return np.asarray(prepared @ head.coef.T + head.intercept)


def test_a_score_is_that_of_the_heads_own_numbers(head: Head, cache: Path) -> None:
    # Blurred, so that some answers are wrong and no confidence is whole.
    blur = np.random.default_rng(0).normal(size=head.coef.shape)
    lines = Calibration(np.array([0.8, 0.5, 0.6]), np.array([0.0, 0.2, -0.1]), independent=False)
    blurred = dataclasses.replace(head, coef=head.coef * 0.1 + blur, calibration=lines)
    codes, labels = judged_rows(cache, "train")
    margins = by_hand(blurred, codes)
    true, predicted = np.searchsorted(head.classes, labels), margins.argmax(axis=1)
    found, _ = evaluate(blurred, cache, split="train")
    assert isinstance(found, ClassificationScore)
    assert 0.2 < found.accuracy < 0.9
    assert found.accuracy == pytest.approx(accuracy_score(true, predicted))
    assert found.mean_per_class == pytest.approx(recall_score(true, predicted, average="macro"))
    probabilities = softmax(lines.slope * margins + lines.offset, axis=1)
    ece = calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == true)
    assert found.ece == pytest.approx(ece)
    assert evaluate(dataclasses.replace(blurred, calibration=None), cache)[0].ece is None


def test_a_split_can_be_chosen(head: Head, cache: Path) -> None:
    assert evaluate(head, cache, split="train")[0].n == 24
    with pytest.raises(UnknownNameError, match="unknown split 'tests'"):
        evaluate(head, cache, split="tests")


def test_new_images_need_no_training_split(head: Head, photos: Path) -> None:
    shutil.rmtree(photos / "train")
    found, _ = evaluate(head, photos, device="cpu")
    assert (found.split, found.n) == ("val", 12)


def test_images_without_splits_are_all_judged(head: Head, photos: Path) -> None:
    found, _ = evaluate(head, photos / "val", device="cpu")
    assert (found.split, found.n) == ("", 12)


def test_rejected_images_are_named_and_not_judged(
    head: Head, photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    (photos / "val" / "bees" / "bees001.png").write_bytes(b"no image")
    cache = extract_tiny(photos, tmp_path / "again").cache.path
    for target in (cache, photos):
        found, rejected = evaluate(head, target, device="cpu")
        assert found.n == 11
        assert list(rejected) == ["val/bees/bees001.png"]


def test_labels_that_the_head_never_saw_are_refused(head: Head, photos: Path) -> None:
    write_photographs(photos / "val" / "moths", 2, label="moths")
    with pytest.raises(LabelsError, match=r"2 images have labels.*'moths'.*ants, bees, wasps"):
        evaluate(head, photos, device="cpu")


def test_a_cache_of_another_spec_is_refused(
    head: Head, photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    other = extract_tiny(photos, tmp_path / "other", pool="max").cache.path
    with pytest.raises(SpecMismatchError, match="pool is avg in the head and max in cache"):
        evaluate(head, other)


def test_nothing_to_judge_is_refused(head: Head, photos: Path) -> None:
    shutil.rmtree(photos / "val")
    write_photographs(photos / "val", 2, label="ants")  # without classes
    with pytest.raises(LabelsError, match="no labelled image"):
        evaluate(head, photos, device="cpu")


# Several labels an image

NAMES = {"ants": "red", "bees": "green|bright", "wasps": " bright"}


@pytest.fixture
def several(photos: Path) -> Path:
    """A CSV in which an image has one label or two."""
    lines = ["path,label,split"]
    for path in sorted(photos.rglob("*.*")):
        split, name = path.relative_to(photos).parts[:2]
        lines.append(f"{path.relative_to(photos).as_posix()},{NAMES[name]},{split}")
    (photos / "several.csv").write_text("\n".join(lines))
    return photos / "several.csv"


@pytest.fixture
def many(several: Path, extract_tiny: Extract, tmp_path: Path) -> Path:
    """A cache of `several`."""
    return extract_tiny(several, tmp_path / "many").cache.path


def of_labels(cache: Path, **options: Any) -> Head:
    """A multi-label head on layer2, not a perfect one."""
    head = fit(cache, Method("svm"), layer="layer2", c=(1.0,), **({"cv": 3} | options)).head
    assert head.classes == ["bright", "green", "red"]
    blur = np.random.default_rng(2).normal(size=head.coef.shape)
    return dataclasses.replace(head, coef=head.coef * 0.2 + blur)


def test_several_labels_are_judged_by_every_one(many: Path) -> None:
    head = of_labels(many)
    codes, labels = judged_rows(many, "train")
    true = np.array([[name in label for name in head.classes] for label in labels])
    assert true.sum(axis=1).tolist().count(2) == 8
    margins = by_hand(head, codes)
    found, _ = evaluate(head, many, split="train")
    assert isinstance(found, MultilabelScore)
    assert (found.split, found.n, found.classes) == ("train", 24, ["bright", "green", "red"])
    assert found.accuracy == pytest.approx(accuracy_score(true, margins > 0))
    assert 0 < found.accuracy < 1
    assert found.mean_per_class == pytest.approx(recall_score(true, margins > 0, average="macro"))
    expected = average_precision_score(true, margins, average=None)
    assert list(found.average_precision.values()) == pytest.approx(expected.tolist())
    assert head.calibration is not None
    probabilities = expit(head.calibration.slope * margins + head.calibration.offset)
    confidence = np.maximum(probabilities, 1 - probabilities).ravel()
    ece = calibration_error(confidence, ((probabilities > 0.5) == true).ravel())
    assert found.ece == pytest.approx(ece)


def test_a_cache_and_its_images_of_several_labels_are_judged_alike(
    many: Path, several: Path
) -> None:
    head = of_labels(many, cv=0)
    on_cache, _ = evaluate(head, many)
    on_images, _ = evaluate(head, several, device="cpu")
    assert on_cache.to_dict() == on_images.to_dict()
    assert (on_cache.split, on_cache.n, on_cache.ece) == ("val", 12, None)


def test_a_head_of_several_labels_judges_images_that_have_one_each(
    many: Path, several: Path
) -> None:
    head = of_labels(many, cv=0)
    several.write_text(several.read_text().replace("green|bright", "green"))
    found, _ = evaluate(head, several, device="cpu")
    codes, labels = judged_rows(many, "val")
    ones = [label.removesuffix("|bright").strip() for label in labels]
    true = np.array([[name == label for name in head.classes] for label in ones])
    assert true.sum(axis=1).tolist() == [1] * 12
    assert isinstance(found, MultilabelScore)
    expected = average_precision_score(true, by_hand(head, codes), average=None)
    assert list(found.average_precision.values()) == pytest.approx(expected.tolist())


def test_a_label_that_a_head_of_several_never_saw_is_refused(many: Path, several: Path) -> None:
    head = of_labels(many, cv=0)
    several.write_text(several.read_text().replace("green|", "green|loud|"))
    with pytest.raises(LabelsError, match=r"4 images have labels.*'loud'.*bright, green, red"):
        evaluate(head, several, device="cpu")


def test_a_head_of_one_label_refuses_images_of_several(head: Head, several: Path) -> None:
    lines = several.read_text().splitlines(keepends=True)
    several.write_text("".join(lines[:1] + [line for line in lines if "|" in line]))
    with pytest.raises(LabelsError, match=r"'green\|bright' \(4 images\).*ants, bees, wasps"):
        evaluate(head, several, device="cpu")
