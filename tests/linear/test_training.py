from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from bottleneck.errors import BottleneckError, InvalidOptionError, LabelsError, UnknownNameError
from bottleneck.linear.classifiers import array_mover
from bottleneck.linear.matrix import ArrayMatrix
from bottleneck.linear.scaling import fit_scaler
from bottleneck.linear.solver.design import Intercept
from bottleneck.linear.solver.losses import Logistic, Softmax, SquaredHinge
from bottleneck.linear.solver.path import Solution
from bottleneck.linear.training import ClassifierOptions, TrainingSet, train
from tests.helpers.datasets import MODELS, clouds, several, training
from tests.helpers.problems import Problem, Rows
from tests.helpers.sklearn_options import SklearnOptions


def standardized(X: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(StandardScaler().fit_transform(X.astype(np.float64)))


def distance_allowed(objective: NDArray[np.float64], gap: float) -> float:
    """‖w − w*‖ of an objective within `gap` of its minimum: ½‖w − w*‖² ≤ gap · objective."""
    return float(np.sqrt(2 * gap * objective.sum()))


# Options


@pytest.mark.parametrize("clf", ["svm", "softmax"])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("device", [None, "auto", "cpu"])
def test_known_values_are_allowed(
    clf: str, class_weight: Literal["balanced"] | None, device: str | None
) -> None:
    ClassifierOptions(clf, class_weight, device)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (("smv",), UnknownNameError, "unknown classifier 'smv': did you mean svm?"),
        (("forest",), UnknownNameError, "unknown classifier 'forest': there is svm, softmax"),
        (
            ("svm", "even"),
            InvalidOptionError,
            "`class_weight='even'`: must be 'balanced' or None",
        ),
        (("svm", np.ones(2)), InvalidOptionError, "`class_weight=array([1., 1.])`: must be"),
        ((None,), InvalidOptionError, "`clf=None`: must be one of svm, softmax"),
        (("svm", None, "gpu"), InvalidOptionError, "`device='gpu'`: must be"),
    ],
)
def test_other_values_are_refused_when_the_options_are_made(
    options: tuple[Any, ...], error: type[BottleneckError], message: str
) -> None:
    with pytest.raises(error) as caught:
        ClassifierOptions(*options)
    assert str(caught.value).startswith(message)


# Rows


@pytest.mark.parametrize("targets", [clouds()[1], several()[1]], ids=["one", "several"])
def test_taken_and_scaled_rows_keep_their_targets_and_groups(
    targets: NDArray[Any],
) -> None:
    X = np.arange(len(targets) * 2, dtype=np.float32).reshape(-1, 2)
    groups = [f"slide{row // 2}" for row in range(len(targets))]
    whole, rows = training(X, targets, groups), np.array([3, 4, 90])
    taken = whole.take(rows)
    assert taken.groups is not None
    assert whole.groups is not None
    assert taken.groups.tolist() == whole.groups[rows].tolist()
    assert training(X, targets).take(rows).groups is None
    assert isinstance(taken.codes, ArrayMatrix)
    np.testing.assert_array_equal(taken.codes.array, X[rows])
    np.testing.assert_array_equal(taken.targets, targets[rows])
    assert (taken.classes, taken.multilabel) == (whole.classes, targets.ndim == 2)
    scaled = whole.scaled(fit_scaler("standardize", whole.codes))
    assert isinstance(scaled.codes, ArrayMatrix)
    np.testing.assert_allclose(scaled.codes.array, standardized(X), atol=1e-6)
    np.testing.assert_array_equal(scaled.targets, targets)
    assert (scaled.classes, scaled.groups) == (whole.classes, whole.groups)


# Solvers


