import pickle
import re
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, softmax
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from bottleneck.errors import InvalidOptionError
from bottleneck.linear.estimators import LinearSVM, SoftmaxRegression

BOTH: list[Any] = [LinearSVM, SoftmaxRegression]

each = pytest.mark.parametrize("kind", BOTH)
two_and_more = pytest.mark.parametrize("k", [2, 4])


def data(k: int, n: int = 120, d: int = 6, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Classes that overlap, of unequal sizes, named."""
    random = np.random.default_rng(seed)
    y = np.r_[np.arange(k), np.arange(k), random.choice(k, n - 2 * k, p=_shares(k))]
    centres = np.random.default_rng(k).normal(size=(k, d))
    return random.normal(size=(n, d)) + 0.3 + centres[y], np.array(["elk", "ant", "yak", "bee"])[y]


def _shares(k: int) -> NDArray[np.float64]:
    squares = np.arange(k, 0, -1) ** 2
    return np.asarray(squares / squares.sum())


def sklearns(kind: Any, **options: Any) -> Any:
    """The estimator that ours stands in for, solved to the last digits."""
    if kind is LinearSVM:
        return LinearSVC(**{"dual": False, "tol": 1e-9, "max_iter": 100_000} | options)
    return LogisticRegression(
        **{"tol": 1e-11, "max_iter": 1000, "solver": "newton-cholesky"} | options
    )


# None of scikit-learn's checks is expected to fail. One, check_array_api_input, scikit-learn skips
# by itself unless the environment has SCIPY_ARRAY_API=1.
@parametrize_with_checks([LinearSVM(), SoftmaxRegression()])  # type: ignore[untyped-decorator, unused-ignore]
def test_they_are_scikit_learns_estimators(estimator: BaseEstimator, check: Any) -> None:
    check(estimator)


# ---- the same answers


@each
@two_and_more
@pytest.mark.parametrize(
    "options",
    [
        {"C": 0.02},
        {"C": 20.0},
        {"fit_intercept": False},
        {"class_weight": "balanced"},
        {"class_weight": {"elk": 3.0, "ant": 0.25}},
    ],
    ids=str,
)
def test_predictions_are_scikit_learns(kind: Any, k: int, options: dict[str, Any]) -> None:
    X, y = data(k)
    unseen, _ = data(k, seed=1)
    found, expected = kind(tol=1e-10, **options).fit(X, y), sklearns(kind, **options).fit(X, y)
    np.testing.assert_array_equal(found.classes_, expected.classes_)
    assert found.coef_.shape == expected.coef_.shape
    assert found.intercept_.shape == found.coef_.shape[:1]
    margins, reference = found.decision_function(unseen), expected.decision_function(unseen)
    if kind is SoftmaxRegression and k > 2:  # only differences of margins matter
        margins, reference = (m - m.mean(axis=1, keepdims=True) for m in (margins, reference))
    np.testing.assert_allclose(margins, reference, atol=2e-3)
    np.testing.assert_array_equal(found.predict(unseen), expected.predict(unseen))
    assert found.score(unseen, y) == expected.score(unseen, y)
    assert found.n_features_in_ == X.shape[1]


@two_and_more
def test_probabilities_are_those_of_logistic_regression(k: int) -> None:
    X, y = data(k)
    unseen, _ = data(k, seed=1)
    found, expected = SoftmaxRegression(tol=1e-10), sklearns(SoftmaxRegression)
    found.fit(X, y)
    expected.fit(X, y)
    probabilities = found.predict_proba(unseen)
    np.testing.assert_allclose(probabilities, expected.predict_proba(unseen), atol=1e-4)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(found.predict_log_proba(unseen), np.log(probabilities))


@each
@pytest.mark.parametrize("n", [2000, 100])
def test_a_rare_class_is_learnt_to_the_tolerance(kind: Any, n: int) -> None:
    # Far from the minimum a free intercept's gradient is large, and must not pass for a proof.
    X, y = data(4, n, 200, seed=3)
    rare = y == "bee"
    assert rare.mean() < 0.06
    options = {"dual": n < 200} if kind is LinearSVM else {}
    found, expected = kind().fit(X, rare), sklearns(kind, **options).fit(X, rare)
    assert found.converged_

    def objective(model: Any) -> float:
        w, b = model.coef_[0], model.intercept_[0]
        wrong = np.where(rare, -1, 1) * (X @ w + b)
        if kind is LinearSVM:
            return float((w @ w + b * b) / 2 + (np.maximum(0, 1 + wrong) ** 2).sum())
        return float(w @ w / 2 + np.logaddexp(0, wrong).sum())

    assert objective(found) <= objective(expected) * (1 + 3e-4)


@each
@two_and_more
def test_sample_weights_are_scikit_learns(kind: Any, k: int) -> None:
    X, y = data(k)
    weight = np.random.default_rng(0).uniform(0.1, 3, len(y))
    found = kind(tol=1e-10).fit(X, y, weight)
    expected = sklearns(kind).fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(found.coef_, expected.coef_, atol=1e-3)


@each
@two_and_more
@pytest.mark.parametrize("n", [120, 30])
def test_rows_of_weight_zero_are_left_out(kind: Any, k: int, n: int) -> None:
    X, y = data(k, n, 40)
    weight = np.where(np.arange(n) < 2 * k, 1.0, np.arange(n) % 3)
    kept = weight > 0
    without = kind(tol=1e-10).fit(X[kept], y[kept], weight[kept])
    X[~kept] = 1e6  # and its codes are not looked at
    found = kind(tol=1e-10).fit(X, y, weight)
    np.testing.assert_allclose(found.coef_, without.coef_, atol=1e-6)
    np.testing.assert_allclose(found.intercept_, without.intercept_, atol=1e-6)


@each
def test_classes_of_weight_zero_are_left_out(kind: Any) -> None:
    X, y = data(4)
    found = kind().fit(X, y, np.where(y == "ant", 0.0, 1.0))
    np.testing.assert_array_equal(found.classes_, ["bee", "elk", "yak"])
    assert found.decision_function(X).shape == (len(X), 3)


@each
@two_and_more
def test_balanced_counts_a_row_of_weight_two_twice(kind: Any, k: int) -> None:
    X, y = data(k)
    times = np.random.default_rng(0).integers(1, 4, len(y))
    weighted = kind(class_weight="balanced", tol=1e-10).fit(X, y, times)
    rows = np.repeat(np.arange(len(y)), times)
    expected = sklearns(kind, class_weight="balanced").fit(X[rows], y[rows])
    np.testing.assert_allclose(weighted.coef_, expected.coef_, atol=1e-3)


@each
@pytest.mark.parametrize("n", [120, 30])
def test_a_class_may_weigh_nothing(kind: Any, n: int) -> None:
    X, y = data(4, n, 40)
    weights = {"elk": 2.0, "ant": 0.0}
    found = kind(class_weight=weights, tol=1e-8).fit(X, y)
    options = {"dual": n < 40} if kind is LinearSVM else {}
    expected = sklearns(kind, class_weight=weights, **options).fit(X, y)
    np.testing.assert_allclose(found.coef_, expected.coef_, atol=5e-3)


# ---- in scikit-learn's company


@each
def test_they_work_in_pipelines_and_searches(kind: Any) -> None:
    X, y = data(3)
    pipeline = make_pipeline(StandardScaler(), kind())
    name = f"{pipeline.steps[-1][0]}__C"
    search = GridSearchCV(pipeline, {name: [1e-6, 1.0]}, cv=3).fit(X, y)
    reference = make_pipeline(StandardScaler(), sklearns(kind))
    expected = cross_val_score(reference, X, y, cv=3)
    assert search.best_params_ == {name: 1.0}
    assert search.best_score_ == pytest.approx(expected.mean(), abs=0.01)
    np.testing.assert_allclose(cross_val_score(pipeline, X, y, cv=3), expected, atol=0.03)


@each
def test_clones_have_every_option(kind: Any) -> None:
    options = {
        "C": 0.5,
        "fit_intercept": False,
        "class_weight": {"ant": 2.0},
        "tol": 1e-3,
        "max_iter": 7,
        "device": "cpu",
    }
    if kind is LinearSVM:
        options["probability"] = True
    copy = clone(kind(**options))
    assert copy.get_params() == options
    assert kind(0.5).get_params()["C"] == 0.5  # C alone needs no name


@pytest.mark.parametrize("model", [LinearSVM(probability=True), SoftmaxRegression()])
@two_and_more
def test_fitted_ones_can_be_pickled(model: Any, k: int) -> None:
    X, y = data(k)
    fitted = clone(model).fit(X, y)
    loaded = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(loaded.predict(X), fitted.predict(X))
    np.testing.assert_array_equal(loaded.predict_proba(X), fitted.predict_proba(X))


@pytest.mark.parametrize("model", [LinearSVM(probability=True), SoftmaxRegression()])
@two_and_more
def test_fits_repeat(model: Any, k: int) -> None:
    X, y = data(k)
    first, second = (clone(model).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(first.coef_, second.coef_)
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))


@each
@pytest.mark.parametrize(
    "names", [["no", "yes"], [False, True], [-1, 1], [7, 3], ["b", "a", "c"], [2.0, 5.0, 1.0]]
)
def test_labels_are_answered_in_their_own_kind(kind: Any, names: list[Any]) -> None:
    random = np.random.default_rng(0)
    codes = random.integers(0, len(names), 60)
    X, y = 5 * np.eye(len(names))[codes] + random.normal(size=(60, len(names))), np.array(names)
    model = kind().fit(X, y[codes])
    np.testing.assert_array_equal(model.classes_, sorted(names))
    answers = model.predict(X)
    assert answers.dtype == y.dtype
    assert (answers == y[codes]).mean() > 0.9


@each
@two_and_more
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_coefficients_have_the_precision_of_the_codes(kind: Any, k: int, dtype: Any) -> None:
    X, y = data(k)
    model = kind().fit(X.astype(dtype), y)
    assert model.coef_.dtype == model.intercept_.dtype == dtype
    assert model.decision_function(X.astype(dtype)).dtype == dtype
    assert kind().fit((X * 10).astype(int), y).coef_.dtype == np.float64


@each
@two_and_more
def test_a_device_gives_the_same_classifier(kind: Any, k: int) -> None:
    X, y = data(k)
    plain, moved = (kind(0.1, tol=1e-8, device=device).fit(X, y) for device in (None, "cpu"))
    assert isinstance(moved.coef_, np.ndarray)
    np.testing.assert_allclose(moved.coef_, plain.coef_, atol=1e-3)
    np.testing.assert_array_equal(moved.predict(X), plain.predict(X))


@each
def test_a_device_that_torch_does_not_know_is_refused(kind: Any) -> None:
    X, y = data(2)
    with pytest.raises(
        InvalidOptionError, match="`device='abacus'`: must be one of this machine's: auto, cpu"
    ):
        kind(device="abacus").fit(X, y)


# ---- what they say of themselves


@each
@two_and_more
def test_stopping_early_warns(kind: Any, k: int) -> None:
    X, y = data(k)
    model = kind(0.02, max_iter=1)  # a larger C is walked to, with as many passes for each step
    with pytest.warns(
        ConvergenceWarning, match=rf"{kind.__name__} stopped after 1 passes.*max_iter"
    ):
        model.fit(X, y)
    assert model.converged_ is False
    assert model.gap_.max() > model.tol
    assert model.predict(X).shape == (len(X),)  # such as it is


def test_one_class_of_many_that_stops_early_warns() -> None:
    X, y = data(4)
    X[:, 0] = 20 * (y == "yak")  # the others are harder
    seen = set()
    for passes in [*range(1, 40, 3), 1000]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = LinearSVM(max_iter=passes).fit(X, y)
        within = model.gap_ <= model.tol
        assert model.converged_ == within.all() == (not caught)
        seen.add((bool(within.any()), bool(within.all())))
    assert seen >= {(True, False), (True, True)}


@each
@two_and_more
def test_convergence_is_reported(kind: Any, k: int) -> None:
    X, y = data(k)
    rough, fine = kind(tol=1e-2).fit(X, y), kind(tol=1e-8).fit(X, y)
    problems = k if kind is LinearSVM and k > 2 else 1
    for model in (rough, fine):
        assert model.converged_ is True
        assert model.gap_.shape == (problems,)
        assert (model.gap_ <= model.tol).all()
    assert 1 <= rough.n_iter_ < fine.n_iter_


# ---- probabilities of an SVM


@two_and_more
def test_logarithms_of_probabilities_that_are_zero_are_finite(k: int) -> None:
    X, y = data(k)
    model = SoftmaxRegression().fit(X, y)
    far = 1e4 * X
    assert model.predict_proba(far).min() == 0
    logs = model.predict_log_proba(far)
    margins = np.atleast_2d(model.decision_function(far).T).T
    if k == 2:
        margins = np.hstack([0 * margins, margins])
    np.testing.assert_allclose(logs, log_softmax(margins, axis=1), rtol=1e-9)


@each
def test_a_class_weight_of_zero_for_every_class_is_refused(kind: Any) -> None:
    X, y = data(2)
    with pytest.raises(ValueError, match="nor 0 for every class"):
        kind(class_weight=dict.fromkeys(np.unique(y), 0.0)).fit(X, y)


def test_predict_proba_without_probability_names_the_option() -> None:
    X, y = data(3)
    model = LinearSVM().fit(X, y)
    assert not hasattr(model, "predict_proba")
    with pytest.raises(AttributeError, match="has no attribute 'predict_proba'") as caught:
        model.predict_proba(X)
    assert "needs LinearSVM(probability=True)" in str(caught.value.__cause__)
    assert hasattr(LinearSVM(probability=True), "predict_proba")
    refitted = LinearSVM(probability=True).fit(X, y).set_params(probability=False).fit(-X, y)
    refitted.set_params(probability=True)  # the temperature was that of other rows
    for unfitted in (
        LinearSVM(probability=True),
        model.set_params(probability=True),
        refitted,
    ):
        with pytest.raises(NotFittedError):
            unfitted.predict_proba(X)


@two_and_more
def test_probability_changes_no_decision(k: int) -> None:
    X, y = data(k)
    plain, model = LinearSVM().fit(X, y), LinearSVM(probability=True).fit(X, y)
    np.testing.assert_array_equal(model.coef_, plain.coef_)
    probabilities = model.predict_proba(X)
    assert probabilities.shape == (len(X), k)
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(model.classes_[probabilities.argmax(axis=1)], model.predict(X))


@two_and_more
def test_probabilities_are_better_than_those_of_raw_margins(k: int) -> None:
    X, y = make_classification(
        3000, 20, n_informative=8, n_classes=k, flip_y=0.05, class_sep=0.8, random_state=0
    )
    model = LinearSVM(probability=True).fit(X[:1500], y[:1500])
    margins = model.decision_function(X[1500:])
    if k == 2:
        margins = np.stack([-margins, margins], axis=1)
    raw, *others = (
        log_loss(y[1500:], softmax(slope * margins, axis=1))
        for slope in np.r_[1, np.geomspace(0.1, 10, 100)]
    )
    found = log_loss(y[1500:], model.predict_proba(X[1500:]))
    assert found < raw - 0.01
    assert found < min(others) + 0.005  # no temperature would have been much better


@two_and_more
def test_the_temperature_is_learnt_from_margins_of_unseen_rows(k: int) -> None:
    # Labels at random and more features than rows: every row that was learnt from is answered
    # with a margin of 1 or so, and no unseen one is known.
    random = np.random.default_rng(0)
    X, y = random.normal(size=(60, 200)), np.arange(60) % k
    model = LinearSVM(10.0, probability=True).fit(X, y)
    assert model.score(X, y) == 1
    assert model.predict_proba(X).max(axis=1).mean() < 1 / k + 0.1
    unseen = random.normal(size=(400, 200))
    assert log_loss(np.arange(400) % k, model.predict_proba(unseen)) < np.log(k) + 0.02


@two_and_more
def test_the_temperature_is_that_of_cross_validated_margins(k: int) -> None:
    # Logistic regression without an intercept on one feature, the margin, is a temperature.
    X, y = data(k, 300)
    model = LinearSVM(probability=True, class_weight="balanced", tol=1e-8).fit(X, y)
    margins = np.zeros((len(y), k))
    for here, unseen in StratifiedKFold(5, shuffle=True, random_state=0).split(X, y):
        part = sklearns(LinearSVM, class_weight="balanced").fit(X[here], y[here])
        found = part.decision_function(X[unseen])
        margins[unseen] = np.stack([-found, found], axis=1) if k == 2 else found
    right = np.searchsorted(model.classes_, y)

    def loss(slope: float) -> float:
        return float(log_loss(right, softmax(slope * margins, axis=1)))

    slope = model.calibration_.slope[0]
    assert loss(slope) <= min(loss(slope * 0.99), loss(slope * 1.01)) + 1e-9
    if k == 2:
        expected = expit(2 * slope * model.decision_function(X))
        np.testing.assert_allclose(model.predict_proba(X)[:, 1], expected)


def test_probability_needs_two_rows_of_every_class() -> None:
    X, y = data(3)
    few = np.r_[np.flatnonzero(y != "yak"), np.flatnonzero(y == "yak")[:2]]
    assert LinearSVM(probability=True).fit(X[few], y[few]).predict_proba(X).shape == (len(X), 3)
    with pytest.raises(ValueError, match=r"at least 2 rows of every class. Got a class with 1"):
        LinearSVM(probability=True).fit(X[few[:-1]], y[few[:-1]])


def test_rows_without_weight_have_no_part_in_probabilities() -> None:
    X, y = data(3)
    weight = np.where(np.arange(len(y)) < 6, 1.0, np.arange(len(y)) % 3)
    kept = weight > 0
    found = LinearSVM(probability=True).fit(X, y, weight)
    expected = LinearSVM(probability=True).fit(X[kept], y[kept], weight[kept])
    np.testing.assert_allclose(found.calibration_.slope, expected.calibration_.slope)


# ---- what they refuse


@each
@pytest.mark.parametrize(
    "options",
    [
        {"C": 0.0},
        {"C": -1.0},
        {"C": np.nan},
        {"C": np.inf},
        {"C": 1e31},
        {"tol": 0.0},
        {"tol": -1e-4},
        {"tol": np.nan},
        {"max_iter": 0},
    ],
    ids=str,
)
def test_impossible_options_are_refused_when_fitting(kind: Any, options: dict[str, Any]) -> None:
    X, y = data(3)
    model = kind(**options)  # as scikit-learn asks, not before
    (name, value) = next(iter(options.items()))
    got = re.escape(f"{name}={value}")
    with pytest.raises(ValueError, match=rf"C and tol must be above 0.*Got .*{got}"):
        model.fit(X, y)


@each
def test_impossible_weights_are_refused(kind: Any) -> None:
    X, y = data(3)
    with pytest.raises(ValueError, match=r"[Nn]egative"):
        kind().fit(X, y, np.where(y == "ant", -1.0, 1.0))
    with pytest.raises(ValueError, match="negative"):
        kind(class_weight={"ant": -1.0}).fit(X, y)
    with pytest.raises(ValueError, match="class_weight"):
        kind(class_weight="balance").fit(X, y)


@each
def test_a_single_class_is_refused(kind: Any) -> None:
    X, y = data(3)
    with pytest.raises(ValueError, match="at least 2 classes, but the data contains only one"):
        kind().fit(X, np.full(len(X), "ant"))
    with pytest.raises(ValueError, match="at least 2 classes"):
        kind().fit(X, y, (y == "ant").astype(float))


@each
@pytest.mark.parametrize("method", ["predict", "decision_function"])
def test_unfitted_estimators_raise_an_error(kind: Any, method: str) -> None:
    X, y = data(3)
    with pytest.raises(NotFittedError):
        getattr(kind(), method)(X)
    with pytest.raises(ValueError, match="X has 5 features"):
        getattr(kind().fit(X, y), method)(X[:, :5])


def test_probabilities_vanish_in_scripts_that_make_underflow_an_error() -> None:
    y = np.repeat(np.arange(3), 4)
    X = np.random.default_rng(3).normal(size=(12, 6)) + 2 * np.eye(6)[y]
    with np.errstate(all="raise"):
        classifier = SoftmaxRegression(C=1e10).fit(X.astype(np.float32), y)
        assert classifier.predict_proba(1e4 * X).max(axis=1).tolist() == [1] * 12
