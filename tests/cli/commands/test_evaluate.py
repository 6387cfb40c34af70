"""`bottleneck evaluate`."""

import csv
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.special import expit, softmax
from sklearn.metrics import average_precision_score

from bottleneck.fitting import SearchOptions
from bottleneck.fitting.fit import fit
from bottleneck.runtime.schedulers.array_task import ArrayTask
from tests.helpers import cli
from tests.helpers.classifier_files import rewrite
from tests.helpers.cli import Trap, contents, margins, refused, stored
from tests.helpers.datasets import calibration_error
from tests.helpers.fixture_types import Extract, Run
from tests.helpers.photographs import write_photographs

made, photos, cache = cli.made, cli.photos, cli.cache


@pytest.fixture(scope="module")
def fitted(made: Path) -> Path:
    """A head that is far from perfect: it was trained on six images."""
    fewer = Path(shutil.copytree(made / "cache", made / "fewer"))
    cli.edit_table(
        fewer,
        lambda rows: [
            row if i % 4 == 3 else row.replace(b",train,", b",val,") for i, row in enumerate(rows)
        ],
    )
    svm = fit(fewer, "svm", layers="layer2", search=SearchOptions(c=1e-3, cv=0))
    svm.head.save(made / "head")
    return made / "head"


@pytest.fixture
def head(run: Run, fitted: Path) -> Path:
    return Path(shutil.copy(fitted, Path()))


