import csv
import dataclasses
import os
import shutil
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.metrics import accuracy_score, average_precision_score, recall_score

from bottleneck.auditing.audit import audit
from bottleneck.backbones import Backbone
from bottleneck.cache.store import open_cache
from bottleneck.data.image_source import ImageSource
from bottleneck.data.images import open_images
from bottleneck.data.labels import UnknownLabels
from bottleneck.errors import CacheError, LabelsError, SpecMismatchError, UnknownNameError
from bottleneck.extraction.extract import extract
from bottleneck.extraction.options import ComputeOptions
from bottleneck.fitting.fit import fit
from bottleneck.fitting.heads.head import Head
from bottleneck.fitting.scoring.scores import (
    ClassificationScore,
    MultilabelScore,
    score_classes,
    score_labels,
)
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.fitting.sweep import sweep
from bottleneck.linear.calibration import Calibration
from bottleneck.linear.scaling import FeatureScaler
from bottleneck.prediction import encoding
from bottleneck.prediction.evaluate import Evaluation, evaluate
from bottleneck.prediction.noted import NotedIterator
from tests.conftest import _TINY  # the options of `extract_tiny`
from tests.helpers.datasets import calibration_error, clouds, written_cache
from tests.helpers.fixture_types import Extract
from tests.helpers.options import grouped
from tests.helpers.photographs import write_photographs

CPU = ComputeOptions(device="cpu")


def test_a_cache_and_its_images_are_judged_alike(head: Head, cache: Path, photos: Path) -> None:
    on_cache = evaluate(head, cache).score
    on_images = evaluate(head, photos, compute=CPU).score
    assert on_cache.to_dict() == on_images.to_dict()
    assert (on_cache.split, on_cache.n) == ("val", 12)


def test_views_of_a_cache_and_of_its_images_are_judged_alike(viewed: Path, photos: Path) -> None:
    cache = open_cache(viewed)
    done = fit(cache, "svm", layers="all", search=SearchOptions(c=(0.01,), cv=2))
    assert done.heldout is not None
    for views in (None, 1, 2):
        on_cache = evaluate(done.head, cache, views=views).score
        on_images = evaluate(done.head, photos, views=views, compute=CPU).score
        assert on_cache.to_dict() == on_images.to_dict()
        assert (on_cache.n, on_cache.views) == (12, views or 3)
        assert (on_cache.plain is None) == (views == 1)
        if views is None:
            assert on_cache.to_dict() == done.heldout.to_dict()
        if views == 1:
            assert on_cache.accuracy == done.heldout.plain


def test_other_views_than_a_heads_are_refused(
    extract_tiny: Extract, cache: Path, photos: Path, tmp_path: Path
) -> None:
    caches = [extract_tiny(photos, tmp_path / f"{s}", count=2, seed=s).cache for s in (0, 1)]
    head = fit(caches[0], "softmax", search=SearchOptions(c=(0.1,), cv=0)).head
    with pytest.raises(CacheError, match=r"views by flip,crop with seed 1, not .* 0: `views=1`"):
        evaluate(head, caches[1])
    assert evaluate(head, caches[1], views=1).score.n == 12
    with pytest.raises(CacheError, match="has no view 1"):
        evaluate(head, cache)


def test_a_note_names_images_that_a_head_may_be_trained_on(
    head: Head, cache: Path, photos: Path
) -> None:
    train = photos / "train"  # those of `head`, as a folder without splits
    for target, split in ((cache, "train"), (train, None)):
        found = evaluate(head, target, split=split, compute=CPU)
        assert f"trained on {found.score.n} images, as many as are judged here" in found.notes[-1]
        assert "held-out" not in str(found)
    assert not evaluate(head, cache).notes
    fewer = dataclasses.replace(head, training_record={"train": found.score.n - 1})
    assert not evaluate(fewer, cache, split="train").notes


