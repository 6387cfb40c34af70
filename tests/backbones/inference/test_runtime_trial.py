"""The trial of a runtime, by a clock that the replicas move."""

import time

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from bottleneck.backbones.inference.runtime_trial import seconds_of, speed_ratio


class Clock:
    now = 0.0


class Timed:
    """A replica whose passes take the given seconds, and then the last of them."""

    device = torch.device("cpu")

    def __init__(self, clock: Clock, *seconds: float) -> None:
        self.clock, self.seconds, self.passes = clock, seconds, 0

    def __call__(self, images: Tensor) -> dict[str, NDArray[np.float32]]:
        self.clock.now += self.seconds[min(self.passes, len(self.seconds) - 1)]
        self.passes += 1
        return {}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    return clock


IMAGES = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)


def test_the_first_pass_may_be_slow(clock: Clock) -> None:
    assert seconds_of(Timed(clock, 5, 1), IMAGES) == 1


def test_the_quickest_passes_of_all_turns_are_compared(clock: Clock) -> None:
    slow, fast = Timed(clock, 0.3, 0.3, 0.2, 0.3), Timed(clock, 0.2, 0.2, 0.2, 0.2, 0.1, 0.2)
    assert speed_ratio(slow, fast, IMAGES) == pytest.approx(2)
    assert (slow.passes, fast.passes) == (6, 6)


@pytest.mark.parametrize(("seconds", "turns"), [(0.3, 3), (0.4, 2), (0.8, 1), (60, 1)])
def test_a_trial_that_takes_long_has_fewer_turns(clock: Clock, seconds: float, turns: int) -> None:
    slow, fast = Timed(clock, seconds), Timed(clock, seconds)
    assert speed_ratio(slow, fast, IMAGES) == pytest.approx(1)
    assert (slow.passes, fast.passes) == (2 * turns, 2 * turns)
