"""Images that show the same, side by side."""

from collections.abc import Sequence

from bottleneck.auditing import AuditResult, ImageGroup
from bottleneck.reporting.findings import Findings
from bottleneck.reporting.html import Html, element
from bottleneck.runtime import format_count

_MOST = 12


def render(findings: Findings) -> Html:
    """Return the sets of near duplicates and of equal bytes, a pair of each, and the leaks."""
    audit = findings.audit
    if not audit.near and not audit.duplicates:
        return element("p", "No two images have the same bytes, or nearly the same codes.")
    parts = [element("p", _leaks(audit))]
    for what, groups in (
        ("nearly show the same, by their codes", audit.near),
        ("have the same bytes", audit.duplicates),
    ):
        parts.append(element("p", _counted(groups, what)))
        if groups:
            pairs = [_pair(findings, group) for group in groups[:_MOST]]
            parts.append(element("ul", *pairs, class_="pairs", role="list"))
    return element("div", *parts)


def _leaks(audit: AuditResult) -> str:
    if len(audit.examined.images.splits) < 2:
        return "There is one split, so that no image can be in two."
    found = f"{audit.leaks} images of other splits are in train too, by bytes or nearly."
    if not audit.leaks:
        found = "No image of another split is in train too, as far as bytes and codes tell."
    if audit.shared_groups:
        found += f" {audit.shared_groups} images of other splits are of a group that train has too."
    return found


def _counted(groups: Sequence[ImageGroup], what: str) -> str:
    if not groups:
        return f"No images {what}."
    images = sum(len(group.paths) for group in groups)
    sets = format_count(len(groups), "set")
    shown = f" {_MOST} of the sets are here." if len(groups) > _MOST else ""
    return f"{images} images in {sets} {what}.{shown}"


def _pair(findings: Findings, group: ImageGroup) -> Html:
    known = dict(zip(group.paths, zip(group.splits, group.labels, strict=True), strict=True))
    figures = []
    for path, other in zip(group.pair, reversed(group.pair), strict=True):
        said = ", ".join(text for text in known[path] if text)
        figures.append(
            findings.thumbnails.picture(
                findings.rows[path], element("span", said), alt=f"shows the same as {other}"
            )
        )
    across = " and ".join(group.across)
    said = f"across {across}" if across else "of one split and label"
    size = f"{len(group.paths)} images, " if len(group.paths) > 2 else ""
    return element(
        "li",
        element("div", *figures, class_="pair"),
        element("p", f"{size}{said}, distance {group.distance:.2f}", class_="note"),
    )
