import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch

from bottleneck.errors import InvalidOptionError
from bottleneck.finetuning.options import TuneOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"init": "zeros"}, "`init='zeros'`: must be one of head, fresh, mlp"),
        ({"optimizer": "adam"}, "`optimizer='adam'`: must be one of adamw, sgd"),
        ({"batch_norm": "eval"}, "`batch_norm='eval'`: must be one of keep, train"),
        ({"precision": "float16"}, "`precision='float16'`: must be one of float32, bfloat16"),
        ({"class_weight": "equal"}, "`class_weight='equal'`: must be one of balanced"),
        ({"hidden": 0}, "`hidden=0`: must be at least 1"),
        ({"hidden": 64}, "`hidden=64`: must be given with `init=mlp`"),
        ({"epochs": 0}, "`epochs=0`: must be at least 1"),
        ({"epochs": None}, "`epochs=None`: must be a whole number, at least 1"),
        ({"epochs": True}, "`epochs=True`: must be a whole number, at least 1"),
        ({"batch_size": None}, "`batch_size=None`: must be a whole number, at least 1"),
        ({"batch_size": 0}, "`batch_size=0`: must be at least 1"),
        (
            {"batch_size": 2, "batch_norm": "train"},
            "`batch_size=2`: must be at least 3 with `batch_norm=train`",
        ),
        ({"lr": "a"}, "`lr='a'`: must be a finite number above 0"),
        ({"lr": [0.1]}, "`lr=[0.1]`: must be a finite number above 0"),
        ({"lr": float("nan")}, "`lr=nan`: must be a finite number above 0"),
        ({"weight_decay": -1.0}, "`weight_decay=-1.0`: must be a finite number, 0 or more"),
        ({"weight_decay": "a"}, "`weight_decay='a'`: must be a finite number, 0 or more"),
        ({"seed": -1}, "`seed=-1`: must be a whole number from 0 to 2⁶³ − 1"),
    ],
)
def test_values_that_are_not_allowed(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidOptionError) as raised:
        TuneOptions(**options)
    assert str(raised.value) == message


def test_numbers_of_numpy_and_pytorch_are_kept_as_pythons() -> None:
    given: dict[str, Any] = {
        **dict.fromkeys(("epochs", "batch_size", "patience", "hidden", "seed"), np.int64(4)),
        **dict.fromkeys(("lr", "weight_decay"), torch.tensor(0.5)),
    }
    kept = dataclasses.asdict(TuneOptions("mlp", **given))
    assert json.loads(json.dumps(kept)) == kept
    assert [kept[name] for name in given] == [4] * 5 + [0.5] * 2


def test_the_whole_network_has_a_tenth_of_the_rates() -> None:
    tail, whole = TuneOptions().rates(), TuneOptions().rates(whole_network=True)
    assert whole == pytest.approx([rate / 10 for rate in tail])
    assert sorted(tail) == list(tail)
    assert TuneOptions(lr=0.5).rates(whole_network=True) == (0.5,)


def test_hidden_units_are_those_of_mlp_alone() -> None:
    assert TuneOptions().units == TuneOptions(init="fresh").units == 0
    assert TuneOptions(init="mlp").units == 512
    assert TuneOptions(init="mlp", hidden=64).units == 64


def test_weight_decay_is_that_of_the_optimizer_unless_given() -> None:
    assert TuneOptions().decay == 0.05
    assert TuneOptions(optimizer="sgd").decay < 0.001  # it is multiplied by the momentum's ten
    assert TuneOptions(optimizer="sgd", weight_decay=0.0).decay == 0.0


def test_a_device_may_be_pytorchs_own() -> None:
    given: Any = torch.device("cpu")
    assert TuneOptions(device=given) == TuneOptions(device="cpu")
