"""Find the nearest neighbours of every image by blocked products, in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bottleneck.linear import CodeMatrix
from bottleneck.runtime import OnProgress, Progress, ignore_progress

_TILE = 2048  # rows and columns: the products of a tile take 16 MB, a few times a core's cache
_ROUNDING = 2e-6  # of a squared distance: products of equal codes differ from 1 by a few of 2^-24


@dataclass(frozen=True)
class Neighbours:
    """The k nearest neighbours of each of n images.

    Attributes
    ----------
    index : ndarray of int32, shape (n, k)
        The neighbours of each image, nearest first.
    distance : ndarray of float32, shape (n, k)
        Euclidean distance of codes of length 1: from 0 to 2; 0 up to rounding, 0.0014.
    """

    index: NDArray[np.int32]
    distance: NDArray[np.float32]


def find_neighbours(
    codes: CodeMatrix, k: int, *, memory: int, on_progress: OnProgress = ignore_progress
) -> Neighbours:
    """Find the nearest neighbours of each row among all others, exactly.

    Every pair is compared: the products of a block of rows with all codes are made tile by tile,
    and of each tile only the rows nearer than the k-th neighbour found so far are compared again.
    The codes are read once for each block, which is as large as the memory holds.

    Parameters
    ----------
    codes : CodeMatrix
        n rows of length 1.
    k : int
        Neighbours of each; n - 1 where there are fewer others.
    memory : int
        Bytes for a block of rows and its products.
    on_progress : callable, optional
        Called after every tile.

    Examples
    --------
    >>> from bottleneck.linear.matrix import ArrayMatrix
    >>> angle = np.array([0.0, 0.1, 1.0, 1.3])
    >>> codes = ArrayMatrix(np.column_stack([np.cos(angle), np.sin(angle)]).astype(np.float32))
    >>> find_neighbours(codes, 1, memory=1 << 20).index[:, 0].tolist()
    [1, 0, 3, 2]
    """
    n = codes.shape[0]
    k = max(0, min(k, n - 1))
    found = Neighbours(np.zeros((n, k), np.int32), np.zeros((n, k), np.float32))
    if not k:
        return found
    on_progress(Progress(0, n, "images compared"))
    for start, rows in _row_blocks(codes, k, memory):
        nearest, stop = _Nearest(start, rows, k), start + len(rows)
        for first, columns in _tiles(codes.blocks()):
            nearest.compare(first, columns)
            compared = start + len(rows) * (first + len(columns)) // n
            on_progress(Progress(compared, n, "images compared"))
        found.index[start:stop], found.distance[start:stop] = nearest.sorted()
    return found


class _Nearest:
    """The k nearest neighbours of some rows among the columns that were compared so far."""

    def __init__(self, start: int, rows: NDArray[np.float32], k: int) -> None:
        self._start, self._rows, self._k = start, rows, k
        self._index = np.zeros((len(rows), k), dtype=np.int32)
        self._product = np.full((len(rows), k), -np.inf, dtype=np.float32)

    def compare(self, first: int, columns: NDArray[np.float32]) -> None:
        """Compare the rows with a tile of codes, of which `first` is the number of the first."""
        for top in range(0, len(self._rows), _TILE):
            products = self._rows[top : top + _TILE] @ columns.T
            # An image is no neighbour of itself.
            itself = np.arange(len(products)) + self._start + top - first
            inside = np.flatnonzero((itself >= 0) & (itself < len(columns)))
            products[inside, itself[inside]] = -np.inf
            self._merge(slice(top, top + len(products)), first, products)

    def _merge(self, where: slice, first: int, products: NDArray[np.float32]) -> None:
        """Keep rows nearer than the k-th neighbour found so far; late tiles have few of them."""
        product, index = self._product[where], self._index[where]
        row, column = np.divmod(
            np.flatnonzero(products > product.min(axis=1)[:, None]), products.shape[1]
        )
        if not len(row):
            return
        # The nearer ones of a row, one beside the other, and after them those so far.
        counts = np.bincount(row, minlength=len(product))
        place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        shape = (len(product), counts.max() + self._k)
        wider = np.full(shape, -np.inf, dtype=np.float32)
        wider_index = np.zeros(shape, dtype=np.int32)
        wider[row, place], wider_index[row, place] = products[row, column], first + column
        wider[:, -self._k :], wider_index[:, -self._k :] = product, index
        best = np.argpartition(wider, -self._k, axis=1)[:, -self._k :]
        self._product[where] = np.take_along_axis(wider, best, axis=1)
        self._index[where] = np.take_along_axis(wider_index, best, axis=1)

    def sorted(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the neighbours and their distances, nearest first; of equal ones the first."""
        order = np.lexsort((self._index, -self._product), axis=1)
        product = np.take_along_axis(self._product, order, axis=1)
        squares = 2 - 2 * product
        squares[squares < _ROUNDING] = 0
        return np.take_along_axis(self._index, order, axis=1), np.sqrt(squares)


def _row_blocks(
    codes: CodeMatrix, k: int, memory: int
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the number of the first row of each block, and the block: as large as memory holds."""
    n, d = codes.shape
    size = _TILE if codes.in_memory else max(_TILE, memory // (4 * d + 8 * k))
    for start in range(0, n, size):
        rows = codes.take(np.arange(start, min(start + size, n)))
        yield start, np.concatenate(list(rows.blocks()))


def _tiles(blocks: Iterator[NDArray[np.float32]]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the codes again in tiles, each with the number of its first row."""
    first = 0
    for block in blocks:
        for start in range(0, len(block), _TILE):
            yield first + start, block[start : start + _TILE]
        first += len(block)
