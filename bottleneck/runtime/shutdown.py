"""Stopping: a request to end that waits until what is in the making is whole.

A scheduler announces the end of a job's time by a signal, and a signal knows nothing of shards. So
whoever makes them holds such a request back, and lets it through between two of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class StopRequested(KeyboardInterrupt):
    """Somebody asked for an end ahead of time; what was in the making is whole."""


class _Request:
    """The one request of this process, as signals are the process's."""

    made = False
    held = 0


def request_stop() -> None:
    """Ask for an end: at once, or where it is held back at the next `raise_if_stop_requested`.

    To ask again changes nothing. May be called from the handler of a signal.

    Raises
    ------
    StopRequested
        Nobody holds it back.
    """
    first, _Request.made = not _Request.made, True
    if first and not _Request.held:
        raise StopRequested


@contextmanager
def defer_stop() -> Iterator[None]:
    """Defer a request to stop while the block runs, which calls `raise_if_stop_requested`.

    Raises
    ------
    StopRequested
        It was made before.
    """
    raise_if_stop_requested()
    _Request.held += 1
    try:
        yield
    finally:
        _Request.held -= 1


def stop_requested() -> bool:
    """Whether somebody asked for an end, so that nothing more should be begun."""
    return _Request.made


def raise_if_stop_requested() -> None:
    """Here is a good place to end.

    Raises
    ------
    StopRequested
        Somebody asked for it.
    """
    if _Request.made:
        raise StopRequested


def clear_stop_request() -> None:
    """Begin anew: what was asked of an earlier command is not asked of the next."""
    _Request.made = False
