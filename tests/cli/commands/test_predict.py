"""`bottleneck predict`."""

import csv
import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from safetensors.torch import save_file
from scipy.special import expit, softmax

from bottleneck.backbones import BatchRunner
from bottleneck.fitting import SearchOptions
from bottleneck.fitting.fit import fit
from tests.helpers import cli
from tests.helpers.classifier_files import rewrite
from tests.helpers.cli import contents, expected_codes, margins, refused
from tests.helpers.fixture_types import Extract, Run
from tests.helpers.networks import NETWORKS
from tests.helpers.photographs import write_photographs
from tests.helpers.tiny_networks import plain

made, photos, cache = cli.made, cli.photos, cli.cache


def _fit(run: Run, cache: Path, clf: str, cv: int = 0) -> Path:
    name = f"{clf}.head"
    run("fit", cache, "--clf", clf, "--layer", "layer2", "--c", "0.1", "--cv", cv, "-o", name)
    return Path(name)


@pytest.fixture(scope="module")
def fitted(made: Path) -> Path:
    svm = fit(made / "cache", "svm", layers="layer2", search=SearchOptions(c=0.1, cv=0))
    svm.head.save(made / "svm.head")
    return made / "svm.head"


@pytest.fixture
def svm(run: Run, fitted: Path) -> Path:
    return Path(shutil.copy(fitted, Path()))


@pytest.fixture
def new(photos: Path) -> Path:
    """Nine images in three folders, two of which are none."""
    folder = photos.with_name("new")
    for label in ("ants", "bees", "wasps"):
        (folder / label).mkdir(parents=True)
        for name in sorted(path.name for path in (photos / "val" / label).iterdir())[:3]:
            shutil.copy(photos / "val" / label / name, folder / label)
    (folder / "ants" / "ants001.png").write_bytes(b"")
    (folder / "bees" / "bees000.jpg").write_text("this is no image\n")
    return folder


REJECTED = {"new/ants/ants001.png": "the file is empty", "new/bees/bees000.jpg": "not an image"}


def _expected(head: Path, paths: list[str]) -> tuple[list[str], NDArray[np.float64]]:
    return margins(head, expected_codes([Path(path) for path in paths]))


