"""What does not apply is refused with its value as the command line spells it."""

from pathlib import Path

import numpy as np
import pytest

from bottleneck.errors import InvalidOptionError
from bottleneck.runtime.validation import (
    require_left_out,
    require_one_of,
    require_options,
    require_seed,
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (64, "64"),
        ((0.5, 0.25), "'0.5,0.25'"),
        (["flip", "crop"], "'flip,crop'"),
        ((), "'none'"),
        (Path("a"), "'a'"),
    ],
)
def test_options_without_meaning_are_refused_with_their_value(value: object, shown: str) -> None:
    with pytest.raises(InvalidOptionError) as caught:
        require_left_out("it is for images", other=None, option=value)
    assert str(caught.value) == f"`option={shown}`: must be left out: it is for images"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"start": 1, "step": 2}, "must be a slice, such as slice(start=1, step=2)"),
        ({}, "must be a slice"),
        (None, "must be a slice"),
        (3, "must be a slice"),
    ],
)
def test_options_of_another_class_are_refused_with_a_call_of_theirs(
    value: object, words: str
) -> None:
    with pytest.raises(InvalidOptionError) as caught:
        require_options(other=(slice(1), slice), part=(value, slice))
    assert str(caught.value) == f"`part={value!r}`: {words}"


def test_a_name_that_has_no_hash_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match=r"`dtype=\['a'\]`: must be one of a, b"):
        require_one_of("dtype", ["a"], {"a": 1, "b": 2})  # type: ignore[arg-type]


def test_none_is_a_name_only_where_one_may_be_left_out() -> None:
    require_one_of("dtype", None, ("a", "b", None))
    with pytest.raises(InvalidOptionError, match=r"`dtype=None`: must be one of a, b$"):
        require_one_of("dtype", None, ("a", "b"))
    with pytest.raises(InvalidOptionError, match=r"`dtype='c'`: must be one of a, b$"):
        require_one_of("dtype", "c", ("a", "b", None))


@pytest.mark.parametrize("seed", [-1, 2**63, True, 1.0, np.int64(1), "1"])
def test_a_seed_is_an_int_of_63_bits(seed: object) -> None:
    require_seed(2**63 - 1)
    with pytest.raises(InvalidOptionError, match=r"^`seed=.*`: must be a whole number from 0 to 2"):
        require_seed(seed)  # type: ignore[arg-type]
