"""Interrupts: Ctrl-C and a scheduler's SIGTERM end a command cleanly and say what is kept."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_GOES_ON = "what was finished is kept, the same command goes on"


class Terminated(KeyboardInterrupt):
    """SIGTERM: a scheduler's time limit, or somebody's `kill`."""


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM unwind the program as Ctrl-C does, so that nothing is left half done."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets only the main thread look after signals
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


@contextmanager
def telling_what_is_kept(cache: Path) -> Iterator[None]:
    """Add to an interrupt what the cache holds by then."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        from bottleneck import report

        interrupt.add_note(report.kept_text(cache))
        raise


def interrupt_text(interrupt: KeyboardInterrupt) -> str:
    """What to tell whoever interrupted."""
    what = "terminated" if isinstance(interrupt, Terminated) else "interrupted"
    kept = getattr(interrupt, "__notes__", [])
    return f"{what}: {'; '.join([*kept, _GOES_ON])}"


def interrupt_code(interrupt: KeyboardInterrupt) -> int:
    """The exit code that shells expect: 128 and the signal's number."""
    number = signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT
    return 128 + int(number)
