"""Progress: a bar on a terminal, a plain line now and then in a batch log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def progress_of(what: str) -> Iterator[Callable[[int, int], None]]:
    """A function to call with the number done and the number to do."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(unit=what, leave=False, file=sys.stderr) as bar:

            def show(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            yield show
    else:
        yield _PlainLines(what)


class _PlainLines:
    def __init__(self, what: str) -> None:
        self._what = what
        self._start = self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = now
            rate = done / (now - self._start)
            click.echo(
                f"{done} of {total} {self._what}, {rate:{'.0f' if rate >= 10 else '.2g'}}/s, "
                f"{(total - done) / rate:.0f} s to go",
                err=True,
            )
