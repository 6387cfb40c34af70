from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from bottleneck.errors import UnknownNameError
from bottleneck.linear import (
    CLASSIFIERS,
    LinearSVM,
    SoftmaxRegression,
    make_classifier,
    one_row_per_class,
)


def data(classes: int, n: int = 80, d: int = 6) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    random = np.random.default_rng(classes)
    y = np.arange(n) % classes
    return random.normal(size=(n, d)) + 0.7 * np.eye(max(classes, d))[y][:, :d], y


def svm_objective(model: Any, X: Any, y: Any, c: float) -> float:
    """½‖w‖² + C Σ max(0, 1 - y m)², intercept penalised as one more weight, over all classes."""
    coef, intercept = np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)
    total = 0.0
    for k, (w, b) in enumerate(zip(coef, intercept, strict=True)):
        sign = np.where(y == (k if len(coef) > 1 else 1), 1.0, -1.0)
        loss = np.maximum(0, 1 - sign * (X @ w + b)) ** 2
        total += 0.5 * (w @ w + b * b) + c * loss.sum()
    return total


def softmax_objective(model: Any, X: Any, y: Any, c: float) -> float:
    coef, intercept = np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)
    margins = X @ coef.T + intercept
    if len(coef) == 1:
        margins = np.hstack([np.zeros_like(margins), margins])
    loss = logsumexp(margins, axis=1) - margins[np.arange(len(y)), y]
    return float(0.5 * (coef**2).sum() + c * loss.sum())


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("c", [1e-3, 1.0, 100.0])
def test_the_svm_minimises_liblinears_objective(classes: int, c: float) -> None:
    X, y = data(classes)
    ours = svm_objective(LinearSVM(c).fit(X, y), X, y, c)
    reference = LinearSVC(C=c, tol=1e-8, max_iter=1_000_000, random_state=1).fit(X, y)
    assert ours == pytest.approx(svm_objective(reference, X, y, c), rel=1e-3)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("c", [1e-3, 1.0, 100.0])
def test_softmax_minimises_logistic_regressions_objective(classes: int, c: float) -> None:
    X, y = data(classes)
    ours = softmax_objective(SoftmaxRegression(c).fit(X, y), X, y, c)
    reference = LogisticRegression(C=c, tol=1e-10, max_iter=100_000).fit(X, y)
    assert ours == pytest.approx(softmax_objective(reference, X, y, c), rel=1e-3)


@pytest.mark.parametrize("clf", CLASSIFIERS)
@pytest.mark.parametrize("classes", [2, 3])
def test_a_row_for_every_class_decides_alike(clf: str, classes: int) -> None:
    X, y = data(classes)
    model = make_classifier(clf, c=1.0, class_weight=None).fit(X, y)
    coef, intercept = one_row_per_class(model)
    assert coef.shape == (classes, X.shape[1])
    margins = X @ coef.T + intercept
    np.testing.assert_array_equal(margins.argmax(1), model.predict(X))
    if clf == "softmax":
        probabilities = np.exp(margins - logsumexp(margins, axis=1, keepdims=True))
        np.testing.assert_allclose(probabilities, model.predict_proba(X))
    else:
        decision = model.decision_function(X)
        expected = np.stack([-decision, decision], axis=1) if classes == 2 else decision
        np.testing.assert_allclose(margins, expected)


@pytest.mark.parametrize("clf", CLASSIFIERS)
def test_balanced_weights_are_those_of_repeated_rows(clf: str) -> None:
    X, y = data(2)
    few = np.r_[np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:10]]  # 40 against 10
    X, y = X[few], y[few]
    balanced = make_classifier(clf, c=1.0, class_weight="balanced").fit(X, y)
    weight = np.where(y == 0, 50 / 80, 50 / 20)
    weighted = make_classifier(clf, c=1.0, class_weight=None).fit(X, y, weight)
    np.testing.assert_allclose(balanced.coef_, weighted.coef_, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("clf", CLASSIFIERS)
def test_they_are_scikit_learns_estimators(clf: str) -> None:
    X, y = data(3)
    pipeline = make_pipeline(StandardScaler(), CLASSIFIERS[clf]())
    name = pipeline.steps[-1][0]
    search = GridSearchCV(pipeline, {f"{name}__C": [0.01, 1.0]}, cv=3).fit(X, y)
    assert search.best_params_[f"{name}__C"] in (0.01, 1.0)
    assert clone(CLASSIFIERS[clf](0.5, class_weight="balanced")).get_params() == {
        "C": 0.5,
        "class_weight": "balanced",
    }


@pytest.mark.parametrize("clf", CLASSIFIERS)
def test_a_solver_that_stops_early_says_so_without_a_warning(clf: str) -> None:
    X, y = data(3)
    model = CLASSIFIERS[clf](1e5)
    model.max_iter = 2
    assert not model.fit(X * 100, y).converged_
    assert CLASSIFIERS[clf](1e-3).fit(X, y).converged_


def test_fits_repeat() -> None:
    X, y = data(4)
    np.testing.assert_array_equal(LinearSVM(10.0).fit(X, y).coef_, LinearSVM(10.0).fit(X, y).coef_)


def test_an_unknown_classifier_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown classifier 'svn': did you mean svm"):
        make_classifier("svn", c=1.0, class_weight=None)
