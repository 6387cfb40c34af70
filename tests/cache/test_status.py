import dataclasses
from pathlib import Path

import pytest

from bottleneck.cache.status import CacheStatus, LayerStatus
from bottleneck.input_transform import InputTransform
from bottleneck.spec import Spec

SPEC = Spec("net", "ab" * 32, InputTransform(decoder="pillow-1"), "float32", True, "avg")
WHOLE = LayerStatus(8, 2, 0, (), (512, 7), "float16", 7000)
PART = LayerStatus(4, 0, 6, (1, 2), (), "float16+float32", 30, widened=1)


@pytest.fixture
def status() -> CacheStatus:
    layers = {"conv": WHOLE, "fc": PART}
    return CacheStatus(Path("c"), 10, SPEC, layers, {"a.jpg": "broken", "b\n.jpg": "removed"})


def test_a_status_is_complete_if_no_layer_lacks_a_shard(status: CacheStatus) -> None:
    assert not status.complete
    assert dataclasses.replace(status, layers={"conv": WHOLE}).complete
    assert not dataclasses.replace(status, layers={}).complete


def test_a_layer_without_any_codes_is_named_and_not_complete(status: CacheStatus) -> None:
    empty = LayerStatus(0, 10, 0, (), (512,), "float16", 7000)
    found = dataclasses.replace(status, layers={"conv": WHOLE, "fc\n": empty})
    assert (found.finished, found.complete, found.without_codes) == (True, False, ["fc\n"])
    assert r"no image has codes at fc\n: every one was rejected, see the reasons" in str(found)
    assert "\nfc\\n " in str(found)  # the row of the table
    assert found.to_dict()["without_codes"] == ["fc\n"]
    # Of some shards, which is all that one task looks at, nothing follows for the layer.
    part = dataclasses.replace(empty, rejected=4)
    found = dataclasses.replace(status, layers={"fc": part})
    assert (found.complete, found.without_codes) == (True, [])


def test_a_status_prints_a_row_for_each_layer_and_the_rejected_images(status: CacheStatus) -> None:
    assert str(status).splitlines() == [
        "cache c: 10 rows of net, weights abababababab, 224 px, float32, relu, pool avg",
        "layer  done  rejected  missing   code            dtype  size",
        "conv      8         2        0  512×7          float16  7 kB",
        "fc        4         0        6         float16+float32  30 B",
        "shards in float32, of twice the size: 1; nothing is lost: their codes exceed float16's "
        "range, which ends at 65504. A new cache with `dtype=float32` has all alike",
        "rejected: a.jpg: broken",
        r"rejected: b\n.jpg: removed",
    ]


def test_of_many_rejected_images_ten_are_printed(status: CacheStatus) -> None:
    rejected = {f"{i}.jpg": "broken" for i in range(12)}
    lines = str(dataclasses.replace(status, rejected=rejected)).splitlines()
    assert lines[-2:] == [
        "rejected: 9.jpg: broken",
        f"… and 2 more: {Path('c') / 'rejected.csv'} names them all",
    ]


def test_pending_shards_are_divided_among_tasks(status: CacheStatus) -> None:
    assert status.pending_by_task == {0: 2}
    assert "--array" not in str(status)
    of_three = dataclasses.replace(status, tasks=3)
    assert of_three.pending_by_task == {1: 1, 2: 1}
    assert "tasks left of 3: --array=1-2" in str(of_three).splitlines()
    assert of_three.to_dict()["by_task"] == {"1": 1, "2": 1}


def test_a_status_as_plain_values(status: CacheStatus) -> None:
    values = status.to_dict()
    assert (values["rows"], values["complete"], values["missing"]) == (10, False, {"fc": [1, 2]})
    assert values["spec_digest"] == SPEC.digest()
    assert values["layers"]["conv"] == {
        "done": 8,
        "missing": 0,
        "rejected": 2,
        "shape": [512, 7],
        "dtype": "float16",
        "bytes": 7000,
        "views": 1,
        "widened": 0,
    }


def test_a_notebook_shows_the_text_escaped(status: CacheStatus) -> None:
    shown = dataclasses.replace(status, rejected={"<img>": "broken"})._repr_html_()
    assert shown.startswith("<pre>cache c")
    assert "&lt;img&gt;" in shown
    assert "<img>" not in shown
