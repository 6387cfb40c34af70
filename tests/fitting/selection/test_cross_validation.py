import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
)
from sklearn.model_selection import cross_val_predict

from benchmarks.fitting import sklearn_solver as reference
from bottleneck.errors import InvalidOptionError, LabelsError
from bottleneck.fitting.selection.cross_validation import _CHEAP, C_GRID, CrossValidation
from bottleneck.fitting.selection.fold_search import fold_bytes
from bottleneck.fitting.selection.folds import make_folds
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.fitting.selection.search_result import SearchResult
from bottleneck.linear.calibration import Calibration, fit_platt, fit_temperature
from bottleneck.linear.matrix import ArrayMatrix, CodeMatrix
from bottleneck.linear.scaling import SCALINGS
from bottleneck.linear.solver.design import Design
from bottleneck.linear.solver.eigenbasis import make_design
from bottleneck.linear.solver.path import Solution
from bottleneck.linear.training import ClassifierOptions, PathSolver, TrainingSet
from tests.helpers.datasets import MODELS, SCALERS, by_sklearn, clouds, several, training
from tests.helpers.problems import Rows
from tests.helpers.sklearn_options import SklearnOptions

GRID = (1e-3, 1e-1, 10.0)


def chosen(
    dataset: TrainingSet, options: ClassifierOptions | None = None, **search: Any
) -> SearchResult:
    defaults: dict[str, Any] = {"c": GRID}
    return CrossValidation(
        dataset, options or ClassifierOptions("svm"), SearchOptions(**(defaults | search))
    ).select()


def scores_by_hand(
    dataset: TrainingSet, clf: str, c: float, scaling: str, *, folds: int = 5, leak: bool = False
) -> list[float]:
    """Accuracies of scikit-learn's classifier on the same folds; with a leak, of a wrong one."""
    assert isinstance(dataset.codes, ArrayMatrix)
    X, y = dataset.codes.array.astype(np.float64), dataset.targets
    if leak:
        X, scaling = SCALERS[scaling]().fit_transform(X), "none"
    return [
        by_sklearn(clf, c, scaling).fit(X[here], y[here]).score(X[validation], y[validation])
        for here, validation in make_folds(dataset, folds)
    ]


# The folds' scores


@pytest.mark.parametrize("clf", ["svm", "softmax"])
@pytest.mark.parametrize(
    ("k", "scaling"),
    [
        *((2, "standardize"), (3, "l2"), (3, "none")),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in [(3, "standardize"), (2, "l2"), (2, "none")]
        ),
    ],
)
def test_scores_are_scikit_learns_on_the_same_folds(clf: str, scaling: str, k: int) -> None:
    dataset = training(*clouds(k=k))
    found = chosen(dataset, ClassifierOptions(clf), scaling=scaling)
    assert [(found.scaling, found.c) for found in found.candidates] == [(scaling, c) for c in GRID]
    assert (found.folds, found.metric) == (5, "accuracy")
    for candidate in found.candidates:
        expected = scores_by_hand(dataset, clf, candidate.c, scaling)
        # Both are near the minimum, and so may differ in one of the 48 rows of a fold.
        np.testing.assert_allclose(candidate.scores, expected, atol=1.01 / 48)
        assert candidate.mean == pytest.approx(np.mean(candidate.scores))
        assert candidate.std == pytest.approx(np.std(candidate.scores))


@pytest.mark.parametrize(("scaling", "c"), [("standardize", 1e-6), ("l2", 1e-5)])
@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_the_least_c_still_points_from_class_to_class(clf: str, scaling: str, c: float) -> None:
    """As C vanishes, so do coefficients, but not what they say."""
    dataset = training(*clouds())
    (found,) = chosen(dataset, ClassifierOptions(clf), c=[c], scaling=scaling).candidates
    expected = np.mean(scores_by_hand(dataset, clf, c, scaling))
    assert expected > 0.55
    assert found.mean == pytest.approx(expected, abs=0.08)


