"""Find images with the same bytes, and where they cross splits or labels."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.store import Cache
from bottleneck.data import CategoricalColumn
from bottleneck.runtime import escape_unprintable, format_count

_EXAMPLES = 3  # pairs that are named


@dataclass(frozen=True)
class Duplicates:
    """Images with the same bytes as another. `str` gives one line, empty if there are none.

    Attributes
    ----------
    images : int
        Images with the same bytes as another one.
    pictures : int
        Distinct pictures among them.
    across_splits, across_labels : int
        Pictures that are in several splits, and that have several labels.
    split_examples, label_examples : tuple of (str, str)
        Paths of some of these: the same picture twice, in two splits or with two labels.

    Examples
    --------
    >>> print(Duplicates(5, 2, 1, 0, (("train/a.jpg", "test/b.jpg"),), ()))
    5 images have the same bytes as another: 2 pictures, of which 1 is in several splits
    (train/a.jpg = test/b.jpg)
    """

    images: int = 0
    pictures: int = 0
    across_splits: int = 0
    across_labels: int = 0
    split_examples: tuple[tuple[str, str], ...] = ()
    label_examples: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the counts and examples as plain values."""
        return asdict(self)

    def __str__(self) -> str:
        if not self.images:
            return ""
        crossing = [
            *_crossing(self.across_splits, "in several splits", self.split_examples, "is", "are"),
            *_crossing(self.across_labels, "several labels", self.label_examples, "has", "have"),
        ]
        pictures = format_count(self.pictures, "picture")
        of_which = f", of which {' and '.join(crossing)}" if crossing else ""
        return f"{self.images} images have the same bytes as another: {pictures}{of_which}"


def find_duplicates(cache: Cache, layer: str) -> Duplicates:
    """Find images with the same bytes, by the digests in the shards of a layer.

    Images are compared if they have codes. Eight bytes are held for each.

    Parameters
    ----------
    cache : Cache
    layer : str
        Its finished shards are read, without their codes.

    Raises
    ------
    ShardError
        A shard is damaged.

    Examples
    --------
    >>> from bottleneck.cache.store import open_cache
    >>> find_duplicates(open_cache("tests/data/before/cache"), "layer1").images
    0
    """
    rows, picture = equal_images(cache, layer)
    across_splits, split_examples = _crossings(cache, picture, rows, cache.images.split)
    across_labels, label_examples = _crossings(cache, picture, rows, cache.images.label)
    return Duplicates(
        images=len(rows),
        pictures=int(picture[-1]) + 1 if len(picture) else 0,
        across_splits=across_splits,
        across_labels=across_labels,
        split_examples=split_examples,
        label_examples=label_examples,
    )


def equal_images(cache: Cache, layer: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows with codes whose images have the same bytes as another one's.

    Parameters
    ----------
    cache : Cache
    layer : str
        Its finished shards are read, without their codes.

    Returns
    -------
    rows : ndarray of int64, shape (n,)
        Those of one picture side by side, ascending.
    picture : ndarray of int64, shape (n,)
        Number of the picture of each row, ascending from 0.

    Raises
    ------
    ShardError
        A shard is damaged.

    Examples
    --------
    >>> from bottleneck.cache.store import open_cache
    >>> len(equal_images(open_cache("tests/data/before/cache"), "layer1")[0])
    0
    """
    keys, rows = cache.image_keys(layer)
    order = np.argsort(keys, kind="stable")  # the rows of one picture stay ascending
    keys, rows = keys[order], rows[order]
    same = keys[1:] == keys[:-1]
    member = np.zeros(len(keys), dtype=bool)
    member[1:] = same
    member[:-1] |= same
    _, picture = np.unique(keys[member], return_inverse=True)
    return rows[member], picture.astype(np.int64)


def count_copies(
    cache: Cache, layer: str, rows: NDArray[np.int64], among: NDArray[np.int64]
) -> int:
    """Return how many rows have images with the same bytes as one of some other rows.

    Parameters
    ----------
    cache : Cache
    layer : str
        Its finished shards are read, without their codes.
    rows, among : ndarray of int64
        Rows of the cache.

    Raises
    ------
    ShardError
        A shard is damaged.

    Examples
    --------
    >>> from bottleneck.cache.store import open_cache
    >>> cache = open_cache("tests/data/before/cache")
    >>> count_copies(cache, "layer1", np.array([0, 1]), np.array([2, 3]))
    0
    """
    equal, picture = equal_images(cache, layer)
    return int(np.isin(picture[np.isin(equal, rows)], picture[np.isin(equal, among)]).sum())


def _crossings(
    cache: Cache, picture: NDArray[np.int64], rows: NDArray[np.int64], column: CategoricalColumn
) -> tuple[int, tuple[tuple[str, str], ...]]:
    """Return how many pictures have several values, and pairs of paths that show it.

    Parameters
    ----------
    cache : Cache
    picture : ndarray of int64, shape (n,)
        Number of the picture of each row, ascending.
    rows : ndarray of int64, shape (n,)
    column : CategoricalColumn
        Its empty text is no value.
    """
    known = ~column.equals("")[rows]
    picture, rows = picture[known], rows[known]
    if not len(rows):
        return 0, ()
    values = column.codes[rows]
    starts = np.flatnonzero(np.append(True, np.diff(picture) != 0))
    start = np.repeat(starts, np.diff(np.append(starts, len(rows))))  # of each row's picture
    differs = np.flatnonzero(values != values[start])
    # Of each picture the first row that differs from its first one.
    _, index = np.unique(picture[differs], return_index=True)
    shown = differs[index]
    shown = shown[np.argsort(rows[start[shown]])][:_EXAMPLES]  # not in the order of the digests
    path = cache.images.path
    pairs = ((path[int(rows[start[i]])], path[int(rows[i])]) for i in shown.tolist())
    return len(index), tuple(pairs)


def _crossing(
    count: int, what: str, examples: tuple[tuple[str, str], ...], one: str, many: str
) -> list[str]:
    if not count:
        return []
    pairs = [f"{escape_unprintable(a)} = {escape_unprintable(b)}" for a, b in examples]
    more = ", …" if count > len(pairs) else ""
    return [f"{format_count(count, one, many)} {what} ({', '.join(pairs)}{more})"]
