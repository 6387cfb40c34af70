import pytest

from bottleneck.extraction.planning.limiting_stage import slowest_stage, stage_advice
from bottleneck.runtime import StageTimer


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
    timer = StageTimer()
    timer.seconds.update(seconds)
    assert slowest_stage(timer) == stage


def advice(timer: StageTimer) -> str:
    return stage_advice(slowest_stage(timer))


@pytest.mark.parametrize(
    ("seconds", "word"),
    [
        ({"wait": 6.0, "forward": 4.0, "read": 1.0, "decode": 4.0}, "decoding is the limit"),
        ({"wait": 6.0, "forward": 4.0, "read": 4.0, "decode": 1.0}, "reading is the limit"),
        ({"wait": 1.0, "forward": 9.0}, "the network is the limit"),
        ({"forward": 5.0, "blocked": 5.0}, "writing is the limit"),
    ],
)
def test_the_advice_names_what_the_others_wait_for(seconds: dict[str, float], word: str) -> None:
    timer = StageTimer()
    timer.seconds.update(seconds)
    assert advice(timer).startswith(word)


def test_more_workers_are_not_advised_where_decoding_lacks_cores() -> None:
    timer = StageTimer()
    timer.seconds.update(wait=6.0, forward=4.0, decode=9.0, read=1.0)
    assert "`workers`" not in advice(timer)
    timer.seconds.update(read=10.0)
    assert "`workers`" in advice(timer)
