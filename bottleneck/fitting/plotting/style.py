"""Colours and axes that all plots share.

These modules alone import matplotlib, and only to draw. Figures are plain `Figure` objects: pyplot
and its global state are not used.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bottleneck.fitting.scoring.metrics import format_metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# M. Okabe and K. Ito, "Color universal design" (2008): distinguishable with any colour vision. The
# markers distinguish the classifiers in print without colours.
CLASSIFIERS = {"svm": ("#0072B2", "o"), "softmax": ("#D55E00", "s")}
INK, FAINT, BAND, GRID = "#262626", "#8c8c8c", "#e2e2e2", "#eeeeee"


def percent(share: float, _tick: float) -> str:
    """Format a share for an axis.

    Examples
    --------
    >>> percent(0.125, 0)
    '12.5%'
    """
    return f"{100 * share:.6g}%"


def with_margin(low: float, high: float) -> tuple[float, float]:
    """Return the limits of an axis around values.

    Examples
    --------
    >>> with_margin(0.0, 1.0)
    (-0.05, 1.05)
    """
    margin = 0.05 * (high - low) or 0.01
    return low - margin, high + margin


def style_scores(axes: "Axes", metric: str, values: Sequence[float]) -> None:
    """Scale the axis of scores to values and name it; leave two spines, and faint lines across."""
    axes.set_ylim(*with_margin(min(values), max(values)))
    axes.yaxis.set_major_formatter(percent)
    label = f"{format_metric(metric)} (folds: mean ± standard error)"
    axes.set_ylabel(label, color=INK, fontsize=9)
    axes.tick_params(labelsize=8, color=FAINT, labelcolor=INK)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
