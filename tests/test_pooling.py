"""Poolings, and the names of layers with one of their own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottleneck.errors import InvalidOptionError
from bottleneck.pooling import (
    POOLINGS,
    check_pool,
    name_poolings,
    pooled_name,
    split_pooled_name,
)

POOLS = st.sampled_from(POOLINGS) | st.integers(1, 99).map(str)


@pytest.mark.parametrize("wrong", ["", "0", "-1", "mean", "1.5", "2x3", "0x0", "x2", "²", "٢"])
def test_poolings_that_do_not_exist_are_refused(wrong: str) -> None:
    with pytest.raises(InvalidOptionError, match=f"must be {', '.join(POOLINGS)}, or a whole"):
        check_pool(wrong)


@given(st.text(min_size=1).filter(lambda name: "@" not in name and "\n" not in name), POOLS)
def test_a_name_is_its_layer_and_its_pooling(layer: str, pool: str) -> None:
    assert split_pooled_name(layer) == (layer, None)
    assert split_pooled_name(pooled_name(layer, pool)) == (layer, pool)


def test_a_grid_is_spelt_with_one_side_or_two() -> None:
    assert split_pooled_name("layer3@2") == split_pooled_name("layer3@2x2") == ("layer3", "2")
    for other in ("layer3@2x3", "layer3@mean", "layer3@", "@2x2"):
        assert split_pooled_name(other) == (other, None)


def test_each_layer_is_named_in_each_pooling_and_the_first_has_no_name() -> None:
    assert name_poolings(["a", "b"], ["max", "avg", "2"]) == [
        *("a", "a@avg", "a@2x2", "b", "b@avg", "b@2x2"),
    ]
    assert name_poolings(["a@max", "a@2", "a@2x2", "a"], ["max"]) == ["a", "a@2x2"]
