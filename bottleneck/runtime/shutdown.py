"""Stopping: a request to end that waits until what is in the making is whole.

A scheduler announces the end of a job's time by a signal, and a signal knows nothing of shards. So
whoever makes them holds such a request back, and lets it through between two of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class Stopped(KeyboardInterrupt):
    """Somebody asked for an end ahead of time; what was in the making is whole."""


class _Request:
    """The one request of this process, as signals are the process's."""

    made = False
    held = 0


def ask_to_stop() -> None:
    """Ask for an end: at once, or where it is held back at the next `stop_if_asked`.

    To ask again changes nothing. May be called from the handler of a signal.

    Raises
    ------
    Stopped
        Nobody holds it back.
    """
    first, _Request.made = not _Request.made, True
    if first and not _Request.held:
        raise Stopped


@contextmanager
def held_back() -> Iterator[None]:
    """Let a request to stop wait while the block runs, for the block to ask with `stop_if_asked`.

    Raises
    ------
    Stopped
        It was made before.
    """
    stop_if_asked()
    _Request.held += 1
    try:
        yield
    finally:
        _Request.held -= 1


def is_asked() -> bool:
    """Whether somebody asked for an end, so that nothing more should be begun."""
    return _Request.made


def stop_if_asked() -> None:
    """Here is a good place to end.

    Raises
    ------
    Stopped
        Somebody asked for it.
    """
    if _Request.made:
        raise Stopped


def forget_request() -> None:
    """Begin anew: what was asked of an earlier command is not asked of the next."""
    _Request.made = False
