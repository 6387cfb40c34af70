import dataclasses
from typing import Any

import numpy as np
import pytest

from bottleneck.fitting.fit import FitResult
from bottleneck.fitting.head import Head
from bottleneck.fitting.metrics import MultilabelScore, score, score_labels
from bottleneck.fitting.selection import Candidate, SearchResult
from bottleneck.fitting.summary import (
    confusion_text,
    fit_text,
    precision_text,
    score_text,
    selection_text,
)
from bottleneck.linear.path import Solution
from bottleneck.linear.scaling import FeatureScaler
from bottleneck.spec import ModelReference
from tests.helpers.datasets import SPEC


def candidate(c: float, *scores: float, converged: bool = True, name: str = "l2") -> Candidate:
    return Candidate(name, c, scores, 1e-4, converged)


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


# The search


def test_the_chosen_c_is_marked_and_what_did_not_converge_is_said() -> None:
    low, high = candidate(0.1, 0.5, 0.7), candidate(1.0, 0.4, 0.4, converged=False)
    lines = words(selection_text(SearchResult(low, [low, high], 2, "accuracy")))
    assert lines == [
        ["C", "accuracy", "±", "std"],
        ["0.1", "60.0%", "10.0%", "*"],
        ["1", "40.0%", "0.0%", "not", "converged"],
    ]


def test_the_chosen_one_may_be_the_one_that_did_not_converge() -> None:
    only = candidate(0.1, 0.5, 0.7, converged=False)
    assert selection_text(SearchResult(only, [only], 2, "balanced")).endswith("* not converged")


def test_several_preprocessings_have_a_column() -> None:
    found = [candidate(0.1, 0.5, name="l2"), candidate(0.1, 0.6, name="none")]
    lines = words(selection_text(SearchResult(found[1], found, 1, "mean_average_precision")))
    assert lines[0][:5] == ["preprocess", "C", "mean", "average", "precision"]
    assert [line[0] for line in lines[1:]] == ["l2", "none"]
    assert [line[-1] for line in lines[1:]] == ["0.0%", "*"]


# fit

HELD_OUT = score(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), ["ants", "bees"], split="val")


def a_fit(**changes: Any) -> FitResult:
    k, d = 2, 3
    head = Head(
        clf="svm",
        layer="layer3",
        classes=["ants", "bees"],
        coef=np.zeros((k, d)),
        intercept=np.zeros(k),
        preprocessing=FeatureScaler("l2", np.zeros(d), np.ones(d)),
        calibration=None,
        multilabel=False,
        spec=SPEC,
        reference=ModelReference("net", "none"),
        training_record={},
    )
    best = candidate(0.1, 0.5, 0.7)
    tried = [candidate(0.01, 0.4, 0.4), best, candidate(1.0, 0.4, 0.4)]
    ones = np.ones(1)
    done = FitResult(
        head=head,
        c=0.1,
        selection=SearchResult(best, tried, 2, "accuracy"),
        heldout=HELD_OUT,
        ece=0.034,
        train=123,
        solution=Solution(0.1, ones[None], ones, ones, ones * 0.02, ones > 0, 7),
        seconds=1.26,
    )
    return dataclasses.replace(done, **changes)


def stopped(gap: float) -> Solution:
    solution = a_fit().solution
    return dataclasses.replace(solution, gap=np.array([gap]), converged=np.array([False]))


def test_a_fit_says_the_search_the_choice_the_judgement_and_where_the_head_is() -> None:
    text = fit_text(a_fit(), "here.head")
    search, rest = text.split("\n\n")
    done = a_fit()
    assert done.selection is not None
    assert search == selection_text(done.selection)
    assert rest.splitlines() == [
        "svm on layer3: 123 images of 2 classes, codes of size 3, l2, C = 0.1",
        "cross-validation  accuracy 60.0% ± 10.0% in 2 folds, calibration error 3.4%",
        *score_text(HELD_OUT).splitlines(),
        "saved here.head (1.3 s)",
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"heldout": None}, "no held-out split: the cross-validation is all that can be said"),
        ({"ece": None}, "cross-validation  accuracy 60.0% ± 10.0% in 2 folds"),
        (
            {"solution": stopped(0.02)},
            "the solver stopped within 2.0e-02 of its minimum: a smaller C converges sooner",
        ),
        (
            {"solution": stopped(np.nan)},
            "the solver stopped short of its minimum: a smaller C converges sooner",
        ),
        (
            {
                "selection": SearchResult(
                    candidate(1.0, 0.9, 0.9),
                    [candidate(0.1, 0.4, 0.5), candidate(1.0, 0.9, 0.9)],
                    2,
                    "macro_f1",
                )
            },
            "the best C is at the edge of the grid: a better one may lie beyond it",
        ),
    ],
)
def test_what_is_not_as_it_should_be_is_said(changes: dict[str, Any], line: str) -> None:
    assert line in fit_text(a_fit(**changes), "head").splitlines()
    assert line not in fit_text(a_fit(), "head").splitlines()


def test_without_a_search_there_is_none_to_tell() -> None:
    lines = fit_text(a_fit(selection=None, ece=None), "head").splitlines()
    assert lines[0].startswith("svm on layer3: 123 images")
    assert lines[1].startswith("held-out val")


# Scores


def test_a_score_has_its_interval_and_its_matrix() -> None:
    lines = score_text(HELD_OUT).splitlines()
    assert lines[0] == (
        "held-out val  75.0% of 4 (95 % interval 30.1% to 95.4%), mean per class 75.0%"
    )
    assert words("\n".join(lines[1:])) == [
        ["true", "\\", "predicted", "ants", "bees"],
        ["ants", "1", "1"],
        ["bees", "0", "2"],
    ]


def test_probabilities_have_their_error_and_rows_without_splits_a_name() -> None:
    found = dataclasses.replace(HELD_OUT, split="", ece=0.051)
    line = score_text(found).splitlines()[0]
    assert line.startswith("all images  75.0% of 4")
    assert line.endswith("mean per class 75.0%, calibration error 5.1%")


def labels_score() -> MultilabelScore:
    true = np.array([[True, False, False], [False, True, False]])
    margins = np.array([[1.0, -1.0, -1.0], [2.0, 1.0, -1.0]])
    return score_labels(true, margins, ["ants", "b\nees", "none"], split="test")


def test_several_labels_have_their_precisions() -> None:
    lines = score_text(labels_score()).splitlines()
    assert lines[0].startswith("held-out test  all labels right for 50.0% of 2 (95 % interval")
    assert words(precision_text(labels_score())) == [
        ["label", "average", "precision"],
        ["ants", "50.0%"],  # the second image's margin is above the first's
        ["b\\nees", "100.0%"],
        ["none", "-"],
        ["mean", "75.0%"],
    ]
    assert "\n".join(lines[1:]) == precision_text(labels_score())


def test_of_many_classes_the_worst_confusions_are_shown() -> None:
    names = [f"class{k}" for k in range(30)]
    true = np.array([7, 3, 3, 3, 9])
    predicted = np.array([8, 4, 4, 4, 9])
    lines = words(confusion_text(score(true, predicted, names, split="")))
    assert lines[1:] == [["class3", "class4", "3"], ["class7", "class8", "1"]]