def judged_rows(cache: Path, split: str) -> tuple[NDArray[np.float64], list[str]]:
    """Codes of layer2 and labels of a split, with h5py and csv alone."""
    with (cache / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = [i for i, row in enumerate(rows) if row["split"] == split]
    with h5py.File(cache / "codes.h5") as index:
        codes = index["layer2"][...][chosen].astype(np.float64)
    return codes, [rows[i]["label"] for i in chosen]


def margins_of(head: Head, codes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Margins of a head that standardizes."""
    prepared = (codes - head.scaler.mean) / head.scaler.scale
    return np.asarray(prepared @ head.coef.T + head.intercept)


def test_a_score_is_that_of_the_heads_own_numbers(head: Head, cache: Path) -> None:
    # Blurred, so that some answers are wrong and no confidence is whole.
    blur = np.random.default_rng(0).normal(size=head.coef.shape)
    lines = Calibration(np.array([0.8, 0.5, 0.6]), np.array([0.0, 0.2, -0.1]), independent=False)
    blurred = dataclasses.replace(head, coef=head.coef * 0.1 + blur, calibration=lines)
    codes, labels = judged_rows(cache, "train")
    margins = margins_of(blurred, codes)
    true, predicted = np.searchsorted(head.classes, labels), margins.argmax(axis=1)
    found = evaluate(blurred, cache, split="train").score
    assert isinstance(found, ClassificationScore)
    assert 0.2 < found.accuracy < 0.9
    assert found.accuracy == pytest.approx(accuracy_score(true, predicted))
    assert found.mean_per_class == pytest.approx(recall_score(true, predicted, average="macro"))
    probabilities = softmax(lines.slope * margins + lines.offset, axis=1)
    ece = calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == true)
    assert found.ece == pytest.approx(ece)
    assert evaluate(dataclasses.replace(blurred, calibration=None), cache).score.ece is None


def test_the_interval_is_over_groups_of_a_cache_and_of_its_images(
    head: Head, photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    alone = evaluate(head, photos, compute=CPU).score
    paths = sorted(path for path in photos.rglob("*") if path.is_file())
    lines = ["path,label,split,group"]
    lines += [
        f"{path.relative_to(photos).as_posix()},{path.parent.name},{path.parts[-3]},p{i // 4}"
        for i, path in enumerate(paths)
    ]
    (photos / "grouped.csv").write_text("\n".join(lines))
    cache = extract_tiny(photos / "grouped.csv", tmp_path / "again").cache.path
    found = evaluate(head, cache).score
    assert found.to_dict() == evaluate(head, photos / "grouped.csv", compute=CPU).score.to_dict()
    assert (found.accuracy, found.n, found.groups) == (alone.accuracy, 12, 3)
    assert found.ci95 is not None
    assert alone.ci95 is not None
    assert found.ci95[0] < alone.ci95[0]


def test_a_split_can_be_chosen(head: Head, cache: Path) -> None:
    assert evaluate(head, cache, split="train").score.n == 24
    assert evaluate(head, cache, split="Validation").score.split == "val"
    with pytest.raises(UnknownNameError, match="unknown split 'tests'"):
        evaluate(head, cache, split="tests")


def test_new_images_need_no_training_split(head: Head, photos: Path) -> None:
    shutil.rmtree(photos / "train")
    found = evaluate(head, photos, compute=CPU).score
    assert (found.split, found.n) == ("val", 12)


def test_images_without_splits_are_all_judged(head: Head, photos: Path) -> None:
    found = evaluate(head, photos / "val", compute=CPU).score
    assert (found.split, found.n) == ("", 12)


def test_rejected_images_are_named_and_not_judged(
    head: Head, photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    (photos / "val" / "bees" / "bees001.png").write_bytes(b"no image")
    cache = extract_tiny(photos, tmp_path / "again").cache.path
    for target in (cache, photos):
        evaluation = evaluate(head, target, compute=CPU)
        assert evaluation.score.n == 11
        assert list(evaluation.rejected) == ["val/bees/bees001.png"]
    (photos / "val" / "bees" / "bees002.jpg").unlink()  # a removed one lacks nothing
    evaluation = evaluate(head, extract_tiny(photos, tmp_path / "again").cache, compute=CPU)
    assert evaluation.score.n == 10
    assert list(evaluation.rejected) == ["val/bees/bees001.png"]


def test_images_of_classes_that_the_head_never_saw_are_counted_and_not_judged(
    head: Head, photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    expected = evaluate(head, photos, compute=CPU).score
    assert expected.unknown == UnknownLabels()
    write_photographs(photos / "val" / "moths", 2, label="moths")
    write_photographs(photos / "val" / "an ts", 1, label="ants")
    cache = extract_tiny(photos, tmp_path / "again").cache.path
    for target in (cache, photos):
        evaluation = evaluate(head, target, compute=CPU)
        found = evaluation.score
        assert found.unknown == UnknownLabels(3, {"moths": 2, "an ts": 1}, {"an ts": "ants"})
        assert (found.n, found.ci95, found.ece) == (12, expected.ci95, expected.ece)
        values = found.to_dict() | {"unknown": UnknownLabels().to_dict()}
        assert values == expected.to_dict()
        assert str(evaluation) == f"{expected}\nnot in the score: {found.unknown}"


def test_copies_of_training_images_are_counted_by_fit_and_by_evaluate(
    photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    shutil.copy(photos / "train/ants/ants000.jpg", photos / "val/ants/copy.jpg")
    shutil.copy(photos / "val/bees/bees001.png", photos / "val/bees/again.png")
    cache = extract_tiny(photos, tmp_path / "again").cache.path
    result = fit(cache, "svm", layers="layer2", search=SearchOptions(c=(1.0,), cv=0))
    assert result.heldout is not None
    assert (result.heldout.n, result.heldout.copies) == (14, 1)
    assert result.remarks == result.heldout.remarks
    assert evaluate(result.head, cache).to_dict()["heldout"] == result.heldout.to_dict()
    assert evaluate(result.head, cache, split="train").score.copies == 0


def test_training_images_that_are_judged_themselves_are_no_copies_of_others(tmp_path: Path) -> None:
    X, y = clouds(k=2, n=60)
    cache = written_cache(
        tmp_path / "c",
        X,
        ["ab"[k] for k in y],
        split=[("train", "", "train")[row % 3] for row in range(60)],
        group=[f"p{row // 2}" for row in range(60)],
    )
    head = fit(cache, "svm", search=SearchOptions(c=(1.0,), cv=0)).head
    evaluation = evaluate(head, cache)
    found = evaluation.score
    assert (found.split, found.n, found.copies, found.shared_groups) == ("", 60, 0, 0)
    assert evaluation.notes[0].startswith(
        "40 of these images are in the split 'train': if the head"
    )


@pytest.mark.parametrize("several", [False, True])
def test_groups_of_training_images_are_counted_by_fit_evaluate_and_audit(
    tmp_path: Path, several: bool
) -> None:
    """Codes tell the patient and nothing of the class, so that only patients of train are known."""
    patient = np.arange(120) % 30
    X = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)[patient]
    label = np.array(["a", "b"])[np.random.default_rng(1).integers(0, 2, 30)][patient].tolist()
    split = ["train" if row < 60 else "test" for row in range(120)]
    group = [f"p{name}" if row < 100 else f"new{name}" for row, name in enumerate(patient)]
    labels = ["a|b" if several and row % 7 == 0 else one for row, one in enumerate(label)]
    cache = written_cache(tmp_path / "c", X, labels, split=split, group=group)
    result = fit(cache, "svm", search=SearchOptions(c=(1.0,), cv=0))
    assert result.heldout is not None
    assert (result.heldout.n, result.heldout.shared_groups) == (60, 40)
    assert evaluate(result.head, cache).to_dict()["heldout"] == result.heldout.to_dict()
    assert evaluate(result.head, cache, split="train").score.shared_groups == 0
    assert audit(cache).shared_groups == 40


def test_training_images_are_not_judged_for_lack_of_a_held_out_split(tmp_path: Path) -> None:
    X, y = clouds(k=2)
    X, y = X[:60], y[:60]
    labels = ["ab"[k] for k in y]

    def cached(name: str, split: list[str], labels: list[str] = labels) -> Path:
        return written_cache(tmp_path / name, X, labels, split=split)

    holdout = cached("holdout", [("train", "holdout", "train")[row % 3] for row in range(60)])
    result = fit(holdout, "svm", search=SearchOptions(c=(1.0,), cv=2))
    why = "no split is called test or val; 'holdout' is neither trained on nor judged"
    assert (result.train, result.heldout, result.no_heldout) == (40, None, why)
    assert f"no held-out split ({why}): the cross-validation is all" in str(result)
    assert result.to_dict()["no_heldout"] == why
    assert f"no held-out split ({why}): the best of 2 rows looks better" in str(sweep(holdout))
    with pytest.raises(LabelsError, match=f"{why}: name the one to judge by `split`"):
        evaluate(result.head, holdout)
    assert evaluate(result.head, holdout, split="holdout").score.n == 20
    partly = cached("partly", [("train", "", "train")[row % 3] for row in range(60)])
    assert fit(partly, "svm", search=SearchOptions(c=(1.0,), cv=2)).train == 40
    secret = [("train", "test", "train")[row % 3] for row in range(60)]
    without = cached("secret", secret, [k if row % 3 != 1 else "" for row, k in enumerate(labels)])
    assert fit(without, "svm", search=SearchOptions(c=(1.0,), cv=2)).no_heldout == (
        "no image has a label in 'test'"
    )


def test_images_of_classes_that_the_head_never_saw_alone_are_refused(
    head: Head, photos: Path
) -> None:
    for folder in (photos / "val").iterdir():
        folder.rename(folder.with_name(folder.name.upper()))
    with pytest.raises(LabelsError, match=r"12 images of 3 classes.*'ANTS' is 'ants'.* but for"):
        evaluate(head, photos, compute=CPU)


def test_a_cache_of_another_spec_is_refused(
    head: Head, photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    other = extract_tiny(photos, tmp_path / "other", pool="max").cache.path
    with pytest.raises(SpecMismatchError, match="pool is avg in the head and max in cache"):
        evaluate(head, other)


def test_nothing_to_judge_is_refused(head: Head, photos: Path) -> None:
    shutil.rmtree(photos / "val")
    write_photographs(photos / "val", 2, label="ants")  # without classes
    with pytest.raises(LabelsError, match=r"no image has a label in 'val': .*or give `labels`"):
        evaluate(head, photos, compute=CPU)
    with pytest.raises(LabelsError, match=r"^no image has a label, of 2 .*ants000.*: labels are "):
        evaluate(head, photos / "val", compute=CPU)


def test_images_that_are_all_rejected_are_refused_with_a_reason(head: Head, photos: Path) -> None:
    for image in (photos / "val").rglob("*.*"):
        image.write_bytes(b"no image")
    said = r"^none of 12 labelled images in split 'val' gave codes: val/ants/.*: cannot be decoded"
    with pytest.raises(LabelsError, match=said):
        evaluate(head, photos, compute=CPU)


# Several labels an image

NAMES = {"ants": "red", "bees": "green|bright", "wasps": " bright"}


def write_several(photos: Path) -> Path:
    lines = ["path,label,split"]
    for path in sorted(photos.rglob("*.*")):
        split, name = path.relative_to(photos).parts[:2]
        lines.append(f"{path.relative_to(photos).as_posix()},{NAMES[name]},{split}")
    (photos / "several.csv").write_text("\n".join(lines))
    return photos / "several.csv"


@pytest.fixture
def several(photos: Path) -> Path:
    """A CSV in which an image has one label or two."""
    return write_several(photos)


@pytest.fixture(scope="module")
def many(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of such a CSV; to be read."""
    folder = tmp_path_factory.mktemp("many")
    images = write_several(Path(shutil.copytree(template / "photos", folder / "photos")))
    return extract(images, folder / "cache", **grouped(_TINY)).cache.path


def of_labels(cache: Path, **options: Any) -> Head:
    """A multi-label head on layer2, not a perfect one."""
    search = SearchOptions(c=(1.0,), **({"cv": 3} | options))
    head = fit(cache, "svm", layers="layer2", search=search).head
    assert head.classes == ["bright", "green", "red"]
    blur = np.random.default_rng(2).normal(size=head.coef.shape)
    return dataclasses.replace(head, coef=head.coef * 0.2 + blur)


def test_several_labels_are_judged_by_every_one(many: Path) -> None:
    head = of_labels(many)
    codes, labels = judged_rows(many, "train")
    true = np.array([[name in label for name in head.classes] for label in labels])
    assert true.sum(axis=1).tolist().count(2) == 8
    margins = margins_of(head, codes)
    found = evaluate(head, many, split="train").score
    assert isinstance(found, MultilabelScore)
    assert (found.split, found.n, found.classes) == ("train", 24, ["bright", "green", "red"])
    assert found.accuracy == pytest.approx(accuracy_score(true, margins > 0))
    assert 0 < found.accuracy < 1
    assert found.mean_per_class == pytest.approx(recall_score(true, margins > 0, average="macro"))
    expected = average_precision_score(true, margins, average=None)
    assert list(found.average_precision.values()) == pytest.approx(expected.tolist())
    assert head.calibration is not None
    probabilities = expit(head.calibration.slope * margins + head.calibration.offset)
    # Of the labels that are given, which are those of margins above 0.
    confidence = np.where(margins > 0, probabilities, 1 - probabilities).ravel()
    ece = calibration_error(confidence, ((margins > 0) == true).ravel())
    assert found.ece == pytest.approx(ece)


def test_a_cache_and_its_images_of_several_labels_are_judged_alike(
    many: Path, several: Path
) -> None:
    head = of_labels(many, cv=0)
    on_cache = evaluate(head, many).score
    on_images = evaluate(head, several, compute=CPU).score
    assert on_cache.to_dict() == on_images.to_dict()
    assert (on_cache.split, on_cache.n, on_cache.ece) == ("val", 12, None)


def test_a_head_of_several_labels_judges_images_that_have_one_each(
    many: Path, several: Path
) -> None:
    head = of_labels(many, cv=0)
    several.write_text(several.read_text().replace("green|bright", "green"))
    found = evaluate(head, several, compute=CPU).score
    codes, labels = judged_rows(many, "val")
    ones = [label.removesuffix("|bright").strip() for label in labels]
    true = np.array([[name == label for name in head.classes] for label in ones])
    assert true.sum(axis=1).tolist() == [1] * 12
    assert isinstance(found, MultilabelScore)
    expected = average_precision_score(true, margins_of(head, codes), average=None)
    assert list(found.average_precision.values()) == pytest.approx(expected.tolist())


def test_an_image_with_a_label_that_a_head_of_several_never_saw_is_not_judged(
    many: Path, several: Path
) -> None:
    head = of_labels(many, cv=0)
    several.write_text(several.read_text().replace("green|", "green|loud|"))
    found = evaluate(head, several, compute=CPU).score
    assert (found.n, found.unknown) == (8, UnknownLabels(4, {"loud": 4}))
    assert found.absent == ["green"]  # those with another label too were the only ones


def test_a_head_of_one_label_refuses_images_of_several(head: Head, several: Path) -> None:
    lines = several.read_text().splitlines(keepends=True)
    several.write_text("".join(lines[:1] + [line for line in lines if "|" in line]))
    with pytest.raises(LabelsError, match=r"'green\|bright' \(4 images\).*ants, bees, wasps"):
        evaluate(head, several, compute=CPU)


# Which images are not in the score, and what is known before images are read


def test_rejections_of_another_layer_are_not_those_of_the_heads(
    head: Head, photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    image = photos / "val" / "bees" / "bees001.png"
    data, status = image.read_bytes(), image.stat()
    image.write_bytes(bytes(len(data)))  # for a while it cannot be decoded
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))
    path = extract_tiny(photos, tmp_path / "again", layers=["layer3"]).cache.path
    image.write_bytes(data)
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))
    extract_tiny(photos, path, layers=["layer2"])
    evaluation = evaluate(head, path)
    assert (evaluation.score.n, evaluation.rejected) == (12, {})
    other = fit(path, "softmax", layers="layer3", search=SearchOptions(c=(1.0,), cv=0)).head
    evaluation = evaluate(other, path)
    assert evaluation.score.n == 11
    assert list(evaluation.rejected) == ["val/bees/bees001.png"]


