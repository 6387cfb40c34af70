"""Find a row of several parts, such as files, that follow each other."""

import numpy as np
from numpy.typing import NDArray


def locate(ends: NDArray[np.int64], row: int) -> tuple[int, int]:
    """Return which part has a row, and the row's number in it.

    Parameters
    ----------
    ends : ndarray of int64, shape (parts,)
        The row behind each part.
    row : int

    Examples
    --------
    >>> locate(np.array([3, 3, 5]), 2), locate(np.array([3, 3, 5]), 4)
    ((0, 2), (2, 1))
    """
    part = int(np.searchsorted(ends, row, side="right"))
    return part, row - (int(ends[part - 1]) if part else 0)