@pytest.mark.parametrize("kind", [ClassifierOptions, SklearnOptions])
def test_scaling_is_fitted_on_the_training_part_alone(kind: type[ClassifierOptions]) -> None:
    X, y = clouds(n=60, k=2, apart=6)
    _, validation = make_folds(training(X, y), 5)[0]
    X[validation[0]] *= 1e5  # scaled by it, the other rows would all be the same
    dataset = training(X, y)
    grid = (1e-3,)
    (candidate,) = chosen(dataset, kind("svm"), c=grid).candidates
    right = scores_by_hand(dataset, "svm", *grid, "standardize")
    leaking = scores_by_hand(dataset, "svm", *grid, "standardize", leak=True)
    assert candidate.scores[0] == right[0]
    assert right[0] > leaking[0] + 0.2


@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_both_solvers_score_alike(clf: str) -> None:
    dataset = training(*clouds())
    ours, theirs = (chosen(dataset, kind(clf)) for kind in (ClassifierOptions, SklearnOptions))
    for mine, other in zip(ours.candidates, theirs.candidates, strict=True):
        np.testing.assert_allclose(mine.scores, other.scores, atol=1.01 / 48)


@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_several_labels_are_judged_by_mean_average_precision(clf: str) -> None:
    X, targets = several()
    dataset = training(X, targets)
    found = chosen(dataset, ClassifierOptions(clf), metric="macro_f1")
    assert found.metric == "mean_average_precision"
    splits = make_folds(dataset, 5)
    for candidate in found.candidates:
        for score, (here, validation) in zip(candidate.scores, splits, strict=True):
            scaler = SCALERS["standardize"]().fit(X[here])
            rows, unseen = scaler.transform(X[here]), scaler.transform(X[validation])
            models = [MODELS[clf](C=candidate.c).fit(rows, label) for label in targets[here].T]
            margins = np.stack([model.decision_function(unseen) for model in models], axis=1)
            assert score == pytest.approx(
                average_precision_score(targets[validation], margins), abs=0.01
            )


@pytest.mark.parametrize("several_labels", [False, True])
@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_codes_in_blocks_give_the_same_scores(clf: str, several_labels: bool) -> None:
    X, targets = several() if several_labels else clouds()
    blocks = TrainingSet(Rows(X, [7, 30, 64], in_memory=False), targets, 3)
    streamed, at_once = (
        chosen(dataset, ClassifierOptions(clf), scaling="auto", cv=2)
        for dataset in (blocks, training(X, targets))
    )
    for one, other in zip(streamed.candidates, at_once.candidates, strict=True):
        assert (one.scaling, one.c) == (other.scaling, other.c)
        np.testing.assert_allclose(one.scores, other.scores, atol=1.01 / 120)


# Scripted folds: what is chosen, without any solver

Wrong = Callable[[float, int], tuple[int, ...]]


@dataclass(frozen=True)
class Scripted(ClassifierOptions):
    """A classifier that for each C and fold is wrong on so many held-back rows of each class.

    Codes are `one_hot`: each row has a margin of its own, and rows that it was not trained on are
    those whose features are all zero. Standardized codes may have mistakes of their own.
    """

    wrong: Wrong = lambda _c, _fold: (0, 0)
    wrong_standardized: Wrong | None = None
    targets: NDArray[np.int64] | None = None
    stopped: tuple[float, int] = (0.0, 0)
    folds: int = 2

    def prepare(self, training: TrainingSet, *, max_c: float) -> PathSolver:
        return ScriptedPath(training, self)


@dataclass(frozen=True)
class ScriptedPath:
    training: TrainingSet
    options: Scripted

    def solve(self, cs: Sequence[float], *, tol: float) -> Iterator[Solution]:
        options, training = self.options, self.training
        assert isinstance(training.codes, ArrayMatrix)
        assert options.targets is not None
        seen: NDArray[np.bool_] = np.any(training.codes.array, axis=0)
        splits = make_folds(one_hot(options.targets), options.folds)
        fold = next(i for i, (here, _) in enumerate(splits) if seen[here].all())
        assert list(cs) == sorted(cs)
        wrong = options.wrong
        if options.wrong_standardized is not None and (training.codes.array < 0).any():
            wrong = options.wrong_standardized
        for c in cs:
            margins = np.where(seen, 0, np.where(options.targets == 1, 1.0, -1.0))
            for k, count in enumerate(wrong(c, fold)):
                margins[np.flatnonzero(~seen & (options.targets == k))[:count]] *= -1
            nothing, gap = np.zeros(1), np.array([0.5 if (c, fold) == options.stopped else 1e-4])
            yield Solution(c, margins[None], nothing, nothing + 1, gap, gap < 0.1, 3)


