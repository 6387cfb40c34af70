"""Compare two classifiers on the same images."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.fitting.scoring.intervals import effective_size

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class PairedComparison:
    """How two classifiers differ on the same images.

    Attributes
    ----------
    gained : int
        Images that the first predicts rightly and the second does not.
    lost : int
        Images that the second predicts rightly and the first does not.
    p : float
        Probability of a difference as large or larger if neither classifier were better.
    groups : int or None
        Number of groups of the images on which they differ; None where images have no groups.
    """

    gained: int
    lost: int
    p: float
    groups: int | None = None

    @property
    def significant(self) -> bool:
        """Whether the difference is more than chance, at 5 %."""
        return self.p < SIGNIFICANT

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def __str__(self) -> str:
        """Say on how many images only one of the two is right, and how likely chance is."""
        over = f" over {self.groups} groups" if self.groups else ""
        return (
            f"right alone on {self.gained} images against {self.lost}, "
            f"p = {self.p:.2g} (McNemar's exact test{over})"
        )


def compare_pairs(
    first: NDArray[np.bool_], second: NDArray[np.bool_], groups: NDArray[np.int64] | None = None
) -> PairedComparison:
    """Compare which images two classifiers predict rightly, by McNemar's exact test.

    Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12 (1947): of the images that only one of two equally good
    classifiers predicts rightly, each does so for a half; the two-sided p is the binomial one.
    Images of one group go right or wrong together: those images then count as their
    `effective_size`, as they do in an accuracy's interval.

    Parameters
    ----------
    first, second : ndarray of bool, shape (n,)
        Whether each image is predicted rightly.
    groups : ndarray of int64, shape (n,), optional
        Group of each image; images are alone by default.

    Examples
    --------
    >>> first, second = np.arange(12) < 11, np.arange(12) < 3
    >>> print(compare_pairs(first, second))
    right alone on 8 images against 0, p = 0.0078 (McNemar's exact test)
    >>> compare_pairs(first, second, np.arange(12) // 4).p
    1.0
    """
    from scipy.special import bdtr  # takes a tenth of a second to import

    (differ,) = np.nonzero(first != second)
    won = first[differ]
    gained, n = int(won.sum()), len(won)
    trials, count = n, None
    if groups is not None:
        count = len(np.unique(groups[differ]))
        trials = round(effective_size(won, groups[differ])) if n else 0
    wins = round(gained / n * trials) if n else 0
    p = min(1.0, 2 * float(bdtr(min(wins, trials - wins), trials, 0.5)))
    return PairedComparison(gained, n - gained, p, count)
