"""StringColumn: a compressed column of text, such as the paths of images."""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

_BLOCK_ROWS = 256  # enough for zlib to find repetitions, and few enough to read single rows
_KEPT_BLOCKS = 4  # decompressed blocks that are kept
_ROWS_AT_ONCE = 1 << 18  # in `iter_rows`: their texts take some 25 MB
_ZLIB_LEVEL = 1  # the fastest; the paths of a data set are hardly smaller at a higher level


class StringColumn(Sequence[str]):
    """A column of text, compressed in blocks: ten million paths take 60 MB, as a list 900 MB.

    The column can be read as a list of str, and like an array by an array of rows or a mask.
    Consecutive rows are as fast as from a list; a row in a block that was not read recently takes
    0.05 ms, because the block is decompressed.

    Parameters
    ----------
    texts : iterable of str
        Bytes of file names that are not UTF-8 are escaped (``surrogateescape``).

    Examples
    --------
    >>> paths = StringColumn(["ants/1.jpg", "ants/2.jpg"])
    >>> paths.extend(["bees/3.jpg"])
    >>> paths[-1], paths[:2], len(paths)
    ('bees/3.jpg', ['ants/1.jpg', 'ants/2.jpg'], 3)
    >>> paths[np.array([2, 0])]
    ['bees/3.jpg', 'ants/1.jpg']
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        blocks: list[bytes | list[str]] = []  # of `_BLOCK_ROWS` texts each
        self._blocks = blocks
        self._rest: list[str] = []  # fewer than that
        # Several blocks, since merging two tables reads from two columns in turn. Without `self`: a
        # column that refers to itself would stay in memory until the garbage collector runs.
        self._decompressed = lru_cache(_KEPT_BLOCKS)(lambda block: _decompress(blocks[block]))
        self.extend(texts)

    def extend(self, texts: Iterable[str]) -> None:
        """Append rows."""
        remaining = iter(texts)
        while new := list(islice(remaining, _BLOCK_ROWS - len(self._rest))):
            self._rest = [*self._rest, *new]
            if len(self._rest) == _BLOCK_ROWS:
                self._blocks.append(_compress(self._rest))
                self._rest = []

    def iter_rows(self, rows: NDArray[np.int64]) -> Iterator[str]:
        """Yield the texts of some rows, in the order of `rows`.

        In whatever order they are, each block is decompressed only once for many rows.

        Parameters
        ----------
        rows : ndarray of int64, shape (n,)
        """
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows[start : start + _ROWS_AT_ONCE]
            order = np.argsort(some, kind="stable")
            blocks, offsets = np.divmod(some[order], _BLOCK_ROWS)
            numbers, starts = np.unique(blocks, return_index=True)
            found: list[str] = []
            for number, part in zip(numbers.tolist(), np.split(offsets, starts[1:]), strict=True):
                block = self._block(number)
                found += [block[offset] for offset in part.tolist()]
            texts = np.empty(len(some), dtype=object)
            texts[order] = found
            yield from texts

    def __len__(self) -> int:
        return len(self._blocks) * _BLOCK_ROWS + len(self._rest)

    @overload
    def __getitem__(self, key: int) -> str: ...
    @overload
    def __getitem__(self, key: slice | NDArray[Any]) -> list[str]: ...
    def __getitem__(self, key: int | slice | NDArray[Any]) -> str | list[str]:
        if isinstance(key, np.ndarray):
            return list(self.iter_rows(np.arange(len(self))[key]))
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step == 1:
                return list(islice(self._from(start), max(0, stop - start)))
            return [self[row] for row in range(start, stop, step)]
        block, offset = divmod(range(len(self))[key], _BLOCK_ROWS)
        return self._block(block)[offset]

    def __iter__(self) -> Iterator[str]:
        for block in self._blocks:
            yield from _decompress(block)
        yield from self._rest

    def __eq__(self, other: object) -> bool:
        if isinstance(other, StringColumn):  # equal texts are compressed into equal bytes
            return (self._blocks, self._rest) == (other._blocks, other._rest)
        if isinstance(other, Sequence):
            return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as a list has none

    def __repr__(self) -> str:
        return f"StringColumn({self[:3]}{'…' if len(self) > 3 else ''}, {len(self)} rows)"

    def __reduce__(self) -> Any:
        return _restore, (self._blocks, self._rest)

    def _from(self, row: int) -> Iterator[str]:
        block, offset = divmod(row, _BLOCK_ROWS)
        for k in range(block, len(self._blocks) + 1):
            yield from self._block(k)[offset:]
            offset = 0

    def _block(self, block: int) -> list[str]:
        return self._rest if block == len(self._blocks) else self._decompressed(block)


def _compress(texts: list[str]) -> bytes | list[str]:
    joined = "\0".join(texts)
    if joined.count("\0") >= len(texts):
        return texts  # a text contains the separator, as no path can
    return zlib.compress(joined.encode("utf-8", "surrogateescape"), _ZLIB_LEVEL)


def _decompress(block: bytes | list[str]) -> list[str]:
    if isinstance(block, list):
        return block
    return zlib.decompress(block).decode("utf-8", "surrogateescape").split("\0")


def _restore(blocks: list[bytes | list[str]], rest: list[str]) -> StringColumn:
    texts = StringColumn(rest)
    texts._blocks.extend(blocks)
    return texts
