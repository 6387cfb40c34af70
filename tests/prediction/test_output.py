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
