"""What is read of the record of a tuned tail, which another program may have written."""

from types import SimpleNamespace
from typing import Any

import pytest

from bottleneck.advising.tuned import TunedStrategy, _recorded


def read(**record: Any) -> dict[str, Any]:
    tail: Any = SimpleNamespace(training_record=record, multilabel=False)
    return _recorded(tail, "ab")


CHOICE = {
    "lr": 0.1,
    "epochs": 1,
    "kept_back": 7,
    "trials": [{"lr": 0.1, "curves": [{"epoch": 1, "kept_back_score": 0.5}]}],
}


def test_a_record_is_read_as_tune_writes_it() -> None:
    record = read(train_digest="ab", class_weight=None, choice=CHOICE, heldout={"accuracy": 1})
    assert record == {
        "kept_back": 0.5,
        "images": 7,
        "heldout": {"accuracy": 1.0},
        "seconds": 0.0,
        "reason": "",
    }


@pytest.mark.parametrize(
    "changed",
    [
        {"choice": "best"},
        {"choice": {}},
        {"choice": CHOICE | {"kept_back": "all"}},
        {"choice": CHOICE | {"trials": [{"lr": 0.1}]}},
        {"choice": CHOICE | {"trials": 3}},
        {"heldout": 0.9},
        {"heldout": {"accuracy": None}},
        {"seconds": [1]},
    ],
    ids=str,
)
def test_a_record_of_another_program_is_passed_over_with_a_word(changed: dict[str, Any]) -> None:
    record = read(**{"train_digest": "ab", "class_weight": None, "choice": CHOICE} | changed)
    assert record["reason"].startswith("not comparable, its record of the training is not one of")
    assert record["kept_back"] is record["heldout"] is None


def test_plain_values_name_the_file_and_all_else() -> None:
    strategy = TunedStrategy("t", "layer3", 0.9, 8, 0.8, 0.01, {"accuracy": 1.0}, 2.0, "")
    assert strategy.to_dict() == {
        "file": "t",
        "boundary": "layer3",
        "kept_back": 0.9,
        "images": 8,
        "linear": 0.8,
        "standard_error": 0.01,
        "heldout": {"accuracy": 1.0},
        "seconds": 2.0,
        "reason": "",
    }
