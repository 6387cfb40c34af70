"""Tests of the bootstrap of images and groups."""

import numpy as np
import pytest

from bottleneck.fitting.scoring.resampling import _rows_of, bootstrap_interval, resampled_scores


def test_the_first_row_is_of_all_images_and_the_error_that_of_a_share() -> None:
    random = np.random.default_rng(0)
    targets = random.integers(2, size=400)
    wrong = np.where(random.random(400) < 0.2, 1 - targets, targets)
    scores = resampled_scores([[wrong]], targets, 2)
    p = (wrong == targets).mean()
    assert scores[0, 0] == p
    assert scores[1:, 0].std() == pytest.approx(np.sqrt(p * (1 - p) / 400), rel=0.2)


def test_copies_in_a_group_add_nothing() -> None:
    random = np.random.default_rng(0)
    targets = random.integers(2, size=100)
    wrong = np.where(random.random(100) < 0.2, 1 - targets, targets)
    alone = resampled_scores([[wrong]], targets, 2)[1:].std()
    groups = np.repeat(np.arange(100), 4)
    copied = resampled_scores([[wrong[groups]]], targets[groups], 2, groups=groups)[1:].std()
    assert copied == pytest.approx(alone, rel=0.2)


def test_the_rows_of_drawn_groups_are_all_of_theirs() -> None:
    rows_of = _rows_of(np.array([7, 3, 7, 5, 3, 7]))
    assert rows_of(np.array([2, 0, 2])).tolist() == [0, 2, 5, 1, 4, 0, 2, 5]
    assert rows_of(np.array([1])).tolist() == [3]


def test_equal_classifiers_never_differ_and_versions_are_averaged() -> None:
    random = np.random.default_rng(0)
    targets = random.integers(3, size=90)
    guess = random.integers(3, size=90)
    scores = resampled_scores([[guess], [guess], [guess, targets]], targets, 3, metric="balanced")
    np.testing.assert_array_equal(scores[:, 0], scores[:, 1])
    assert scores[0, 2] == pytest.approx((scores[0, 0] + 1) / 2)
    assert scores[1:, 2].std() > 2 * scores[1:, 0].std()  # one of two versions, or the other


def test_several_labels_are_scored_by_precision() -> None:
    targets = np.zeros((40, 2), dtype=bool)
    targets[0, 0] = targets[1, 1] = True  # a sample of 40 often has neither
    scores = resampled_scores([[targets.astype(float)]], targets, 2)
    assert (scores == 1).all()


def test_the_interval_has_the_value() -> None:
    assert bootstrap_interval(np.array([5.0, 1.0, 1.0])) == (1.0, 5.0)


def test_the_bounds_are_of_every_sample_and_not_of_the_value() -> None:
    interval = bootstrap_interval(np.array([0.75, 0.0, 1.0]))
    assert interval == pytest.approx((0.025, 0.975))
