"""Make the next item of an iteration in a thread while one is used."""

import atexit
from collections.abc import Generator, Iterator
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar
from weakref import WeakSet

from bottleneck.errors import USER_CODE_EXCEPTIONS

T = TypeVar("T")


def read_ahead(items: Generator[T, None, None]) -> Iterator[T]:
    """Yield the same items, each made in a thread while the one before is used.

    Parameters
    ----------
    items : generator
        It is advanced and closed in the thread. Its errors are raised here.

    Examples
    --------
    >>> list(read_ahead(i * i for i in range(3)))
    [0, 1, 4]
    """
    reader = _Reader(items)
    reader.start()
    try:
        reader.requests.put(True)
        while (item := reader.results.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            reader.requests.put(True)
            yield item
    finally:
        reader.requests.put(False)


class _Reader(Thread):
    """Thread that makes an item at each request, until the last one or a request to stop.

    A plain thread with two queues: an iteration that is dropped is ended by the garbage collector,
    which may run while an executor holds its lock. `SimpleQueue.put` is safe even then.
    """

    def __init__(self, items: Generator[Any, None, None]) -> None:
        super().__init__(daemon=True)
        self.requests: SimpleQueue[bool] = SimpleQueue()
        self.results: SimpleQueue[Any] = SimpleQueue()
        self._items = items
        _READERS.add(self)

    def run(self) -> None:
        """Make items; an error is raised by the thread that requested the item."""
        last: Any = RuntimeError("the thread that reads ahead ended without a reason")
        try:
            while self.requests.get():
                self.results.put(next(self._items, None))
        except USER_CODE_EXCEPTIONS as error:  # a source of images may be the user's own
            last = error
        finally:
            self.results.put(last)
            self._items.close()


_READERS: WeakSet[_Reader] = WeakSet()


@atexit.register
def _end_readers() -> None:
    """Stop all readers before Python ends: one that holds h5py's lock would block the exit."""
    for reader in list(_READERS):
        reader.requests.put(False)
        reader.join()
