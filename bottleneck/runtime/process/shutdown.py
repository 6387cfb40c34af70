"""Stop a run on request, between two shards.

A scheduler announces a job's time limit by a signal, which may arrive at any moment. The code that
makes shards defers such a request, and checks for it after each shard.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class StopRequested(KeyboardInterrupt):
    """A run was asked to stop early; its current shard is finished."""


class _Request:
    """The one request of this process: signals belong to the process, too."""

    made = False
    deferred = 0


def request_stop() -> None:
    """Request a stop: now, or if it is deferred, at the next `raise_if_stop_requested`.

    A second request changes nothing. A signal handler may call this.

    Raises
    ------
    StopRequested
        The request is not deferred.
    """
    first, _Request.made = not _Request.made, True
    if first and not _Request.deferred:
        raise StopRequested


@contextmanager
def defer_stop() -> Iterator[None]:
    """Defer requests to stop while the block runs; it calls `raise_if_stop_requested` itself.

    Raises
    ------
    StopRequested
        A stop was requested before.

    Examples
    --------
    >>> with defer_stop():
    ...     for shard in range(2):
    ...         raise_if_stop_requested()
    """
    raise_if_stop_requested()
    _Request.deferred += 1
    try:
        yield
    finally:
        _Request.deferred -= 1


def stop_requested() -> bool:
    """Return whether a stop was requested, so that nothing new should be started."""
    return _Request.made


def raise_if_stop_requested() -> None:
    """Stop here if a stop was requested.

    Raises
    ------
    StopRequested
        A stop was requested.
    """
    if _Request.made:
        raise StopRequested


def clear_stop_request() -> None:
    """Forget an earlier request, which a new command must not obey."""
    _Request.made = False