def problem_of(
    clf: str, rows: NDArray[np.float64], y: NDArray[np.int64], *, balanced: bool
) -> Problem:
    """scikit-learn's documented objective."""
    k = int(y.max()) + 1
    intercept: Intercept = "penalised" if clf == "svm" else "free"
    share = len(y) / (k * np.bincount(y)) if balanced else np.ones(k)
    if k == 2:
        kind = SquaredHinge if clf == "svm" else Logistic
        return Problem(rows, (y == 1)[:, None], kind, intercept, weight=share[y])
    if clf == "svm":  # a class's weight is for its own rows; where it is the rest they count 1
        weight = np.stack([share, np.ones(k)])
        return Problem(rows, y, SquaredHinge, intercept, column_weight=weight)
    return Problem(rows, y, Softmax, intercept, weight=share[y])


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("clf", ["svm", "softmax"])
@pytest.mark.parametrize("k", [2, 3])
def test_both_solvers_find_the_same_minimum(
    clf: str, k: int, class_weight: Literal["balanced"] | None
) -> None:
    X, y = clouds(k=k)
    y[: 60 - 60 % k] = 0  # unlike numbers of rows: weights matter
    rows, cs = standardized(X), [1e-3, 1e-1, 10.0]
    problem = problem_of(clf, rows, y, balanced=class_weight is not None)
    ours = list(
        ClassifierOptions(clf, class_weight)
        .prepare(training(rows, y), max_c=max(cs))
        .solve(cs, tol=1e-6)
    )
    reference = SklearnOptions(clf, class_weight)
    theirs = list(reference.prepare(training(rows, y), max_c=max(cs)).solve(cs, tol=1e-6))
    assert [found.c for found in ours] == [found.c for found in theirs] == cs
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.coef.shape == other.coef.shape == (1 if k == 2 else k, 6)
        values = [problem.objective(s.coef, s.intercept, s.c) for s in (mine, other)]
        np.testing.assert_allclose(values[0], values[1], rtol=1e-3)
        assert (values[0] <= values[1] * (1 + 1e-5)).all()
        margins = [found.decision_function(rows) for found in (mine, other)]
        answers = [m[:, 0] > 0 if k == 2 else m.argmax(axis=1) for m in margins]
        assert (answers[0] == answers[1]).mean() >= 0.99


@pytest.mark.parametrize("c", [1e-3, 0.3, 30.0])
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_objective_and_gap_are_reported_correctly(clf: str, k: int, c: float) -> None:
    X, y = clouds(k=k)
    y[20:200] = 0  # far from even: the intercept has a way to go
    rows = standardized(X)
    (found,) = ClassifierOptions(clf).prepare(training(rows, y), max_c=c).solve([c], tol=1e-3)
    problem = problem_of(clf, rows, y, balanced=False)
    formula = problem.objective(found.coef, found.intercept, c)
    np.testing.assert_allclose(found.objective, formula, rtol=1e-9)
    assert found.converged.all()
    assert (found.gap >= -1e-9).all()
    # A free intercept's part of the gap is its Newton step: near, not proved.
    slack = 1.0 if clf == "svm" else 1.2
    assert (formula <= problem.minimum(c) * (1 + slack * found.gap + 1e-9)).all()


@pytest.mark.parametrize("clf", ["svm", "softmax"])
@pytest.mark.parametrize("targets", [clouds()[1], several()[1]], ids=["one", "several"])
def test_torch_finds_what_numpy_finds(clf: str, targets: NDArray[Any]) -> None:
    dataset, cs = training(standardized(clouds()[0]).astype(np.float32), targets), [1e-2, 1.0]
    with_numpy = ClassifierOptions(clf).prepare(dataset, max_c=1.0).solve(cs, tol=1e-5)
    with_torch = (
        ClassifierOptions(clf, device="cpu").prepare(dataset, max_c=1.0).solve(cs, tol=1e-5)
    )
    for mine, other in zip(with_numpy, with_torch, strict=True):
        assert isinstance(other.coef, np.ndarray)
        allowed = 2 * distance_allowed(mine.objective, 1e-5)
        assert np.linalg.norm(mine.coef - other.coef) <= allowed


