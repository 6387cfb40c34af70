"""Collect what a report shows: judge the head, audit the cache, compare layers, draw a curve."""

import contextlib
import math
from collections.abc import Sequence

import numpy as np

from bottleneck import audit, sweep
from bottleneck.cache import Cache, pooled
from bottleneck.data import LabelledImages, heldout_split
from bottleneck.errors import LabelsError
from bottleneck.fitting import (
    Classifier,
    ClassifierOptions,
    CrossValidation,
    FitCounter,
    Head,
    JudgedSplit,
    LearningCurve,
    SearchOptions,
    SweepResult,
    label_rows,
    learning_curve,
    load_dataset,
)
from bottleneck.prediction import JudgedImages, judge_cache
from bottleneck.reporting.findings import Basis, Findings, Request
from bottleneck.reporting.thumbnails import Thumbnails
from bottleneck.runtime import OnProgress


def collect(
    head: Classifier,
    cache: Cache,
    images: LabelledImages,
    *,
    request: Request,
    thumbnails: Thumbnails,
    on_progress: OnProgress,
) -> Findings:
    """Judge a head, audit the cache, compare its layers, and draw a learning curve.

    Parameters
    ----------
    head : Classifier
        Ready for `decision_function`.
    cache : Cache
        Of its spec.
    images : LabelledImages
        The cache's images, with its labels or others.
    request : Request
    thumbnails : Thumbnails
        Of the cache's images.
    on_progress : callable
        Called with the `Progress` of the folds in which images are judged, of each stage of the
        audit, of the comparison of layers, and of the learning curve.

    Raises
    ------
    LabelsError
        No image can be judged.
    """
    basis, judged = _judge(head, cache, images, on_progress)
    found = audit(cache, layers=request.layers, labels=images, on_progress=on_progress)
    # A tuned tail reads maps. The linear heads that it is compared with read their averages.
    codes = cache if isinstance(head, Head) else pooled(cache)
    compared = _compare_layers(head, codes, images, request.layers, on_progress)
    curve = _draw_curve(head, codes, images, compared, on_progress)
    return Findings(request, cache, head, judged, basis, found, compared, curve, thumbnails)


def _judge(
    head: Classifier, cache: Cache, images: LabelledImages, on_progress: OnProgress
) -> tuple[Basis, JudgedImages]:
    if heldout := heldout_split(images.table):
        return "heldout", judge_cache(head, cache, images.table, heldout)
    if isinstance(head, Head):
        with contextlib.suppress(LabelsError):  # too few images for folds
            if in_folds := _judge_in_folds(head, cache, images, on_progress):
                return "folds", in_folds
    return "all", judge_cache(head, cache, images.table, split="")


def _judge_in_folds(
    head: Head, cache: Cache, images: LabelledImages, on_progress: OnProgress
) -> JudgedImages | None:
    """Judge each image, by all its views, by a head like this one that was trained without it.

    None if this head was not trained on these images: by its record it had another number.
    """
    table = images.table
    training = label_rows(table, head.features.valid_rows(cache)).training
    c = _recorded_c(head)
    if c is None or head.training_record.get("train") != len(training.row):
        return None
    dataset = load_dataset(cache, head.features, table)
    if dataset.labelled.names != head.classes:
        return None
    search = SearchOptions()
    fits = FitCounter(search.cv, on_progress)
    validation = CrossValidation(dataset.training, head.options, search, fits.add)
    _, values = validation.calibrate(c, head.scaler.name)
    fits.finish()
    reasons = head.features.rejected(cache)
    return JudgedImages(
        head,
        table,
        JudgedSplit(),
        row=training.row,
        values=values[np.newaxis],
        targets=training.targets,
        rejected={table.path[row]: why for row, why in reasons.items() if table.has_label[row]},
    )


def _compare_layers(
    head: Classifier,
    cache: Cache,
    images: LabelledImages,
    layers: str | Sequence[str],
    on_progress: OnProgress,
) -> SweepResult | str:
    clf = head.options if isinstance(head, Head) else "softmax"
    try:
        return sweep(cache, clf, layers=layers, views=1, labels=images, on_progress=on_progress)
    except LabelsError as error:
        return str(error)


def _draw_curve(
    head: Classifier,
    cache: Cache,
    images: LabelledImages,
    compared: SweepResult | str,
    on_progress: OnProgress,
) -> LearningCurve | str:
    """Draw the curve of heads like this one; for a tuned tail, of the head that a sweep advises."""
    c = _recorded_c(head) if isinstance(head, Head) else None
    if isinstance(head, Head) and c is not None:
        features, options, scaling = head.features, head.options, head.scaler.name
    elif isinstance(compared, str):
        return compared
    else:
        row = compared.recommended
        features, options = row.features, ClassifierOptions(row.clf)
        c, scaling = row.cv.c, row.cv.scaling
    try:
        training = load_dataset(cache, features, images.table).training
        return learning_curve(training, options, c=c, scaling=scaling, on_progress=on_progress)
    except LabelsError as error:
        return str(error)


def _recorded_c(head: Head) -> float | None:
    """Return the C that a head's record names; a record is for information, and may lack it."""
    c = head.training_record.get("c")
    return c if isinstance(c, float) and 0 < c < math.inf else None
