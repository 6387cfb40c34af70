"""Pictures of judged images, with their labels and what was predicted."""

from collections.abc import Sequence

from bottleneck.reporting.findings import Findings
from bottleneck.reporting.html import Html, element
from bottleneck.reporting.thumbnails import pictures


def judged_pictures(findings: Findings, chosen: Sequence[int]) -> Html:
    """Return a list of judged images, numbered as `Findings.judged` numbers them."""
    return pictures(_picture(findings, i) for i in chosen)


def _picture(findings: Findings, i: int) -> Html:
    classes, judged = findings.head.classes, findings.judged
    label, guess = classes[judged.targets[i]], classes[findings.predicted[i]]
    sure = findings.confidence_text(i)
    said = f"{label}, right" if label == guess else f"{label}, predicted {guess}"
    return findings.thumbnails.picture(
        int(judged.row[i]),
        element("span", f"{said} ({sure})"),
        alt=f"labelled {label}, predicted {guess} ({sure})",
    )
