"""A context manager for a change of the process that several threads need at a time."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any


class SharedContext:
    """Enter a context manager with the first user, and leave it with the last.

    Environment variables, log levels and configurations belong to the process. If each of two
    users changed and restored them by itself, the one that ends last would restore what the other
    had set.

    Parameters
    ----------
    make : callable
        Returns the context manager.

    Examples
    --------
    >>> from contextlib import contextmanager
    >>> @contextmanager
    ... def change():
    ...     print("changed")
    ...     yield
    ...     print("restored")
    >>> shared = SharedContext(change)
    >>> with shared, shared:
    ...     print("two users")
    changed
    two users
    restored
    """

    def __init__(self, make: Callable[[], AbstractContextManager[Any]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._users = 0
        self._context: AbstractContextManager[Any] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._context = self._make()
                self._context.__enter__()
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users and self._context is not None:
                self._context.__exit__(None, None, None)
                self._context = None
