from pathlib import Path

import pytest

from bottleneck.extraction.disk_space import DiskEstimate, LayerEstimate
from bottleneck.extraction.summary import advice, preflight_text
from bottleneck.runtime.timing import StageTimer


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


def test_what_lies_ahead_is_one_line() -> None:
    layers = {
        "layer3": LayerEstimate((1024,), 3000, 6 * 10**6),
        "fc": LayerEstimate((2, 7, 7), 10, 10**6),
    }
    assert preflight_text(DiskEstimate(Path("cache"), 3000, layers, 52 * 10**9)) == (
        "3000 images to encode at layer3 (1024), fc (2×7×7, 10 images): at most 7 MB, 52 GB free "
        "on the disk"
    )


def test_of_many_layers_the_first_are_named() -> None:
    layers = {f"l{i}": LayerEstimate((i,), 5, 100) for i in range(1, 11)}
    text = preflight_text(DiskEstimate(Path("cache"), 5, layers, 10**6))
    assert "l7 (7), l8 (8), … and 2 more: at most 1 kB, 1 MB free" in text
