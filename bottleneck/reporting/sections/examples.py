"""Single images: the most confident mistakes, and those that the head is least certain of."""

from collections.abc import Iterator

import numpy as np

from bottleneck.reporting.findings import Findings
from bottleneck.reporting.html import Html, element
from bottleneck.reporting.thumbnails import Thumbnails, pictures

_MOST = 24


def render_mistakes(findings: Findings, thumbnails: Thumbnails) -> Html:
    """Return the images whose wrong class has the highest scores."""
    wrong = np.flatnonzero(findings.predicted != findings.judged.targets)
    if not len(wrong):
        return element("p", f"None: all {findings.score.n} images are right.")
    order = wrong[np.argsort(-findings.confidence[wrong], kind="stable")][:_MOST]
    said = f"{len(order)} of {len(wrong)} mistakes, those with the highest {_scores(findings)}."
    return element("div", element("p", said), pictures(_figures(findings, thumbnails, order)))


def render_uncertain(findings: Findings, thumbnails: Thumbnails) -> Html:
    """Return the images whose two likeliest classes are nearest, right or wrong."""
    order = np.argsort(findings.margin, kind="stable")[:_MOST]
    said = (
        "The two likeliest classes are nearest for these, right or wrong: if more images are to "
        "be labelled, images like these tell most."
    )
    return element("div", element("p", said), pictures(_figures(findings, thumbnails, order)))


def _scores(findings: Findings) -> str:
    return "decision values" if findings.head.calibration is None else "probabilities"


def _figures(findings: Findings, thumbnails: Thumbnails, chosen: np.ndarray) -> Iterator[Html]:
    classes = findings.head.classes
    for i in chosen.tolist():
        label, guess = classes[findings.judged.targets[i]], classes[findings.predicted[i]]
        sure = findings.confidence_text(i)
        right = label == guess
        said = f"{label}, right" if right else f"{label}, predicted {guess}"
        yield thumbnails.picture(
            int(findings.judged.row[i]),
            element("span", f"{said} ({sure})"),
            alt=f"labelled {label}, predicted {guess} ({sure})",
        )
