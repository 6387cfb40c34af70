"""Files without codes, with the reasons."""

from bottleneck.cache import without_removed
from bottleneck.reporting.findings import Findings
from bottleneck.reporting.html import Html, element
from bottleneck.reporting.tables import table

_MOST = 200


def render(findings: Findings) -> Html:
    """Return the files that gave no codes in some layer, and why."""
    without_codes, paths = findings.cache.rejected(), findings.cache.images.path
    rejected = without_removed(without_codes)
    images = len(paths) - len(without_codes) + len(rejected)  # without those that were removed
    if not rejected:
        return element("p", f"None: all {images} images have codes.")
    rows = [[paths[row], reason] for row, reason in list(rejected.items())[:_MOST]]
    more = f", of which {_MOST} are here" if len(rejected) > _MOST else ""
    said = f"{len(rejected)} of {images} files gave no codes{more}."
    reasons = table(["file", "reason"], rows, caption="Rejected files", class_="texts")
    return element("div", element("p", said), reasons)
