"""Merge the images of a cache with the images as they are now, keeping row numbers."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bottleneck.data import CategoricalColumn, ImageTable, StringColumn

_CHUNK = 4096  # rows


@dataclass(frozen=True)
class ImageChanges:
    """Number of images that were added, changed and removed since a cache was last updated.

    Examples
    --------
    >>> bool(ImageChanges()), bool(ImageChanges(added=2))
    (False, True)
    """

    added: int = 0
    changed: int = 0
    removed: int = 0

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def merge_images(
    old: ImageTable, new: ImageTable, changed: Collection[str] | None = None
) -> tuple[ImageTable, list[int], ImageChanges]:
    """Merge two tables of images: old rows keep their numbers, new images follow.

    Parameters
    ----------
    old : ImageTable
        The table of a cache.
    new : ImageTable
        The images as they are now.
    changed : collection of str, optional
        Paths of the images whose content differs. Unless given, those whose size or modification
        time differs.

    Returns
    -------
    merged : ImageTable
        Images that are gone keep their rows, with size -1.
    stale : list of int
        Rows whose image has changed.
    changes : ImageChanges

    Examples
    --------
    >>> def table(*paths):
    ...     blank, ones = [""] * len(paths), np.ones(len(paths), np.int64)
    ...     return ImageTable(list(paths), blank, blank, blank, ones, ones)
    >>> merged, stale, changes = merge_images(table("b", "c"), table("a", "b"))
    >>> list(merged.path), merged.size.tolist(), stale, changes
    (['b', 'c', 'a'], [1, -1, 1], [], ImageChanges(added=1, changed=0, removed=1))
    """
    old_row = _rows_among(old.path, new.path)
    is_new, kept = old_row < 0, np.flatnonzero(old_row >= 0)
    count = len(old) + int(is_new.sum())
    row = old_row.copy()
    row[is_new] = np.arange(len(old), count)  # row of the merged table by row of the new table
    size, mtime = np.full(count, -1, dtype=np.int64), np.full(count, -1, dtype=np.int64)
    size[row], mtime[row] = new.size, new.mtime_ns
    source = np.full(count, -1, dtype=np.int64)
    source[row] = np.arange(len(new))
    table = ImageTable(
        path=_merge_strings(old.path, new.path, source),
        label=_merge_categories(old.label, new.label, source),
        split=_merge_categories(old.split, new.split, source),
        group=_merge_categories(old.group, new.group, source),
        size=size,
        mtime_ns=mtime,
    )
    before = old_row[kept]
    if changed is None:
        differs = (old.size[before] != new.size[kept]) | (
            old.mtime_ns[before] != new.mtime_ns[kept]
        )
    else:
        differs = np.fromiter((path in changed for path in new.path), bool, len(new))[kept]
    stale = before[differs & new.exists[kept]].tolist()
    removed = int((old.exists & ~table.exists[: len(old)]).sum())
    return table, stale, ImageChanges(count - len(old), len(stale), removed)


def _rows_among(old: Sequence[str], new: Sequence[str]) -> NDArray[np.int64]:
    """Return the old row of each new path; -1 where it has none."""
    if old == new or not len(old):
        return np.arange(len(new)) if len(old) else np.full(len(new), -1, dtype=np.int64)
    # Hashes are sorted, and each match is compared: a dictionary of ten million paths takes 2 GB.
    keys, wanted = _hashes(old), _hashes(new)
    order = np.argsort(keys)
    keys = keys[order]
    index = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    rows = np.where(keys[index] == wanted, order[index], -1)
    if all(row < 0 or old[row] == path for row, path in zip(_ints(rows), new, strict=True)):
        return rows
    row_of = {path: row for row, path in enumerate(old)}  # two paths have the same hash
    return np.fromiter((row_of.get(path, -1) for path in new), np.int64, len(new))


def _hashes(paths: Sequence[str]) -> NDArray[np.int64]:
    return np.fromiter(map(hash, paths), np.int64, len(paths))


def _merge_strings(
    old: Sequence[str], new: Sequence[str], source: NDArray[np.int64]
) -> Sequence[str]:
    """Merge a column: row i comes from row ``source[i]`` of `new`, or from `old` where it is -1."""
    if len(source) == len(new) and np.array_equal(source, np.arange(len(new))):
        return new
    rows = enumerate(_ints(source))
    return StringColumn(new[index] if index >= 0 else old[row] for row, index in rows)


def _merge_categories(
    old: CategoricalColumn, new: CategoricalColumn, source: NDArray[np.int64]
) -> CategoricalColumn:
    """Merge a categorical column as `_merge_strings` merges a column of strings."""
    rows = np.where(source >= 0, len(old) + source, np.arange(len(source)))
    return old.concatenate(new).take(rows)


def _ints(numbers: NDArray[np.int64]) -> Iterator[int]:
    """Yield Python integers, converted in chunks, since each takes 32 bytes."""
    for start in range(0, len(numbers), _CHUNK):
        yield from numbers[start : start + _CHUNK].tolist()
