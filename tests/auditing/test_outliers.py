"""Outliers are the images that were put far away."""

import numpy as np
from numpy.typing import NDArray

from bottleneck.auditing.neighbours import Neighbours, find_neighbours
from bottleneck.auditing.outliers import Outlier, find_outliers
from bottleneck.linear.matrix import ArrayMatrix


def neighbours(codes: NDArray[np.float64]) -> Neighbours:
    unit = (codes / np.linalg.norm(codes, axis=1, keepdims=True)).astype(np.float32)
    return find_neighbours(ArrayMatrix(unit), 20, memory=1)


def a_cap(n: int = 100) -> NDArray[np.float64]:
    """Codes around one direction."""
    return np.asarray(np.random.default_rng(0).normal(size=(n, 6)) * 0.1 + np.eye(6)[0])


def test_the_farthest_comes_first() -> None:
    codes = a_cap()
    codes[30], codes[60] = -np.eye(6)[0], np.eye(6)[1]
    rows, score = find_outliers(neighbours(codes), np.arange(100))
    assert rows[:2].tolist() == [30, 60]
    assert len(rows) < 8
    assert score[0] > score[1] > 3
    assert (np.diff(score) <= 0).all()


def test_copies_of_an_outlier_do_not_hide_it() -> None:
    codes = a_cap()
    codes[:12] = -np.eye(6)[0]
    component = np.arange(100)
    assert not set(range(12)) & set(find_outliers(neighbours(codes), component)[0].tolist())
    component[:12] = 0
    rows, _ = find_outliers(neighbours(codes), component)
    assert set(rows[:12].tolist()) == set(range(12))


def test_among_equals_there_is_none() -> None:
    assert find_outliers(neighbours(np.ones((30, 6))), np.arange(30))[0].tolist() == []
    assert find_outliers(neighbours(a_cap(1)), np.arange(1))[0].tolist() == []
    assert find_outliers(neighbours(a_cap()), np.zeros(100, dtype=int))[0].tolist() == []


def test_plain_values() -> None:
    assert Outlier("a", "val", "cat", 2.0).to_dict() == {
        "path": "a",
        "split": "val",
        "label": "cat",
        "score": 2.0,
    }
