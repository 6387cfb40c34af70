from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from bottleneck import selection
from bottleneck.errors import InvalidOptionError, LabelsError
from bottleneck.selection import C_GRID, check_grid, choose_c, fit_model, make_preprocessing


def codes(n: int = 60, d: int = 8, classes: int = 3) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    y = np.arange(n) % classes
    X = np.abs(random.normal(size=(n, d)) + 1.2 * np.eye(d)[y]) * np.logspace(-1, 1, d)
    return X.astype(np.float32), y


def choose(X: Any, y: Any, **options: Any) -> selection.Selection:
    defaults: dict[str, Any] = {
        "clf": "softmax",
        "grid": (1e-3, 1e-1, 10.0),
        "folds": 5,
        "preprocess": "standardize",
    }
    return choose_c(X, y, **(defaults | options))


@pytest.mark.parametrize(
    ("preprocess", "reference"),
    [("standardize", StandardScaler()), ("l2", Normalizer()), ("none", None)],
)
def test_the_numbers_are_those_of_scikit_learns_cross_validation(
    preprocess: str, reference: BaseEstimator
) -> None:
    X, y = codes()
    found = choose(X, y, preprocess=preprocess)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    for candidate in found.candidates:
        model = LogisticRegression(C=candidate.c, max_iter=10_000)
        pipeline = make_pipeline(reference, model) if reference else model
        scores = cross_val_score(pipeline, X, y, cv=folds)
        assert candidate.accuracy == pytest.approx(tuple(scores))
        assert candidate.mean == pytest.approx(scores.mean())
        assert candidate.std == pytest.approx(scores.std())


def test_the_grid_spans_eleven_decades() -> None:
    assert C_GRID[0] == pytest.approx(1e-6)
    assert C_GRID[-1] == pytest.approx(1e5)
    steps = np.diff(np.log10(C_GRID))
    np.testing.assert_allclose(steps, 0.5)


def test_of_equal_scores_the_smallest_c_wins() -> None:
    X, y = codes()
    X[:, 0] = y * 100  # separable: every C above some value is perfect
    found = choose(X, y, grid=(1.0, 10.0, 100.0, 1000.0))
    perfect = [c.c for c in found.candidates if c.mean == found.best.mean]
    assert found.best.c == min(perfect)


@pytest.mark.parametrize(
    ("grid", "edge"), [((1e-6, 1e-3), True), ((1e-6, 1e-1, 1e5), False), ((1.0,), False)]
)
def test_the_edge_of_the_grid_is_told(grid: tuple[float, ...], edge: bool) -> None:
    X, y = codes()
    found = choose(X, y, grid=grid)
    assert found.at_edge == (len(grid) > 1 and found.best.c in (grid[0], grid[-1]))
    assert found.at_edge is edge


def test_preprocessing_never_sees_the_held_back_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    class Spy(StandardScaler):  # type: ignore[misc, unused-ignore]
        def fit_transform(self, X: Any, y: Any = None, **_: Any) -> Any:
            seen.append(len(X))
            return super().fit_transform(X)

    monkeypatch.setattr(selection, "make_preprocessing", lambda _name: Spy())
    X, y = codes()
    choose(X, y)
    assert seen == [48] * 5


def test_groups_never_stand_on_both_sides() -> None:
    _, y = codes()
    groups = [f"slide{i // 3 // 2}" for i in range(60)]
    for train, test in selection._splits(y, 5, groups):
        assert not {groups[i] for i in train} & {groups[i] for i in test}


def test_rows_without_a_group_are_groups_of_their_own() -> None:
    _, y = codes()
    groups = ["slide"] * 6 + [""] * 54
    splits = selection._splits(y, 5, groups)
    assert sorted(i for _, test in splits for i in test) == list(range(60))
    sides = [{i in set(test.tolist()) for i in range(6)} for _, test in splits]
    assert all(len(side) == 1 for side in sides)


def test_a_small_class_makes_fewer_folds() -> None:
    X, y = codes(n=30)
    y[:] = 0
    y[:3] = 1
    assert choose(X, y, grid=(1.0,)).folds == 3


def test_a_class_with_one_image_is_refused_with_a_way_out() -> None:
    X, y = codes(n=30)
    y[:] = 0
    y[0] = 1
    with pytest.raises(LabelsError, match=r"1 of 2 classes have a single training image.*--cv 0"):
        choose(X, y)


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf")])
def test_values_of_c_are_above_0(wrong: float) -> None:
    with pytest.raises(InvalidOptionError, match="C must be a finite number above 0"):
        check_grid([1.0, wrong])


def test_a_grid_is_sorted_and_each_value_once() -> None:
    assert check_grid([10.0, 0.1, 10.0]) == (0.1, 10.0)


def test_one_fold_is_refused() -> None:
    X, y = codes()
    with pytest.raises(InvalidOptionError, match=r"--cv 1.*at least 2"):
        choose(X, y, folds=1)


def test_unknown_preprocessing_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="standardize, l2, none"):
        make_preprocessing("whiten")


def test_constant_codes_do_no_harm() -> None:
    X, y = codes()
    X[:, 3] = 0.0
    model = fit_model(X, y, clf="svm", c=1.0, preprocess="standardize")
    assert np.isfinite(model["classify"].coef_).all()
