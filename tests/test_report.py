import csv
import json
from pathlib import Path

import numpy as np
import pytest

from bottleneck.clock import Clock
from bottleneck.layers import Layer
from bottleneck.metrics import score
from bottleneck.predict import Prediction
from bottleneck.report import (
    advice,
    confusion_text,
    layers_text,
    prediction_lines,
    printable,
    score_text,
    selection_text,
    size,
    table,
)
from bottleneck.selection import Candidate, Selection


def test_columns_stand_under_their_headers() -> None:
    lines = table(["name", "n"], [["a", "1"], ["longer", "1000"]]).splitlines()
    assert lines == ["name       n", "a          1", "longer  1000"]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (4096, "4.1 kB"),
        (2.6e9, "2.6 GB"),
        (5e14, "500 TB"),
    ],
)
def test_bytes_as_people_read_them(count: float, text: str) -> None:
    assert size(count) == text


def test_layers_that_cannot_be_pooled_so_are_left_out() -> None:
    layers = [
        Layer("map", "map", 0, (8, 5, 5), False, 0.5),
        Layer("tokens", "tokens", 0, (197, 16), True, 1.0),
    ]
    assert "tokens" in layers_text(layers, pool="avg", itemsize=2)
    text = layers_text(layers, pool="2", itemsize=2)
    assert "tokens" not in text
    assert text.splitlines()[1].split() == ["map", "8×5×5", "8×2×2", "64", "B", "50.0%"]


@pytest.mark.parametrize(
    ("seconds", "word"),
    [
        ({"wait": 5.0, "forward": 5.0, "read": 1.0, "decode": 4.0}, "decoding is the limit"),
        ({"wait": 5.0, "forward": 5.0, "read": 4.0, "decode": 1.0}, "reading is the limit"),
        ({"wait": 1.0, "forward": 9.0}, "the network is the limit"),
        ({"forward": 5.0, "blocked": 5.0}, "writing is the limit"),
    ],
)
def test_the_advice_names_what_the_others_wait_for(seconds: dict[str, float], word: str) -> None:
    clock = Clock()
    clock.seconds.update(seconds)
    assert advice(clock).startswith(word)


def test_the_chosen_c_is_marked_and_what_did_not_converge_is_said() -> None:
    low, high = Candidate(0.1, (0.5, 0.7), True), Candidate(1.0, (0.4, 0.4), False)
    lines = selection_text(Selection(low, [low, high], 2)).splitlines()
    assert lines[1].split() == ["0.1", "60.0%", "10.0%", "*"]
    assert lines[2].split() == ["1", "40.0%", "0.0%", "not", "converged"]


def test_a_score_has_its_interval_and_its_matrix() -> None:
    found = score(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), ["ants", "bees"], split="val")
    lines = score_text(found).splitlines()
    assert lines[0].startswith("held-out val  75.0% of 4 (95 % interval 30.1% to 95.4%), mean per")
    assert [line.split() for line in lines[2:]] == [["ants", "1", "1"], ["bees", "0", "2"]]


def test_of_many_classes_the_worst_confusions_are_shown() -> None:
    names = [f"class{k}" for k in range(30)]
    true = np.array([3, 3, 3, 7, 9])
    predicted = np.array([4, 4, 4, 8, 9])
    lines = confusion_text(score(true, predicted, names, split="")).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["class3", "class4", "3"],
        ["class7", "class8", "1"],
    ]


PREDICTIONS = [
    Prediction(Path("a,b.jpg"), "ants", {"ants": 0.75, "bees": 0.25}, ""),
    Prediction(Path("c\n.jpg"), "", {}, "cannot be decoded: the file is empty"),
]


def test_a_table_of_predictions_keeps_each_to_its_line() -> None:
    assert list(prediction_lines(PREDICTIONS, style="table", top=2)) == [
        "a,b.jpg  ants 0.750  bees 0.250",
        "c\\n.jpg  rejected: cannot be decoded: the file is empty",
    ]


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


@pytest.mark.parametrize(
    ("text", "shown"), [("ants", "ants"), ("a\nb", "a\\nb"), ("é", "é"), ("\udcff", "\\udcff")]
)
def test_names_keep_to_their_line(text: str, shown: str) -> None:
    assert printable(text) == shown
