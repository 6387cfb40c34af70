"""Find labels that are probably wrong, by confident learning."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelSuspect:
    """An image whose label is probably wrong.

    Attributes
    ----------
    path, split, label : str
    suggested : str
        The class that it is confidently of.
    score : float
        Probability of its label less that of the likeliest other class, from −1 (surely wrong).
    """

    path: str
    split: str
    label: str
    suggested: str
    score: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def find_suspects(
    probabilities: NDArray[np.float64], targets: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Find the images that are confidently of another class than their label says.

    Confident learning (C. Northcutt, L. Jiang and I. Chuang, "Confident learning: estimating
    uncertainty in dataset labels", J. Artif. Intell. Res. 70, 2021): an image is confidently of a
    class if its probability is at least the mean probability that the images with that label have;
    of several such classes the likeliest counts. Ranked by the normalized margin, the probability
    of the label less that of the likeliest other class.

    Parameters
    ----------
    probabilities : ndarray of float64, shape (n, k)
        Of each image, by a classifier that was trained without it.
    targets : ndarray of int64, shape (n,)
        Class that the label says.

    Returns
    -------
    rows : ndarray of int64, shape (m,)
        The suspects, the most certain first.
    suggested : ndarray of int64, shape (m,)
        The class that each is confidently of.
    margin : ndarray of float64, shape (m,)
        From −1 to 1.

    Examples
    --------
    >>> probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.1, 0.9], [0.1, 0.9]])
    >>> rows, suggested, margin = find_suspects(probabilities, np.array([0, 0, 1, 1, 0]))
    >>> rows.tolist(), suggested.tolist(), margin.round(2).tolist()
    ([4], [1], [-0.8])
    """
    n, k = probabilities.shape
    counts = np.bincount(targets, minlength=k)
    own = probabilities[np.arange(n), targets]
    mean = np.bincount(targets, weights=own, minlength=k) / np.maximum(counts, 1)
    threshold = np.where(counts > 0, mean, np.inf)
    confident = np.where(probabilities >= threshold, probabilities, -np.inf)
    suggested = confident.argmax(axis=1)
    suspect = np.isfinite(confident.max(axis=1)) & (suggested != targets)
    others = probabilities.copy()
    others[np.arange(n), targets] = -np.inf
    margin = own - others.max(axis=1)
    rows = np.flatnonzero(suspect)
    rows = rows[np.argsort(margin[rows], kind="stable")]
    return rows, suggested[rows], margin[rows]


def is_better_than_guessing(values: NDArray[np.float64], targets: NDArray[np.int64]) -> bool:
    """Return whether more images are right than by the most frequent class, and not by chance.

    Confident learning doubts labels of a classifier that is better than that. Of one that is not,
    up to half of all labels are suspects, whatever they say.

    Parameters
    ----------
    values : ndarray of float64, shape (n, k)
        Decision values of each image, by a classifier that was trained without it.
    targets : ndarray of int64, shape (n,)

    Examples
    --------
    >>> targets = np.arange(16) % 2
    >>> is_better_than_guessing(np.eye(2)[targets], targets)
    True
    >>> is_better_than_guessing(np.eye(2)[np.zeros(16, int)], targets)
    False
    """
    right = float((values.argmax(axis=1) == targets).mean())
    share = float(np.bincount(targets).max() / len(targets))
    return right > share + 2 * float(np.sqrt(share * (1 - share) / len(targets)))
