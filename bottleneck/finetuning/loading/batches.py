"""What training reads: batches of maps or images, and the targets of their rows."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Batch = tuple[Tensor, NDArray[np.int64]]
"""Maps of shape (b, C, H, W), and of each its index into the rows that were asked for."""


class Batches(Protocol):
    """Images or their maps, read batch by batch. As text: what they are, and how they are read."""

    @property
    def views(self) -> int:
        """Views of an image, by whose mean it is judged."""

    def shuffled(
        self, rows: NDArray[np.int64], *, seed: int, epoch: int, batch_size: int
    ) -> Iterator[Batch]:
        """Yield each image once, in one view, in an order that seed and epoch decide.

        Over the epochs every view has the same weight.

        Parameters
        ----------
        rows : ndarray of int64, shape (n,)
            Rows of the table of images, ascending.
        seed : int
        epoch : int
            Counted from 0.
        batch_size : int
            Images of a batch, at most. Batches differ by one image at most.
        """

    def ordered(self, rows: NDArray[np.int64], *, batch_size: int) -> Iterator[Batch]:
        """Yield each view of each image, in order; the views of an image are consecutive.

        Parameters
        ----------
        rows : ndarray of int64, shape (n,)
            Rows of the table of images, ascending.
        batch_size : int
            Views of a batch, about.
        """


@dataclass(frozen=True)
class Examples:
    """Images to train or to judge on.

    Attributes
    ----------
    batches : Batches
    rows : ndarray of int64, shape (n,)
        Rows of the table of images, ascending.
    targets : ndarray of int64, shape (n,), or of bool, shape (n, k)
        Class of each image, or with several labels an image which of the k labels each one has.
    classes : int
        Number of classes or labels, k.
    groups : ndarray of int64, shape (n,), or None
        Images with the same group are kept on one side of every division.
    """

    batches: Batches
    rows: NDArray[np.int64]
    targets: NDArray[Any]
    classes: int
    groups: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def multilabel(self) -> bool:
        """Whether an image may have several labels."""
        return self.targets.ndim == 2

    def take(self, images: NDArray[np.int64]) -> Self:
        """Return some images, given by ascending index."""
        groups = None if self.groups is None else self.groups[images]
        return replace(self, rows=self.rows[images], targets=self.targets[images], groups=groups)


def batch_bounds(count: int, batch_size: int) -> list[int]:
    """Return where batches begin and end that differ by one at most.

    A last batch of one image would have no statistics, and its image more weight than others.

    Examples
    --------
    >>> batch_bounds(9, 4)
    [0, 3, 6, 9]
    """
    parts = -(-count // batch_size)
    return [count * part // parts for part in range(parts + 1)] if parts else [0]
