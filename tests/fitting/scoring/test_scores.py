import dataclasses

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    confusion_matrix,
    recall_score,
)

from bottleneck.data.labels import UnknownLabels
from bottleneck.errors import LabelsError
from bottleneck.fitting.scoring.intervals import accuracy_interval, wilson_interval
from bottleneck.fitting.scoring.metrics import mean_average_precision
from bottleneck.fitting.scoring.scores import MultilabelScore, score_classes, score_labels
from tests.helpers.answers import PAIRS, columns, labelled


@given(PAIRS)
def test_scores_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    true, predicted = columns(pairs)
    found = score_classes(true, predicted, ["a", "b", "c", "d"], split="val")
    assert found.accuracy == pytest.approx(accuracy_score(true, predicted))
    present = np.unique(true)
    recall = [float((predicted[true == k] == k).mean()) for k in present]
    assert found.mean_per_class == pytest.approx(np.mean(recall))
    if set(predicted) <= set(true) and len(present) > 1:  # scikit-learn warns otherwise
        balanced = balanced_accuracy_score(true, predicted)
        assert found.mean_per_class == pytest.approx(balanced)
    reference = confusion_matrix(true, predicted, labels=range(4))
    np.testing.assert_array_equal(found.confusion, reference)
    assert (found.n, found.split) == (len(pairs), "val")


def test_json_has_the_promised_keys() -> None:
    found = score_classes(np.array([0, 1]), np.array([0, 0]), ["a", "b"], split="test").to_dict()
    assert (found["split"], found["n"]) == ("test", 2)
    assert (found["accuracy"], found["mean_per_class"]) == (0.5, 0.5)
    assert len(found["ci95"]) == 2
    assert found["confusion"] == [[1, 0], [1, 0]]
    assert found["absent"] == []
    assert found["unknown"] == {"images": 0, "classes": {}, "similar": {}}


@given(PAIRS)
def test_metrics_and_scores_agree(pairs: list[tuple[int, int]]) -> None:
    true, predicted = columns(pairs)
    found = score_classes(true, predicted, ["a", "b", "c", "d"], split="val")
    assert found.metric("accuracy") == found.accuracy
    assert found.metric("balanced") == found.mean_per_class


@given(labelled())
def test_label_scores_are_those_of_scikit_learn(
    rows: tuple[NDArray[np.bool_], NDArray[np.float64]],
) -> None:
    true, margins = rows
    names = [f"label {k}" for k in range(true.shape[1])]
    occurs = np.asarray(true.any(axis=0))
    if not occurs.any():
        with pytest.raises(LabelsError, match="no image has any of the"):
            score_labels(true, margins, names, split="test")
        with pytest.raises(LabelsError, match="no image has any of the"):
            mean_average_precision(true, margins)
        return
    found = score_labels(true, margins, names, split="test")
    given_labels = np.asarray(margins > 0)
    wrong = np.count_nonzero(true != given_labels, axis=1)
    exact = np.count_nonzero(wrong == 0) / len(true)
    assert found.accuracy == pytest.approx(exact)
    assert found.ci95 == wilson_interval(exact, len(true))
    recall = [recall_score(true[:, k], given_labels[:, k]) for k in np.flatnonzero(occurs)]
    assert found.mean_per_class == pytest.approx(np.mean(recall))
    reference = {
        name: pytest.approx(average_precision_score(true[:, k], margins[:, k]))
        for k, name in enumerate(names)
        if occurs[k]
    }
    assert found.average_precision == dict.fromkeys(names) | reference
    mean = average_precision_score(true[:, occurs], margins[:, occurs], average="macro")
    assert found.mean_average_precision == pytest.approx(mean)
    assert mean_average_precision(true, margins) == found.mean_average_precision
    assert (found.n, found.split, found.classes) == (len(true), "test", names)


