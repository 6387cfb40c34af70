"""Interrupts: Ctrl-C and a scheduler's signals end a command cleanly and say what is kept."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import FrameType

from bottleneck.runtime import StopRequested, clear_stop_request, request_stop

_GOES_ON = "what was finished is kept, the same command goes on"
_BEGINS_AGAIN = "the same command begins again"


class Terminated(KeyboardInterrupt):
    """SIGTERM: a scheduler's time limit, or `kill`."""


@contextmanager
def signals_as_interrupts() -> Iterator[None]:
    """Turn a scheduler's signals into exceptions within a block, as Python does with Ctrl-C.

    SIGTERM does so at once. SIGUSR1, by which schedulers announce a time limit, waits until the
    current shard is finished.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python allows only the main thread to set signal handlers
        return
    handlers = {"SIGTERM": _terminate, "SIGUSR1": _stop}
    before = {
        number: signal.signal(number, handlers[number.name])
        for number in signal.Signals  # Windows has no SIGUSR1
        if number.name in handlers
    }
    clear_stop_request()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _stop(number: int, frame: FrameType | None) -> None:
    request_stop()


@contextmanager
def note_kept(describe: Callable[[], str] = lambda: _GOES_ON) -> Iterator[None]:
    """Add to an interrupt that the work of the block is kept as far as it is finished.

    Parameters
    ----------
    describe : callable
        Returns a line that says what is kept, and what the same command will do.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        # Whatever goes wrong, a second Ctrl-C too: the first interrupt decides the exit code.
        text = _GOES_ON
        with suppress(Exception, KeyboardInterrupt):
            text = describe()
        interrupt.add_note(text)
        raise


def note_kept_shards(cache: Path) -> AbstractContextManager[None]:
    """Add to an interrupt what the cache holds by then.

    Parameters
    ----------
    cache : Path
        The cache that the block writes.
    """

    def describe() -> str:
        from bottleneck.cache import kept_text

        kept = kept_text(cache)
        return f"{kept}; {_GOES_ON}" if kept else f"nothing was finished yet; {_BEGINS_AGAIN}"

    return note_kept(describe)


def interrupt_text(interrupt: KeyboardInterrupt) -> str:
    """Return the one line that says what was interrupted, and what is kept."""
    kept = getattr(interrupt, "__notes__", [_BEGINS_AGAIN])
    return f"{_kind(interrupt)[0]}: {'; '.join(kept)}"


def interrupt_code(interrupt: KeyboardInterrupt) -> int:
    """Return the exit code that shells expect: 128 plus the signal's number."""
    return 128 + _kind(interrupt)[1]


def _kind(interrupt: KeyboardInterrupt) -> tuple[str, int]:
    """Return what happened, and the number of the signal."""
    if isinstance(interrupt, StopRequested):
        return "stopped", signal.SIGUSR1
    if isinstance(interrupt, Terminated):
        return "terminated", signal.SIGTERM
    return "interrupted", signal.SIGINT