def one_hot(targets: NDArray[np.int64], spare: int = sys.maxsize) -> TrainingSet:
    return TrainingSet(ArrayMatrix(np.eye(len(targets)), spare), targets, 2)


def scripted(
    wrong: Wrong,
    targets: NDArray[np.int64],
    *,
    grid: Sequence[float] | None,
    folds: int = 2,
    stopped: tuple[float, int] = (0.0, 0),
    spare: int = sys.maxsize,
    **options: Any,
) -> SearchResult:
    method = Scripted("svm", wrong=wrong, targets=targets, folds=folds, stopped=stopped)
    search = SearchOptions(c=grid, cv=folds, scaling="none", **options)
    return CrossValidation(one_hot(targets, spare), method, search).select()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(0, 8), min_size=4, max_size=4), min_size=1, max_size=6))
def test_the_highest_mean_wins_and_of_equals_the_smallest_c(counts: list[list[int]]) -> None:
    grid = [10.0**i for i in range(len(counts))]  # 4 folds of 8 and 8: every mean is exact
    table = dict(zip(grid, counts, strict=True))
    found = scripted(lambda c, fold: (table[c][fold], 0), np.arange(64) % 2, grid=grid, folds=4)
    fewest = min(map(sum, counts))
    assert found.best.c == grid[[sum(count) for count in counts].index(fewest)]
    assert found.best.mean == 1 - fewest / 64
    assert [candidate.c for candidate in found.candidates] == grid
    # A better C may lie beyond the smallest only if the scores rise towards it.
    first_rises = len(grid) > 1 and sum(counts[0]) < sum(counts[1])
    last_is_best = len(grid) > 1 and found.best.c == grid[-1]
    assert found.at_edge == ((found.best.c == grid[0] and first_rises) or last_is_best)


def test_rounding_breaks_no_tie() -> None:
    table = {0.01: [13, 10], 1.0: [12, 11]}  # of 20: 0.35 + 0.5 and 0.4 + 0.45, half of it
    for rule in ("best", "1se"):
        found = scripted(
            lambda c, fold: (table[c][fold] - 5, 5), np.arange(40) % 2, grid=[0.01, 1.0], rule=rule
        )
        assert found.best.c == 0.01, rule


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(0, 8), min_size=4, max_size=4), min_size=1, max_size=6))
def test_one_standard_error_below_the_best_the_smallest_c_wins(counts: list[list[int]]) -> None:
    grid = [10.0**i for i in range(len(counts))]
    table = dict(zip(grid, counts, strict=True))
    found = scripted(
        lambda c, fold: (table[c][fold], 0), np.arange(64) % 2, grid=grid, folds=4, rule="1se"
    )
    scores = 1 - np.array(counts) / 16
    best = scores[scores.mean(axis=1).argmax()]
    # The mean of 4 folds varies with a quarter of the variance of one, which 3 are left to tell.
    enough = best.mean() - np.sqrt(((best - best.mean()) ** 2).sum() / 3 / 4)
    assert found.best.c == grid[int(np.argmax(scores.mean(axis=1) >= enough - 1e-12))]


# Of 45 and 5 rows in each fold, the held-back ones that are wrong.
_METRICS = {
    0.1: (0, 4, 5),  # all but one of the few are taken for the many
    1.0: (4, 1, 1),
    10.0: (9, 0, 0),  # none of the few is missed
}