def _lines(run: Run, *arguments: object) -> list[str]:
    result = run("predict", *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def _json(run: Run, *arguments: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _lines(run, *arguments, "--format", "jsonl")]


# The three formats


def test_jsonl_has_path_label_and_the_score_of_every_class(run: Run, svm: Path, new: Path) -> None:
    found = _json(run, svm, "new")
    assert [line["path"] for line in found] == sorted(
        path.as_posix() for path in Path("new").rglob("*.*")
    )
    good = [line for line in found if line["path"] not in REJECTED]
    classes, scores = _expected(svm, [line["path"] for line in good])
    for line, values in zip(good, scores, strict=True):
        assert line.keys() == {"path", "label", "scores"}
        assert line["label"] == classes[values.argmax()] == Path(line["path"]).parent.name
        assert list(line["scores"]) == [classes[k] for k in np.argsort(-values)]
        assert line["scores"] == pytest.approx(dict(zip(classes, values, strict=True)), rel=1e-3)


@pytest.mark.parametrize(("clf", "cv"), [("softmax", 0), ("softmax", 3), ("svm", 3)])
def test_softmax_and_a_cross_validated_svm_give_probabilities(
    run: Run, cache: Path, new: Path, clf: str, cv: int
) -> None:
    head = _fit(run, cache, clf, cv)
    found = [line for line in _json(run, head, "new") if line["label"]]
    classes, scores = _expected(head, [line["path"] for line in found])
    slope = load_file(head)["slope"]
    assert ((clf, cv) == ("softmax", 0)) == (slope == 1).all()
    shares = softmax(slope * scores, axis=1)
    for line, values in zip(found, shares, strict=True):
        assert sum(line["scores"].values()) == pytest.approx(1)
        expected = dict(zip(classes, values, strict=True))
        assert line["scores"] == pytest.approx(expected, rel=1e-3, abs=1e-6)
        assert line["label"] == max(expected, key=lambda name: expected[name])


def test_jsonl_says_why_an_image_has_no_label(run: Run, svm: Path, new: Path) -> None:
    rejected = {line["path"]: line for line in _json(run, svm, "new") if line["label"] is None}
    assert rejected.keys() == REJECTED.keys()
    for path, reason in REJECTED.items():
        assert rejected[path]["scores"] == {}
        assert reason in rejected[path]["reason"]


def test_csv_has_a_row_an_image_and_reasons_in_the_last_column(
    run: Run, svm: Path, new: Path
) -> None:
    rows = list(csv.DictReader(_lines(run, svm, "new", "--format", "csv")))
    found = _json(run, svm, "new")
    assert list(rows[0]) == ["path", "label", "score", "reason"]
    assert [row["path"] for row in rows] == [line["path"] for line in found]
    for row, line in zip(rows, found, strict=True):
        assert row["label"] == (line["label"] or "")
        assert row["reason"] == line.get("reason", "")
        if line["label"]:
            assert float(row["score"]) == line["scores"][row["label"]]


def test_the_table_has_a_line_an_image(run: Run, svm: Path, new: Path) -> None:
    lines = _lines(run, svm, "new")
    found = _json(run, svm, "new")
    for text, line in zip(lines, found, strict=True):
        if line["label"]:
            score = line["scores"][line["label"]]
            assert text == f"{line['path']}  {line['label']} {score:.3f}"
        else:
            assert text == f"{line['path']}  rejected: {line['reason']}"


# Several labels an image


@pytest.fixture
def labels(run: Run, cache: Path) -> Path:
    """A head of ants, bright, green and wasps, where bees are bright and green."""
    cli.edit_table(cache, cli.relabel)
    return _fit(run, cache, "svm", cv=3)


def test_jsonl_has_all_labels_of_an_image(run: Run, labels: Path, new: Path) -> None:
    found = _json(run, labels, "new")
    good = [line for line in found if line["path"] not in REJECTED]
    assert len(good) == 7
    classes, scores = _expected(labels, [line["path"] for line in good])
    lines = load_file(labels)
    shares = expit(lines["slope"] * scores + lines["offset"])
    for line, margin, values in zip(good, scores, shares, strict=True):
        assert line["label"].split("|") == [classes[k] for k in np.flatnonzero(margin > 0)]
        expected = dict(zip(classes, values, strict=True))
        assert line["scores"] == pytest.approx(expected, rel=1e-3, abs=1e-6)
        assert list(line["scores"]) == [classes[k] for k in np.argsort(-values)]
    assert {line["label"] for line in good} >= {"ants", "bright|green", "wasps"}
    assert all(line["label"] is None for line in found if line["path"] in REJECTED)


def test_an_image_without_any_of_the_labels_is_not_one_without_codes(
    run: Run, labels: Path, new: Path
) -> None:
    rewrite(Path(shutil.copy(labels, "none.head")), {"intercept": np.full(4, -1e3)})
    for line in _json(run, "none.head", "new/wasps"):
        assert line.keys() == {"path", "label", "scores"}
        assert line["label"] == ""
    for row in csv.DictReader(_lines(run, "none.head", "new/wasps", "--format", "csv")):
        assert (row["label"], row["reason"]) == ("", "")
    for text in _lines(run, "none.head", "new/wasps"):
        assert not {"ants", "bright", "green"} & set(text.split())


def test_csv_and_table_have_all_labels_of_an_image(run: Run, labels: Path, new: Path) -> None:
    found = _json(run, labels, "new")
    rows = csv.DictReader(_lines(run, labels, "new", "--format", "csv"))
    assert [row["label"] for row in rows] == [line["label"] or "" for line in found]
    for text, line in zip(_lines(run, labels, "new"), found, strict=True):
        if line["label"]:
            pairs = [f"{name} {line['scores'][name]:.3f}" for name in line["label"].split("|")]
            assert all(pair in text.split("  ")[1:] for pair in pairs)


@pytest.mark.parametrize("top", [1, 2, 9])
def test_top_is_how_many_classes_each_format_gives(
    run: Run, svm: Path, new: Path, top: int
) -> None:
    every = _json(run, svm, "new/wasps")
    best = [list(line["scores"].items())[:top] for line in every]
    options = (svm, "new/wasps", "--top", top)
    assert [list(line["scores"].items()) for line in _json(run, *options)] == best
    table = [line.split("  ")[1:] for line in _lines(run, *options)]
    assert table == [[f"{name} {score:.3f}" for name, score in row] for row in best]
    header, *rows = csv.reader(_lines(run, *options, "--format", "csv"))
    numbered = ["label", "score"] + [f"{n}_{i}" for i in range(2, top + 1) for n in header[1:3]]
    assert header == ["path", *numbered, "reason"]
    for row, expected in zip(rows, best, strict=True):
        cells = [str(cell) for pair in expected for cell in pair]
        assert row[1 : 1 + len(cells)] == cells
        assert set(row[1 + len(cells) :]) <= {""}


def test_the_format_can_be_configured(run: Run, svm: Path, new: Path) -> None:
    Path("bottleneck.toml").write_text("[predict]\nformat = 'csv'\n")
    assert _lines(run, svm, "new")[0] == "path,label,score,reason"


# Which images


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["new/wasps/wasps000.jpg"], ["wasps/wasps000.jpg"]),
        (["new/wasps"], ["wasps/wasps000.jpg", "wasps/wasps001.png", "wasps/wasps002.jpg"]),
        (["new/w*/*.png"], ["wasps/wasps001.png"]),
        (["new/**/*2.jpg"], ["ants/ants002.jpg", "bees/bees002.jpg", "wasps/wasps002.jpg"]),
        (["new/w*"], ["wasps/wasps000.jpg", "wasps/wasps001.png", "wasps/wasps002.jpg"]),
        (
            ["new.csv", "new/w*/*1.png", "lists/*.csv"],
            ["wasps/wasps002.jpg", "ants/ants000.jpg", "wasps/wasps001.png", "ants/ants002.jpg"],
        ),
        (
            ["new/wasps/wasps002.jpg", "new/ants/*2.jpg", "new/wasps/wasps002.jpg"],
            ["wasps/wasps002.jpg", "ants/ants002.jpg", "wasps/wasps002.jpg"],
        ),
    ],
    ids=" ".join,
)
def test_files_folders_patterns_and_csvs_are_taken_in_their_order(
    run: Run, svm: Path, new: Path, names: list[str], found: list[str]
) -> None:
    Path("new.csv").write_text("label,path\n,new/wasps/wasps002.jpg\nx,new/ants/ants000.jpg\n")
    Path("lists").mkdir()
    Path("lists", "some.csv").write_text("path\n../new/ants/ants002.jpg\n")
    lines = _json(run, svm, *names)
    assert [line["path"].removeprefix("lists/../") for line in lines] == [
        f"new/{name}" for name in found
    ]
    assert all(line["label"] for line in lines)


