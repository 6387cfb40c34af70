"""Classifiers that are trained are counted by their work, up to as many as there may be."""

import pytest

from bottleneck.fitting.selection.fit_counter import FitCounter
from bottleneck.runtime import Progress


def test_a_search_counts_each_classifier_and_ends_as_whole() -> None:
    told: list[Progress] = []
    fits = FitCounter(4, told.append, unit="fits of the curve")
    fits.add()
    fits.add()
    fits.finish()
    assert told == [Progress(done, 4, "fits of the curve") for done in (0, 1, 2, 4)]


@pytest.mark.parametrize("weights", [[1, 2, 5], [5, 2, 1], [0.125, 0.5, 1.0], [7, 11, 13]])
@pytest.mark.parametrize("trained", [0, 2, 6])
def test_each_search_counts_by_its_weight_and_the_last_report_is_of_all(
    weights: list[float], trained: int
) -> None:
    told: list[Progress] = []
    fits = FitCounter(6, told.append, weights=weights)
    ends = []
    for weight in weights:
        for _ in range(trained):
            fits.add(weight)
        fits.finish(weight)
        ends.append(told[-1].done)
    done = [one.done for one in told]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 18)
    assert {one.total for one in told} == {18}
    shares = [sum(weights[: n + 1]) / sum(weights) for n in range(3)]
    assert all(0 <= end - 18 * share < 1 for end, share in zip(ends, shares, strict=True))
