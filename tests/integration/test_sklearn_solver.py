from typing import Any

import numpy as np
import pytest

from benchmarks.fitting import sklearn_solver as reference
from benchmarks.fitting.sklearn_solver import sklearn_path
from bottleneck.linear.matrix import ArrayMatrix
from bottleneck.linear.solver.path import Solution
from tests.helpers.datasets import MODELS, clouds, several
from tests.helpers.problems import Rows

CS = [1e-2, 1.0]


def solved(X: Any, targets: Any, clf: str, **options: Any) -> list[Solution]:
    k = targets.shape[1] if targets.ndim == 2 else int(targets.max()) + 1
    return list(sklearn_path(ArrayMatrix(X), targets, clf=clf, cs=CS, classes=k, **options))


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("clf", ["svm", "softmax"])
@pytest.mark.parametrize("k", [2, 4])
def test_solutions_are_those_of_scikit_learns_estimator(
    clf: str, k: int, class_weight: str | None
) -> None:
    X, y = clouds(n=80, k=k)
    y[:30] = 0
    found = solved(X, y, clf, class_weight=class_weight)
    assert [solution.c for solution in found] == CS
    for solution in found:
        model = MODELS[clf](C=solution.c, class_weight=class_weight).fit(X, y)
        margins = solution.decision_function(X)
        assert margins.shape == (80, 1 if k == 2 else k)
        expected = model.decision_function(X).reshape(margins.shape)
        np.testing.assert_allclose(margins, expected, rtol=1e-2, atol=1e-2)
        assert solution.converged.tolist() == [True]
        assert solution.passes >= 1


@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_several_labels_are_a_classifier_each(clf: str) -> None:
    X, targets = several(n=80)
    for solution in solved(X, targets, clf):
        assert solution.converged.shape == (3,)
        for label in range(3):
            alone = MODELS[clf](C=solution.c).fit(X, targets[:, label])
            expected = alone.decision_function(X)
            np.testing.assert_allclose(solution.decision_function(X)[:, label], expected, atol=1e-2)


@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_nothing_is_proved(clf: str) -> None:
    for solution in solved(*clouds(n=30), clf):
        assert np.isnan(solution.gap).all()
        assert np.isnan(solution.objective).all()


@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_a_solver_that_stops_early_is_not_converged_and_does_not_warn(
    clf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "_ITERATIONS", 2)
    solution = solved(*several(n=80), clf)[-1]
    assert solution.converged.tolist() == [False] * 3
    assert solution.passes == 2


@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_blocks_are_the_same_rows_and_fits_repeat(clf: str) -> None:
    X, y = clouds(n=80, d=200)  # with more features than rows LIBLINEAR draws at random
    blocks = Rows(X, [7, 30], in_memory=False)
    found = sklearn_path(blocks, y, clf=clf, cs=CS, classes=3)
    for streamed, at_once in zip(found, solved(X, y, clf), strict=True):
        np.testing.assert_array_equal(streamed.coef, at_once.coef)
        np.testing.assert_array_equal(streamed.intercept, at_once.intercept)
    assert blocks.reads == 1