def _evaluate(run: Run, *arguments: object) -> dict[str, Any]:
    result = run("evaluate", *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_json_has_the_score_that_the_heads_own_numbers_give(
    run: Run, head: Path, cache: Path
) -> None:
    found = _evaluate(run, head, cache)["heldout"]
    with (cache / "images.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    chosen = [i for i, row in enumerate(rows) if row["split"] == "val"]
    labels = np.array([rows[i]["label"] for i in chosen])
    classes, scores = margins(head, stored(cache)[chosen])
    right = np.array(classes)[scores.argmax(axis=1)] == labels
    assert found.keys() >= {"split", "n", "accuracy", "ci95", "mean_per_class"}
    assert (found["split"], found["n"]) == ("val", 12)
    assert found["accuracy"] == right.mean()
    recalls = [right[labels == name].mean() for name in classes]
    assert found["mean_per_class"] == pytest.approx(np.mean(recalls))
    low, high = found["ci95"]
    assert 0 <= low <= found["accuracy"] <= high <= 1


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_cache_and_its_images_give_equal_numbers(
    run: Run, head: Path, cache: Path, photos: Path, split: str
) -> None:
    cached = _evaluate(run, head, cache, "--split", split)
    assert cached == _evaluate(run, head, photos, "--split", split)
    assert cached["heldout"]["n"] == {"train": 24, "val": 12}[split]


def test_text_has_the_accuracy_its_interval_and_the_confusion(
    run: Run, head: Path, cache: Path
) -> None:
    found = _evaluate(run, head, cache)["heldout"]
    lines = run("evaluate", head, cache).stdout.splitlines()
    low, high = found["ci95"]
    assert lines[0].startswith(
        f"held-out val  {found['accuracy']:.1%} of 12 (95 % interval {low:.1%} to {high:.1%})"
    )
    confusion = [[int(cell) for cell in line.split()[1:]] for line in lines[2:]]
    assert np.sum(confusion) == 12
    assert np.trace(confusion) == pytest.approx(found["accuracy"] * 12)


@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_json_has_the_calibration_error_of_probabilities(run: Run, cache: Path, clf: str) -> None:
    options = ("--clf", clf, "--layer", "layer2", "--c", "1e-5", "--cv", "3", "-o", "head")
    assert run("fit", cache, *options).exit_code == 0
    found = _evaluate(run, "head", cache)["heldout"]
    classes, scores = margins(Path("head"), stored(cache)[24:])
    lines = load_file("head")
    probabilities = softmax(lines["slope"] * scores + lines["offset"], axis=1)
    right = np.array(classes)[scores.argmax(axis=1)] == np.repeat(["ants", "bees", "wasps"], 4)
    ece = calibration_error(probabilities.max(axis=1), right)
    assert ece > 1e-3
    assert found["ece"] == pytest.approx(ece)
    assert f", calibration error {ece:.1%}\n" in run("evaluate", "head", cache).stdout


def test_a_head_without_probabilities_has_nocalibration_error(
    run: Run, head: Path, cache: Path
) -> None:
    assert _evaluate(run, head, cache)["heldout"]["ece"] is None
    assert "calibration" not in run("evaluate", head, cache).stdout


def test_several_labels_an_image_are_judged_by_average_precision(run: Run, cache: Path) -> None:
    cli.edit_table(cache, cli.relabel)
    options = ("--clf", "softmax", "--layer", "layer2", "--c", "1e-4", "--cv", "3", "-o", "head")
    assert run("fit", cache, *options).exit_code == 0
    found = _evaluate(run, "head", cache)["heldout"]
    classes, scores = margins(Path("head"), stored(cache)[24:])
    assert classes == found["classes"] == ["ants", "bright", "green", "wasps"]
    kinds = np.array([[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]], dtype=bool)
    true = np.repeat(kinds, 4, axis=0)
    assert (found["split"], found["n"]) == ("val", 12)
    assert found["accuracy"] == ((scores > 0) == true).all(axis=1).mean()
    expected = average_precision_score(true, scores, average=None)
    assert found["average_precision"] == pytest.approx(dict(zip(classes, expected, strict=True)))
    assert found["mean_average_precision"] == pytest.approx(expected.mean())
    logits = load_file("head")["slope"] * scores
    confidence = np.maximum(expit(logits), expit(-logits))
    assert found["ece"] == pytest.approx(
        calibration_error(confidence.ravel(), ((scores > 0) == true).ravel())
    )
    lines = run("evaluate", "head", cache).stdout.splitlines()
    assert f"{found['accuracy']:.1%} of 12" in lines[0]
    assert [line.split()[0] for line in lines[2:]] == [*classes, "mean"]
    assert lines[-1].split()[1] == f"{found['mean_average_precision']:.1%}"


def test_a_head_of_other_labels_is_judged_by_them(run: Run, cache: Path) -> None:
    with (cache / "images.csv").open(newline="") as lines:
        rows = [(row["path"], str(row["label"] == "ants")) for row in csv.DictReader(lines)]
    Path("ants.csv").write_text("path,label\n" + "".join(f"{p},{is_ant}\n" for p, is_ant in rows))
    options = (
        "--clf",
        "svm",
        "--layer",
        "layer2",
        "--labels",
        "ants.csv",
        "--c",
        "1",
        "-o",
        "head",
    )
    trained = json.loads(run("fit", cache, *options, "--json").stdout)
    found = run("evaluate", "head", cache, "--labels", "ants.csv", "--json")
    assert json.loads(found.stdout)["heldout"] == trained["heldout"]
    assert "labels from ants.csv" in found.stderr
    refused(run("evaluate", "head", cache), "'ants'", "the classifier knows False, True")
    refused(run("evaluate", "head", "photos", "--labels", "ants.csv"), "--labels ants.csv", code=2)


def test_images_without_splits_are_all_judged(run: Run, head: Path, photos: Path) -> None:
    found = _evaluate(run, head, photos / "train")
    assert (found["heldout"]["split"], found["heldout"]["n"]) == ("", 24)


def test_rejected_images_are_named_and_not_in_the_score(run: Run, head: Path, photos: Path) -> None:
    (photos / "val" / "ants" / "ants000.jpg").write_bytes(b"")
    found = _evaluate(run, head, photos, "--batch-size", "1")
    assert found["heldout"]["n"] == 11
    assert list(found["rejected"]) == ["val/ants/ants000.jpg"]
    text = run("evaluate", head, photos).stdout
    assert "rejected, and not in the score: val/ants/ants000.jpg: " in text


def test_images_rejected_at_extraction_are_named_too(
    run: Run, photos: Path, extract_tiny: Extract
) -> None:
    (photos / "val" / "ants" / "ants000.jpg").write_bytes(b"")
    cache = extract_tiny(photos).cache.path
    run("fit", cache, "--clf", "svm", "--c", "1", "--cv", "0", "-o", "head")
    found = _evaluate(run, "head", cache)
    assert found["heldout"]["n"] == 11
    assert list(found["rejected"]) == ["val/ants/ants000.jpg"]


# Refusals


def test_a_cache_of_another_spec_is_refused_with_the_difference(
    run: Run, head: Path, photos: Path, tmp_path: Path, extract_tiny: Extract
) -> None:
    extract_tiny(photos, out=tmp_path / "other", pool="max")
    refused(run("evaluate", head, "other"), "pool is avg in the head and max in cache other")


def test_a_layer_that_the_cache_lacks_is_named(
    run: Run, head: Path, photos: Path, tmp_path: Path, extract_tiny: Extract
) -> None:
    extract_tiny(photos, out=tmp_path / "other", layers=["layer3"])
    words = (
        "other has no layer 'layer2', it has layer3: `bottleneck extract` with --layer layer2 adds"
    )
    refused(run("evaluate", head, "other"), words)


def test_an_incomplete_cache_is_refused_with_what_it_lacks(
    run: Run, head: Path, photos: Path, tmp_path: Path, extract_tiny: Extract
) -> None:
    extract_tiny(photos, out=tmp_path / "other", task=ArrayTask(0, 2))
    refused(run("evaluate", head, "other"), "2 of 5 shards", "bottleneck extract")


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("arguments", "parts", "code"),
    [
        (["cache", "--split", "test"], ["'test'", "train", "val"], 2),
        (["photos", "--split", "tran"], ["'tran'", "train"], 2),
        (["photos/train", "--split", "train"], ["--split train", "left out"], 2),
        (["photos", "--device", "cuda:99"], ["--device cuda:99", "cpu"], 2),
        (["photos", "--batch-size", "0"], ["--batch-size 0", "at least 1"], 2),
        (["photos", "--batch-size", "-1"], ["--batch-size -1", "at least 1"], 2),
        (["photos", "--model", "absent.py:plain"], ["absent.py"], 1),
        (["photos", "--weights", "absent.pth"], ["absent.pth"], 1),
        (["absent"], ["absent"], 1),
        (["empty"], ["empty", ".jpg"], 1),
        (["photos/val/ants"], ["label", "photos/val/ants"], 1),
        (["wasps"], ["'hornet'", "ants, bees, wasps"], 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_arguments_are_refused(
    run: Run, head: Path, arguments: list[str], parts: list[str], code: int
) -> None:
    Path("empty").mkdir()
    write_photographs(Path("wasps", "hornet"), 1, label="wasps")
    refused(run("evaluate", head, *arguments), *parts, code=code)


@pytest.mark.parametrize("command", ["evaluate", "predict"])
@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("absent", ["no head at", "bottleneck fit"]),
        ("folder", ["no head at", "bottleneck fit"]),
        ("empty", ["is not a head", "bottleneck fit"]),
        ("text", ["is not a head", "bottleneck fit"]),
        ("truncated", ["is not a head", "bottleneck fit"]),
        ("pickle", ["is not a head", "run code"]),
        ("changed", ["is damaged: its bytes are not those that were written"]),
        ("other tensors", ["is not a head"]),
    ],
)
def test_a_file_that_is_no_head_is_refused_and_runs_nothing(
    run: Run, head: Path, command: str, kind: str, parts: list[str]
) -> None:
    wrong, sprung = Path("wrong.safetensors"), Path("sprung")
    trap = pickle.dumps(Trap(sprung))
    pickle.loads(trap)
    sprung.rmdir()  # so the trap is a live one
    whole = head.read_bytes()
    texts = {
        "empty": b"",
        "text": b"hello world, this is no head at all\n",
        "truncated": whole[: len(whole) // 2],
        "pickle": trap,
        "changed": whole[:-1] + bytes([whole[-1] ^ 1]),
        "other tensors": rewrite(Path(shutil.copy(head, "old.head")), {"coef": None}).read_bytes(),
    }
    if kind == "folder":
        wrong.mkdir()
    elif kind != "absent":
        wrong.write_bytes(texts[kind])
    target = "cache" if command == "evaluate" else "photos"
    refused(run(command, wrong, target), wrong, *parts)
    assert not sprung.exists()


def test_judging_changes_neither_head_nor_cache(run: Run, head: Path, cache: Path) -> None:
    before = contents(cache), head.read_bytes()
    run("evaluate", head, cache)
    assert (contents(cache), head.read_bytes()) == before


def test_the_summary_of_images_is_printed_before_evaluation(
    run: Run, head: Path, cache: Path, photos: Path
) -> None:
    (photos / "val").rename(photos / "Valid")
    (photos / "Valid" / "ants" / "1.cr2").touch()
    assert run("evaluate", head, photos).stderr.splitlines() == [
        "36 images, 3 classes, train 24, val 12; 1 file of a kind that is not read: 1 .cr2",
        "splits by their usual names: 'Valid' is val",
    ]
    assert run("evaluate", head, cache).stderr == ""