def test_the_order_of_the_images_does_not_matter() -> None:
    random = np.random.default_rng(0)
    true, margins = random.random((40, 3)) < 0.3, random.integers(-3, 3, (40, 3)).astype(float)
    shuffled = random.permutation(40)
    assert score_labels(true, margins, "abc", split="") == score_labels(
        true[shuffled], margins[shuffled], "abc", split=""
    )


def test_json_of_labels_has_the_promised_keys() -> None:
    true, margins = np.array([[True, False], [True, False]]), np.array([[1.0, 0.0], [-1.0, -1.0]])
    found = score_labels(true, margins, ["cat", "dog"], split="val").to_dict()
    assert len(found.pop("ci95")) == 2
    assert found == {
        "split": "val",
        "n": 2,
        "accuracy": 0.5,  # a margin of 0 does not give the label
        "mean_per_class": 0.5,
        "mean_average_precision": 1.0,
        "average_precision": {"cat": 1.0, "dog": None},
        "classes": ["cat", "dog"],
        "groups": None,
        "ece": None,
        "absent": ["dog"],
        "unknown": {"images": 0, "classes": {}, "similar": {}},
        "views": 1,
        "plain": None,
        "copies": 0,
        "shared_groups": 0,
        "unused": {},
    }


def test_the_interval_is_over_groups_where_images_have_them() -> None:
    random = np.random.default_rng(0)
    groups = np.arange(60) // 5
    wrong = random.random(12)[groups] < 0.4  # 60 images say no more than 12
    true = random.random((60, 2)) < 0.5
    values = np.where(true ^ wrong[:, None], 1.0, -1.0)
    classes = true[:, 0].astype(np.int64)
    for alone, grouped in (
        [score_labels(true, values, "ab", split="", groups=some) for some in (None, groups)],
        [
            score_classes(classes, classes ^ wrong, "ab", split="", groups=some)
            for some in (None, groups)
        ],
    ):
        assert alone.accuracy == grouped.accuracy == (~wrong).mean()
        assert grouped.ci95 == accuracy_interval(~wrong, groups)
        assert alone.ci95 == wilson_interval(alone.accuracy, 60)
        low, high = grouped.ci95 or (0, 0)
        assert f"interval {low:.1%} to {high:.1%} over 12 groups), mean" in str(grouped)
        assert (alone.to_dict()["groups"], grouped.to_dict()["groups"]) == (None, 12)


def test_images_of_one_group_have_no_interval() -> None:
    one = score_classes(np.array([0, 1]), np.array([0, 0]), "ab", split="", groups=np.zeros(2, int))
    assert str(one).startswith(
        "all images  50.0% of 2 (no interval: all images are of one group), mean per class 50.0%"
    )
    assert one.to_dict()["ci95"] is None


# The text

HELD_OUT = score_classes(
    np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), ["ants", "bees"], split="val"
)


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_a_score_has_its_interval_and_its_matrix() -> None:
    lines = str(HELD_OUT).splitlines()
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
    line = str(found).splitlines()[0]
    assert line.startswith("all images  75.0% of 4")
    assert line.endswith("mean per class 75.0%, calibration error 5.1%")
    assert str(dataclasses.replace(HELD_OUT, split="train")).startswith(
        "training split  75.0% of 4"
    )


def test_a_class_without_images_is_named_and_not_in_the_mean() -> None:
    names = ["ants", "b\nees", "moths", "wasps"]
    found = score_classes(np.array([0, 0, 2, 2]), np.array([0, 1, 2, 2]), names, split="val")
    assert found.absent == found.to_dict()["absent"] == ["b\nees", "wasps"]
    assert found.mean_per_class == (0.5 + 1) / 2
    assert (
        str(found)
        .splitlines()[0]
        .endswith("mean per class 75.0% (2 of 4 classes: no image of 'b\\nees', 'wasps')")
    )
    names = [str(k) for k in range(9)]
    line = str(score_classes(np.array([1, 1]), np.array([1, 1]), names, split="")).splitlines()[0]
    assert line.endswith("(1 of 9 classes: no image of '0', '2', '3', '4', '5' and 3 more)")
    assert labels_score().absent == ["none"]
    assert "(2 of 3 classes: no image of 'none')" in str(labels_score()).splitlines()[0]


