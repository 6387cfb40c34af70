"""The power law of learning curves."""

import numpy as np
import pytest

from bottleneck.fitting.selection.power_law import fit_power_law


def test_the_law_finds_its_parameters_and_stays_below_one() -> None:
    images, errors = np.array([50.0, 100.0, 200.0, 400.0]), np.full(4, 0.01)
    scores = np.array([0.95 - 3 * images**-0.75, 1.1 - 2 * images**-0.3, np.full(4, 0.8)])
    laws = fit_power_law(images, scores, errors)
    assert laws[0] == pytest.approx([0.95, 3, 0.75], rel=0.15)
    assert 0.9 < laws[1, 0] <= 1 and laws[1, 1] > 0
    assert laws[2, 0] == pytest.approx(0.8) and laws[2, 1] == pytest.approx(0, abs=1e-9)
    falling = fit_power_law(images, scores[:1, ::-1], errors)
    assert falling[0, 1] == 0 and falling[0, 0] == pytest.approx(scores[0].mean())
