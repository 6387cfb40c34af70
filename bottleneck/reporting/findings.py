"""What a report is about: the judged images, the audit and the layers, before any HTML."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bottleneck import audit, sweep
from bottleneck.auditing import AuditResult
from bottleneck.cache import Cache
from bottleneck.data import UnknownLabels, heldout_split
from bottleneck.errors import LabelsError
from bottleneck.fitting import (
    ClassificationScore,
    Classifier,
    ClassifierOptions,
    CrossValidation,
    Head,
    LabelSource,
    SearchOptions,
    SweepResult,
    label_rows,
    labelled_images,
    load_dataset,
)
from bottleneck.prediction import JudgedImages, judge_cache

Basis = Literal["heldout", "folds", "all"]
"""By what a head is judged: a held-out split, folds of its training images, or all images."""

OnProgress = Callable[[int, int], None]

_DECADES = SearchOptions(c=[1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0])  # tell layers apart


@dataclass(frozen=True)
class Paths:
    """What a report was made from, as it was named.

    Attributes
    ----------
    head, out : str
        Files of the head and of the page.
    images, labels : str or None
        The images, and the CSV of labels, where they were given.
    """

    head: str
    out: str
    images: str | None
    labels: str | None


@dataclass(frozen=True)
class Findings:
    """Everything that the sections of a report show.

    Attributes
    ----------
    paths : Paths
    cache : Cache
    head : Classifier
    judged : JudgedImages
    basis : str
        By what it is judged, see `Basis`.
    audit : AuditResult
    sweep : SweepResult or None
        None where layers could not be compared.
    no_sweep : str
        Why they could not.
    """

    paths: Paths
    cache: Cache
    head: Classifier
    judged: JudgedImages
    basis: Basis
    audit: AuditResult
    sweep: SweepResult | None
    no_sweep: str

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
        return self.judged.values[0].argmax(axis=1)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """Score of each judged image's predicted class, shape (n,)."""
        return self.scores.max(axis=1)

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


def collect(
    head: Classifier,
    cache: Cache,
    *,
    paths: Paths,
    labels: LabelSource | None,
    layers: str | Sequence[str],
    on_progress: OnProgress,
) -> Findings:
    """Judge a head, audit the cache and compare its layers.

    Parameters
    ----------
    head : Classifier
        Ready for `decision_function`.
    cache : Cache
        Of its spec.
    paths : Paths
    labels : path or LabelledImages, optional
        A CSV that replaces the cache's labels.
    layers : str or sequence of str
        Layers that are compared, and whose codes are audited.
    on_progress : callable
        Called with the images that the audit compared with all others, and with all images.

    Raises
    ------
    LabelsError
        No image can be judged.
    """
    images = labelled_images(cache, labels)
    basis, judged = _judge(head, cache, images)
    found = audit(cache, layers=layers, labels=images, on_progress=on_progress)
    compared, why = None, ""
    try:
        clf = head.clf if isinstance(head, Head) else "softmax"
        compared = sweep(cache, clf, layers=layers, views=1, search=_DECADES, labels=images)
    except LabelsError as error:
        why = str(error)
    return Findings(paths, cache, head, judged, basis, found, compared, why)


def _judge(head: Classifier, cache: Cache, labels: LabelSource) -> tuple[Basis, JudgedImages]:
    images = labelled_images(cache, labels).table
    if heldout_split(images):
        return "heldout", judge_cache(head, cache, images)
    try:
        in_folds = _judge_in_folds(head, cache, labels) if isinstance(head, Head) else None
    except LabelsError:  # too few images for folds, or other classes than the head's
        in_folds = None
    if in_folds is not None:
        return "folds", in_folds
    return "all", judge_cache(head, cache, images)


def _judge_in_folds(head: Head, cache: Cache, labels: LabelSource) -> JudgedImages | None:
    """Judge each image by a head like this one that was trained without it.

    None if this head was not trained on these images: by its record it had another number.
    """
    images = labelled_images(cache, labels).table
    training = label_rows(images, head.features.valid_rows(cache)).training
    record = head.training_record
    if record.get("train") != len(training.row) or not isinstance(record.get("c"), float):
        return None
    dataset = load_dataset(cache, head.features, images)
    if dataset.names != head.classes:
        return None
    validation = CrossValidation(dataset.training, ClassifierOptions(head.clf), SearchOptions())
    _, values = validation.calibrate(record["c"], head.scaler.name)
    both = np.stack([values, values])
    rejected = head.features.rejected(cache)
    return JudgedImages(
        head,
        images,
        "",
        training.row,
        both,
        training.targets,
        UnknownLabels(),
        {images.path[row]: why for row, why in rejected.items() if images.has_label[row]},
    )
