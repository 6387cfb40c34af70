"""The classes: images, precision, recall and F1 of each."""

import numpy as np
from numpy.typing import NDArray

from bottleneck.reporting.findings import Findings
from bottleneck.reporting.html import Html
from bottleneck.reporting.tables import table


def render(findings: Findings) -> Html:
    """Return a table of the classes."""
    right, images, predicted = findings.score.counts
    rows = zip(
        findings.head.classes,
        images.tolist(),
        _ratios(right, predicted),
        _ratios(right, images),
        _ratios(2 * right, images + predicted),
        strict=True,
    )
    return table(
        ["class", "images", "precision", "recall", "F1"],
        rows,
        caption="Images, precision, recall and F1 of each class",
        sortable=True,
    )


def _ratios(counts: NDArray[np.int64], totals: NDArray[np.int64]) -> list[float | None]:
    """Return shares of totals; None where there is nothing to share."""
    pairs = zip(counts.tolist(), totals.tolist(), strict=True)
    return [count / total if total else None for count, total in pairs]
