"""Match columns of millions of texts by their hashes, which take little memory.

A dictionary of ten million paths takes 2 GB, and their hashes 80 MB. Texts of equal hashes are
compared, so that the result does not depend on them.
"""

import operator
from collections.abc import Callable, Iterable, Iterator
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from bottleneck.data.table.string_column import StringColumn


def match_texts(texts: StringColumn, known: StringColumn) -> NDArray[np.int64]:
    """Return where each of some texts is in another column, which has each text once.

    Parameters
    ----------
    texts : StringColumn
        n texts.
    known : StringColumn

    Returns
    -------
    ndarray of int64, shape (n,)
        Rows of `known`; -1 for a text that is not there.

    Examples
    --------
    >>> match_texts(StringColumn(["b", "x", "a"]), StringColumn(["a", "b"])).tolist()
    [1, -1, 0]
    """
    if texts == known:
        return np.arange(len(texts))
    keys, wanted = _hashes(known, len(known)), _hashes(texts, len(texts))
    order = np.argsort(keys)
    rows = np.append(order, -1)[np.searchsorted(keys, wanted, sorter=order)]
    rows[np.append(keys, 0)[rows] != wanted] = -1
    found = rows >= 0
    if all(map(operator.eq, known.iter_rows(rows[found]), compress(texts, found))):
        return rows
    row_of = {text: row for row, text in enumerate(known)}  # two texts have the same hash
    return np.fromiter((row_of.get(text, -1) for text in texts), np.int64, len(texts))


def find_repeats(texts: Callable[[], Iterable[str]], count: int) -> Iterator[tuple[int, int, str]]:
    """Yield (first row, row, text) for each text that an earlier row has.

    Parameters
    ----------
    texts : callable
        Returns the texts, as often as it is called.
    count : int
        How many there are.

    Examples
    --------
    >>> list(find_repeats(lambda: ["a", "b", "a"], 3))
    [(0, 2, 'a')]
    """
    hashes = np.sort(_hashes(texts(), count))
    suspects = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    first: dict[str, int] = {}
    for number, text in enumerate(texts() if suspects else ()):
        if hash(text) in suspects and (other := first.setdefault(text, number)) != number:
            yield other, number, text


def _hashes(texts: Iterable[str], count: int) -> NDArray[np.int64]:
    return np.fromiter(map(hash, texts), dtype=np.int64, count=count)
