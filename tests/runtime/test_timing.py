import copy
import pickle
import threading
import time

import pytest

from bottleneck.runtime.timing import StageTimer


def test_a_stage_adds_up_over_threads() -> None:
    timer = StageTimer()

    def work() -> None:
        with timer.measure("decode"):
            time.sleep(0.05)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert timer.seconds["decode"] >= 0.15


def test_a_stage_that_raises_is_counted() -> None:
    timer = StageTimer()
    with pytest.raises(RuntimeError), timer.measure("write"):
        raise RuntimeError
    assert timer.seconds["write"] > 0


def test_shares_are_of_the_stages_that_are_asked_for() -> None:
    timer = StageTimer()
    timer.seconds.update(read=1.0, decode=3.0, wait=100.0)
    assert timer.fractions("read", "decode", "write") == {
        "read": 0.25,
        "decode": 0.75,
        "write": 0.0,
    }
    assert StageTimer().fractions("read") == {"read": 0.0}
    assert dict(StageTimer().seconds) == {}


def test_a_timer_is_pickled_and_copied_with_its_seconds() -> None:
    timer = StageTimer()
    for again in (pickle.loads(pickle.dumps(timer)), copy.deepcopy(timer)):
        again.add({"decode": 1.0})
        assert again.seconds == {"decode": 1.0}
    assert timer.seconds == {}
    timer.add({"forward": 2.0})
    assert copy.deepcopy(timer).fractions("forward") == {"forward": 1.0}
