"""Judge a classifier: its decision values of images, and their score against known targets."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.fitting.heads.classifier import Classifier
from bottleneck.fitting.scoring.judged_split import JudgedSplit
from bottleneck.fitting.scoring.metrics import calibration_error
from bottleneck.fitting.scoring.scores import Score, score_classes, score_labels
from bottleneck.linear import CodeMatrix


def image_values(classifier: Classifier, codes: NDArray[Any]) -> NDArray[np.float64]:
    """Return the decision values of each image, and where it has views those of the plain one.

    Parameters
    ----------
    classifier : Classifier
    codes : ndarray, shape (n · views, d)
        The views of an image are consecutive rows.

    Returns
    -------
    ndarray of float64, shape (2, n, k), or (1, n, k) for one view
    """
    values, views = classifier.decision_function(codes), classifier.features.views
    if views == 1:
        return values[None]
    plain = classifier.with_views(1).decision_function(codes[::views])
    return np.stack([values, plain])


def matrix_values(classifier: Classifier, codes: CodeMatrix) -> NDArray[np.float64]:
    """Return the decision values of each image of a matrix, as `image_values` of a block's.

    Parameters
    ----------
    classifier : Classifier
    codes : CodeMatrix, shape (n · views, d)
        Codes of its spec and features, of at least one image.

    Returns
    -------
    ndarray of float64, shape (2, n, k), or (1, n, k) for one view
    """
    views, filled = classifier.features.views, 0
    values = np.empty((1 + (views > 1), codes.shape[0] // views, len(classifier.classes)))
    for part in codes.map_blocks(partial(image_values, classifier)):
        values[:, filled : filled + part.shape[1]] = part
        filled += part.shape[1]
    return values


def score_values(
    classifier: Classifier,
    values: NDArray[np.float64],
    targets: NDArray[Any],
    split: JudgedSplit,
    *,
    groups: NDArray[np.int64] | None = None,
) -> Score:
    """Score decision values of a classifier, as `image_values` gives them.

    Parameters
    ----------
    classifier : Classifier
        Its classes, calibration and views are used.
    values : ndarray of float64, shape (2, n, k)
        Or of shape (1, n, k), for one view or where those of the plain one are not known. n is at
        least 1.
    targets : ndarray of int64, shape (n,), or of bool, shape (n, k)
        Class of each image, or which labels it has, in the order of the classifier's classes.
    split : JudgedSplit
        Stored in the score.
    groups : ndarray of int64, shape (n,), optional
        Group of each image, over which the score's interval is; images are alone by default.

    Returns
    -------
    ClassificationScore or MultilabelScore
    """

    def judge(values: NDArray[np.float64]) -> Score:
        classes, name = classifier.classes, split.name
        if classifier.multilabel:
            return score_labels(targets, values, classes, split=name, groups=groups)
        predicted = values.argmax(axis=1)
        return score_classes(targets, predicted, classes, split=name, groups=groups)

    views, ece = classifier.features.views, None
    if classifier.calibration is not None:
        ece = calibration_error(classifier.calibration, values[0], targets)
    plain = judge(values[1]).accuracy if views > 1 and len(values) > 1 else None
    return replace(
        judge(values[0]),
        ece=ece,
        views=views,
        plain=plain,
        unknown=split.unknown,
        copies=split.copies,
        shared_groups=split.shared_groups,
        unused=split.unused,
    )


def predicted_right(
    classifier: Classifier, values: NDArray[np.float64], targets: NDArray[Any]
) -> NDArray[np.bool_]:
    """Return for which images the class, or all labels and none too many, are predicted.

    Parameters
    ----------
    classifier : Classifier
    values : ndarray of float64, shape (n, k)
        Decision values.
    targets : ndarray of int64, shape (n,), or of bool, shape (n, k)

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    if classifier.multilabel:
        return np.asarray(((values > 0) == targets).all(axis=1))
    return np.asarray(values.argmax(axis=1) == targets)
