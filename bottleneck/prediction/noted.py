"""An iterator with notes on how its items are made."""

from collections.abc import Iterator
from typing import Self, TypeVar

T = TypeVar("T")


class NotedIterator(Iterator[T]):
    """Items that are made during iteration, and notes to be read before it.

    Parameters
    ----------
    items : iterator
    notes : tuple of str
        A sentence each: what runs the network, and why.

    Examples
    --------
    >>> found = NotedIterator(iter("ab"), ("runtime: openvino",))
    >>> found.notes, list(found)
    (('runtime: openvino',), ['a', 'b'])
    >>> found
    <NotedIterator: items are made while they are iterated over, list(…) makes all>
    """

    def __init__(self, items: Iterator[T], notes: tuple[str, ...] = ()) -> None:
        self._items, self.notes = items, notes

    def __iter__(self) -> Self:
        return self

    def __repr__(self) -> str:
        # A notebook shows it where results were expected.
        return "<NotedIterator: items are made while they are iterated over, list(…) makes all>"

    def __next__(self) -> T:
        return next(self._items)
