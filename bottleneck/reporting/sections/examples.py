"""Single images: the most confident mistakes, and those that the head is least certain of."""

import numpy as np

from bottleneck.reporting.findings import Findings
from bottleneck.reporting.html import Html, element
from bottleneck.reporting.judged_pictures import judged_pictures

_MOST = 24


def render_mistakes(findings: Findings) -> Html:
    """Return the images whose wrong class has the highest scores."""
    wrong = np.flatnonzero(findings.predicted != findings.judged.targets)
    if not len(wrong):
        return element("p", f"None: all {findings.score.n} images are right.")
    order = wrong[np.argsort(-findings.confidence[wrong], kind="stable")][:_MOST]
    count = "All mistakes" if len(order) == len(wrong) else f"{len(order)} of {len(wrong)} mistakes"
    said = f"{count}, those with the highest {_scores(findings)} first."
    return element("div", element("p", said), judged_pictures(findings, order.tolist()))


def render_uncertain(findings: Findings) -> Html:
    """Return the images whose two likeliest classes are nearest, right or wrong."""
    order = np.argsort(findings.margin, kind="stable")[:_MOST]
    said = (
        "The two likeliest classes are nearest for these, right or wrong: if more images are to "
        "be labelled, images like these tell most."
    )
    return element("div", element("p", said), judged_pictures(findings, order.tolist()))


def _scores(findings: Findings) -> str:
    return "decision values" if findings.head.calibration is None else "probabilities"
