"""The axis of scores that all plots share."""

import pytest
from matplotlib.figure import Figure

from bottleneck.fitting.plotting.style import style_scores


def test_the_axis_of_scores_holds_all_values_and_is_in_percent() -> None:
    axes = Figure().add_subplot()
    style_scores(axes, "macro_f1", [0.5, 0.9, 0.7])
    assert axes.get_ylim() == pytest.approx((0.48, 0.92))
    assert axes.get_ylabel() == "macro f1 (folds: mean ± standard error)"
    assert axes.yaxis.get_major_formatter()(0.725, 0) == "72.5%"
