from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottleneck.fitting.scoring.paired import compare_pairs


def exact(gained: int, lost: int) -> float:
    """McNemar's two-sided p, by the coefficients of a fair coin."""
    n = gained + lost
    tail = sum(comb(n, i) for i in range(min(gained, lost) + 1))
    return min(1.0, float(2 * tail / 2.0**n))


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 10))
def test_p_is_mcnemars_and_images_that_both_predict_alike_do_not_count(
    gained: int, lost: int, alike: int
) -> None:
    first = np.array([True] * gained + [False] * lost + [True, False] * alike, dtype=bool)
    second = np.array([False] * gained + [True] * lost + [True, False] * alike, dtype=bool)
    found = compare_pairs(first, second)
    assert (found.gained, found.lost, found.groups) == (gained, lost, None)
    assert found.p == pytest.approx(exact(gained, lost))
    other = compare_pairs(second, first)
    assert (other.gained, other.lost) == (lost, gained)
    assert other.p == pytest.approx(found.p)


def test_groups_of_one_image_are_images_alone() -> None:
    random = np.random.default_rng(0)
    first, second = random.random(80) < 0.8, random.random(80) < 0.5
    alone, grouped = compare_pairs(first, second), compare_pairs(first, second, np.arange(80) * 7)
    assert (grouped.gained, grouped.lost) == (alone.gained, alone.lost)
    assert grouped.p == alone.p < 0.05


def test_images_of_one_group_say_less() -> None:
    first, second = np.arange(40) < 30, np.arange(40) >= 30
    groups = np.arange(40) // 5
    alone, grouped = compare_pairs(first, second), compare_pairs(first, second, groups)
    assert alone.significant and not grouped.significant
    assert grouped.groups == 8
    assert grouped.p >= exact(6, 2) - 1e-9  # at most as sure as eight images would be
    assert compare_pairs(first, second, np.zeros(40, dtype=np.int64)).p == 1


def test_the_error_of_the_first_kind_is_what_it_says_with_groups() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 5)
    false_alarms = {True: 0, False: 0}
    for _ in range(200):
        # Equally good: each group prefers one of the two, for all of its images that differ.
        prefers = np.repeat(random.random(60) < 0.5, 5)
        differ = random.random(300) < 0.3
        first, second = differ & prefers, differ & ~prefers
        for known in (True, False):
            found = compare_pairs(first, second, groups if known else None)
            false_alarms[known] += found.significant
    assert false_alarms[True] <= 0.08 * 200
    assert false_alarms[False] > 0.08 * 200  # as images alone


def test_its_text_names_both_counts_and_p() -> None:
    found = compare_pairs(np.arange(12) < 11, np.arange(12) < 3)
    assert str(found) == "right alone on 8 images against 0, p = 0.0078 (McNemar's exact test)"
    assert found.to_dict() == {"gained": 8, "lost": 0, "p": found.p, "groups": None}