@pytest.mark.parametrize(
    ("metric", "best", "by_hand"),
    [
        ("accuracy", 0.1, accuracy_score),
        ("macro_f1", 1.0, lambda y, predicted: f1_score(y, predicted, average="macro")),
        ("balanced", 10.0, balanced_accuracy_score),
    ],
)
def test_the_metric_decides_where_classes_are_of_unlike_size(
    metric: str, best: float, by_hand: Callable[..., float]
) -> None:
    targets = np.array([0] * 90 + [1] * 10)

    def wrong(c: float, fold: int) -> tuple[int, int]:
        of_many, *of_few = _METRICS[c]
        return of_many, of_few[fold]

    found = scripted(wrong, targets, grid=list(_METRICS), metric=metric)
    assert (found.best.c, found.metric) == (best, metric)
    true = np.repeat([0, 1], [45, 5])
    for candidate in found.candidates:
        for fold, score in enumerate(candidate.scores):
            many, few = wrong(candidate.c, fold)
            predicted = np.repeat([1, 0, 0, 1], [many, 45 - many, few, 5 - few])
            assert score == pytest.approx(by_hand(true, predicted))


@pytest.mark.parametrize("peak", [-7.5, -3.1, -1.1, 4.9, 6.5])
def test_coarse_then_fine_around_the_best(peak: float) -> None:
    def wrong(c: float, _fold: int) -> tuple[int, int]:
        return min(200, round(20 * abs(np.log10(c) - peak))), 0

    def nearest(cs: Sequence[float]) -> float:
        return min(cs, key=lambda c: abs(np.log10(c) - peak))

    found = scripted(wrong, np.arange(800) % 2, grid=None)
    cs = [candidate.c for candidate in found.candidates]
    assert cs == sorted(cs)
    around = nearest(C_GRID)
    for quarters in ([-2, 2], [-1, 1]):  # of a decade, around the best so far
        fine = [around * 10 ** (n / 4) for n in quarters]
        assert set(np.round(np.log10(fine), 9)) <= set(np.round(np.log10(cs), 9))
        around = nearest([around, *fine])
    assert found.best.c == pytest.approx(around) == pytest.approx(nearest(cs))
    assert len(set(cs) - set(C_GRID)) == 4
    assert found.at_edge == (peak in (-7.5, 6.5))
    assert found.best in found.candidates


def test_the_rule_holds_in_all_stages() -> None:
    def wrong(c: float, fold: int) -> tuple[int, int]:
        return round(41 * min(3, abs(np.log10(c)))) + 120 * fold, 0  # folds of 400 rows

    found = scripted(wrong, np.arange(800) % 2, grid=None, rule="1se")
    means = {candidate.c: candidate.mean for candidate in found.candidates}
    # At C = 1, the best, folds are 120/400 apart, and half of that is the error of their mean.
    enough = means[min(means, key=lambda c: abs(np.log10(c)))] - 0.15 - 1e-12
    coarse = min(c for c in means if c in C_GRID and means[c] >= enough)
    fine = np.array(sorted(set(means) - set(C_GRID)))
    np.testing.assert_allclose(4 * np.log10(fine / coarse), [-2, -1, 1, 2])
    assert found.best.c == min(c for c in means if means[c] >= enough)
    assert coarse > found.best.c > C_GRID[0]


# Wrong rows of 200 in each of two folds, for C from 1e-6 by decades.
RISE = [(60, 50), (50, 40), (40, 30), (30, 20), (20, 10), (10, 0)]  # standard errors are 0.025


@pytest.mark.parametrize(
    ("then", "tried"),
    [
        ([(20, 10)], 1),  # worse by more than a standard error
        ([(12, 2)], 2),  # a little worse, twice in a row
        ([(12, 2), (10, 0), (12, 2), (10, 0), (12, 2), (10, 0)], 6),  # never twice in a row
        ([(10, 0)], 6),  # as good
    ],
)
@pytest.mark.parametrize("spare", [sys.maxsize, 0])  # bytes for folds that are kept
def test_the_grid_is_left_once_a_peak_is_passed(
    then: list[tuple[int, int]], tried: int, spare: int
) -> None:
    wrong = [*RISE, *then, *[then[-1]] * 6]
    found = scripted(
        lambda c, fold: (wrong[max(0, round(np.log10(c) + 6))][fold], 0),
        np.arange(400) % 2,
        grid=None,
        spare=spare,
    )
    largest = C_GRID[len(RISE) + tried - 1]
    assert max(candidate.c for candidate in found.candidates) == largest
    assert found.passed_peak == found.to_dict()["passed_peak"] == (tried < 6)
    said = f"C above {largest:.3g} was left out: the scores had passed their peak"
    assert (said in str(found)) == (tried < 6)
    assert found.best.mean == 0.975


