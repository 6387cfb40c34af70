import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn
from sklearn.dummy import DummyClassifier
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    recall_score,
)

from bottleneck.fitting.scoring.metrics import (
    METRICS,
    calibration_bins,
    calibration_error,
    guessing_score,
    mean_average_precision,
    score_answers,
)
from bottleneck.linear.calibration import Calibration
from tests.helpers.answers import PAIRS, columns


@given(PAIRS)
def test_metrics_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    true, predicted = columns(pairs)
    recall = recall_score(true, predicted, labels=np.unique(true), average="macro")
    assert {name: score_answers(true, predicted, 4, name) for name in METRICS} == {
        "accuracy": pytest.approx(accuracy_score(true, predicted)),
        "balanced": pytest.approx(recall),
        "macro_f1": pytest.approx(f1_score(true, predicted, average="macro")),
    }


def test_macro_f1_counts_a_class_that_is_only_predicted() -> None:
    true, predicted = columns([(0, 0), (0, 0), (0, 1)])
    # Class 0: precision 1, recall 2/3, F1 4/5. Class 1 has no image: 0. Class 2 is nowhere.
    assert score_answers(true, predicted, 3, "macro_f1") == pytest.approx(0.4)
    assert score_answers(true, predicted, 3, "balanced") == pytest.approx(2 / 3)


@pytest.mark.parametrize("metric", METRICS)
def test_metrics_of_a_million_classes_need_no_matrix(metric: str) -> None:
    true = np.array([0, 5, 999_999])  # of which a matrix has 8 TB
    assert score_answers(true, true, 1_000_000, metric) == 1


@pytest.mark.parametrize("metric", METRICS)
def test_a_guess_is_scikit_learns_dummy(metric: str) -> None:
    true = np.array([2, 2, 2, 0, 1, 1])
    answers = DummyClassifier(strategy="most_frequent").fit(true[:, None], true).predict(true)
    assert guessing_score(true, 3, metric) == score_answers(true, answers, 3, metric)
    tags = np.array([[True, False], [True, True], [False, True], [True, False]])
    assert guessing_score(tags, 2, metric) == average_precision_score(tags, np.zeros(tags.shape))


def test_average_precision_by_hand() -> None:
    margins = np.array([[3.0], [2.0], [1.0], [0.0]])
    # Found at ranks 1 and 3, where precision is 1 and 2/3: each adds half of the recall.
    assert mean_average_precision(np.array([[1], [0], [1], [0]], bool), margins) == pytest.approx(
        (1 + 2 / 3) / 2
    )
    # Where all margins are equal there is one threshold, and precision is the label's share.
    assert mean_average_precision(np.array([[1], [0], [0], [0]], bool), 0 * margins) == 0.25


def slow_calibration_error(confidence: Any, right: Any, bins: int) -> float:
    """Guo's equation 3, one bin (low, high] after the other."""
    edges, total = np.linspace(0, 1, bins + 1), 0.0
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high) | (low == 0) & (confidence == 0)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


@given(
    st.data(), st.integers(1, 20), st.integers(1, 4), st.sampled_from([1, 2, 10, 15]), st.booleans()
)
def test_calibration_error_is_guos(
    data: st.DataObject, n: int, k: int, bins: int, many_labels: bool
) -> None:
    # Fifteenths and tenths lie on the edges of bins.
    values = st.one_of(
        st.floats(0, 1), st.sampled_from([i / 15 for i in range(16)] + [0.1, 0.3, 0.5])
    )
    probabilities = data.draw(stn.arrays(np.float64, (n, k), elements=values))
    if many_labels:
        true: Any = data.draw(stn.arrays(np.bool_, (n, k)))
        confidence = np.where(probabilities > 0.5, probabilities, 1 - probabilities).ravel()
        right = np.where(probabilities > 0.5, true, ~true).ravel()
    else:
        true = data.draw(stn.arrays(np.int64, n, elements=st.integers(0, k - 1)))
        confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == true
    found = calibration_bins(probabilities, true, bins=bins).error
    assert found == pytest.approx(slow_calibration_error(confidence, right, bins), abs=1e-12)


def test_calibration_error_by_hand() -> None:
    # Two images at 0.9, one of them right; one at 0.6, right: 2/3 · 0.4 + 1/3 · 0.4.
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9], [0.4, 0.6]])
    classes = np.array([0, 0, 1])
    assert calibration_bins(probabilities, classes).error == pytest.approx(0.4)
    # In one bin the two kinds of error cancel out: confidence is 0.8 and two thirds are right.
    assert calibration_bins(probabilities, classes, bins=1).error == pytest.approx(0.8 - 2 / 3)
    # As labels: yes at 0.8 is right, no at 0.8 is wrong.
    labels = np.array([[True, True]])
    assert calibration_bins(np.array([[0.8, 0.2]]), labels).error == pytest.approx(0.3)
    # As a head with class weights answers: yes at 0.2 is right, yes at 0.8 too.
    found = calibration_bins(np.array([[0.8, 0.2]]), labels, predicted=labels).error
    assert found == pytest.approx((0.2 + 0.8) / 2)


def test_the_right_edge_belongs_to_its_bin() -> None:
    # 0.5 is right and 0.7 wrong: apart in (0, ½] and (½, 1], together their errors cancel.
    probabilities = np.array([[0.5, 0.2, 0.3], [0.7, 0.2, 0.1]])
    found = calibration_bins(probabilities, np.array([0, 1]), bins=2).error
    assert found == pytest.approx((0.5 + 0.7) / 2)


@pytest.mark.parametrize("multilabel", [False, True])
def test_the_calibration_error_in_blocks_is_that_of_all_probabilities(
    monkeypatch: pytest.MonkeyPatch, multilabel: bool
) -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(103, 3))
    true = random.random((103, 3)) < 0.4 if multilabel else random.integers(0, 3, 103)
    calibration = Calibration(np.array([0.5, 1.0, 2.0]), np.zeros(3), independent=multilabel)
    predicted = values > 0 if multilabel else None
    probabilities = calibration.probabilities(values)
    expected = calibration_bins(probabilities, true, predicted=predicted).error
    monkeypatch.setattr("bottleneck.linear.calibration._BLOCK", 30)
    assert calibration_error(calibration, values, true) == pytest.approx(expected, abs=1e-12)


def test_metrics_load_no_scikit_learn() -> None:
    code = "import sys, bottleneck.fitting.scoring.metrics\n"
    code += "sys.exit(bool({'sklearn', 'scipy'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
