"""Progress, with a time that stands still until the test moves it."""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import pytest

from bottleneck.cli.main import main
from bottleneck.cli.progress import (
    Pace,
    extraction_progress,
    shown_progress,
    tuning_progress,
)
from bottleneck.data.sources.notes import SourceNotes
from bottleneck.data.summary import SourceSummary
from bottleneck.extraction.planning.disk_space import DiskEstimate
from bottleneck.extraction.result import ExtractionProgress
from bottleneck.finetuning.training.run import EpochScores, TrainingProgress
from bottleneck.runtime import OnProgress, Progress
from bottleneck.runtime.timing import RunStats


class Time:
    """What the progress takes for the monotonic clock."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Time:
    moved = Time()
    monkeypatch.setattr("bottleneck.cli.progress.time", moved)
    return moved


def encoded(rows: int, views: int = 1, notes: tuple[str, ...] = ()) -> ExtractionProgress:
    """An extraction that begins."""
    estimate = DiskEstimate(Path("cache"), rows, rows * views, {}, free=0)
    found = SourceSummary(rows, 0, 1, 0, {}, SourceNotes())
    return ExtractionProgress(0, estimate.passes, estimate.unit, RunStats(), estimate, found, notes)


def limited(begin: ExtractionProgress, done: int, **seconds: float) -> ExtractionProgress:
    """The same, later: its stages took so many seconds."""
    stats = RunStats()
    stats.timer.seconds.update(seconds)
    return replace(begin, done=done, stats=stats)


# Pace


def test_now_is_of_the_last_ten_seconds_and_the_average_of_all() -> None:
    pace = Pace(0.0)
    for second in range(1, 21):  # 100 a second at first, 10 a second in the last ten
        pace.add(float(second), 100 * min(second, 10) + 10 * max(0, second - 10))
    assert (pace.now, pace.average) == (10.0, 55.0)


def test_steps_of_more_than_ten_seconds_have_a_pace_too() -> None:
    pace = Pace(0.0)
    pace.add(25.0, 1)
    assert (pace.now, pace.average) == (1 / 25, 1 / 25)
    pace.add(30.0, 2)
    pace.add(75.0, 3)
    assert (pace.now, pace.average) == (1 / 45, 3 / 75)


def test_time_before_the_first_image_does_not_count() -> None:
    pace = Pace(0.0)
    pace.add(100.0, 0)
    pace.add(102.0, 64)
    assert (pace.now, pace.average) == (32.0, 32.0)


def test_no_time_is_no_pace() -> None:
    pace = Pace(5.0)
    pace.add(5.0, 3)
    assert (pace.now, pace.average) == (0.0, 0.0)


# Lines of a batch log


def _images_done(show: OnProgress, at: Time, steps: list[tuple[float, int]]) -> None:
    for seconds, done in steps:
        at.now = 2000.0 + seconds
        show(limited(encoded(9000), done, wait=1.0, forward=9.0))


def test_the_first_line_is_early_and_then_one_every_ten_seconds(
    at: Time, capsys: pytest.CaptureFixture[str]
) -> None:
    with shown_progress() as show:
        steps = [(0.0, 0), (1.0, 300), (2.0, 600), (3.0, 900), (11.9, 3500), (12.0, 3600)]
        _images_done(show, at, [*steps, (13.0, 3800), (22.0, 4000)])
    # Now: since 3 s at 12 s would be 9 s, so since 2 s; and since 12 s at 22 s.
    assert capsys.readouterr().err.splitlines() == [
        "600 of 9000 images, 300/s now, 300/s on average, 28 s left, limited by forward",
        "3600 of 9000 images, 300/s now, 300/s on average, 18 s left, limited by forward",
        "4000 of 9000 images, 40/s now, 182/s on average, 28 s left, limited by forward",
    ]


def test_without_standard_error_nothing_is_written(
    at: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)  # as Python has it where a process began without one
    with shown_progress() as show:
        _images_done(show, at, [(0.0, 0), (3.0, 900), (13.0, 9000)])


def test_a_short_run_has_no_line(at: Time, capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress() as show:
        _images_done(show, at, [(0.0, 0), (0.9, 4500), (1.9, 9000)])
    assert capsys.readouterr().err == ""


def test_a_long_time_is_in_minutes_or_hours(at: Time, capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress() as show:
        _images_done(show, at, [(0.0, 0), (4.0, 2), (400.0, 4000)])
    # 8998 images of two seconds each, and 5000 of a tenth of a second
    assert [line.split(", ")[3] for line in capsys.readouterr().err.splitlines()] == [
        "5 h 0 min left",
        "8 min 20 s left",
    ]


@pytest.mark.parametrize(
    ("seconds", "stage"),
    [
        ({"wait": 9.0, "forward": 1.0, "read": 5.0, "decode": 1.0}, "read"),
        ({"wait": 9.0, "forward": 1.0, "read": 1.0, "decode": 5.0}, "decode"),
        ({"forward": 1.0, "blocked": 5.0}, "write"),
    ],
)
def test_the_line_names_the_limit(
    at: Time, capsys: pytest.CaptureFixture[str], seconds: dict[str, float], stage: str
) -> None:
    with shown_progress() as show:
        at.now += 4
        show(limited(encoded(16), 8, **seconds))
    assert capsys.readouterr().err == (
        f"8 of 16 images, 2/s now, 2/s on average, 4 s left, limited by {stage}\n"
    )


def test_without_stages_no_limit_is_shown(at: Time, capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress() as show:
        at.now += 20
        show(Progress(1, 4, "classifiers"))
    line = "1 of 4 classifiers, 0.05/s now, 0.05/s on average, 60 s left\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("rows", "what"), [(512, "3584 views of 512 images"), (3584, "3584 images")]
)
def test_an_extraction_counts_views_where_images_have_several(
    at: Time, capsys: pytest.CaptureFixture[str], rows: int, what: str
) -> None:
    begin = encoded(rows, 3584 // rows)
    with extraction_progress() as on_progress:
        on_progress(begin)
        at.now += 10
        on_progress(replace(begin, done=2112))
    *_, announced, line = capsys.readouterr().err.splitlines()
    assert announced.startswith(f"{what} to encode")
    assert line.startswith(f"2112 of {what}, 211/s now, 211/s on average, 7 s left")


def test_notes_are_printed_once_where_the_first_shard_has_no_image(
    capsys: pytest.CaptureFixture[str],
) -> None:
    begin = encoded(8, notes=("early",))
    with click.Context(main), extraction_progress() as on_progress:
        for done in (0, 0, 8):
            on_progress(replace(begin, done=done))
    assert capsys.readouterr().err.count("early\n") == 1


def test_notes_of_workers_follow_the_progress(capsys: pytest.CaptureFixture[str]) -> None:
    begin = encoded(8, notes=("early",))
    with click.Context(main), extraction_progress() as on_progress:
        on_progress(begin)
        for done in (4, 8):
            on_progress(replace(begin, done=done, notes=("early", "late")))
        assert "early\n" in (before := capsys.readouterr().err)
        assert "late" not in before
    assert capsys.readouterr().err.splitlines() == ["late"]


# Trainings


def trainings() -> Iterator[tuple[int, TrainingProgress]]:
    """Two trials, the second of which goes on from its third epoch, and the seconds they take."""
    start = TrainingProgress(
        *(0, 400, "images"), "tail; maps", 0.001, 1, 4, 100, 25, EpochScores(0), 1, 6
    )
    yield 0, start
    yield 10, replace(start, done=50)
    again = replace(start, lr=0.01, done=200, epoch=3, number=2)
    yield 0, again
    yield 10, replace(again, epoch=4, done=320)


def test_each_training_says_on_what_and_how_and_counts_what_is_left_of_it(
    at: Time, capsys: pytest.CaptureFixture[str]
) -> None:
    with tuning_progress() as on_progress:
        for seconds, progress in trainings():
            at.now += seconds
            on_progress(progress)
    assert capsys.readouterr().err.splitlines() == [
        "tail; maps",
        "training 1 of up to 6: 100 images, 25 kept back, a learning rate of 0.001",
        "50 of 400 images, 5/s now, 5/s on average, 70 s left",
        "training 2 of up to 6: 100 images, 25 kept back, a learning rate of 0.01, from epoch 3 on",
        "120 of 200 images, 12/s now, 12/s on average, 7 s left",
    ]


# The bar of a terminal


def _on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)


def test_a_terminal_has_a_bar_with_pace_time_left_and_limit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _on_a_terminal(monkeypatch)
    begin = encoded(8, views=5)
    with shown_progress() as show:
        assert capsys.readouterr().err == ""  # what is printed before has a line of its own
        show(begin)
        assert "0/40" in capsys.readouterr().err
        time.sleep(0.2)  # tqdm draws ten times a second at most
        show(limited(begin, 10, wait=9.0, forward=1.0, decode=2.0))
        shown = capsys.readouterr().err
    assert "10/40" in shown
    assert " views/s" in shown
    assert "/s now, limited by decode" in shown
    assert "00:00<00:00" in shown  # 30 more at 50 a second
    assert capsys.readouterr().err.strip() == ""  # and it is wiped away


def test_each_training_has_a_bar_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _on_a_terminal(monkeypatch)
    with tuning_progress() as on_progress:
        for _, progress in trainings():
            on_progress(progress)
    shown = capsys.readouterr().err
    assert "0/400" in shown
    assert "0/200" in shown


def test_each_stage_has_a_bar_and_rates_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _on_a_terminal(monkeypatch)
    with shown_progress() as show:
        show(Progress(0, 9, "images compared"))
        time.sleep(0.2)
        show(Progress(0, 4, "fits at most"))
        time.sleep(0.2)
        show(Progress(1, 4, "fits at most"))
    shown = capsys.readouterr().err
    assert "0/9" in shown
    assert "1/4" in shown
    assert " fits/s" in shown
    assert "/s now]" in shown


def test_lines_of_each_stage_count_from_its_begin(
    at: Time, capsys: pytest.CaptureFixture[str]
) -> None:
    with shown_progress() as show:
        for seconds, progress in [
            (0, Progress(0, 9, "images compared")),
            (3, Progress(6, 9, "images compared")),
            (50, Progress(0, 4, "fits at most")),
            (4, Progress(1, 4, "fits at most")),
        ]:
            at.now += seconds
            show(progress)
    assert capsys.readouterr().err.splitlines() == [
        "6 of 9 images compared, 2/s now, 2/s on average, 2 s left",
        "1 of 4 fits at most, 0.25/s now, 0.25/s on average, 12 s left",
    ]