def test_images_that_cannot_be_judged_are_not_encoded(
    head: Head, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photographs(photos / "val" / "moths", 2, label="moths")
    encode = encoding.encode_images
    encoded: list[str] = []

    def spy(
        head: Head, network: Backbone, source: ImageSource, rows: Sequence[int], **options: Any
    ) -> Any:
        encoded.extend(source.table.label[row] for row in rows)
        return encode(head, network, source, rows, **options)

    monkeypatch.setattr(encoding, "encode_images", spy)
    assert evaluate(head, photos, compute=CPU).score.n == 12
    assert sorted(set(encoded)) == ["ants", "bees", "wasps"]
    for name in ("ants", "bees", "wasps"):
        shutil.rmtree(photos / "val" / name)
    monkeypatch.setattr(encoding, "encode_images", lambda *_, **__: pytest.fail("it was encoded"))
    with pytest.raises(LabelsError, match="'moths'"):
        evaluate(head, photos)


def test_codes_of_a_batch_are_not_kept(
    head: Head, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    d = 200_000
    wide = dataclasses.replace(
        head,
        coef=np.zeros((3, d)),
        scaler=FeatureScaler("none", (d,), np.zeros(d), np.ones(d)),
    )

    def encoded(i: int, row: int) -> SimpleNamespace:
        codes = np.full((1, d), i, dtype=np.float32)
        valid = np.array([i != 5])
        return SimpleNamespace(row=np.array([row]), valid=valid, reason=[""], codes=codes[valid])

    def encode_images(
        _: Head, __: Backbone, source: ImageSource, rows: Sequence[int], **___: Any
    ) -> NotedIterator[SimpleNamespace]:
        return NotedIterator(encoded(i, row) for i, row in enumerate(rows))

    monkeypatch.setattr(encoding, "encode_images", encode_images)
    tracemalloc.start()
    evaluation = evaluate(wide, photos, compute=CPU)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert list(evaluation.rejected) == ["val/bees/bees001.png"]
    assert evaluation.score.n == 11
    assert peak < 6 * d * 8  # one batch in float64 with its copies, of twelve


# The result


@pytest.fixture(params=["classes", "labels"])
def judged(request: pytest.FixtureRequest) -> ClassificationScore | MultilabelScore:
    if request.param == "classes":
        predicted = np.array([0, 1, 1, 1])
        return score_classes(np.array([0, 0, 1, 1]), predicted, ["ants", "bees"], split="val")
    true = np.array([[True, False], [False, True]])
    return score_labels(true, np.array([[1.0, -1.0], [2.0, 1.0]]), ["ants", "bees"], split="test")


def test_an_evaluation_names_what_could_not_be_judged(
    judged: ClassificationScore | MultilabelScore,
) -> None:
    assert str(Evaluation(judged, {})) == str(judged)
    lines = str(Evaluation(judged, {f"{i}\n.jpg": "empty" for i in range(12)})).splitlines()
    rejected = lines[len(str(judged).splitlines()) :]
    assert rejected[0] == "rejected, and not in the score: 0\\n.jpg: empty"
    assert len(rejected) == 11
    assert rejected[-1] == "… and 2 more"


def test_an_evaluation_is_a_dictionary_and_html(
    judged: ClassificationScore | MultilabelScore,
) -> None:
    evaluation = Evaluation(judged, {"<a>.jpg": "empty"})
    assert evaluation.to_dict() == {
        "heldout": judged.to_dict(),
        "rejected": {"<a>.jpg": "empty"},
        "notes": [],
    }
    page = evaluation._repr_html_()
    assert page.startswith("<pre>")
    assert "&lt;a&gt;.jpg: empty" in page


def test_the_head_may_be_a_path_and_the_target_a_string(
    head: Head, cache: Path, tmp_path: Path
) -> None:
    head.save(tmp_path / "a.head")
    expected = evaluate(head, cache).to_dict()
    assert evaluate(tmp_path / "a.head", str(cache)).to_dict() == expected
    assert evaluate(str(tmp_path / "a.head"), cache).to_dict() == expected


def test_the_target_may_be_an_open_cache_a_result_or_a_source(
    head: Head, cache: Path, photos: Path
) -> None:
    expected = evaluate(head, cache).to_dict()
    opened = open_cache(cache)
    for target in (opened, SimpleNamespace(cache=opened), open_images(photos)):
        assert evaluate(head, target, compute=CPU).to_dict() == expected
