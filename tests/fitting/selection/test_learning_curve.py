"""Tests of the learning curve: its parts, its last point, and its extrapolation."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bottleneck.errors import InvalidOptionError, UnknownNameError
from bottleneck.fitting import CrossValidation, LearningCurve, SearchOptions, learning_curve
from bottleneck.fitting.selection.learning_curve import CurvePoint, draw_part
from bottleneck.linear import ArrayMatrix, ClassifierOptions, TrainingSet
from bottleneck.runtime import Progress

SVM = ClassifierOptions("svm")


def _training(n: int = 160, *, grouped: bool = False, difference: float = 0.6) -> TrainingSet:
    classes = np.arange(n) % 2
    random = np.random.default_rng(0)
    codes = random.normal(size=(n, 10)) + difference * classes[:, None]
    groups = None
    if grouped:  # four copies of each image
        groups = np.repeat(np.arange(n // 4), 4)
        classes, codes = classes[groups], codes[groups]
    return TrainingSet(ArrayMatrix(codes), classes, 2, groups=groups)


def _curve(training: TrainingSet, **options: object) -> LearningCurve:
    return learning_curve(training, SVM, c=0.01, scaling="standardize", **options)  # type: ignore[arg-type]


def test_parts_are_nested_stratified_and_hold_whole_groups() -> None:
    training = _training(grouped=True)
    rows = np.arange(8, 160)
    previous: NDArray[np.int64] = np.zeros(0, np.int64)
    for share in (1 / 8, 1 / 4, 1 / 2, 1.0):
        part = draw_part(training, rows, share, seed=3)
        assert set(previous) < set(part) <= set(rows.tolist())
        assert training.groups is not None
        whole = np.isin(training.groups, training.groups[part]) & np.isin(np.arange(160), rows)
        np.testing.assert_array_equal(part, np.flatnonzero(whole))
        assert np.ptp(np.bincount(training.targets[part])) <= 4
        assert abs(len(part) - share * len(rows)) <= 8
        previous = part


def test_parts_do_not_depend_on_the_names_of_classes() -> None:
    groups = np.repeat(np.arange(20), 2)  # each of two classes
    targets = np.arange(40) % 3
    training = TrainingSet(ArrayMatrix(np.zeros((40, 1))), targets, 3, groups=groups)
    renamed = replace(training, targets=2 - targets)
    parts = [draw_part(one, np.arange(40), 1 / 4, seed=0).tolist() for one in (training, renamed)]
    assert parts[0] == parts[1]


def test_a_part_has_every_class() -> None:
    training = _training(24)
    assert set(training.targets[draw_part(training, np.arange(24), 1 / 50, seed=0)]) == {0, 1}


@given(st.integers(0, 999))
def test_a_class_that_no_group_mostly_has_is_in_every_part(seed: int) -> None:
    groups = np.repeat(np.arange(8), 5)
    classes = groups % 2
    classes[[4, 14, 24]] = 2  # one image of five
    training = TrainingSet(ArrayMatrix(np.zeros((40, 1))), classes, 3, groups=groups)
    previous: set[int] = set()
    for share in (1 / 8, 1 / 2, 1.0):
        part = draw_part(training, np.arange(40), share, seed)
        assert set(classes[part]) == {0, 1, 2}
        assert previous <= set(part.tolist())
        previous = set(part.tolist())


def test_the_last_point_is_the_accuracy_of_the_folds() -> None:
    training = _training()
    search = SearchOptions(c=[0.01])
    mean = CrossValidation(training, SVM, search).select().best.mean
    curve = _curve(training)
    assert curve.points[-1].score == pytest.approx(mean, abs=0.01)
    assert [point.images for point in curve.points] == [16, 32, 64, 128]
    assert curve.points[0].score < curve.points[-1].score


def test_errors_are_those_of_the_groups() -> None:
    alone, grouped = _curve(_training()), _curve(_training(grouped=True))
    p = alone.points[-1].score
    assert alone.points[-1].standard_error == pytest.approx(np.sqrt(p * (1 - p) / 160), rel=0.2)
    p = grouped.points[-1].score
    assert grouped.points[-1].standard_error == pytest.approx(np.sqrt(p * (1 - p) / 40), rel=0.25)


def test_twice_as_many_images_give_about_what_was_predicted() -> None:
    predicted = _curve(_training(300)).predicted
    assert predicted is not None and predicted.images == 480
    truth = _curve(_training(600)).points[-1].score
    low, high = predicted.interval
    assert low - 0.02 <= truth <= high + 0.02
    assert 0 <= predicted.gain_interval[0] <= predicted.gain <= predicted.gain_interval[1]


def test_several_labels_have_the_mean_average_precision() -> None:
    one = _training()
    targets = np.column_stack([one.targets == 1, np.arange(160) % 3 == 0])
    several = TrainingSet(one.codes, targets, 2)
    curve = _curve(several)
    assert curve.metric == "mean_average_precision"
    assert curve.points[-1].score > 0.5
    assert curve.to_dict()["points"][-1]["score"] == curve.points[-1].score


def test_progress_counts_every_classifier_by_its_images() -> None:
    told: list[Progress] = []
    _curve(_training(), on_progress=told.append)
    # In five folds: an eighth of the images four times, a quarter twice, a half and all once. That
    # is two and a half times all images, and 8 of 40 classifiers for every half.
    work = [n / 20 for n in range(21)] + [1 + n / 10 for n in range(1, 11)]
    work += [2 + n / 5 for n in range(1, 6)] + [3 + n / 2.5 for n in range(1, 6)]
    done = [math.ceil(round(8 * each, 6)) for each in work]
    assert list(dict.fromkeys(one.done for one in told)) == list(dict.fromkeys(done))
    assert {(one.total, one.unit) for one in told} == {(40, "fits of the curve")}


def test_few_images_determine_no_law() -> None:
    curve = _curve(_training(4))
    assert [point.images for point in curve.points] == [2]
    assert curve.predicted is None
    assert len(str(curve).splitlines()) == 1


def test_the_interval_of_a_point_ends_at_1() -> None:
    assert CurvePoint(100, 0.99, 0.01).interval == pytest.approx((0.9704, 1.0))


@pytest.mark.parametrize(
    "wrong", [{"c": -1.0}, {"c": math.nan}, {"metric": "loss"}, {"scaling": "auto"}, {"folds": 1}]
)
def test_values_that_are_not_allowed_are_refused(wrong: dict[str, Any]) -> None:
    options: dict[str, Any] = {"c": 0.01, "scaling": "none"} | wrong
    with pytest.raises((InvalidOptionError, UnknownNameError)):
        learning_curve(_training(16), SVM, **options)
