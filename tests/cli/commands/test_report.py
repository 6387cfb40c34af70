"""`bottleneck report`."""

import json
import re
from pathlib import Path

import pytest

from bottleneck.fitting.heads.head import Head
from tests.helpers import cli, searches
from tests.helpers.cli import refused
from tests.helpers.fixture_types import Run

few_cs = searches.few_cs

made, photos, cache = cli.made, cli.photos, cli.cache


def test_the_page_is_written_once_and_its_verdict_printed(
    run: Run, cache: Path, head: Head, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bottleneck.cli.progress._SECONDS_TO_FIRST_LINE", 0.0)
    head.save("head")
    arguments = ("report", cache, "head", "--layer", "layer2", "--images", photos)
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    stages = [
        "36 of 36 images compared",
        "1 of 21 fits at most",  # to examine labels
        "1 of 16 fits at most",
        "1 of 21 fits at most",  # to compare layers
        "1 of 40 fits of the curve",
    ]
    told = re.findall(r"^(\d+ of \d+ .*), .*/s now, .* left$", done.stderr, re.MULTILINE)
    assert [line for line in told if line in stages] == stages  # a slow machine tells more
    verdict, thumbnails, written = done.stdout.splitlines()
    assert " of the 12 images of the split val are classified correctly" in verdict
    assert "thumbnails shown, " in thumbnails
    assert written.startswith("wrote report.html: ")
    page = Path("report.html").read_text("utf-8")
    assert page.count("data:image/webp") > 10
    refused(run(*arguments), "report.html exists", "-o", "--overwrite")
    small = json.loads(run(*arguments, "-o", "small.html", "--max-bytes", "1K", "--json").stdout)
    assert small["thumbnails"]["shown"] < small["thumbnails"]["wanted"]
    assert small["bytes"] == Path("small.html").stat().st_size < len(page)


def test_a_csv_of_labels_is_read_and_said(run: Run, cache: Path, head: Head) -> None:
    head.save("head")
    Path("labels.csv").write_text("path,label,split\nval/ants/ants000.jpg,bees,test\n")
    done = run("report", cache, "head", "--labels", "labels.csv")
    assert done.exit_code == 0, done.output
    assert "labels from labels.csv: path, label, split of 1 image" in done.stderr
    assert "0.0% of the 1 images" in done.stdout
    assert "no thumbnails: without its images (--images)" in done.stdout


def test_mistakes_are_one_line(run: Run, cache: Path, head: Head) -> None:
    head.save("head")
    refused(run("report", cache, "head", "--layer", "layer22"), "unknown layer", "layer2", code=2)
    refused(run("report", cache, "nowhere"), "nowhere")
    refused(run("report", cache, "head", "--images", "nowhere"), "nowhere")
    refused(run("report", cache, "head", "--max-bytes", "lots"), "lots", code=2)
    assert not Path("report.html").exists()
