import json
from typing import Any

import numpy as np
import pytest
import torch

from bottleneck.errors import InvalidOptionError, UnknownNameError
from bottleneck.input_transform import InputTransform, validate_transform_fields


def test_only_what_was_given_changes_the_preprocessing() -> None:
    assert validate_transform_fields(resize=None, crop=64, mean=None) == {"crop": 64}


@pytest.mark.parametrize(
    "wrong",
    [
        {"mean": (0.5,)},
        {"mean": (float("nan"), 0.5, 0.5)},
        {"std": (0.5, 0.5, 0.0)},
        {"std": (1.0, 1.0)},
    ],
)
def test_channels_are_three_and_deviations_positive(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidOptionError, match="three numbers"):
        validate_transform_fields(**wrong)


WRONG_VALUES: list[dict[str, Any]] = [
    {"crop": 0},
    {"resize": "256"},
    {"interpolation": "lanczos"},
    {"mean": "abc"},
    {"mean": ["a", "b", "c"]},
    {"fit": "stretch"},
    {"range": (1, 1)},
    {"range": (0, float("inf"))},
    {"range": (0, 1, 2)},
]


@pytest.mark.parametrize("wrong", WRONG_VALUES, ids=str)
def test_every_field_is_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidOptionError, match=f"`{next(iter(wrong))}=.*: must be"):
        validate_transform_fields(**wrong)


def test_numbers_of_numpy_and_pytorch_are_pythons() -> None:
    mean = np.array([0.5, 0.25, 0.75], dtype=np.float32)
    for given in (mean, tuple(mean), torch.from_numpy(mean)):
        fields = validate_transform_fields(crop=np.int64(32), mean=given)
        expected = InputTransform(crop=32, mean=(0.5, 0.25, 0.75))
        assert InputTransform(**fields) == expected
        assert json.dumps(fields) == '{"crop": 32, "mean": [0.5, 0.25, 0.75]}'


def test_unknown_fields_of_a_transform_are_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match=r"'size': did you mean resize\?"):
        validate_transform_fields(size=32)
