import threading
import time

import pytest

from bottleneck.runtime.timing import StageTimer


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
