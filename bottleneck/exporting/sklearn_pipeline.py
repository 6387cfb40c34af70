"""A linear head as a fitted scikit-learn pipeline, of scikit-learn's own types alone.

skops writes it without pickle, and reads it with no type that a user has to trust, also where this
package is not installed.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ExportError
from bottleneck.fitting import Head
from bottleneck.linear import FeatureScaler, column_blocks
from bottleneck.runtime import optional_package

_ROWS = 64  # of the check
TOLERANCE = 1e-6  # of a score, relative to the largest where it is above 1


def head_pipeline(head: Head) -> Any:
    """Return a head as a fitted pipeline of a scaler and a linear classifier.

    Parameters
    ----------
    head : Head
        Its views are of no matter: the pipeline takes codes, a row for each view.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Of float64 codes, layers side by side. Its ``predict_proba`` gives calibrated
        probabilities if `has_probabilities`; its ``decision_function`` margins if not.

    Raises
    ------
    ExportError
        The scaling does not exist in scikit-learn.

    Examples
    --------
    >>> head = Head.load("tests/data/before/head-svm.safetensors")
    >>> [type(step).__name__ for _, step in head_pipeline(head).steps]
    ['StandardScaler', 'LogisticRegression']
    """
    from sklearn.pipeline import Pipeline

    classifier = _several_labels(head) if head.multilabel else _one_label(head)
    return Pipeline([*_scaling(head.scaler, relu=head.spec.relu), ("classifier", classifier)])


def has_probabilities(head: Head) -> bool:
    """Return whether scikit-learn has the calibration of a head.

    It has, where calibrated logits and margins give the same labels: scikit-learn's classifiers
    have one decision value for both. Labels with a line of Platt's each do not.
    """
    calibration = head.calibration
    if calibration is None or calibration.independent != head.multilabel:
        return False
    slope, offset = calibration.slope, calibration.offset
    same = head.multilabel or bool((slope == slope[0]).all())
    return same and not offset.any() and bool((slope > 0).all())


def write_skops(head: Head, path: Path) -> float:
    """Write a head as a pipeline, read it back, and compare it with the head on generated codes.

    Parameters
    ----------
    head : Head
    path : Path

    Returns
    -------
    float
        Largest absolute difference of a score.

    Raises
    ------
    MissingPackageError
        skops is not installed.
    ExportError
        The head has no such form, or a score or a label differs.
    """
    with optional_package("skops", needed_by="scikit-learn's file"):
        import skops.io
    path.write_bytes(skops.io.dumps(head_pipeline(head)))
    pipeline = skops.io.load(path, trusted=[])  # the file alone counts
    codes = _codes_like(head)
    margins = head.with_views(1).decision_function(codes)
    expected = head.predict_scores(margins) if has_probabilities(head) else margins
    found = _scores(pipeline, codes, head)
    difference = float(np.abs(found - expected).max())
    named = pipeline.predict(codes)
    labels = named == (margins > 0) if head.multilabel else named == head.predict_labels(margins)
    if not (difference <= TOLERANCE * max(1.0, np.abs(expected).max()) and labels.all()):
        raise ExportError(
            f"scikit-learn gives other scores than the head: up to {difference:.2g}; nothing was "
            "written"
        )
    return difference


def _scores(pipeline: Any, codes: NDArray[np.float64], head: Head) -> NDArray[np.float64]:
    """Return a pipeline's scores, shape (n, k); of two classes, it has one margin."""
    if has_probabilities(head):
        found = pipeline.predict_proba(codes)
        return np.asarray(found[:, 1:] if head.multilabel and len(head.classes) == 1 else found)
    margins = pipeline.decision_function(codes)
    if margins.ndim == 2:
        return np.asarray(margins)
    return np.stack([margins] if head.multilabel else [-margins, margins], axis=1)


def _codes_like(head: Head) -> NDArray[np.float64]:
    """Return rows with the moments that the head learned, a few of them zero."""
    random = np.random.default_rng(0)
    scaler = head.scaler
    codes = scaler.mean + scaler.scale * random.normal(size=(_ROWS, len(scaler.mean)))
    codes[0] = 0
    return np.maximum(codes, 0) if head.spec.relu else codes


def _scaling(scaler: FeatureScaler, *, relu: bool) -> list[tuple[str, Any]]:
    """Return the steps of a scaling, but for the division by the root of the layers' number."""
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import FunctionTransformer, Normalizer

    d = len(scaler.mean)
    if scaler.name == "none":
        return []
    if scaler.name == "l2":
        blocks = [
            (f"layer{i}", Normalizer(), columns)
            for i, columns in enumerate(column_blocks(scaler.sizes))
        ]
        # Its transformers have nothing to learn: any rows will do.
        return [("scaling", ColumnTransformer(blocks).fit(np.zeros((2, d))))]
    standard = ("scaling", _standard_scaler(scaler))
    if scaler.name == "standardize":
        return [standard]
    if not relu:
        raise ExportError(
            "scikit-learn has no signed square root, and these codes were extracted with "
            "`relu=False`: export ONNX or TorchScript"
        )
    return [("roots", FunctionTransformer(np.sqrt).fit(np.zeros((2, d)))), standard]


def _standard_scaler(scaler: FeatureScaler) -> Any:
    from sklearn.preprocessing import StandardScaler

    standard = StandardScaler()
    standard.mean_, standard.scale_ = scaler.mean, scaler.scale
    standard.var_ = scaler.scale**2
    standard.n_features_in_, standard.n_samples_seen_ = len(scaler.mean), 0
    return standard


def _one_label(head: Head) -> Any:
    coef, intercept = _linear(head)
    if len(head.classes) == 2:  # scikit-learn has one row for two classes
        half = 1.0 if has_probabilities(head) else 0.5
        coef, intercept = half * (coef[1:] - coef[:1]), half * (intercept[1:] - intercept[:1])
    return _fitted(head, coef, intercept, np.array(head.classes))


def _several_labels(head: Head) -> Any:
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.preprocessing import LabelBinarizer

    coef, intercept = _linear(head)
    each = [
        _fitted(head, coef[k : k + 1], intercept[k : k + 1], np.array([0, 1]))
        for k in range(len(coef))
    ]
    labels = LabelBinarizer()
    labels.classes_, labels.sparse_input_ = np.array(head.classes), False
    labels.y_type_ = "multilabel-indicator"
    every = OneVsRestClassifier(type(each[0])())
    every.estimators_, every.label_binarizer_ = each, labels
    every.n_features_in_ = coef.shape[1]
    vars(every)["classes_"] = labels.classes_  # a property before scikit-learn 1.9
    return every


def _linear(head: Head) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coefficients with the share of a layer, and the calibration if it is to be in them."""
    slope = head.calibration.slope if head.calibration and has_probabilities(head) else 1.0
    share = np.sqrt(len(head.scaler.sizes))
    slopes = np.broadcast_to(slope, head.intercept.shape)
    return slopes[:, None] * head.coef / share, slopes * head.intercept


def _fitted(
    head: Head, coef: NDArray[np.float64], intercept: NDArray[np.float64], classes: NDArray[Any]
) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    model = LogisticRegression() if has_probabilities(head) else LinearSVC()
    model.coef_, model.intercept_, model.classes_ = coef, intercept, classes
    model.n_features_in_ = coef.shape[1]
    return model
