"""Agreement of codes: their difference, and which differences are those of rounding."""

from math import inf, isnan, nan

import pytest
import torch
from torch import Tensor

from bottleneck.backbones.probing.agreement import are_close, difference

ZEROS, ONES = torch.zeros(2, 3), torch.ones(2, 3)


def with_one(codes: Tensor, value: float) -> Tensor:
    changed = codes.clone()
    changed[0, 0] = value
    return changed


def test_codes_differ_by_a_part_of_the_larger_norm() -> None:
    assert difference(ONES, ONES) == difference(ZEROS, ZEROS) == 0
    assert difference(ONES, ZEROS) == difference(ZEROS, ONES) == 1
    assert difference(ONES, 4 * ONES) == difference(4 * ONES, ONES) == pytest.approx(0.75)


@pytest.mark.parametrize("codes", [ZEROS, ONES])
def test_codes_that_are_no_numbers_agree_with_none(codes: Tensor) -> None:
    broken = with_one(codes, nan)
    for one, other in [(codes, broken), (broken, codes), (broken, broken)]:
        assert isnan(difference(one, other))
        assert not are_close({"a": one}, {"a": other}, torch.bfloat16)
        assert not are_close({"a": one}, {"a": other}, torch.bfloat16, rounded={"a": broken})


def test_an_overflow_is_rounding_where_a_trusted_way_overflows_too() -> None:
    expected, codes = {"a": ONES}, {"a": with_one(ONES, inf)}
    assert are_close(expected, codes, torch.float16, rounded=codes)
    assert not are_close(expected, codes, torch.float16, rounded=expected)
    assert not are_close(expected, codes, torch.float16)


def test_what_rounding_changes_is_allowed_and_little_more() -> None:
    expected, rounded = {"a": ONES}, {"a": 0.9 * ONES}
    for factor, close in [(0.99, True), (0.89, True), (0.86, False)]:
        codes = {"a": factor * ONES}
        assert are_close(expected, codes, torch.bfloat16, rounded=rounded) is close
    assert not are_close(expected, {"a": 0.9 * ONES}, torch.bfloat16)


def test_codes_of_other_layers_or_shapes_are_not_close() -> None:
    assert not are_close({"a": ONES}, {"b": ONES}, torch.float32)
    assert not are_close({"a": ONES}, {"a": ONES[:1]}, torch.float32)