def test_a_name_with_the_signs_of_a_pattern_is_a_file_first(run: Run, svm: Path, new: Path) -> None:
    (new / "wasps" / "wasps000.jpg").rename(new / "img[1].jpg")
    assert [line["path"] for line in _json(run, svm, "new/img[1].jpg")] == ["new/img[1].jpg"]


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_the_batch_changes_no_label_and_no_order(
    run: Run, svm: Path, new: Path, batch_size: int
) -> None:
    expected = _json(run, svm, "new")
    found = _json(run, svm, "new", "--batch-size", batch_size)
    assert [(line["path"], line["label"]) for line in found] == [
        (line["path"], line["label"]) for line in expected
    ]


def test_a_rejection_names_the_option_of_the_command_line(
    run: Run, svm: Path, tmp_path: Path
) -> None:
    write_photographs(tmp_path / "large", 1, label="ants")
    done = run("predict", svm, tmp_path / "large", "--max-pixels", 1, "--format", "jsonl")
    reason = json.loads(done.stdout.splitlines()[0])["reason"]
    assert re.search(r"more than 1: --max-pixels \d+ allows it; for a cache, --retry-rej", reason)


def test_nothing_but_broken_images_is_nothing_but_reasons(run: Run, svm: Path, new: Path) -> None:
    result = run("predict", svm, *REJECTED, "--format", "jsonl")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["path"] for line in lines] == list(REJECTED)
    assert not any(line["label"] for line in lines)
    why = "error: no image could be classified: every one is rejected, see the reasons"
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (1, why)
    assert run("predict", svm, *REJECTED, "-o", "new.csv").exit_code == 1
    assert len(Path("new.csv").read_text().splitlines()) == 3


