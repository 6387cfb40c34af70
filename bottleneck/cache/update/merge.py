"""Merge the images of a cache with the images as they are now, keeping row numbers."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.directory import CacheDirectory
from bottleneck.data import CategoricalColumn, ImageTable, StringColumn, match_texts
from bottleneck.errors import SpecMismatchError


@dataclass(frozen=True)
class ImageChanges:
    """Number of images that differ from those that a cache was last updated to.

    Attributes
    ----------
    added, removed : int
    changed : int
        Images of which the cache has codes of other bytes than they have now.
    touched : int
        Images of another size or time whose codes are of the bytes that they have now, for example
        because they were copied. Not a change: it counts neither in `bool` nor in comparisons.

    Examples
    --------
    >>> bool(ImageChanges()), bool(ImageChanges(added=2)), bool(ImageChanges(touched=2))
    (False, True, False)
    """

    added: int = 0
    changed: int = 0
    removed: int = 0
    touched: int = field(default=0, compare=False)

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


@dataclass(frozen=True)
class MergedImages:
    """The images of a cache, merged with the images as they are now.

    Attributes
    ----------
    table : ImageTable
        Sizes and times are the present ones. Removed images keep their rows, with size -1.
    kept : ndarray of int64, shape (n,)
        Rows of the cache whose images exist now, ascending.
    differing : ndarray of int64, shape (m,)
        Those of them whose size or modification time is not that of the cache's table.
    removed_rows : ndarray of int64, shape (k,)
        Rows of the cache whose images the source no longer names, ascending.
    added, removed : int
        Number of images that are new, and of those that existed and do so no longer.
    """

    table: ImageTable
    kept: NDArray[np.int64]
    differing: NDArray[np.int64]
    removed_rows: NDArray[np.int64]
    added: int
    removed: int


def merge_with_cache(cache: CacheDirectory, images: ImageTable) -> MergedImages:
    """Merge the images of a cache with the images as they are now; see `merge_images`.

    Parameters
    ----------
    cache : CacheDirectory
    images : ImageTable

    Raises
    ------
    SpecMismatchError
        None of the images is in the cache.
    """
    merged = merge_images(cache.images, images)
    if merged.added == len(images):
        raise SpecMismatchError(
            f"none of the {len(images)} images is in cache {cache.path}, which holds "
            f"{len(cache.images)} others: give these images a cache of their own with `out`"
        )
    return merged


def merge_images(old: ImageTable, new: ImageTable) -> MergedImages:
    """Merge two tables of images: old rows keep their numbers, new images follow.

    Parameters
    ----------
    old : ImageTable
        The table of a cache.
    new : ImageTable
        The images as they are now.

    Returns
    -------
    MergedImages

    Examples
    --------
    >>> def table(*paths):
    ...     blank, ones = [""] * len(paths), np.ones(len(paths), np.int64)
    ...     return ImageTable(list(paths), blank, blank, blank, ones, ones)
    >>> merged = merge_images(table("b", "c"), table("a", "b"))
    >>> list(merged.table.path), merged.table.size.tolist(), merged.kept.tolist()
    (['b', 'c', 'a'], [1, -1, 1], [0])
    >>> merged.differing.tolist(), merged.removed_rows.tolist(), merged.added, merged.removed
    ([], [1], 1, 1)
    """
    old_row = match_texts(new.path, old.path)
    is_new = old_row < 0
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
    exists = table.exists[: len(old)]
    kept = np.flatnonzero(exists)
    same = (old.size[kept] == size[kept]) & (old.mtime_ns[kept] == mtime[kept])
    removed = int((old.exists & ~exists).sum())
    removed_rows = np.flatnonzero(source < 0)
    return MergedImages(table, kept, kept[~same], removed_rows, count - len(old), removed)


def _merge_strings(old: StringColumn, new: StringColumn, source: NDArray[np.int64]) -> StringColumn:
    """Merge a column: row i comes from row ``source[i]`` of `new`, or from `old` where it is -1."""
    if len(source) == len(new) and np.array_equal(source, np.arange(len(new))):
        return new
    is_old = source < 0
    olds, news = old.iter_rows(np.flatnonzero(is_old)), new.iter_rows(source[~is_old])
    return StringColumn(next(olds if here else news) for here in is_old)


def _merge_categories(
    old: CategoricalColumn, new: CategoricalColumn, source: NDArray[np.int64]
) -> CategoricalColumn:
    """Merge a categorical column as `_merge_strings` merges a column of strings."""
    rows = np.where(source >= 0, len(old) + source, np.arange(len(source)))
    return old.concatenate(new).take(rows)
