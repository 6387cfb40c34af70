"""Check an exported file: the same images through it and through `predict`'s own path."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bottleneck.data import SEPARATOR, ImageSource
from bottleneck.errors import ExportError
from bottleneck.extraction import ComputeOptions
from bottleneck.fitting import Classifier
from bottleneck.prediction import Prediction, classify

if TYPE_CHECKING:
    from bottleneck.backbones import Backbone

TOLERANCE = 1e-4  # of a probability; of margins, relative to the largest

# On the CPU, with a batch size other than that of tracing.
CHECKED = ComputeOptions(device="cpu", batch_size=3)


def predict_in(
    precision: str, classifier: Classifier, network: "Backbone", source: ImageSource
) -> list[Prediction]:
    """Return what `predict` says of some images if it computes in a precision.

    Parameters
    ----------
    precision : str
        ``"float32"``, as exported files do, or any other that a spec may have.
    classifier : Classifier
        A head; or a tuned tail that has its network.
    network : Backbone
        The network of its spec.
    source : ImageSource
    """
    spec = dataclasses.replace(classifier.spec, precision=precision)
    changed = dataclasses.replace(classifier, spec=spec)
    return list(classify(changed, network, source, compute=CHECKED))


def largest_difference(a: Iterable[Prediction], b: Iterable[Prediction]) -> float:
    """Return the largest absolute difference of a score between predictions of the same images.

    Examples
    --------
    >>> from pathlib import Path
    >>> half, less = ({"ant": value, "bee": 1 - value} for value in (0.5, 0.375))
    >>> largest_difference(
    ...     [Prediction(Path("a"), "ant", half, "")], [Prediction(Path("a"), "bee", less, "")]
    ... )
    0.125
    """
    both = zip(a, b, strict=True)
    return max((abs(x.scores[k] - y.scores[k]) for x, y in both for k in x.scores), default=0.0)


def require_agreement(
    classifier: Classifier,
    expected: Sequence[Prediction],
    found: Sequence[Prediction],
    *,
    runtime: str,
) -> tuple[int, float]:
    """Compare an exported file with `predict`, and refuse one that differs.

    Labels must be the same where scores within the tolerance could not change them.

    Parameters
    ----------
    classifier : Classifier
        What was exported.
    expected, found : sequence of Prediction
        Of the same images: by `predict`, and by the file.
    runtime : str
        What ran the file, for the message.

    Returns
    -------
    images : int
        Number of images that both classified.
    difference : float
        Largest absolute difference of a score.

    Raises
    ------
    ExportError
        A score differs by more than the tolerance, a label differs, or no image was classified.
    """
    pairs = [(a, b) for a, b in zip(expected, found, strict=True) if not a.reason]
    if not pairs:
        why = f": {expected[0].path}: {expected[0].reason}" if expected else ""
        raise ExportError(f"none of the images to check with can be decoded{why}")
    difference = largest_difference(*zip(*pairs, strict=True))
    what, allowed = "probabilities", TOLERANCE
    if classifier.calibration is None:
        what = "margins"
        allowed *= max(1.0, *(abs(margin) for a, _ in pairs for margin in a.scores.values()))
    if difference > allowed:
        raise ExportError(
            f"{runtime} gives other {what} than `bottleneck.predict`: up to {difference:.2g} on "
            f"{len(pairs)} images, allowed {allowed:.2g}; nothing was written"
        )
    for a, b in pairs:
        if a.label != b.label and not _is_near(classifier, a, b, 2 * allowed):
            raise ExportError(
                f"{runtime} calls {a.path} {b.label!r}, and `bottleneck.predict` {a.label!r}; "
                "nothing was written"
            )
    return len(pairs), difference


def _is_near(classifier: Classifier, a: Prediction, b: Prediction, allowed: float) -> bool:
    """Return whether two labels of an image are both right within a difference of scores."""
    if not classifier.multilabel:
        return a.scores[a.label] - a.scores[b.label] <= allowed
    boundary = classifier.predict_scores(np.zeros((1, len(classifier.classes))))[0].tolist()
    differ = set(a.label.split(SEPARATOR)) ^ set(b.label.split(SEPARATOR))
    return all(
        abs(a.scores[name] - limit) <= allowed
        for name, limit in zip(classifier.classes, boundary, strict=True)
        if name in differ
    )
