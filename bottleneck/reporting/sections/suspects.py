"""Labels to check, as the audit found them."""

from bottleneck.reporting.findings import Findings
from bottleneck.reporting.html import Html, element
from bottleneck.reporting.thumbnails import pictures

_MOST = 24


def render(findings: Findings) -> Html:
    """Return the images whose labels confident learning doubts."""
    check = findings.audit.labels
    if check.reason:
        return element("p", f"Labels were not examined: {check.reason}.")
    if not check.suspects:
        return element("p", f"None of {check.examined} labels is doubted.")
    chosen = check.suspects[:_MOST]
    more = f", of which {len(chosen)} are here" if len(chosen) < len(check.suspects) else ""
    said = (
        f"{len(check.suspects)} of {check.examined} labels are doubted{more}, the surest first: by "
        "heads that were trained without the image, it is confidently of another class. They are "
        "for review; some are right."
    )
    figures = (
        findings.thumbnails.picture(
            findings.rows[one.path],
            element("span", one.label, ", rather ", element("b", one.suggested)),
            alt=f"labelled {one.label}, rather {one.suggested}",
        )
        for one in chosen
    )
    remark = element("p", f"Note: {check.remark}.", class_="note") if check.remark else None
    return element("div", element("p", said), remark, pictures(figures))