# Where it goes


@pytest.mark.parametrize("style", ["table", "csv", "jsonl"])
def test_a_file_gets_what_would_be_printed(run: Run, svm: Path, new: Path, style: str) -> None:
    printed = run("predict", svm, "new", "--format", style).stdout
    assert run("predict", svm, "new", "--format", style, "-o", "deep/down").stdout == ""
    assert Path("deep/down").read_text() == printed


def test_json_is_asked_for_as_of_other_commands(run: Run, svm: Path, new: Path) -> None:
    lines = run("predict", svm, "new/wasps", "--format", "jsonl").stdout
    assert {"path", "label", "scores"} <= json.loads(lines.splitlines()[0]).keys()
    assert run("predict", svm, "new/wasps", "--json").stdout == lines
    Path("bottleneck.toml").write_text('[predict]\nformat = "csv"\n')
    assert run("predict", svm, "new/wasps").stdout.startswith("path,label,")
    assert run("predict", svm, "new/wasps", "--json").stdout == lines


@pytest.mark.parametrize(
    ("name", "style"),
    [("new.csv", "csv"), ("new.JSONL", "jsonl"), ("new.txt", "table"), ("csv", "table")],
)
def test_the_suffix_of_a_file_is_its_format_unless_one_is_given(
    run: Run, svm: Path, new: Path, name: str, style: str
) -> None:
    printed = run("predict", svm, "new/wasps", "--format", style).stdout
    assert run("predict", svm, "new/wasps", "-o", name).stderr.endswith(f"wrote {name}\n")
    assert Path(name).read_text() == printed
    table = run("predict", svm, "new/wasps").stdout
    run("predict", svm, "new/wasps", "-o", name, "--overwrite", "--format", "table")
    assert Path(name).read_text() == table


def test_a_suffix_of_no_format_needs_a_format(run: Run, svm: Path, new: Path) -> None:
    refused(
        run("predict", svm, "new", "-o", "new.json"), "-o new.json", ".jsonl", "--format", code=2
    )
    assert not Path("new.json").exists()
    assert run("predict", svm, "new", "-o", "new.json", "--format", "jsonl").exit_code == 0
    json.loads(Path("new.json").read_text().splitlines()[0])


def test_a_file_in_the_way_is_kept_unless_it_may_be_replaced(
    run: Run, svm: Path, new: Path
) -> None:
    Path("out").write_text("mine")
    refused(run("predict", svm, "new", "-o", "out"), "out exists", "-o", "--overwrite")
    assert Path("out").read_text() == "mine"
    assert run("predict", svm, "new", "-o", "out", "--overwrite").exit_code == 0
    assert len(Path("out").read_text().splitlines()) == 9


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_a_folder_in_the_way_is_refused_by_its_name(
    run: Run, svm: Path, new: Path, overwrite: list[str]
) -> None:
    before = contents(new)
    refused(run("predict", svm, "new", "-o", "new", *overwrite), "error: new")
    assert contents(new) == before


# Refusals


