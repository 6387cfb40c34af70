"""The bar shows what every verb reports."""

from pathlib import Path

import numpy as np
import pytest

from bottleneck.fitting.sweep import sweep
from bottleneck.runtime.progress import Progress
from bottleneck.runtime.progress_bar import ProgressBar
from tests.helpers.fixture_types import Extract


def last_bar(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.split("\r")[-1].strip()


def test_a_bar_ends_with_the_last(capsys: pytest.CaptureFixture[str]) -> None:
    show = ProgressBar("rows")
    for done in range(4):
        show(Progress(done, 3, "rows"))
    assert "rows: 100%" in (bar := last_bar(capsys))
    assert "3/3" in bar


def test_another_stage_of_the_work_begins_another_bar(capsys: pytest.CaptureFixture[str]) -> None:
    show = ProgressBar()
    for done, total in ((0, 8), (4, 8), (0, 8), (8, 8), (0, 5), (5, 5)):
        show(Progress(done, total, "images"))
    show(Progress(5, 5, "fits"))
    bars = [line for line in capsys.readouterr().err.splitlines() if "/s" in line]
    assert sum("8/8" in bar for bar in bars) == 1
    assert "5/5" in bars[-1]
    assert any(" images/s" in bar for bar in bars[:-1])
    assert " fits/s" in bars[-1]


def test_a_sweep_and_an_extraction_show_theirs(
    photos: Path, extract_tiny: Extract, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = extract_tiny(photos, on_progress=ProgressBar("images")).cache
    assert "36/36" in last_bar(capsys)
    rows = sweep(cache, "svm", on_progress=ProgressBar("sweep"))
    assert "86/86" in last_bar(capsys)
    assert np.isfinite([row.cv.mean for row in rows]).all()