def test_splits_that_are_not_used_are_remarked() -> None:
    found = dataclasses.replace(HELD_OUT, unused={"extra": 7, "": 2})
    said = "labelled images neither trained on nor judged: 7 of 'extra', 2 in no split"
    assert found.remarks == [said] and found.format() == HELD_OUT.format()
    assert found.to_dict()["unused"] == {"extra": 7, "": 2}


def test_unknown_labels_are_remarked_last_and_change_no_number() -> None:
    unknown = UnknownLabels(3, {"moths": 2, "Bees": 1}, {"Bees": "bees"})
    for score in (HELD_OUT, labels_score()):
        found = dataclasses.replace(score, unknown=unknown)
        assert found.remarks == [f"not in the score: {unknown}"]
        assert str(found) == f"{score}\n{found.remarks[0]}"
        assert found.format() == score.format() == str(score)
        values = found.to_dict()
        assert values.pop("unknown") == {
            "images": 3,
            "classes": {"moths": 2, "Bees": 1},
            "similar": {"Bees": "bees"},
        }
        assert values.items() <= score.to_dict().items()


def test_images_that_were_seen_in_training_are_counted_in_one_line() -> None:
    (one,) = dataclasses.replace(HELD_OUT, copies=1).remarks
    assert one.startswith("1 image has the same bytes as a training image: the accuracy is too hi")
    assert str(dataclasses.replace(HELD_OUT, copies=2)).splitlines()[-1].startswith("2 images have")
    (one,) = dataclasses.replace(HELD_OUT, shared_groups=1).remarks
    assert one.startswith("1 image is of a group that training images have too: the accuracy is")
    assert dataclasses.replace(HELD_OUT, shared_groups=2).remarks[0].startswith("2 images are of a")


def labels_score() -> MultilabelScore:
    true = np.array([[True, False, False], [False, True, False]])
    margins = np.array([[1.0, -1.0, -1.0], [2.0, 1.0, -1.0]])
    return score_labels(true, margins, ["ants", "b\nees", "none"], split="test")


def test_several_labels_have_their_precisions() -> None:
    lines = str(labels_score()).splitlines()
    assert lines[0].startswith("held-out test  all labels right for 50.0% of 2 (95 % interval")
    assert words(labels_score().format_precisions()) == [
        ["label", "average", "precision"],
        ["ants", "50.0%"],  # the second image's margin is above the first's
        ["b\\nees", "100.0%"],
        ["none", "-"],
        ["mean", "75.0%"],
    ]
    assert "\n".join(lines[1:]) == labels_score().format_precisions()


def test_of_many_classes_the_worst_confusions_are_shown() -> None:
    names = [f"class{k}" for k in range(30)]
    true = np.array([7, 3, 3, 3, 9])
    predicted = np.array([8, 4, 4, 4, 9])
    lines = words(score_classes(true, predicted, names, split="").format_confusion())
    assert lines[1:] == [["class3", "class4", "3"], ["class7", "class8", "1"]]


def test_a_score_of_a_million_classes_makes_no_matrix() -> None:
    true, names = np.array([0, 5, 5]), list(map(str, range(1_000_000)))
    found = score_classes(true, np.array([0, 7, 7]), names, split="val")  # a matrix has 8 TB
    assert found.accuracy == pytest.approx(1 / 3)
    assert found.mean_per_class == 0.5
    assert found.metric("macro_f1") == pytest.approx(1 / 3)  # of 0, 5 and 7
    assert len(found.absent) == 999_998
    assert found.format().splitlines()[-1].split() == ["5", "7", "2"]
    assert found.record()["accuracy"] == found.accuracy
    assert "confusion" not in found.record()


def test_notebooks_show_the_text_escaped() -> None:
    for score in (dataclasses.replace(HELD_OUT, classes=["<b>", "&"]), labels_score()):
        html = score._repr_html_()
        assert html.startswith("<pre>")
        assert "<b>" not in html
