"""Groups of images that show the same: by their bytes, or nearly by their codes."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.data import ImageTable


@dataclass(frozen=True)
class ImageGroup:
    """Images that show the same.

    Attributes
    ----------
    paths, splits, labels, groups : tuple of str
        Of each image, in the order of the cache; empty where it has none.
    pair : tuple of 2 str
        Paths of two of them that show it: across splits, or else across labels, where any are.
    distance : float
        Between the codes of that pair: 0 for the same bytes.

    Examples
    --------
    >>> group = ImageGroup(("a", "b"), ("train", "test"), ("cat", ""), ("", ""), ("a", "b"), 0.0)
    >>> group.across_splits, group.across
    (True, ['splits'])
    """

    paths: tuple[str, ...]
    splits: tuple[str, ...]
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    pair: tuple[str, str]
    distance: float

    @property
    def across_splits(self) -> bool:
        """Whether they are in several splits."""
        return len(set(self.splits) - {""}) > 1

    @property
    def across_labels(self) -> bool:
        """Whether they have several labels."""
        return len(set(self.labels) - {""}) > 1

    @property
    def across_groups(self) -> bool:
        """Whether they are in several of the images' groups, which should hold them together."""
        return len(set(self.groups) - {""}) > 1

    @property
    def across(self) -> list[str]:
        """Which of ``"splits"``, ``"labels"`` and ``"groups"`` differ within the group."""
        crossed = {
            "splits": self.across_splits,
            "labels": self.across_labels,
            "groups": self.across_groups,
        }
        return [name for name, crosses in crossed.items() if crosses]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Links:
    """Pairs of images that show the same.

    Attributes
    ----------
    first, second : ndarray of int64, shape (m,)
        Rows of the table of images.
    distance : ndarray of float64, shape (m,)
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.float64]

    @classmethod
    def of_pictures(cls, rows: NDArray[np.int64], picture: NDArray[np.int64]) -> "Links":
        """Return the links of each image to the first one with the same bytes.

        Parameters
        ----------
        rows, picture : ndarray of int64, shape (n,)
            As `bottleneck.cache.equal_images` gives them, or some of these.

        Examples
        --------
        >>> links = Links.of_pictures(np.array([2, 5, 9, 3, 4]), np.array([1, 1, 1, 4, 4]))
        >>> links.first.tolist(), links.second.tolist()
        ([2, 2, 3], [5, 9, 4])
        """
        _, start, number = np.unique(picture, return_index=True, return_inverse=True)
        later = np.ones(len(rows), dtype=bool)
        later[start] = False
        return cls(rows[start][number[later]], rows[later], np.zeros(int(later.sum())))

    def joined(self, other: "Links") -> "Links":
        """Return these links and others."""
        return Links(
            np.concatenate([self.first, other.first]),
            np.concatenate([self.second, other.second]),
            np.concatenate([self.distance, other.distance]),
        )

    def components(self, n: int) -> NDArray[np.int64]:
        """Return a number for each of n images, equal where links lead from one to the other.

        Examples
        --------
        >>> Links(np.array([0, 1]), np.array([1, 3]), np.zeros(2)).components(4).tolist()
        [0, 0, 1, 0]
        """
        from scipy.sparse import coo_array  # take a tenth of a second to import
        from scipy.sparse.csgraph import connected_components

        graph = coo_array((np.ones(len(self.first)), (self.first, self.second)), shape=(n, n))
        _, component = connected_components(graph, directed=False)
        return np.asarray(component, dtype=np.int64)


def image_groups(images: ImageTable, links: Links) -> list[ImageGroup]:
    """Return the groups of images that links hold together.

    Parameters
    ----------
    images : ImageTable
    links : Links
        Rows of the table.

    Returns
    -------
    list of ImageGroup
        Those across splits first, then those across labels; each kind the largest first.
    """
    component = links.components(len(images))
    link_of = np.argsort(component[links.first], kind="stable")
    members = np.argsort(component, kind="stable")
    numbers = np.unique(component[links.first])
    parts = zip(
        _runs(component[members], numbers),
        _runs(component[links.first][link_of], numbers),
        strict=True,
    )
    return sorted(
        (_group(images, members[of].tolist(), links, link_of[by]) for of, by in parts),
        key=lambda group: (not group.across_splits, not group.across_labels, -len(group.paths)),
    )


def _runs(ordered: NDArray[np.int64], values: NDArray[np.int64]) -> Iterator[slice]:
    """Yield where each value is among ascending ones."""
    bounds = np.searchsorted(ordered, [values, values + 1])
    return (slice(first, end) for first, end in bounds.T.tolist())


def _group(
    images: ImageTable, rows: Sequence[int], links: Links, chosen: NDArray[np.int64]
) -> ImageGroup:
    first, second = links.first[chosen], links.second[chosen]
    split, label = images.split.codes, images.label.codes
    # Of the links that show most: across splits, across labels, the nearest.
    order = np.lexsort(
        (links.distance[chosen], label[first] == label[second], split[first] == split[second])
    )
    shown = order[0]
    return ImageGroup(
        tuple(images.path[row] for row in rows),
        tuple(images.split[row] for row in rows),
        tuple(images.label[row] for row in rows),
        tuple(images.group[row] for row in rows),
        (images.path[int(first[shown])], images.path[int(second[shown])]),
        float(links.distance[chosen][shown]),
    )
