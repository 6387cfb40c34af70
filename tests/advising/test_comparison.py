"""Paired differences and the choice of the cheapest of those near the best."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bottleneck.advising.comparison import Comparison
from bottleneck.advising.strategies import LinearStrategy
from bottleneck.fitting import Candidate, Features
from bottleneck.linear import ArrayMatrix, TrainingSet

N = 200


def strategy(
    name: str, values: NDArray[np.int64], cost: float | None, size: int = 8
) -> LinearStrategy:
    cv = Candidate("standardize", 1.0, (0.5, 0.5), 0.0, True)
    return LinearStrategy(Features((name,)), size, cost, cv, values, 0.1)


def compared(wrong: list[NDArray[np.bool_]], costs: list[float | None]) -> Comparison:
    """Strategies that are wrong on these images of two classes."""
    targets = np.arange(N) % 2
    strategies = [
        strategy(f"layer{i}", np.where(which, 1 - targets, targets), cost)
        for i, (which, cost) in enumerate(zip(wrong, costs, strict=True))
    ]
    training = TrainingSet(ArrayMatrix(np.zeros((N, 1))), targets, 2)
    return Comparison.of(strategies, strategies[-1], training)


def first(count: int) -> NDArray[np.bool_]:
    return np.arange(N) < count


def test_the_last_layer_in_another_pooling_is_no_earlier_layer() -> None:
    values = np.zeros(N, dtype=np.int64)
    names = [("a",), ("b@2x2",), ("b",), ("a", "b"), ("a@max",), ("a", "b", "b@2x2")]
    found = [replace(strategy("", values, 1.0), features=Features(layers)) for layers in names]
    found[1] = replace(found[1], values=np.arange(N) % 2)
    training = TrainingSet(ArrayMatrix(np.zeros((N, 1))), np.arange(N) % 2, 2)
    comparison = Comparison.of(found, found[2], training)
    assert comparison.earlier == [found[0], found[3], found[4], found[5]]
    assert comparison.best_last is found[1]


def test_a_gain_is_paired() -> None:
    """Both are wrong on the same images but for ten: the error is that of the ten."""
    found = compared([first(50), first(60)], [0.5, 1.0])
    gain = found.gain(found.strategies[0], found.last)
    assert gain.value == pytest.approx(0.05)
    assert gain.standard_error == pytest.approx(np.sqrt(0.05 * 0.95 / N), rel=0.2)
    assert gain.interval[0] > 0
    assert found.standard_error(found.last) == pytest.approx(np.sqrt(0.3 * 0.7 / N), rel=0.2)


def test_the_cheapest_of_equal_ones_is_chosen_and_one_image_is_no_difference() -> None:
    found = compared([first(40), first(41), first(39)], [0.5, 0.2, 1.0])
    assert found.best is found.strategies[2]
    assert found.chosen is found.strategies[1]
    assert not found.beats(found.best, found.strategies[0], errors=0)


def test_a_better_one_is_chosen_whatever_it_costs() -> None:
    found = compared([first(60), first(20)], [0.1, 1.0])
    assert found.chosen is found.strategies[1]


def test_few_images_do_not_make_four_points_a_price_for_a_cheaper_one() -> None:
    """Each is wrong on images of its own: four points are within a standard error, and are lost."""
    found = compared([first(108), ~first(100)], [0.1, 1.0])
    gain = found.gain(found.last, found.strategies[0])
    assert 0.02 < gain.value < gain.standard_error
    assert found.chosen is found.last


def test_unknown_costs_are_decided_by_size() -> None:
    found = compared([first(40), first(40)], [None, None])
    assert found.chosen is found.strategies[0]


@given(st.lists(st.integers(0, N // 2), min_size=2, max_size=3), st.integers(0, 99))
def test_nothing_cheaper_is_near_and_what_is_chosen_is_near(counts: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    wrong = [np.isin(np.arange(N), random.permutation(N)[:count]) for count in counts]
    costs: list[float | None] = list(random.random(len(counts)))
    found = compared(wrong, costs)
    loss = found.gain(found.best, found.chosen)
    assert loss.value <= min(loss.standard_error + 1 / N, 0.02) + 1e-9
    for one in found.near_best:
        assert (one.cost or 0) >= (found.chosen.cost or 0)
