"""Read single codes of a layer in any order."""

import os
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.format.float16 import widen_float16
from bottleneck.cache.format.hdf5 import Dataset as StoredCodes
from bottleneck.cache.format.series import SeriesLike
from bottleneck.cache.reading import CacheReader, rows_as_slice

_MAX_OPEN_SHARDS = 32
_MOST_SPARSE = 2  # rows that are read at once for each one that is wanted


@dataclass(frozen=True)
class CodeReader:
    """Random access to rows of a layer, through a limited number of open shards.

    Attributes
    ----------
    cache : CacheReader
    series : str or Series
        A complete layer, or a view of it.
    rows : ndarray of int64, shape (n,)
        Rows of the cache, each valid; item i is row ``rows[i]``.
    """

    cache: CacheReader
    series: SeriesLike
    rows: NDArray[np.int64]
    _open: OrderedDict[int, tuple[ExitStack, StoredCodes]] = field(default_factory=OrderedDict)
    _verified: set[int] = field(default_factory=set)
    _owner: list[int] = field(default_factory=lambda: [os.getpid()])

    def __len__(self) -> int:
        return len(self.rows)

    def __reduce__(self) -> Any:
        return CodeReader, (self.cache, self.series, self.rows)  # open files stay behind

    def read(self, items: Sequence[int]) -> NDArray[np.float32]:
        """Read some items in any order; an item may occur several times.

        Parameters
        ----------
        items : sequence of int
            At least one.

        Returns
        -------
        ndarray of float32, shape (len(items), ...)
            Codes in the shape in which they are stored.

        Raises
        ------
        ShardError
            A shard is absent, damaged, or holds other rows than its name says.
        CacheError
            A shard has been replaced since it was verified.
        """
        shards, offsets = np.divmod(self.rows[np.asarray(items)], self.cache.layout.shard_size)
        result: NDArray[np.float32] | None = None
        for shard in np.unique(shards).tolist():
            (where,) = np.nonzero(shards == shard)
            wanted, inverse = np.unique(offsets[where], return_inverse=True)
            stored = self._codes(shard)
            first, end = int(wanted[0]), int(wanted[-1]) + 1
            if end - first <= _MOST_SPARSE * len(wanted):  # one read is faster than many
                block = stored[first:end][rows_as_slice(wanted - first)]
            else:
                block = np.stack([stored[int(offset)] for offset in wanted])
            if result is None:
                result = np.empty((len(items), *stored.shape[1:]), dtype=np.float32)
            result[where] = widen_float16(block)[inverse]
        assert result is not None
        return result

    def _codes(self, shard: int) -> StoredCodes:
        if self._owner[0] != os.getpid():  # a forked process must not share file offsets
            self._open.clear()
            self._owner[0] = os.getpid()
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard][1]
        if len(self._open) >= _MAX_OPEN_SHARDS:
            self._open.popitem(last=False)[1][0].close()
        with ExitStack() as stack:
            opened = stack.enter_context(self.cache.open_shard(self.series, shard))
            if shard not in self._verified:
                self.cache.verify_open(self.series, shard, opened)
                self._verified.add(shard)
            self.cache.require_as_verified(shard, opened)
            codes = stack.enter_context(opened.codes())
            self._open[shard] = (stack.pop_all(), codes)
        return codes
