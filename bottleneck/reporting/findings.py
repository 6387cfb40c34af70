"""What a report is about: the judged images, the audit and the layers, before any HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bottleneck.auditing import AuditResult
from bottleneck.cache import Cache
from bottleneck.fitting import ClassificationScore, Classifier, LearningCurve, SweepResult
from bottleneck.prediction import JudgedImages
from bottleneck.reporting.thumbnails import Thumbnails

Basis = Literal["heldout", "folds", "all"]
"""Images that a head is judged on: a held-out split, folds of its training images, or all."""


@dataclass(frozen=True)
class Request:
    """What a report was asked for, by `bottleneck.report`.

    Attributes
    ----------
    head, out : str
        Files of the head and of the page.
    images, labels : str or None
        The images, and the CSV of labels, where they were given as paths.
    layers : str or sequence of str
        Layers that are compared, and whose codes are audited.
    max_bytes : int
        Most bytes of all pictures in the page.
    """

    head: str
    out: str
    images: str | None
    labels: str | None
    layers: str | Sequence[str]
    max_bytes: int


@dataclass(frozen=True)
class Findings:
    """Everything that the sections of a report show.

    Attributes
    ----------
    request : Request
    cache : Cache
    head : Classifier
    judged : JudgedImages
    basis : str
        Images that it is judged on, see `Basis`.
    audit : AuditResult
    sweep : SweepResult or str
        Or why layers could not be compared.
    curve : LearningCurve or str
        Or why there is none.
    thumbnails : Thumbnails
        Makes the pictures of the images, and counts them.
    """

    request: Request
    cache: Cache
    head: Classifier
    judged: JudgedImages
    basis: Basis
    audit: AuditResult
    sweep: SweepResult | str
    curve: LearningCurve | str
    thumbnails: Thumbnails

    @cached_property
    def score(self) -> ClassificationScore:
        """Score of the judged images."""
        score = self.judged.score()
        assert isinstance(score, ClassificationScore)
        return score

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """Probabilities of each judged image's classes, or decision values without calibration."""
        return self.head.predict_scores(self.judged.values[0])

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """Predicted class of each judged image, shape (n,)."""
        return np.asarray(self.judged.values[0].argmax(axis=1))

    @cached_property  # of all images, and asked for at each picture
    def confidence(self) -> NDArray[np.float64]:
        """Score of each judged image's predicted class, shape (n,)."""
        return np.asarray(self.scores.max(axis=1))

    @property
    def margin(self) -> NDArray[np.float64]:
        """Score of each judged image's predicted class less that of the next one, shape (n,)."""
        second, first = np.partition(self.scores, -2, axis=1)[:, -2:].T
        return np.asarray(first - second)

    @cached_property
    def leaked(self) -> NDArray[np.bool_]:
        """Which judged images show the same as an image of ``train``, shape (n,)."""
        leaked = set(self.audit.leaked)
        paths = self.judged.images.path
        return np.array([paths[row] in leaked for row in self.judged.row.tolist()], dtype=bool)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each image that the audit names, by its path."""
        named = {one.path for one in self.audit.suspects}
        named |= {path for group in self.audit.duplicates + self.audit.near for path in group.paths}
        return {path: row for row, path in enumerate(self.cache.images.path) if path in named}

    def confidence_text(self, i: int) -> str:
        """Return a judged image's confidence: a probability, or a decision value."""
        value = float(self.confidence[i])
        return f"{value:.2f}" if self.head.calibration is None else f"{value:.0%}"
