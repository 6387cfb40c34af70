import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from bottleneck.fitting.selection.fold_search import FoldSearch, fold_bytes
from bottleneck.fitting.selection.folds import make_folds
from bottleneck.linear.matrix import ArrayMatrix
from bottleneck.linear.training import ClassifierOptions, TrainingSet
from tests.helpers.datasets import by_sklearn, clouds, training
from tests.helpers.problems import Rows


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("clf", ["svm", "softmax"])
@pytest.mark.parametrize("in_memory", [True, False])
def test_a_fold_judges_rows_it_was_not_trained_on(clf: str, k: int, in_memory: bool) -> None:
    X, y = clouds(k=k)
    codes = ArrayMatrix(X) if in_memory else Rows(X, [7, 30, 64], in_memory=False)
    here, validation = split = make_folds(training(X, y), 4)[0]
    fold = FoldSearch(
        TrainingSet(codes, y, k), split, ClassifierOptions(clf), scaling="standardize", max_c=1.0
    )
    solutions = list(fold.solve([0.01, 1.0], tol=1e-6))
    scores = fold.scores(solutions, "accuracy")
    for solution, score in zip(solutions, scores, strict=True):
        model = by_sklearn(clf, solution.c).fit(X[here], y[here])
        expected = model.decision_function(X[validation])
        values = fold.decision_values(solution)
        assert values.shape == (len(validation), k)
        if k == 2:  # as a head's: of softmax -m/2 and m/2, so that theirs is m
            share = 0.5 if clf == "softmax" else 1.0
            expected = share * np.stack([-expected, expected], axis=1)
        np.testing.assert_allclose(values, expected, atol=0.02)
        assert score == accuracy_score(y[validation], values.argmax(axis=1))


def test_the_estimate_counts_rows_basis_and_minimisers() -> None:
    X, y = clouds(n=240, d=6)
    seven = 7 * 4  # features and intercept, in float32
    expected = 240 * 240 * 4 + 240 * seven + 29 * seven * 3 + 8 * 7 * 7
    assert fold_bytes(training(X, y), 29) == expected
