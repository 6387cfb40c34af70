"""What is read of the record of a tuned tail, which another program may have written."""

from types import SimpleNamespace
from typing import Any

import pytest

from bottleneck.advising.tuned import _recorded


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
