"""The prediction of one image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Prediction:
    """Labels and scores of one image.

    Attributes
    ----------
    path : Path
    label : str
        The class of the highest score. For a multi-label head, all labels of the image with ``|``
        between them, or ``""``. Empty where the image gave no codes.
    scores : dict of str to float
        Score of every class, highest first: probabilities, or margins of an uncalibrated head.
    reason : str
        Why the image gave no codes; ``""`` where it did.

    Examples
    --------
    >>> import bottleneck as bn  # doctest: +SKIP
    >>> first = next(bn.predict("head.safetensors", "new/*.jpg"))  # doctest: +SKIP
    >>> first.label, first.scores  # doctest: +SKIP
    ('ants', {'ants': 0.96, 'bees': 0.04})
    """

    path: Path
    label: str
    scores: dict[str, float]
    reason: str


def ranked_scores(classes: Sequence[str], scores: NDArray[Any]) -> dict[str, float]:
    """Return the score of each class, highest first, equal ones in the order of the classes.

    Parameters
    ----------
    classes : sequence of k str
    scores : ndarray, shape (k,)

    Examples
    --------
    >>> ranked_scores(["a", "b", "c"], np.array([0.25, 0.5, 0.25]))
    {'b': 0.5, 'a': 0.25, 'c': 0.25}
    """
    order, values = np.argsort(-scores, kind="stable").tolist(), scores.tolist()
    return {classes[k]: values[k] for k in order}
