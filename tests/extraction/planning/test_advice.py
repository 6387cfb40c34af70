import pytest

from bottleneck.extraction.planning.advice import stage_advice
from bottleneck.runtime.timing import StageTimer, slowest_stage


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
    clock = StageTimer()
    clock.seconds.update(seconds)
    assert advice(clock).startswith(word)


def test_decoders_short_of_cores_are_not_told_to_be_more() -> None:
    clock = StageTimer()
    clock.seconds.update(wait=6.0, forward=4.0, decode=9.0, read=1.0)
    assert "`workers`" not in advice(clock)
    clock.seconds.update(read=10.0)
    assert "`workers`" in advice(clock)
