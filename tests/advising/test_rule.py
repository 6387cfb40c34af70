"""The rule of docs/advise.md: when more is expected of what was not measured."""

import pytest

from bottleneck.advising.rule import Findings, expected_kind
from bottleneck.fitting import LearningCurve
from bottleneck.fitting.selection.learning_curve import PredictedPoint


def findings(
    gain: tuple[float, float],
    *,
    images: int = 1000,
    gap: float = 0.1,
    unlike: bool | None = True,
    views: bool = False,
) -> Findings:
    middle = sum(gain) / 2
    point = PredictedPoint(200, 0.9, (0.8, 0.95), middle, gain, (0.9, 1.0, 0.5))
    curve = LearningCurve("accuracy", (), point)
    return Findings(images, curve, 1.0, gap, None, unlike, views)


RISING, FLAT, UNKNOWN = (0.02, 0.05), (0.0, 0.01), (0.0, 0.05)


@pytest.mark.parametrize(
    ("found", "error", "kind"),
    [
        (findings(RISING), 0.10, "views"),
        (findings(UNKNOWN), 0.10, "views"),  # it fits its training images better than others
        (findings(RISING, gap=0.01), 0.10, "views"),
        (findings(RISING), 0.04, ""),  # little is left to gain
        (findings(RISING, unlike=False), 0.10, ""),
        (findings(RISING, unlike=None), 0.10, ""),
        (findings(RISING, views=True), 0.10, ""),  # they were measured
        (findings(FLAT, gap=0.01), 0.10, "whole network"),
        (findings(FLAT, gap=0.01, unlike=False), 0.10, "whole network"),
        (findings(FLAT, gap=0.01, images=999), 0.10, ""),  # training would overfit
        (findings(FLAT, gap=0.01), 0.04, ""),
        (findings(FLAT, views=True), 0.10, ""),
        (findings(UNKNOWN, gap=0.01), 0.10, ""),
    ],
)
def test_expected_kind_follows_the_documented_rule(
    found: Findings, error: float, kind: str
) -> None:
    assert expected_kind(found, error) == kind


def test_a_network_that_was_trained_is_not_expected_to_be_better() -> None:
    assert expected_kind(findings(FLAT, gap=0.01), 0.10, tuned=True) == ""


def test_the_facts_of_the_documentation() -> None:
    """Of the plain images of docs/advise.md: (gain of twice as many, gap, unlike, error)."""
    cells = findings((0.027, 0.037), gap=0.113)
    photographs = findings((0.001, 0.021), gap=0.078, unlike=False)
    assert (cells.rising, cells.flat) == (True, False)
    assert expected_kind(cells, 0.113) == "views"
    assert expected_kind(photographs, 0.098) == ""
