import threading
import time

import pytest

from bottleneck.runtime.timing import StageTimer, slowest_stage


def test_a_stage_adds_up_over_threads() -> None:
    clock = StageTimer()

    def work() -> None:
        with clock.measure("decode"):
            time.sleep(0.05)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.seconds["decode"] >= 0.15


def test_a_stage_that_raises_is_counted() -> None:
    clock = StageTimer()
    with pytest.raises(RuntimeError), clock.measure("write"):
        raise RuntimeError
    assert clock.seconds["write"] > 0


def test_shares_are_of_the_stages_that_are_asked_for() -> None:
    clock = StageTimer()
    clock.seconds.update(read=1.0, decode=3.0, wait=100.0)
    assert clock.fractions("read", "decode", "write") == {
        "read": 0.25,
        "decode": 0.75,
        "write": 0.0,
    }
    assert StageTimer().fractions("read") == {"read": 0.0}
    assert dict(StageTimer().seconds) == {}


@pytest.mark.parametrize(
    ("seconds", "stage"),
    [
        ({}, "forward"),
        ({"wait": 0.0, "forward": 9.0, "decode": 50.0}, "forward"),  # threads keep ahead of it
        ({"wait": 4.9, "forward": 5.1, "decode": 50.0}, "forward"),
        ({"wait": 5.1, "forward": 4.9, "decode": 3.0, "read": 2.0}, "decode"),
        ({"wait": 5.1, "forward": 4.9, "decode": 2.0, "read": 3.0}, "read"),
        ({"wait": 5.1, "forward": 4.9, "decode": 2.0, "read": 2.0}, "decode"),
        ({"forward": 8.1, "blocked": 1.9, "write": 99.0}, "forward"),
        ({"forward": 7.9, "blocked": 2.1}, "write"),
        ({"wait": 6.0, "forward": 1.0, "blocked": 3.0, "read": 9.0}, "write"),
    ],
)
def test_the_limit_is_the_stage_that_the_others_wait_for(
    seconds: dict[str, float], stage: str
) -> None:
    clock = StageTimer()
    clock.seconds.update(seconds)
    assert slowest_stage(clock) == stage
