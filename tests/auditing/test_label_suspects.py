"""Suspect labels are those of the paper's definition, here once more in loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from bottleneck.auditing.label_suspects import (
    LabelSuspect,
    find_suspects,
    is_better_than_guessing,
)


@given(seed=st.integers(0, 1000), n=st.integers(1, 30), k=st.integers(2, 5))
def test_they_are_off_the_diagonal_of_the_confident_joint(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities, targets = rng.dirichlet(np.full(k, 0.5), n), rng.integers(0, k, n)
    threshold = {
        j: float(np.mean([probabilities[i, j] for i in range(n) if targets[i] == j]))
        for j in set(targets.tolist())
    }
    wanted = {}
    for i in range(n):
        above = [j for j, limit in threshold.items() if probabilities[i, j] >= limit]
        if above:
            best = max(above, key=lambda j: probabilities[i, j])
            if best != targets[i]:
                other = max(probabilities[i, j] for j in range(k) if j != targets[i])
                wanted[i] = (best, probabilities[i, targets[i]] - other)
    rows, suggested, margin = find_suspects(probabilities, targets)
    assert set(rows.tolist()) == set(wanted)
    assert list(margin) == sorted(margin)
    for i, best, value in zip(rows.tolist(), suggested.tolist(), margin.tolist(), strict=True):
        assert (best, pytest.approx(value)) == (wanted[i][0], wanted[i][1])


def test_a_class_that_no_label_has_is_not_suggested() -> None:
    rows, _, _ = find_suspects(np.array([[0.1, 0.0, 0.9], [0.2, 0.7, 0.1]]), np.array([0, 1]))
    assert rows.tolist() == []


def test_guessing_is_no_better_than_the_most_frequent_class_but_for_chance() -> None:
    """By scipy's binomial test at about two standard errors."""
    targets = np.repeat([0, 1], [60, 40])
    for right in range(50, 101):
        values = np.eye(2)[np.where(np.arange(100) < right, targets, 1 - targets)]
        p = binomtest(right, 100, 0.6, alternative="greater").pvalue
        if not 0.01 < p < 0.05:
            assert is_better_than_guessing(values, targets) == (p < 0.02)


def test_plain_values() -> None:
    suspect = LabelSuspect("a.jpg", "val", "cat", "dog", -0.5)
    assert suspect.to_dict() == {
        "path": "a.jpg",
        "split": "val",
        "label": "cat",
        "suggested": "dog",
        "score": -0.5,
    }
