from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logsumexp, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from bottleneck.errors import UnknownNameError
from bottleneck.linear.classifiers import (
    CLASSIFIERS,
    _best_constant,
    _weights,
    array_mover,
    expand_binary,
    require_classifier,
)
from bottleneck.linear.matrix import ArrayMatrix
from bottleneck.linear.solver import eigenbasis
from bottleneck.linear.solver.design import ArrayDesign
from bottleneck.linear.solver.path import Solution
from tests.helpers.datasets import clouds
from tests.helpers.forked import fork
from tests.helpers.problems import F64, KINDS, Problem, Rows, classes_of, fit_path

TIGHT = 1e-10  # the objective's share; coefficients are then within its root
SHAPES = [(90, 6), (30, 50)]  # more rows than features, and fewer


def data(
    shares: list[float], n: int, d: int, dtype: Any = np.float64
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Classes that overlap, of about such shares, none of them empty; the mean is not zero."""
    random, k = np.random.default_rng(n + d), len(shares)
    y = random.choice(k, size=n, p=shares)
    y[: 2 * k] = np.r_[np.arange(k), np.arange(k)]
    centres = 0.4 + 1.5 * random.normal(size=(k, d)) / np.sqrt(d)
    return (random.normal(size=(n, d)) + centres[y]).astype(dtype), y


BALANCED = {2: [0.5, 0.5], 4: [0.25] * 4}
RARE = {2: [0.93, 0.07], 4: [0.7, 0.2, 0.05, 0.05]}


def train(X: NDArray[Any], y: NDArray[Any], clf: str, c: float = 1.0, **options: Any) -> Solution:
    classes = y.shape[1] if y.ndim == 2 else int(y.max()) + 1
    settings: dict[str, Any] = {"classes": classes, "tol": TIGHT} | options
    (found,) = fit_path(ArrayMatrix(X), y, clf=clf, cs=[c], **settings)
    return found


def sklearns(clf: str, c: float, *, rows: bool, **options: Any) -> Any:
    """LinearSVC or LogisticRegression, solved to the last digits; `rows` where they are few."""
    if clf == "svm":  # LIBLINEAR's primal solver is the finer where it can be used
        model = LinearSVC(C=c, tol=1e-9, max_iter=1_000_000, random_state=0, dual=rows)
    else:
        model = LogisticRegression(C=c, tol=1e-11, max_iter=1000, solver="newton-cholesky")
    return model.set_params(**options)


def centred(clf: str, intercept: F64) -> F64:
    """Intercepts of a softmax over three classes or more, of which only differences matter."""
    free = clf == "softmax" and len(intercept) > 1
    return np.asarray(intercept - intercept.mean() if free else intercept)


def assert_same(found: Solution, reference: Any, clf: str, atol: float = 1e-3) -> None:
    assert found.converged.all()
    np.testing.assert_allclose(found.coef, reference.coef_, atol=atol)
    ours, theirs = centred(clf, found.intercept), centred(clf, reference.intercept_)
    np.testing.assert_allclose(ours, theirs, atol=atol)


def repeated(y: NDArray[Any]) -> F64:
    """Weights for rows, of every size."""
    return np.random.default_rng(1).uniform(0.1, 4, len(y))


@pytest.mark.parametrize("clf", CLASSIFIERS)
@pytest.mark.parametrize("shares", [BALANCED[2], BALANCED[4], RARE[2], RARE[4]])
@pytest.mark.parametrize(("n", "d"), SHAPES)
@pytest.mark.parametrize("c", [0.01, 1.0, 30.0])
def test_coefficients_are_those_of_scikit_learn(
    clf: str, shares: list[float], n: int, d: int, c: float
) -> None:
    X, y = data(shares, n, d)
    assert_same(train(X, y, clf, c), sklearns(clf, c, rows=n < d).fit(X, y), clf)


def standardised(rows: F64) -> F64:
    return np.asarray((rows - rows.mean(axis=0)) / rows.std(axis=0))


def of_length_one(rows: F64) -> F64:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


@pytest.mark.parametrize("shares", [[0.4, 0.4, 0.2], [0.65, 0.35]], ids=str)
@pytest.mark.parametrize("prepare", [standardised, of_length_one])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_small_c_with_classes_of_unequal_sizes_is_logistic_regression(
    shares: list[float], prepare: Callable[[F64], F64], dtype: Any
) -> None:
    # The loss hardly falls, and nearly all of that is the intercept's; and yet predictions differ.
    X, y = data(shares, 2400, 20)
    X, unseen, y = prepare(X[:400]).astype(dtype), prepare(X[400:]).astype(dtype), y[:400]
    cs = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2]
    path = fit_path(ArrayMatrix(X), y, clf="softmax", cs=cs, classes=len(shares))
    for c, found in zip(cs, path, strict=True):
        (alone,) = fit_path(ArrayMatrix(X), y, clf="softmax", cs=[c], classes=len(shares))
        reference = LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(X.astype(float), y)
        expected = reference.decision_function(unseen).reshape(len(unseen), -1)
        for solution in (found, alone):
            assert solution.converged.all()
            off = np.linalg.norm(solution.coef - reference.coef_)
            assert off <= 1e-2 * np.linalg.norm(reference.coef_)
            same = decided(solution.decision_function(unseen)) == decided(expected)
            assert same.mean() >= 0.995


def decided(margins: F64) -> NDArray[Any]:
    return margins.argmax(axis=1) if margins.shape[1] > 1 else margins[:, 0] > 0


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("class_weight", [None, "balanced", "own"])
@pytest.mark.parametrize("kind", ["two", "four", "labels"])
def test_the_best_constant_is_the_least_log_loss_of_intercepts_alone(
    kind: str, class_weight: str | None, weighted: bool
) -> None:
    _, y = data(RARE[2 if kind == "two" else 4], 90, 2)
    targets, k = (y[:, None] >= [1, 2, 3], 3) if kind == "labels" else (y, int(y.max()) + 1)
    weight = repeated(y) if weighted else None
    given: Any = np.array([3.0, 0.5, 1.0, 0.2][:k]) if class_weight == "own" else class_weight
    rows, columns = _weights(targets, k, given, weight, clf="softmax")
    found = _best_constant(targets, k, rows, columns)
    share = np.ones(len(y)) if rows is None else rows

    def log_loss(intercepts: F64) -> float:
        margins = np.broadcast_to(intercepts, (len(y), len(intercepts)))
        if kind == "four":
            return float(share @ (logsumexp(margins, axis=1) - margins[np.arange(len(y)), y]))
        right = targets if kind == "labels" else (y == 1)[:, None]
        loss = np.logaddexp(0, np.where(right, -margins, margins))
        if columns is not None:
            loss = loss * np.where(right, *columns)
        return float(share @ loss.sum(axis=1))

    best = minimize(log_loss, np.zeros(1 if kind == "two" else k), tol=1e-10, method="BFGS")
    assert log_loss(found) <= best.fun * (1 + 1e-12)
    clf = "labels" if kind == "labels" else "softmax"
    np.testing.assert_allclose(centred(clf, found), centred(clf, best.x), atol=1e-4)
    if class_weight != "balanced":  # where every class counts as much
        assert np.abs(found).max() > 0.1


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_class_without_rows_counts_as_half_a_row(k: int, weighted: bool) -> None:
    y = np.zeros(10, int)
    y[:4] = k - 2  # none is of the last class
    weight = np.linspace(0.5, 1.5, 10) if weighted else None
    found = _best_constant(y, k, weight, None)
    of_last = np.log(0.5) - np.log(
        (y == k - 2).sum() if weight is None else weight[y == k - 2].sum()
    )
    assert (found[0] if k == 2 else found[-1] - found[-2]) == pytest.approx(of_last)
    every = _best_constant(np.ones((10, 2), bool), 2, weight, None)
    np.testing.assert_allclose(every, np.log(10 / 0.5))


def test_a_class_that_weighs_little_counts_as_it_does() -> None:
    y, weight = np.array([0, 0, 0, 1]), np.array([1.0, 1.0, 1.0, 1e-3])
    assert _best_constant(y, 2, weight, None)[0] == pytest.approx(np.log(1e-3 / 3))
    labels = y[:, None] == [0, 1]
    np.testing.assert_allclose(
        _best_constant(labels, 2, weight, None), np.log([3 / 1e-3, 1e-3 / 3])
    )


@pytest.mark.parametrize("clf", CLASSIFIERS)
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize(("n", "d"), SHAPES)
@pytest.mark.parametrize("weighted", ["rows", "classes", "both"])
def test_weights_are_those_of_scikit_learn(clf: str, k: int, n: int, d: int, weighted: str) -> None:
    # For LIBLINEAR, a class has its weight where it is the right one, and 1 among the rest.
    X, y = data(RARE[k], n, d)
    weight = None if weighted == "classes" else repeated(y)
    ours = None if weighted == "rows" else np.array([3.0, 0.5, 1.0, 0.2][:k])
    theirs = None if ours is None else dict(enumerate(ours.tolist()))
    reference = sklearns(clf, 1.0, rows=n < d, class_weight=theirs).fit(X, y, sample_weight=weight)
    assert_same(train(X, y, clf, class_weight=ours, row_weight=weight), reference, clf)


@pytest.mark.parametrize("clf", CLASSIFIERS)
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_balanced_is_scikit_learns(clf: str, k: int, n: int, d: int) -> None:
    X, y = data(RARE[k], n, d)
    reference = sklearns(clf, 1.0, rows=n < d, class_weight="balanced").fit(X, y)
    assert_same(train(X, y, clf, class_weight="balanced"), reference, clf)


@pytest.mark.parametrize("clf", CLASSIFIERS)
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_every_label_is_a_classifier_of_its_own(
    clf: str, class_weight: Any, weighted: bool, n: int, d: int
) -> None:
    X, _ = data(BALANCED[2], n, d)
    noise = np.random.default_rng(3).normal(size=(n, 3))
    has = X[:, :3] + noise > [0.0, 0.8, 1.6]  # an image may have none of them, or all
    has[:2, 2] = True
    weight = repeated(has) if weighted else None
    found = train(X, has, clf, class_weight=class_weight, row_weight=weight)
    assert found.coef.shape == (3, d)
    for label in range(3):
        if class_weight is None or not weighted:  # together, scikit-learn's rule has changed
            reference = sklearns(clf, 1.0, rows=n < d, class_weight=class_weight)
            reference.fit(X, has[:, label], sample_weight=weight)
            np.testing.assert_allclose(found.coef[label], reference.coef_[0], atol=1e-3)
            np.testing.assert_allclose(found.intercept[label], reference.intercept_[0], atol=1e-3)
    assert found.converged.shape == found.gap.shape == found.objective.shape == (3,)
    assert found.converged.all()


@pytest.mark.parametrize("clf", CLASSIFIERS)
@pytest.mark.parametrize("several", [False, True])
def test_balanced_counts_a_row_of_weight_two_twice(clf: str, several: bool) -> None:
    X, y = data(RARE[4], 60, 4)
    targets = y[:, None] >= [1, 2, 3] if several else y  # labels that occur together
    times = np.random.default_rng(0).integers(1, 4, len(y))
    weighted = train(X, targets, clf, class_weight="balanced", row_weight=times.astype(float))
    rows = np.repeat(np.arange(len(y)), times)
    expected = train(X[rows], targets[rows], clf, class_weight="balanced")
    np.testing.assert_allclose(weighted.coef, expected.coef, atol=1e-3)


@pytest.mark.parametrize("clf", CLASSIFIERS)
def test_weights_of_labels_are_of_the_images_that_have_them(clf: str) -> None:
    X, y = data(RARE[4], *SHAPES[0])
    labels, weight = y[:, None] >= [1, 2, 3], [0.5, 2.0, 7.0]
    found = train(X, labels, clf, class_weight=np.array(weight))
    for label in range(3):
        reference = sklearns(clf, 1.0, rows=False, class_weight={True: weight[label]})
        reference.fit(X, labels[:, label])
        np.testing.assert_allclose(found.coef[label], reference.coef_[0], atol=1e-3)


@pytest.mark.parametrize("clf", CLASSIFIERS)
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_rows_of_weight_zero_are_left_out(clf: str, k: int, n: int, d: int) -> None:
    X, y = data(RARE[k], n, d)
    weight = repeated(y)
    weight[2 * k :: 3] = 0
    kept = weight > 0
    expected = train(X[kept], y[kept], clf, row_weight=weight[kept])
    np.testing.assert_allclose(train(X, y, clf, row_weight=weight).coef, expected.coef, atol=1e-3)


@pytest.mark.parametrize("clf", CLASSIFIERS)
def test_balanced_leaves_rows_of_weight_zero_out(clf: str) -> None:
    X, _ = data(BALANCED[2], 40, 3)
    has = np.stack([X[:, 0] > 0, np.arange(40) == 7], axis=1)  # the second of one row
    weight = np.where(has[:, 1], 0.0, 1.0)
    found = train(X, has, clf, class_weight="balanced", row_weight=weight)
    kept = weight > 0
    expected = train(X[kept], has[kept], clf, class_weight="balanced")
    np.testing.assert_allclose(found.coef, expected.coef, atol=1e-3)


@pytest.mark.parametrize("clf", CLASSIFIERS)
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_a_label_that_no_image_has_or_all_have(clf: str, class_weight: Any) -> None:
    X, _ = data(BALANCED[2], 40, 3)
    has = np.stack([np.zeros(40, bool), X[:, 0] > 0, np.ones(40, bool)], axis=1)
    margins = train(X, has, clf, class_weight=class_weight, tol=1e-4).decision_function(X)
    assert (margins[:, 0] < 0).all()
    assert (margins[:, 2] > 0).all()


@pytest.mark.parametrize("clf", CLASSIFIERS)
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_without_an_intercept(clf: str, k: int, n: int, d: int) -> None:
    X, y = data(RARE[k], n, d)
    found = train(X, y, clf, fit_intercept=False)
    reference = sklearns(clf, 1.0, rows=n < d, fit_intercept=False).fit(X, y)
    np.testing.assert_allclose(found.coef, reference.coef_, atol=1e-3)
    np.testing.assert_array_equal(found.intercept, np.zeros(len(found.coef)))


@pytest.mark.parametrize("clf", CLASSIFIERS)
@pytest.mark.parametrize("k", [2, 3])
def test_zero_codes_have_zero_coefficients(clf: str, k: int) -> None:
    for n, d in [(4, 6), (6, 4)]:
        y = np.arange(n) % k
        found = train(np.zeros((n, d)), y, clf, fit_intercept=False)
        np.testing.assert_array_equal(found.coef, np.zeros((1 if k == 2 else k, d)))


@pytest.mark.parametrize("clf", CLASSIFIERS)
@pytest.mark.parametrize("k", [2, 4])
def test_a_path_yields_every_minimum_in_order_and_lazily(clf: str, k: int) -> None:
    X, y = data(RARE[k], *SHAPES[0])
    codes, cs = Rows(X), [1e-3, 0.1, 5.0, 100.0]
    path = fit_path(codes, y, clf=clf, cs=cs, classes=k, tol=TIGHT)
    reads = codes.reads
    for c in cs:
        found = next(path)
        assert found.c == c
        assert_same(found, sklearns(clf, c, rows=False).fit(X, y), clf, atol=5e-3)
    assert next(path, None) is None
    assert codes.reads == reads  # rows in memory are turned once


@st.composite
def problems(draw: st.DrawFn) -> tuple[str, Problem, dict[str, Any]]:
    """Small problems of every kind: few rows or many, repeated rows, rare classes, weights."""
    clf = draw(st.sampled_from(CLASSIFIERS))
    n, d, k = draw(st.integers(4, 25)), draw(st.integers(1, 8)), draw(st.integers(2, 4))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = draw(st.sampled_from([0.1, 1.0, 5.0])) * random.normal(size=(n, d))
    rows[:, 0] = draw(st.sampled_from([0.0, 1.0])) * rows[:, 0] + draw(st.sampled_from([0.0, 2.0]))
    rows[random.random(n) < draw(st.sampled_from([0.0, 0.5]))] = rows[0]
    several = draw(st.booleans())
    targets: NDArray[Any] = random.random((n, k)) < 0.3 if several else classes_of(n, k, random)
    weight = random.uniform(0.2, 3, n) if draw(st.booleans()) else None
    if several:
        targets[:2] = [[True] * k, [False] * k]
    one_margin = not several and k == 2
    kind = KINDS[0] if clf == "svm" else KINDS[1] if several or one_margin else KINDS[2]
    intercept: Any = "penalised" if clf == "svm" else "free"
    if one_margin:
        targets = targets == 1
        problem = Problem(rows, targets[:, None], kind, intercept, weight)
        return clf, problem, {"targets": targets.astype(np.int64), "classes": 2}
    return clf, Problem(rows, targets, kind, intercept, weight), {"targets": targets, "classes": k}


@given(problems(), st.sampled_from([1e-2, 1.0, 50.0]))
def test_no_other_coefficients_are_better(
    case: tuple[str, Problem, dict[str, Any]], c: float
) -> None:
    clf, problem, given_targets = case
    codes = ArrayMatrix(problem.rows)
    (found,) = fit_path(
        codes, clf=clf, cs=[c], row_weight=problem.weight, tol=1e-6, **given_targets
    )
    objective = problem.objective(found.coef, found.intercept, c)
    assert found.converged.all()
    np.testing.assert_allclose(found.objective, objective, rtol=1e-9)
    # How near the minimum is is proved where no intercept is free, and else estimated.
    near = 1.01e-6 if clf == "svm" else 1e-5
    assert (objective * (1 - near) <= problem.minimum(c)).all()


def objective_by_hand(found: Solution, X: F64, y: NDArray[Any], clf: str, c: float) -> F64:
    """½‖w‖² + C Σ ℓ of classes; the svm's intercept is one of its coefficients."""
    margins = X @ found.coef.T + found.intercept
    if clf == "svm":
        right = y[:, None] == (np.arange(len(found.coef)) if len(found.coef) > 1 else 1)
        loss = np.maximum(0, 1 - np.where(right, margins, -margins)) ** 2
        return np.asarray(((found.coef**2).sum(1) + found.intercept**2) / 2 + c * loss.sum(0))
    if margins.shape[1] == 1:
        margins = np.hstack([np.zeros_like(margins), margins])
    log_loss = logsumexp(margins, axis=1) - margins[np.arange(len(y)), y]
    return np.array([(found.coef**2).sum() / 2 + c * log_loss.sum()])


@pytest.mark.parametrize("clf", CLASSIFIERS)
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize(("n", "d"), SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_both_precisions_report_the_objective_that_they_reached(
    clf: str, k: int, n: int, d: int, dtype: Any
) -> None:
    X, y = data(RARE[k], n, d, dtype)
    found, exact = train(X, y, clf, 3.0, tol=1e-4), train(X.astype(np.float64), y, clf, 3.0)
    assert found.coef.dtype == found.intercept.dtype == found.objective.dtype == np.float64
    assert found.decision_function(X).dtype == dtype
    value = objective_by_hand(found, X.astype(np.float64), y, clf, 3.0)
    np.testing.assert_allclose(found.objective, value, rtol=1e-5 if dtype == np.float32 else 1e-9)
    least = objective_by_hand(exact, X.astype(np.float64), y, clf, 3.0)
    assert (value <= least * (1 + 1.5e-4)).all()
    np.testing.assert_allclose(
        found.decision_function(X), X @ found.coef.T + found.intercept, rtol=1e-3
    )


@pytest.mark.parametrize("clf", CLASSIFIERS)
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_codes_outside_of_memory_have_the_same_minimum(clf: str, k: int, n: int, d: int) -> None:
    X, y = data(RARE[k], n, d)
    options: Any = {"clf": clf, "cs": [1.0], "classes": k, "tol": TIGHT}
    options |= {"class_weight": "balanced", "row_weight": repeated(y)}
    (inside,) = fit_path(ArrayMatrix(X), y, **options)
    (outside,) = fit_path(Rows(X, [7, 1, 13], in_memory=False), y, **options)
    np.testing.assert_allclose(outside.coef, inside.coef, atol=1e-4)
    np.testing.assert_allclose(
        centred(clf, outside.intercept), centred(clf, inside.intercept), atol=1e-4
    )


@pytest.mark.parametrize("clf", CLASSIFIERS)
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("several", [False, True])
def test_torch_computes_what_numpy_does(
    clf: str, k: int, shape: tuple[int, int], several: bool, device: str = "cpu"
) -> None:
    X, y = data(RARE[k], *shape)
    targets = y[:, None] >= np.arange(1, k) if several else y
    options: Any = {"class_weight": "balanced", "row_weight": repeated(y), "c": 0.1, "tol": 1e-8}
    expected = train(X, targets, clf, **options)
    found = train(X, targets, clf, device=device, **options)
    assert isinstance(found.coef, np.ndarray)
    np.testing.assert_allclose(found.coef, expected.coef, atol=1e-3)
    ours, theirs = centred(clf, found.intercept), centred(clf, expected.intercept)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    np.testing.assert_allclose(found.objective, expected.objective, rtol=1e-7)


@pytest.mark.gpu
@pytest.mark.parametrize("clf", CLASSIFIERS)
@pytest.mark.parametrize("k", [pytest.param(2, marks=pytest.mark.slow), 4])
@pytest.mark.parametrize("shape", [SHAPES[0], pytest.param(SHAPES[1], marks=pytest.mark.slow)])
@pytest.mark.parametrize("several", [False, True])
def test_a_gpu_computes_what_numpy_does(
    clf: str, k: int, shape: tuple[int, int], several: bool, gpu: torch.device
) -> None:
    test_torch_computes_what_numpy_does(clf, k, shape, several, str(gpu))


def test_arrays_on_a_device_have_the_same_values() -> None:
    table = np.arange(6.0).reshape(2, 3).T  # not contiguous
    moved = array_mover("cpu")(table)
    assert isinstance(moved, torch.Tensor)
    np.testing.assert_array_equal(moved.numpy(), table)
    assert array_mover(None)(table) is table


@pytest.fixture
def torch_warns_always() -> Any:
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # else once a process, and tests would hang together
    yield
    torch.set_warn_always(before)


@pytest.mark.usefixtures("torch_warns_always")
def test_read_only_codes_are_converted_without_a_warning() -> None:
    table = np.arange(6.0).reshape(2, 3)
    table.flags.writeable = False  # as joblib hands large arrays to its workers
    np.testing.assert_array_equal(array_mover("cpu")(table).numpy(), table)


@pytest.mark.parametrize("clf", CLASSIFIERS)
def test_arguments_are_not_changed(clf: str) -> None:
    X, y = data(RARE[4], *SHAPES[0])
    weight = repeated(y)
    before = [X.copy(), y.copy(), weight.copy()]
    train(X, y, clf, class_weight="balanced", row_weight=weight)
    for array, copy in zip([X, y, weight], before, strict=True):
        np.testing.assert_array_equal(array, copy)


@given(
    st.integers(1, 4).flatmap(
        lambda d: stn.arrays(np.float64, (5, d), elements=st.floats(-30, 30))
    ),
    st.floats(-30, 30),
)
def test_expanded_binary_coefficients_give_the_same_probabilities(X: F64, intercept: float) -> None:
    coef = X[:1]
    margin = X @ coef[0] + intercept
    rows: Callable[[str], F64] = lambda clf: (  # noqa: E731
        X @ (found := expand_binary(clf, coef, np.array([intercept])))[0].T + found[1]
    )
    np.testing.assert_allclose(rows("svm"), np.stack([-margin, margin], axis=1), atol=1e-9)
    np.testing.assert_allclose(softmax(rows("softmax"), axis=1)[:, 1], expit(margin), atol=1e-9)
    for clf in CLASSIFIERS:
        clear = np.abs(margin) > 1e-9
        np.testing.assert_array_equal((rows(clf).argmax(axis=1) == 1)[clear], (margin > 0)[clear])


@pytest.mark.parametrize("clf", CLASSIFIERS)
def test_expanded_binary_coefficients_predict_as_scikit_learn(clf: str) -> None:
    X, y = data(RARE[2], *SHAPES[0])
    found = train(X, y, clf)
    coef, intercept = expand_binary(clf, found.coef, found.intercept)
    assert (coef.shape, intercept.shape) == ((2, X.shape[1]), (2,))
    reference = sklearns(clf, 1.0, rows=False).fit(X, y)
    margins = X @ coef.T + intercept
    np.testing.assert_array_equal(margins.argmax(axis=1), reference.predict(X))
    if clf == "softmax":
        expected = reference.predict_proba(X)
        np.testing.assert_allclose(softmax(margins, axis=1), expected, atol=1e-4)


def test_an_unknown_classifier_is_refused_before_anything_is_read() -> None:
    with pytest.raises(UnknownNameError, match="unknown classifier 'svn': did you mean svm"):
        require_classifier("svn")
    codes = Rows(np.ones((4, 2)))
    with pytest.raises(UnknownNameError, match="unknown classifier 'ridge'"):
        fit_path(codes, np.array([0, 1, 0, 1]), clf="ridge", cs=[1.0], classes=2)
    assert codes.reads == 0


@pytest.mark.parametrize("clf", CLASSIFIERS)
def test_known_classifiers_are_not_refused(clf: str) -> None:
    require_classifier(clf)


def test_products_on_a_device_are_exact_whatever_the_process_allows() -> None:
    # In a process of its own: PyTorch has no way back to where nothing was set.
    child = fork(_check_products)
    child.join()
    assert child.exitcode == 0


def _check_products() -> None:
    torch.set_float32_matmul_precision("medium")
    seen, rotate = [], eigenbasis._rotate
    gradient, transform = ArrayDesign.gradient, ArrayDesign.to_coefficients

    def noted(call: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*arguments: Any, **options: Any) -> Any:
            seen.append((call.__name__, torch.get_float32_matmul_precision()))
            return call(*arguments, **options)

        return noting

    X, y = clouds()
    with (
        patch.object(ArrayDesign, "gradient", noted(gradient)),
        patch.object(ArrayDesign, "to_coefficients", noted(transform)),
        patch.object(eigenbasis, "_rotate", noted(rotate)),
    ):
        list(fit_path(ArrayMatrix(X), y, clf="softmax", cs=[1.0], classes=3, device="cpu"))
    calls = ("gradient", "to_coefficients", "_rotate")
    assert set(seen) == {(name, "highest") for name in calls}, seen
    assert torch.get_float32_matmul_precision() == "medium"
