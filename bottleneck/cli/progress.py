"""Progress: a bar on a terminal, a plain line now and then in a batch log."""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from bottleneck.cli.output import print_notes
from bottleneck.runtime import OnProgress, Progress, format_duration

if TYPE_CHECKING:
    from bottleneck.finetuning import TrainingProgress

_SECONDS_TO_FIRST_LINE = 2.0  # a batch log soon has an estimate; a run of a second has no line
_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_OF_NOW = 10.0


@contextmanager
def shown_progress() -> Iterator["_Bar | _PlainLines"]:
    """Yield an `on_progress` that shows each stage; its rates count from the call with 0 done."""
    on_terminal = sys.stderr is not None and sys.stderr.isatty()  # None: it began without one
    with closing(_Bar() if on_terminal else _PlainLines()) as show:
        yield show


@contextmanager
def extraction_progress() -> Iterator[OnProgress]:
    """Yield the `on_progress` of an extraction.

    It prints notes and the estimate first, then the progress, and at the end the notes of workers.
    """
    from bottleneck.extraction import ExtractionProgress

    notes: tuple[str, ...] = ()
    printed: int | None = None
    with shown_progress() as show:

        def on_progress(progress: Progress) -> None:
            nonlocal notes, printed
            if isinstance(progress, ExtractionProgress):
                notes = progress.notes
                if printed is None:
                    print_notes(notes)
                    printed = len(notes)
                    click.echo(str(progress.estimate), err=True)
            show(progress)

        yield on_progress
    print_notes(notes[printed:])  # of workers, behind the bar


@contextmanager
def tuning_progress() -> Iterator["Callable[[TrainingProgress], None]"]:
    """Yield the `on_progress` of trainings.

    It prints what is trained, and how, before each of them, then the images of all epochs that
    there may be.
    """
    with shown_progress() as show:
        said, training, first = "", 0, 0

        def on_progress(progress: "TrainingProgress") -> None:
            nonlocal said, training, first
            if progress.number != training:
                show.close()  # the bar of the training before
                if progress.description != said:
                    click.echo(progress.description, err=True)
                said, training, first = progress.description, progress.number, progress.done
                kept_back = f", {progress.kept_back} kept back" if progress.kept_back else ""
                begun = f", from epoch {progress.epoch} on" if progress.epoch > 1 else ""
                click.echo(
                    f"training {progress.number} of up to {progress.trainings}: {progress.images} "
                    f"images{kept_back}, a learning rate of {progress.lr:.2g}{begun}",
                    err=True,
                )
            # After a restart, the epochs that are left.
            show(replace(progress, done=progress.done - first, total=progress.total - first))

        yield on_progress


class Pace:
    """How fast work goes, now and on average.

    Parameters
    ----------
    start : float
        When it begins, in seconds.
    """

    def __init__(self, start: float) -> None:
        self._start = start
        self._recent = deque([(start, 0)])

    def add(self, when: float, done: int) -> None:
        """So many are done; with none done, the work begins here."""
        if done == 0:  # what came before was no work: a network was loaded, images were listed
            self._start = when
            self._recent.clear()
        self._recent.append((when, done))
        while len(self._recent) > 2 and self._recent[1][0] <= when - _SECONDS_OF_NOW:
            self._recent.popleft()

    @property
    def now(self) -> float:
        """Done in a second, over the last ten seconds or the last step if that took longer."""
        (before, then), (when, done) = self._recent[0], self._recent[-1]
        return _rate(done - then, when - before)

    @property
    def average(self) -> float:
        """Done in a second since the start."""
        when, done = self._recent[-1]
        return _rate(done, when - self._start)


def _rate(count: int, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0


def _shown(rate: float) -> str:
    return f"{rate:{'.0f' if rate >= 10 else '.2g'}}/s"


def _limited(progress: Progress) -> str:
    return f", limited by {progress.limited_by}" if progress.limited_by else ""


class _PlainLines:
    def __init__(self) -> None:
        start = time.monotonic()
        self._pace = Pace(start)
        self._next = start + _SECONDS_TO_FIRST_LINE

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        self._pace.add(now, progress.done)
        if progress.done == 0:
            self._next = now + _SECONDS_TO_FIRST_LINE
        elif now >= self._next:
            self._next = now + _SECONDS_BETWEEN_LINES
            left = format_duration((progress.total - progress.done) / self._pace.average)
            click.echo(
                f"{progress}, {_shown(self._pace.now)} now, {_shown(self._pace.average)} on "
                f"average, {left} left{_limited(progress)}",
                err=True,
            )

    def close(self) -> None:
        """Do nothing: lines stay."""


class _Bar:
    """tqdm's bar, which has the average and the time that is left, with two more facts.

    It appears with the first call of a stage, so that what is printed before that keeps a line of
    its own.
    """

    def __init__(self) -> None:
        from tqdm import tqdm

        self._make = tqdm
        self._bar: tqdm | None = None
        self._pace = Pace(time.monotonic())

    def __call__(self, progress: Progress) -> None:
        done = progress.done
        if done == 0:
            self.close()  # the bar of the stage before
        self._pace.add(time.monotonic(), done)
        if self._bar is None:
            self._bar = self._make(
                total=progress.total,
                initial=done,
                unit=f" {progress.unit.split()[0]}",  # without "of 12 images", as it has a rate
                smoothing=0,  # the average, and the time that is left by it
                leave=False,
                file=sys.stderr,
            )
        if done:
            postfix = f"{_shown(self._pace.now)} now{_limited(progress)}"
            self._bar.set_postfix_str(postfix, refresh=False)
        self._bar.update(done - self._bar.n)
        if done == progress.total:
            self.close()

    def close(self) -> None:
        """Remove it; the next call begins another."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None