@pytest.mark.parametrize("device", [None, "cpu"])
def test_arrays_are_converted_for_the_device(
    monkeypatch: pytest.MonkeyPatch, device: str | None
) -> None:
    asked: list[str | None] = []

    def spy(where: str | None) -> Any:
        asked.append(where)
        return array_mover(where)

    monkeypatch.setattr("bottleneck.linear.classifiers.array_mover", spy)
    ClassifierOptions("svm", device=device).prepare(training(*clouds(n=30)), max_c=1.0)
    assert asked == [device]


@pytest.mark.parametrize("kind", [ClassifierOptions, SklearnOptions])
@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_several_labels_are_each_learnt_against_the_rest(
    clf: str, kind: type[ClassifierOptions]
) -> None:
    X, targets = several()
    rows = standardized(X)
    (found,) = kind(clf).prepare(training(rows, targets), max_c=0.1).solve([0.1], tol=1e-6)
    for label in range(3):
        alone = MODELS[clf](C=0.1).fit(rows, targets[:, label])
        np.testing.assert_allclose(found.coef[label], alone.coef_[0], atol=0.01)
        np.testing.assert_allclose(found.intercept[label], alone.intercept_[0], atol=0.01)


# Labels that all rows have, or none


@pytest.mark.parametrize("kind", [ClassifierOptions, SklearnOptions])
@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_a_constant_label_gets_zero_coefficients(clf: str, kind: type[ClassifierOptions]) -> None:
    X, targets = several()
    targets[:, 0], targets[:, 2] = True, False
    rows = standardized(X)
    path = kind(clf).prepare(training(rows, targets), max_c=1.0)
    first, second = path.solve([0.1, 1.0], tol=1e-6)
    assert [first.c, second.c] == [0.1, 1.0]
    assert (first.coef[[0, 2]] == 0).all()
    odds = 1 / (1 + np.exp(-first.intercept))
    # Laplace: of n rows all had it, so of n + 2 one more may have and one may not.
    np.testing.assert_allclose(odds[[0, 2]], [241 / 242, 1 / 242])
    alone = MODELS[clf](C=0.1).fit(rows, targets[:, 1])
    np.testing.assert_allclose(first.coef[1], alone.coef_[0], atol=0.01)
    np.testing.assert_allclose(first.intercept[1], alone.intercept_[0], atol=0.01)


def test_identical_labels_of_all_rows_are_refused() -> None:
    X, targets = several(n=12)
    targets[:] = [True, False, True]
    with pytest.raises(LabelsError, match="all 12 images have the same labels"):
        ClassifierOptions("svm").prepare(training(X, targets), max_c=1.0)


# train


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("scaling", ["standardize", "l2", "none"])
@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_train_scales_the_rows_and_solves_for_one_c(
    clf: str, scaling: str, in_memory: bool
) -> None:
    X, y = clouds()
    codes = ArrayMatrix(X) if in_memory else Rows(X, [7, 100], in_memory=False)
    scaler, found = train(TrainingSet(codes, y, 3), ClassifierOptions(clf), c=0.1, scaling=scaling)
    assert isinstance(found, Solution)
    assert found.c == 0.1
    assert found.converged.all()
    assert (found.gap <= 1e-4).all()
    assert scaler.name == scaling
    rows: NDArray[Any] = X.astype(np.float64)
    if scaling == "standardize":
        rows = standardized(X)
    elif scaling == "l2":
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(scaler(X), rows, rtol=1e-4, atol=1e-5)
    expected = MODELS[clf](C=0.1).fit(rows, y)
    away = np.linalg.norm(found.coef - expected.coef_)
    assert away <= distance_allowed(found.objective, 1e-4) + 1e-3


def test_a_device_may_be_pytorchs_own() -> None:
    given: Any = torch.device("cpu")
    assert ClassifierOptions("svm", device=given) == ClassifierOptions("svm", device="cpu")