def test_the_grid_goes_on_while_no_peak_was_seen() -> None:
    """A tiny C predicts the most frequent class: what varies there by chance is no peak."""
    wrong = [*[(102, 98)] * 4, (105, 101), (105, 101), (105, 101), (10, 0), *[(20, 10)] * 4]
    found = scripted(
        lambda c, fold: (wrong[round(np.log10(c) + 6)][fold], 0), np.arange(400) % 2, grid=None
    )
    assert found.best.mean == 0.975


def test_the_grid_is_left_where_the_least_c_is_above_a_guess_already() -> None:
    wrong = [*[(12, 2)] * 4, (10, 0), (12, 2), (12, 2), *[(10, 0)] * 5]
    found = scripted(
        lambda c, fold: (wrong[max(0, round(np.log10(c) + 6))][fold], 0),
        np.arange(400) % 2,
        grid=None,
    )
    assert max(candidate.c for candidate in found.candidates) == C_GRID[6]


def test_the_grid_is_left_where_no_score_can_be_higher() -> None:
    wrong = [*[(20, 10)] * 6, *[(0, 0)] * 6]
    found = scripted(
        lambda c, fold: (wrong[max(0, round(np.log10(c) + 6))][fold], 0),
        np.arange(400) % 2,
        grid=None,
    )
    largest = max(candidate.c for candidate in found.candidates)
    assert (found.best.mean, C_GRID[6] <= largest < C_GRID[7]) == (1, True)
    assert f"C above {largest:.3g} was left out: no score is higher" in str(found)


def test_the_grid_is_left_where_the_solver_does_not_converge() -> None:
    found = scripted(
        lambda _c, _fold: (10, 10), np.arange(400) % 2, grid=None, stopped=(C_GRID[7], 1)
    )
    assert max(candidate.c for candidate in found.candidates) == C_GRID[7]
    assert "C above 10 was left out: the solver does not converge there" in str(found)


def test_the_grid_is_left_where_no_classifier_changes_any_more() -> None:
    """Fewer rows than features: a large C separates them with the whole margin."""
    y = np.arange(60) % 2
    codes = np.random.default_rng(6).normal(size=(60, 200))
    codes[:, :60] += 0.5 * (y[:, None] - 0.5)
    found = CrossValidation(training(codes, y), ClassifierOptions("svm"), SearchOptions()).select()
    last = max(found.candidates, key=lambda candidate: candidate.c)
    assert last.c < C_GRID[-1]
    assert last.unchanged
    assert last.converged
    assert "no larger C changes the classifiers" in str(found)
    beyond = SearchOptions(c=[last.c, 10 * last.c, 1000 * last.c])
    more = CrossValidation(training(codes, y), ClassifierOptions("svm"), beyond).select()
    assert len({candidate.scores for candidate in more.candidates}) == 1


def test_the_choice_does_not_depend_on_the_memory_for_folds() -> None:
    """The best C of these noisy codes is far beyond the first peak."""
    rng, y = np.random.default_rng(10), np.arange(60) % 2
    X = rng.normal(size=(60, 3)) + 0.8 * y[:, None] * [1, 0, 0]
    kept, made_again = (
        CrossValidation(
            TrainingSet(ArrayMatrix(X, spare), y, 2), ClassifierOptions("svm"), SearchOptions(cv=3)
        ).select()
        for spare in (sys.maxsize, 0)
    )
    assert kept.best.c == made_again.best.c < 1e-6
    scores = [[(one.c, one.scores) for one in each.candidates] for each in (kept, made_again)]
    assert scores[0] == scores[1]


def test_values_of_ones_own_are_not_refined() -> None:
    found = scripted(lambda _c, _fold: (1, 1), np.arange(40) % 2, grid=[0.1, 1.0, 10.0])
    assert [candidate.c for candidate in found.candidates] == [0.1, 1.0, 10.0]


def test_the_grid_spans_eleven_decades() -> None:
    np.testing.assert_allclose(np.log10(C_GRID), range(-6, 6), atol=1e-12)


