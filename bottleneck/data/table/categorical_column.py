"""CategoricalColumn: a column of text with few distinct values, stored as integer codes."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from bottleneck.data.table.blocks import in_blocks

_AT_ONCE = 4096  # rows


class _Codes(dict[str, int]):
    """The code of each value; a value that is looked up for the first time gets the next code."""

    def __missing__(self, value: str) -> int:
        self[value] = code = len(self)
        return code


class CategoricalColumn(Sequence[str]):
    """A column of text with few distinct values, such as labels.

    A row takes one to four bytes, and a distinct value about a hundred. The column can be read
    as a list of str, and like an array by an array of rows or a mask; operations on many rows are
    faster on `codes`.

    Parameters
    ----------
    texts : iterable of str

    Examples
    --------
    >>> column = CategoricalColumn(["cat", "dog", "cat"])
    >>> column.categories, column.codes.tolist(), column[-1]
    (['cat', 'dog'], [0, 1, 0], 'cat')
    >>> column == ["cat", "dog", "cat"]
    True
    >>> column.equals("dog").tolist()
    [False, True, False]
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._code_of = _Codes()
        self._names: list[str] = []
        self._parts: list[NDArray[np.signedinteger[Any]]] = []
        self.extend(texts)

    @classmethod
    def from_codes(cls, codes: NDArray[np.integer[Any]], categories: Sequence[str]) -> Self:
        """Return the column of ``categories[code]`` for each code.

        Parameters
        ----------
        codes : ndarray of int, shape (n,)
        categories : sequence of str
            Each value once; those that do not occur are dropped.

        Examples
        --------
        >>> CategoricalColumn.from_codes(np.array([2, 0, 2]), ["a", "b", "c"]).categories
        ['a', 'c']
        """
        counts = np.bincount(codes, minlength=len(categories))
        new_codes = np.cumsum(counts > 0) - 1
        column = cls()
        column._code_of.update(
            (name, int(new_codes[k])) for k, name in enumerate(categories) if counts[k]
        )
        column._parts = [column._compact(new_codes[codes])]
        return column

    @classmethod
    def blank(cls, n: int) -> Self:
        """Return a column of n empty texts."""
        return cls.from_codes(np.zeros(n, dtype=np.int8), [""])

    def extend(self, texts: Iterable[str]) -> None:
        """Append rows."""
        for some in in_blocks(texts):
            if some[0] == some[-1] and some.count(some[0]) == len(some):  # often, and faster
                codes = np.full(len(some), self._code_of[some[0]])
            else:
                codes = np.fromiter(map(self._code_of.__getitem__, some), np.int64, len(some))
            self._parts.append(self._compact(codes))

    @property
    def codes(self) -> NDArray[np.signedinteger[Any]]:
        """The index into `categories` of each row.

        An array of shape (n,), read-only; int8, int16 or int32, the smallest that holds them.
        """
        if len(self._parts) != 1:
            self._parts = [np.concatenate([np.empty(0, dtype=np.int8), *self._parts])]
            self._parts[0].flags.writeable = False
        return self._parts[0]

    @property
    def categories(self) -> list[str]:
        """The distinct values; each of them occurs."""
        if len(self._names) != len(self._code_of):
            self._names = list(self._code_of)
        return self._names

    def counts(self) -> dict[str, int]:
        """Count the rows of each value that occurs."""
        return dict(zip(self.categories, np.bincount(self.codes).tolist(), strict=True))

    @property
    def is_blank(self) -> bool:
        """Whether no row has a value: all are empty text."""
        return self.categories in ([], [""])

    def equals(self, value: str) -> NDArray[np.bool_]:
        """Return whether each row has a value, shape (n,)."""
        return np.asarray(self.codes == self._code_of.get(value, -1))

    def take(self, rows: NDArray[np.integer[Any]]) -> "CategoricalColumn":
        """Return the column of some rows, in the order of `rows`."""
        return CategoricalColumn.from_codes(self.codes[rows], self.categories)

    def take_or_blank(self, rows: NDArray[np.integer[Any]]) -> "CategoricalColumn":
        """Return the column of some rows, in their order, with an empty text for each -1.

        Examples
        --------
        >>> CategoricalColumn(["ant", "bee"]).take_or_blank(np.array([1, -1, 0]))[:]
        ['bee', '', 'ant']
        """
        return self.concatenate(CategoricalColumn.blank(1)).take(rows)

    def concatenate(self, other: "CategoricalColumn") -> "CategoricalColumn":
        """Return this column's rows followed by another's."""
        code_of = _Codes(self._code_of)
        new_codes = np.array([code_of[name] for name in other.categories], dtype=np.int64)
        codes = np.concatenate([self.codes, new_codes[other.codes]])
        return CategoricalColumn.from_codes(codes, list(code_of))

    def differs(self, other: "CategoricalColumn") -> NDArray[np.bool_]:
        """Return whether each row has another value than that row of a column of equal length.

        Examples
        --------
        >>> CategoricalColumn(["ant", "bee"]).differs(CategoricalColumn(["ant", "cow"])).tolist()
        [False, True]
        """
        codes = self.concatenate(other).codes
        return np.asarray(codes[: len(self)] != codes[len(self) :])

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @overload
    def __getitem__(self, key: int) -> str: ...
    @overload
    def __getitem__(self, key: slice | NDArray[Any]) -> list[str]: ...
    def __getitem__(self, key: int | slice | NDArray[Any]) -> str | list[str]:
        names = self.categories
        if isinstance(key, (slice, np.ndarray)):
            return [names[code] for code in self.codes[key].tolist()]
        return names[int(self.codes[key])]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self[start : start + _AT_ONCE]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, CategoricalColumn):
            if len(self) != len(other):
                return False
            same = [self._code_of.get(name, -1) for name in other.categories]
            return np.array_equal(self.codes, np.array(same, dtype=np.int64)[other.codes])
        if isinstance(other, Sequence):
            return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as a list has none

    def __repr__(self) -> str:
        return f"CategoricalColumn({self[:3]}{'…' if len(self) > 3 else ''}, {len(self)} rows)"

    def __reduce__(self) -> Any:
        return CategoricalColumn.from_codes, (self.codes, self.categories)

    def _compact(self, codes: NDArray[np.integer[Any]]) -> NDArray[np.signedinteger[Any]]:
        compact = codes.astype(np.min_scalar_type(-max(1, len(self._code_of))))
        compact.flags.writeable = False
        return compact