@pytest.mark.parametrize(
    ("arguments", "parts", "code"),
    [
        (["absent.jpg"], ["absent.jpg"], 1),
        (["absent/*.jpg"], ["absent/*.jpg"], 1),
        (["new/wasps", "absent.jpg"], ["absent.jpg"], 1),
        (["empty"], ["empty", ".jpg"], 1),
        ([], ["IMAGES"], 2),
        (["new", "--format", "xml"], ["'xml'", "table", "csv", "jsonl"], 2),
        (["new", "--top", "0"], ["--top", "0 is not"], 2),
        (["new", "--top", "all"], ["--top", "'all'"], 2),
        (["new", "--batch-size", "0"], ["--batch-size 0", "at least 1"], 2),
        (["new", "--batch-size", "-1"], ["--batch-size -1", "at least 1"], 2),
        (["new", "--device", "cuda:99"], ["--device cuda:99", "cpu"], 2),
        (["new", "--model", "absent.py:plain"], ["absent.py"], 1),
        (["new", "--weights", "absent.pth"], ["absent.pth"], 1),
        (["new", "--weights", "DEFAUT"], ["'DEFAUT'", "DEFAULT"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
@pytest.mark.usefixtures("new")
def test_wrong_arguments_are_refused_and_leave_no_file(
    run: Run, svm: Path, arguments: list[str], parts: list[str], code: int
) -> None:
    Path("empty").mkdir()
    refused(run("predict", svm, *arguments, "-o", "out"), *parts, code=code)
    assert not Path("out").exists()


def test_another_network_is_refused_with_the_difference(run: Run, svm: Path, new: Path) -> None:
    result = run("predict", svm, "new", "--model", f"{NETWORKS}:poisoned")
    refused(result, "model is tiny_networks.py:plain@", "poisoned@")


def test_other_weights_are_refused(run: Run, svm: Path, new: Path) -> None:
    torch.manual_seed(1)
    save_file(plain().state_dict(), "other.safetensors")
    refused(run("predict", svm, "new", "--weights", "other.safetensors"), "weights")


def test_a_network_that_moved_is_found_where_it_is_said_to_be(
    run: Run, photos: Path, new: Path, extract_tiny: Extract
) -> None:
    Path("here").mkdir()
    shutil.copy(NETWORKS, "here")
    cache = extract_tiny(photos, model="here/tiny_networks.py:plain").cache.path
    head = _fit(run, cache, "svm")
    Path("here").rename("there")
    result = run("predict", head, "new")
    refused(result, "here/tiny_networks.py")
    moved = _json(run, head, "new", "--model", "there/tiny_networks.py:plain")
    assert sum(bool(line["label"]) for line in moved) == 7


def test_files_that_are_passed_over_are_counted(run: Run, svm: Path, new: Path) -> None:
    (new / "wasps" / "1.cr2").touch()
    result = run("predict", svm, "new/wasps", "new/ants/ants000.jpg")
    assert result.stderr == "4 images; 1 file of a kind that is not read: 1 .cr2\n"
    assert len(result.stdout.splitlines()) == 4


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_the_runtime_is_noted_once_on_standard_error(
    command: str, run: Run, svm: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []

    def choose(self: BatchRunner, runtime: str, images: int, **_: Any) -> None:
        asked.append((runtime, images))
        self.runtime = dataclasses.replace(self.runtime, note="runtime: torch, see `runtime`")

    def lines_with_note() -> list[str]:
        result = run(command, svm, photos / "val" if command == "predict" else photos)
        assert result.exit_code == 0, result.output
        assert "runtime:" not in result.stdout
        return [line for line in result.stderr.splitlines() if line.startswith("runtime:")]

    assert not lines_with_note()  # twelve images are not worth a word
    monkeypatch.setattr(BatchRunner, "choose_runtime", choose)
    assert lines_with_note() == ["runtime: torch, see --runtime"]
    assert asked == [("auto", 12)]
    if command == "evaluate":
        found = json.loads(run("evaluate", svm, photos, "--json").stdout)
        assert found["notes"] == ["runtime: torch, see --runtime"]