def test_a_fold_that_did_not_converge_is_marked() -> None:
    found = scripted(
        lambda c, _fold: (int(c), 0), np.arange(40) % 2, grid=[1.0, 2.0], stopped=(2.0, 0)
    )
    assert [candidate.converged for candidate in found.candidates] == [True, False]
    assert [candidate.gap for candidate in found.candidates] == [1e-4, 0.5]
    assert [row["converged"] for row in found.to_dict()["candidates"]] == [True, False]
    lines = str(found).splitlines()
    assert lines[1].split()[-1] == "*"
    assert lines[2].endswith("not converged")


# Decompositions


@pytest.fixture
def decompositions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of rows of each decomposition that is made."""
    made: list[int] = []

    def counted(codes: CodeMatrix, *arguments: Any, **options: Any) -> Design:
        made.append(codes.shape[0])
        return make_design(codes, *arguments, **options)

    monkeypatch.setattr("bottleneck.linear.classifiers.make_design", counted)
    return made


@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_each_fold_is_decomposed_once(clf: str, decompositions: list[int]) -> None:
    search = SearchOptions(cv=3)
    validation = CrossValidation(training(*clouds(n=90)), ClassifierOptions(clf), search)
    best = validation.select().best
    validation.calibrate(best.c, best.scaling)
    assert decompositions == [60, 60, 60]


def test_folds_that_do_not_fit_are_made_again(decompositions: list[int]) -> None:
    X, y = clouds(n=90)
    found, search = [], SearchOptions(cv=3, scaling="auto")
    for spare in (sys.maxsize, 2 * fold_bytes(training(X, y), len(C_GRID)), 0):
        codes = ArrayMatrix(X, spare)
        validation = CrossValidation(TrainingSet(codes, y, 3), ClassifierOptions("svm"), search)
        best = validation.select().best
        _, values = validation.calibrate(best.c, best.scaling)
        found.append((best.c, best.scaling, len(decompositions)))
        np.testing.assert_allclose(
            best.scores,
            scores_by_hand(training(X, y), "svm", best.c, best.scaling, folds=3),
            atol=1.01 / 30,
        )
        assert values.shape == (90, 3)
        decompositions.clear()
    once, twice, never = found
    folds = 3 * len(SCALINGS)
    assert once[1:] == (once[1], folds)  # each fold of each scaling
    assert never[1:] == (once[1], folds + 3 + 3 + 3)
    assert folds < twice[2] < never[2] or once[1] != "standardize"
    assert abs(np.log10(once[0] / never[0])) < 0.5


@pytest.mark.parametrize("scalings", [1, 2, 4])
def test_folds_of_a_scaling_that_lost_make_room(scalings: int, decompositions: list[int]) -> None:
    X, y = clouds(n=90)
    room = 3 * scalings * fold_bytes(training(X, y), len(C_GRID))
    search = SearchOptions(cv=3, scaling="auto")
    dataset = TrainingSet(ArrayMatrix(X, room), y, 3)
    validation = CrossValidation(dataset, ClassifierOptions("svm"), search)
    best = validation.select().best
    validation.calibrate(best.c, best.scaling)
    assert (best.scaling, len(decompositions)) == ("standardize", 3 * len(SCALINGS))


# FeatureScaler


def _nuisance(kind: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Two classes that one preprocessing tells apart better than the others do."""
    random = np.random.default_rng(0)
    y = np.arange(120) % 2
    X = np.abs(random.normal(size=(120, 8)))
    X[:, 0] += 3 * y
    if kind == "standardize":  # a small feature says it, large ones drown it
        X[:, 1:] *= 30
        X[:, 0] = random.normal(size=120) + 3 * y  # of either sign: a root would blur it
    if kind == "sqrt":  # a few large values drown the many that say it
        X = random.normal(size=(120, 8)) + 0.6 * y[:, None] - 0.3
        X *= np.abs(X) ** 4
    if kind == "l2":  # bright and dark images of the same
        X *= 10 ** random.uniform(-2, 2, size=(120, 1))
    if kind == "none":  # the brightness says it, and features that hardly vary are noise
        X = np.hstack([X[:, :1], random.normal(scale=0.01, size=(120, 300))])
    return X.astype(np.float32), y


