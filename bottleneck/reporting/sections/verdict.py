"""The verdict: how many images are right, with its interval, and what guessing would give."""

import numpy as np

from bottleneck.fitting import Head
from bottleneck.reporting.findings import Findings
from bottleneck.reporting.html import Html, element
from bottleneck.reporting.tables import definitions
from bottleneck.runtime import escape_unprintable, format_count

_REMARKS = {
    "heldout": "",
    "folds": "There is no held-out split: in cross-validation, each image was judged by a head of "
    "the same C that was trained without it. C itself was chosen on these images.",
    "all": "These images have no held-out split. If the head was trained on them, this says "
    "nothing about new images.",
}


def verdict(findings: Findings) -> str:
    """Return the accuracy, its interval and the accuracy of one constant answer, in a sentence."""
    score = findings.score
    of = f" of the split {score.split}" if findings.basis == "heldout" else ""
    class_, share = baseline(findings)
    return (
        f"{score.accuracy:.1%} of the {score.n} images{of} are classified correctly "
        f"({score.interval_text}); "
        f"always answering “{escape_unprintable(class_)}” would be right for {share:.1%}"
        f"{_beside(share, score.ci95)}."
    )


def title(findings: Findings) -> str:
    """Return what the page is about: the classifier and its layers."""
    head = findings.head
    name = head.clf if isinstance(head, Head) else "tuned tail"
    return f"{name} on {head.features}"


def baseline(findings: Findings) -> tuple[str, float]:
    """Return the most frequent class of the judged images, and its share."""
    counts = findings.score.counts.images
    most = int(counts.argmax())
    return findings.head.classes[most], float(counts[most] / counts.sum())


def _beside(share: float, interval: tuple[float, float] | None) -> str:
    if interval is None or interval[0] > share:
        return ""
    if interval[1] < share:
        return ", which is better"
    return ", which these images do not tell apart"


def render(findings: Findings) -> Html:
    """Return the verdict, what it does not cover, and a few facts."""
    score = findings.score
    number = element("span", f"{score.accuracy:.1%}", class_="large", aria_hidden="true")
    return element(
        "div",
        number,
        element("p", verdict(findings), class_="verdict"),
        *(element("p", remark, class_="note") for remark in _remarks(findings)),
        _facts(findings),
    )


def _remarks(findings: Findings) -> list[str]:
    """Return the sentences that limit the verdict."""
    score, leaked = findings.score, findings.leaked
    remarks = [_REMARKS[findings.basis]] if _REMARKS[findings.basis] else []
    if findings.basis == "heldout" and leaked.any():
        rest = "none is left"
        if not leaked.all():
            clean = findings.judged.score(~leaked)
            rest = f"the accuracy is {clean.accuracy:.1%} of {clean.n}"
        count = int(leaked.sum())
        remarks.append(
            f"{count} of these images {'shows' if count == 1 else 'show'} the same as a training "
            f"image, by bytes or nearly: without, {rest}."
        )
    if score.views > 1:
        alone = "" if score.plain is None else f"; by itself alone, {score.plain:.1%} are right"
        remarks.append(f"Each image is judged by the mean of {score.views} views{alone}.")
    remarks += [f"{remark[0].upper()}{remark[1:]}." for remark in score.remarks]
    if count := len(findings.judged.rejected):
        images = format_count(count, "labelled image")
        remarks.append(f"Not judged, for lack of codes: {images}.")
    return remarks


def _facts(findings: Findings) -> Html:
    head, score = findings.head, findings.score
    facts: dict[str, object] = {
        "classes": len(head.classes),
        "trained on": f"{head.training_record.get('train', 'unknown')} images",
        "mean per class": f"{score.mean_per_class:.1%}",
    }
    if score.ece is not None:
        facts["calibration error"] = f"{score.ece:.1%}"
    if score.groups is not None:
        facts["groups of images"] = score.groups
    wrong = int(np.count_nonzero(findings.predicted != findings.judged.targets))
    facts["mistakes"] = wrong
    return definitions(facts, class_="facts")
