"""Nearest neighbours, beside scikit-learn's."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from bottleneck.advising import nearest
from bottleneck.advising.nearest import nearest_neighbour_accuracy
from bottleneck.linear import ArrayMatrix, TrainingSet
from tests.helpers.datasets import clouds


@pytest.mark.parametrize("tile", [7, 2048])
def test_leave_one_out_accuracy_is_that_of_scikit_learn(
    tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "_TILE", tile)
    codes, targets = clouds(90, k=2, apart=0.8)
    unit = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    right = []
    for i in range(len(codes)):
        others = np.arange(len(codes)) != i
        neighbours = KNeighborsClassifier(5).fit(unit[others], targets[others])
        right.append(neighbours.predict(unit[i : i + 1])[0] == targets[i])
    found = nearest_neighbour_accuracy(TrainingSet(ArrayMatrix(codes), targets, 2))
    assert found == np.mean(right)


def test_the_own_group_does_not_count() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 6)
    codes = random.normal(size=(60, 8))[groups]  # six copies of each image, of a chance class
    targets = random.integers(2, size=60)[groups]
    training = TrainingSet(ArrayMatrix(codes), targets, 2)
    assert nearest_neighbour_accuracy(training) == 1
    grouped = TrainingSet(ArrayMatrix(codes), targets, 2, groups=groups)
    assert 0.3 < nearest_neighbour_accuracy(grouped) < 0.7


def test_fewer_images_than_neighbours_are_enough() -> None:
    codes = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    training = TrainingSet(ArrayMatrix(codes), np.array([0, 0, 1]), 2)
    assert nearest_neighbour_accuracy(training) == 2 / 3  # of equal votes the nearest decides