@pytest.mark.parametrize("kind", SCALINGS)
def test_preprocessing_is_chosen_by_the_same_folds(kind: str) -> None:
    dataset = training(*_nuisance(kind))
    found = chosen(dataset, ClassifierOptions("softmax"), scaling="auto", c=(0.01, 0.1))
    tried = [(candidate.scaling, candidate.c) for candidate in found.candidates]
    assert tried == [(name, c) for name in SCALINGS for c in (0.01, 0.1)]
    assert found.best.scaling == kind
    expected = scores_by_hand(dataset, "softmax", found.best.c, kind)
    np.testing.assert_allclose(found.best.scores, expected, atol=1.01 / 24)
    means = {candidate.mean for candidate in found.candidates if candidate.scaling == kind}
    assert found.at_edge == (len(means) > 1)  # of two values both are at an edge


@pytest.mark.parametrize(("rule", "c"), [("best", 10.0), ("1se", 1.0)])
def test_a_smaller_c_is_looked_for_with_the_best_preprocessing_alone(rule: str, c: float) -> None:
    targets = np.arange(80) % 2
    best = {0.1: (10, 10), 1.0: (2, 1), 10.0: (0, 2)}  # of 40 rows in each of two folds
    other = {0.1: (2, 1), 1.0: (10, 10), 10.0: (10, 10)}
    method = Scripted(
        "svm",
        targets=targets,
        wrong=lambda c, fold: (best[c][fold], 0),
        wrong_standardized=lambda c, fold: (other[c][fold], 0),
    )
    search = SearchOptions(c=list(best), cv=2, scaling="auto", rule=rule)
    found = CrossValidation(one_hot(targets), method, search).select()
    # One-hot rows have length 1, and so l2 is the same as none, and before it.
    assert (found.best.scaling, found.best.c) == ("l2", c)
    assert found.candidates[0].scores == (0.95, 0.975)


def test_only_the_chosen_preprocessing_is_refined() -> None:
    targets = np.arange(40) % 2
    method = Scripted("svm", targets=targets)  # always right: nothing to choose by
    found = CrossValidation(one_hot(targets), method, SearchOptions(cv=2, scaling="auto")).select()
    assert found.best.scaling == "standardize"
    names = [candidate.scaling for candidate in found.candidates]
    tried = [name for name in SCALINGS[1:] for _ in range(_CHEAP)]
    assert names == ["standardize"] * (_CHEAP + 4) + tried
    assert not found.at_edge  # what is always right cannot be better


# JSON


@pytest.mark.parametrize("kind", [ClassifierOptions, SklearnOptions])
def test_the_table_is_strict_json_of_every_number(kind: type[ClassifierOptions]) -> None:
    found = chosen(training(*clouds(n=60)), kind("svm"), c=(0.1, 1.0))
    table = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert (table["metric"], table["folds"]) == ("accuracy", 5)
    assert [row["c"] for row in table["candidates"]] == [0.1, 1.0]
    for row, candidate in zip(table["candidates"], found.candidates, strict=True):
        assert row.keys() == {"preprocess", "c", "mean", "std", "scores", "gap", "converged"}
        assert tuple(row["scores"]) == candidate.scores
        assert (row["mean"], row["std"]) == (np.mean(row["scores"]), np.std(row["scores"]))
        assert (row["gap"] is None) == (kind is SklearnOptions)
    assert table["best"] in table["candidates"]
    assert found.summary() == {
        "mean": found.best.mean,
        "std": found.best.std,
        "folds": 5,
        "metric": "accuracy",
    }


def test_scikit_learns_solver_tells_where_it_stopped_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reference, "_ITERATIONS", 2)
    found = chosen(training(*clouds()), SklearnOptions("softmax"), c=(10.0,))
    assert not found.best.converged
    assert "not converged" in str(found)


# Refusals


def test_too_few_folds_and_rows_are_refused() -> None:
    X, y = clouds(n=30)
    with pytest.raises(InvalidOptionError, match="`cv=0`: must be at least 2 folds"):
        chosen(training(X, y), c=[1.0], cv=0)
    with pytest.raises(LabelsError, match="1 of 2 classes"):
        chosen(training(X, (np.arange(30) == 0).astype(np.int64)))


