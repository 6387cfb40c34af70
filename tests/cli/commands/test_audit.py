"""`bottleneck audit`."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from tests.helpers import searches
from tests.helpers.cli import refused
from tests.helpers.fixture_types import Extract, Run

few_cs = searches.few_cs


@pytest.fixture
def leaky(photos: Path, extract_tiny: Extract) -> Path:
    """A cache of photographs, one of which is in both splits."""
    shutil.copy(photos / "train/ants/ants000.jpg", photos / "val/ants/copy.jpg")
    return extract_tiny(photos, layers=["layer2", "layer3"]).cache.path


def test_the_text_and_the_json_say_the_same(run: Run, leaky: Path) -> None:
    text = run("audit", leaky, "--layer", "layer2")
    assert text.exit_code == 0, text.output
    assert text.stdout.startswith("examined: 37 images, 3 classes, train 24, val 13\n")
    found = json.loads(run("audit", leaky, "--layer", "layer2", "--json").stdout)
    assert found["layers"] == ["layer2"]
    assert found["duplicates"][0]["paths"] == ["train/ants/ants000.jpg", "val/ants/copy.jpg"]
    assert f"leaks: {found['leaks']} of 13 images of val are in train too" in text.stdout
    assert f"suspect labels: {len(found['suspects'])} of 37" in text.stdout


def test_names_in_the_json_are_as_they_are(run: Run, photos: Path, extract_tiny: Extract) -> None:
    named = photos / "train/`layers`"
    (photos / "train/ants").rename(named)
    for name in ("`model`.jpg", "`cv=0`.jpg"):
        shutil.copy(named / "ants000.jpg", named / name)
    cache = extract_tiny(photos).cache.path
    found = json.loads(run("audit", cache, "--json").stdout)
    (same,) = found["duplicates"]
    assert set(same["paths"]) == {
        f"train/`layers`/{name}" for name in ("ants000.jpg", "`model`.jpg", "`cv=0`.jpg")
    }
    assert set(same["labels"]) == {"`layers`"}
    assert found["heldout"]["classes"] == ["`layers`", "bees", "wasps"]


def test_the_csv_is_written_once_and_every_layer_is_compared(run: Run, leaky: Path) -> None:
    assert run("audit", leaky, "-o", "audit.csv").stderr.endswith("wrote audit.csv\n")
    with Path("audit.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert "leak" in {row["finding"] for row in rows}
    assert all([row["split"], row["label"]] == row["path"].split("/")[:2] for row in rows)
    refused(run("audit", leaky, "-o", "audit.csv"), "audit.csv exists", "--overwrite")
    again = run("audit", leaky, "-o", "audit.csv", "--overwrite", "--json")
    assert json.loads(again.stdout)["layers"] == ["layer2", "layer3"]


def test_a_csv_of_labels_is_read_and_said(run: Run, leaky: Path) -> None:
    Path("labels.csv").write_text("path,label\ntrain/ants/ants000.jpg,red\n")
    result = run("audit", leaky, "--labels", "labels.csv")
    assert result.exit_code == 0, result.output
    assert "labels from labels.csv: path, label of 1 image" in result.stderr
    assert "labels: not examined: " in result.stdout
    assert "--" not in result.stdout.split("labels: not examined: ")[0]


def test_mistakes_are_one_line(run: Run, leaky: Path) -> None:
    refused(run("audit", leaky, "--layer", "layer22"), "unknown layer", "layer2", code=2)
    refused(run("audit", "nowhere"), "nowhere")
    refused(run("audit", leaky, "--memory", "lots"), "lots", code=2)


def test_the_progress_says_that_images_are_compared_and_then_that_classifiers_are_trained(
    run: Run, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bottleneck.cli.progress._SECONDS_TO_FIRST_LINE", 0.0)
    done = run("audit", cache, "--layer", "layer2")
    assert re.search(r"^36 of 36 images compared, .* left$", done.stderr, re.MULTILINE)
    assert re.search(r"^1 of \d+ fits at most, .* left$", done.stderr, re.MULTILINE)
