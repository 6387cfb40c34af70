"""Predictions as lines of text."""

import csv
import json
from pathlib import Path

from bottleneck.prediction.output import prediction_lines
from bottleneck.prediction.prediction import Prediction

PREDICTIONS = [
    Prediction(Path("a,b.jpg"), "ants", {"ants": 0.75, "bees": 0.25}, ""),
    Prediction(Path("c\n.jpg"), "", {}, "cannot be decoded: the file is empty"),
]


def test_a_table_of_predictions_keeps_each_to_its_line() -> None:
    assert list(prediction_lines(PREDICTIONS, style="table", top=2)) == [
        "a,b.jpg  ants 0.750  bees 0.250",
        "c\\n.jpg  rejected: cannot be decoded: the file is empty",
    ]
    (first, _) = prediction_lines(PREDICTIONS, style="table", top=None)
    assert first == "a,b.jpg  ants 0.750"


def test_csv_predictions_are_read_back_by_a_csv_reader() -> None:
    text = "\n".join(prediction_lines(PREDICTIONS, style="csv", top=2))
    assert list(csv.DictReader(text.splitlines(keepends=True))) == [
        {
            "path": "a,b.jpg",
            "label": "ants",
            "score": "0.75",
            "label_2": "bees",
            "score_2": "0.25",
            "reason": "",
        },
        {
            "path": "c\n.jpg",
            "label": "",
            "score": "",
            "label_2": "",
            "score_2": "",
            "reason": "cannot be decoded: the file is empty",
        },
    ]


SEVERAL = [  # by a multi-label head, whose labels are not always the best classes
    Prediction(Path("0.jpg"), "cat|emu", {"cat": 0.9, "dog": 0.8, "emu": 0.7}, ""),
    Prediction(Path("1.jpg"), "emu", {"cat": 0.9, "emu": 0.7, "dog": 0.1}, ""),
    Prediction(Path("2.jpg"), "", {"cat": 0.4, "dog": 0.2, "emu": 0.1}, ""),
]


def test_each_score_is_that_of_its_label() -> None:
    assert list(prediction_lines(SEVERAL, style="table")) == [
        "0.jpg  cat 0.900  emu 0.700",
        "1.jpg  emu 0.700",
        "2.jpg",
    ]
    assert list(prediction_lines(SEVERAL, style="csv")) == [
        "path,label,score,reason",
        "0.jpg,cat|emu,0.9|0.7,",
        "1.jpg,emu,0.7,",
        "2.jpg,,,",
    ]
    assert list(prediction_lines(SEVERAL[2:], style="csv", top=2)) == [
        "path,label,score,label_2,score_2,reason",
        "2.jpg,cat,0.4,dog,0.2,",
    ]


def test_a_class_with_a_separator_in_its_name_is_one_class() -> None:
    one = Prediction(Path("a.jpg"), "a|b", {"a|b": 0.6, "a": 0.4}, "")
    assert list(prediction_lines([one], style="table")) == ["a.jpg  a|b 0.600"]
    assert list(prediction_lines([one], style="csv"))[1] == "a.jpg,a|b,0.6,"


def test_json_predictions_have_all_scores_unless_fewer_are_asked_for() -> None:
    everything = [
        json.loads(line) for line in prediction_lines(PREDICTIONS, style="jsonl", top=None)
    ]
    assert everything[0] == {
        "path": "a,b.jpg",
        "label": "ants",
        "scores": {"ants": 0.75, "bees": 0.25},
    }
    assert everything[1]["label"] is None
    assert "empty" in everything[1]["reason"]
    (first, _) = prediction_lines(PREDICTIONS, style="jsonl", top=1)
    assert json.loads(first)["scores"] == {"ants": 0.75}