# Calibration


def calibrated(
    dataset: TrainingSet, options: ClassifierOptions, *, c: float, scaling: str, folds: int
) -> tuple[Calibration, NDArray[np.float64]]:
    search = SearchOptions(c=[c], cv=folds, scaling=scaling)
    return CrossValidation(dataset, options, search).calibrate(c, scaling)


def noise(k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """More features than rows, and nothing to learn: rows that were learnt are all right."""
    X = np.random.default_rng(0).normal(size=(60, 200))
    return X.astype(np.float32), np.arange(60) % k


@pytest.mark.parametrize("k", [2, 3])
def test_margins_are_of_rows_that_the_classifier_has_not_seen(k: int) -> None:
    X, y = noise(k)
    dataset = training(X, y)
    found, margins = calibrated(
        dataset, ClassifierOptions("svm"), c=10.0, scaling="standardize", folds=5
    )
    expected = cross_val_predict(
        by_sklearn("svm", 10.0), X, y, cv=make_folds(dataset, 5), method="decision_function"
    )
    expected = np.stack([-expected, expected], axis=1) if k == 2 else expected
    np.testing.assert_allclose(margins, expected, atol=0.05)
    learnt = by_sklearn("svm", 10.0).fit(X, y)
    assert learnt.score(X, y) == 1  # margins of these rows would make every answer certain
    assert found.probabilities(margins).max(axis=1).mean() < 1 / k + 0.2


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_one_class_of_all_has_a_temperature(clf: str, k: int) -> None:
    X, y = clouds(k=k)
    found, margins = calibrated(
        training(X, y), ClassifierOptions(clf), c=0.1, scaling="l2", folds=4
    )
    assert margins.shape == (240, k)
    assert not found.independent
    expected = fit_temperature(margins, y)
    np.testing.assert_array_equal(found.slope, expected.slope)
    np.testing.assert_array_equal(found.offset, np.zeros(k))
    np.testing.assert_allclose(
        found.probabilities(margins), softmax(found.slope[0] * margins, axis=1)
    )


@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_several_labels_have_platts_line_each(clf: str) -> None:
    X, targets = several()
    dataset = training(X, targets)
    found, margins = calibrated(
        dataset, ClassifierOptions(clf), c=0.1, scaling="standardize", folds=4
    )
    assert found.independent
    expected = fit_platt(margins, targets)
    np.testing.assert_array_equal(found.slope, expected.slope)
    np.testing.assert_array_equal(found.offset, expected.offset)
    for label in range(3):
        by_hand = np.zeros(len(X))
        for rows, validation in make_folds(dataset, 4):
            alone = by_sklearn(clf, 0.1).fit(X[rows], targets[rows, label])
            by_hand[validation] = alone.decision_function(X[validation]) - alone[-1].intercept_
        np.testing.assert_allclose(margins[:, label], by_hand, atol=0.05)


def test_calibration_reads_blocks_in_their_order() -> None:
    X, y = clouds()
    blocks = TrainingSet(Rows(X, [7, 30, 64], in_memory=False), y, 3)
    options: dict[str, Any] = {"c": 0.1, "scaling": "standardize", "folds": 3}
    _, streamed = calibrated(blocks, ClassifierOptions("svm"), **options)
    _, at_once = calibrated(training(X, y), ClassifierOptions("svm"), **options)
    np.testing.assert_allclose(streamed, at_once, atol=0.01)


def test_groups_stay_together_while_margins_are_learnt() -> None:
    """Copies of a row in one group: a fold that splits them would know the answer."""
    X, y = noise(2)
    X, y = np.repeat(X, 2, axis=0), np.repeat(y, 2)
    groups = [f"slide{row // 2}" for row in range(120)]
    options: dict[str, Any] = {"c": 10.0, "scaling": "none", "folds": 5}
    _, apart = calibrated(training(X, y, groups), ClassifierOptions("svm"), **options)
    _, leaking = calibrated(training(X, y), ClassifierOptions("svm"), **options)
    assert (apart.argmax(axis=1) == y).mean() < 0.65
    assert (leaking.argmax(axis=1) == y).mean() > 0.8
