"""Random numbers at their extremes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from bottleneck.backbones.probing.extreme_draws import ExtremeDraws


@pytest.mark.parametrize(
    ("draw", "least", "most"),
    [
        (lambda: torch.rand(()), 0.0, 1.0),
        (lambda: torch.empty(4).uniform_(2, 3), 2.0, 3.0),
        (lambda: torch.ones(2, 1, 1, 1).new_empty(2, 1, 1, 1).bernoulli_(0.98), 0.0, 1.0),
        (lambda: torch.randint(0, 4, (3,)), 0.0, 3.0),
        (lambda: F.dropout(torch.ones(5), 0.02, training=True), 0.0, 1 / 0.98),
    ],
)
def test_draws_are_the_least_and_the_most_that_there_may_be(
    draw: Callable[[], Tensor], least: float, most: float
) -> None:
    for extreme, expected in ((torch.amin, least), (torch.amax, most)):
        with torch.inference_mode(), ExtremeDraws(extreme):
            drawn = draw().float()
        torch.testing.assert_close(drawn, torch.full_like(drawn, expected), rtol=0, atol=0.02)


def test_many_numbers_and_other_operations_are_as_they_are() -> None:
    with torch.inference_mode(), ExtremeDraws(torch.amin):
        assert torch.rand(1000).mean() > 0.4
        assert torch.equal(torch.ones(3) + 1, torch.full((3,), 2.0))
