"""Settings of the whole process that hold while a network runs, and are undone afterwards."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Lock

import torch

from bottleneck.runtime import retain_freed_memory


class SharedContext:
    """A context that several threads may enter: the first one opens it, the last one closes it.

    A worker of a cluster may compute several shards at a time, each with a `BatchRunner` of its
    own.

    Parameters
    ----------
    open_context : callable
        Called without arguments for the context manager to share.

    Examples
    --------
    >>> from contextlib import contextmanager
    >>> @contextmanager
    ... def announced():
    ...     print("open")
    ...     yield
    ...     print("close")
    >>> shared = SharedContext(announced)
    >>> with shared, shared:
    ...     print("inside")
    open
    inside
    close
    """

    def __init__(self, open_context: Callable[[], AbstractContextManager[None]]) -> None:
        self._open_context, self._lock, self._users = open_context, Lock(), 0
        self._entered: AbstractContextManager[None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._entered is None:
                self._entered = self._open_context()
                self._entered.__enter__()
            self._users += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users and self._entered is not None:
                self._entered.__exit__(None, None, None)
                self._entered = None


@contextmanager
def _tf32_disabled() -> Iterator[None]:
    """Compute float32 convolutions in float32: cuDNN's default is TF32, with 10 of its 23 bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@contextmanager
def _inference_settings() -> Iterator[None]:
    with retain_freed_memory(), _tf32_disabled():
        yield


INFERENCE_SETTINGS = SharedContext(_inference_settings)
