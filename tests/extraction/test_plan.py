import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bottleneck.backbones.layers.layer import Layer
from bottleneck.cache.format.series import Series
from bottleneck.cache.store import open_cache
from bottleneck.data.sources.notes import SourceNotes
from bottleneck.data.summary import SourceSummary
from bottleneck.errors import ImagesNotFoundError, InvalidOptionError, UnknownNameError
from bottleneck.extraction import plan as sizing
from bottleneck.extraction.options import default_shard_size
from bottleneck.extraction.plan import plan
from bottleneck.extraction.planning.disk_space import LayerEstimate, estimate_disk_use, longest_text
from bottleneck.extraction.planning.extraction_plan import ExtractionPlan, Throughput
from bottleneck.runtime.process.resources import available_cpus
from tests.helpers.cli import TINY, refused
from tests.helpers.fixture_types import Extract, Run
from tests.helpers.networks import PLAIN, SMALL
from tests.helpers.options import grouped
from tests.helpers.tiny_networks import plain

DOCS = Path(__file__).parents[2] / "docs"


def a_sizing(
    rows: int = 1000, *, shard_size: int = 10, tasks: int = 1, rate: float = 1.0, startup: float = 0
) -> ExtractionPlan:
    speed = Throughput(100, 100 / rate, startup, "read")
    layers = {"layer3": estimate(rows, shard_size)}
    return ExtractionPlan(rows, shard_size, tasks, layers, speed, found(rows))


def found(images: int) -> SourceSummary:
    return SourceSummary(images, 0, 1, 0, {}, SourceNotes())


def estimate(
    rows: int,
    shard_size: int,
    shape: tuple[int, ...] = (8,),
    dtype: str = "float16",
    text_bytes: int = 80,
) -> LayerEstimate:
    full, rest = divmod(rows, shard_size)
    shard_rows = {shard_size: full} | ({rest: 1} if rest else {})
    return LayerEstimate.from_shards(shape, dtype, shard_rows, text_bytes)


def size_tiny(images: Path, **options: Any) -> ExtractionPlan:
    known = {"model": PLAIN, "layers": ["layer2"], "transform": SMALL, "device": "cpu"}
    return plan(images, **grouped(known | options))


# The layout


def test_the_layout_is_that_of_an_extraction(photos: Path, extract_tiny: Extract) -> None:
    options: dict[str, Any] = {"layers": ["layer2", "layer3"], "pool": "none", "dtype": "float32"}
    found = size_tiny(photos, shard_size=7, **options)
    cache = extract_tiny(photos, shard_size=7, **options).cache
    status = cache.status().layers
    assert (found.rows, found.shards) == (len(cache.images), cache.shard_count)
    assert list(found.layers) == ["layer2", "layer3"]
    for name, layer in found.layers.items():
        assert layer.code_shape == status[name].shape
        assert status[name].bytes <= layer.bytes < 1.5 * status[name].bytes + 6 * 16_000
        assert layer.row_bytes == 4 * math.prod(status[name].shape)
    assert found.bytes == sum(layer.bytes for layer in found.layers.values())
    largest = max(path.stat().st_size for path in cache.path.rglob("0*.h5"))
    assert largest <= found.shard_bytes
    for image in [path for path in photos.rglob("*") if path.is_file()]:
        image.rename(image.with_stem(f"{image.stem}{'x' * 200}"))
    longer = size_tiny(photos, shard_size=7, **options)
    assert longer.bytes - found.bytes >= 2 * 36 * 200  # of the names, in each layer


def test_maps_are_counted_in_float16_at_each_layer_and_in_each_view(run: Run, photos: Path) -> None:
    words = ("plan", photos, *TINY, "--layer", "layer3", "--pool", "none", "--views", 2)
    values = json.loads(run(*words, "--json").stdout)
    with torch.inference_mode():
        network = plain()
        x, maps = torch.zeros(1, 3, 32, 32), {}
        for name in ("layer1", "layer2", "layer3"):
            x = maps[name] = network.get_submodule(name)(x)
    del maps["layer1"]
    assert list(values["layers"]) == list(maps)
    for name, layer in values["layers"].items():
        assert layer["code_shape"] == list(maps[name].shape[1:])
        assert layer["row_bytes"] == 2 * maps[name].numel()
        besides = layer["bytes"] - 36 * 2 * layer["row_bytes"]  # names, digests, the file itself
        assert 0 < besides < 36 * 2 * 500 + 2 * 20_000
    text = run(*words).stdout
    assert re.search(r"layer2 +8×8×8 +1\.0\d? kB", text)
    assert "bytes/view" in text


def test_bytes_are_those_that_extract_announces(cache: Path) -> None:
    planned = open_cache(cache)
    layer = Layer("layer2", "conv", 0, (1000, 3, 3), False, 0.5)
    ahead = estimate_disk_use(
        planned, [layer], {(Series("layer2"),): list(range(planned.shard_count))}
    )
    texts = longest_text(planned.images, map(planned.rows, range(planned.shard_count)))
    assert estimate(36, 8, (1000,), "float32", texts).bytes == ahead.bytes


def test_one_image_is_not_several() -> None:
    text = str(a_sizing(1, shard_size=8, tasks=1, rate=2, startup=3))
    assert "1 image, shards a layer: 1" in text and "1 images" not in text


@pytest.mark.parametrize("pool", ["avg", "none"])
def test_the_default_shard_size_is_that_of_a_new_cache(
    photos: Path, extract_tiny: Extract, pool: str
) -> None:
    found = size_tiny(photos, pool=pool)
    assert extract_tiny(photos, pool=pool, shard_size=None).cache.layout.shard_size == (
        found.shard_size
    )


@given(rows=st.integers(1, 3000), size=st.integers(1, 300), tasks=st.integers(1, 40))
def test_the_task_with_most_shards_is_the_one_that_is_timed(
    rows: int, size: int, tasks: int
) -> None:
    found = a_sizing(rows, shard_size=size, tasks=tasks, rate=2, startup=3)
    parts = [range(task, found.shards, tasks) for task in range(tasks)]
    assert found.max_shards_per_task == max(map(len, parts))
    most = max(sum(min(size, rows - k * size) for k in part) for part in parts)
    assert 3 + most / 2 <= found.task_seconds <= 3 + (most + size) / 2
    assert found.seconds == 3 + rows / 2
    assert found.task_seconds <= found.seconds


# The pace


def test_the_pace_is_measured_and_nothing_is_written(photos: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    found = size_tiny(photos)
    assert found.throughput.images == 36
    assert found.throughput.rate == 36 / found.throughput.seconds > 0
    assert found.throughput.startup > 0
    assert found.throughput.slowest_stage in ("read", "decode", "forward")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_task_starts_by_importing_what_this_process_has_imported(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizing, "import_seconds", lambda: 1000.0)
    found = size_tiny(photos, tasks=2)
    assert 1000 < found.throughput.startup < 1100
    assert found.task_seconds > 1000


def test_how_the_weights_were_loaded_is_said(photos: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": plain().state_dict()}, tmp_path / "last.ckpt")
    found = size_tiny(photos, weights=str(tmp_path / "last.ckpt"))
    assert found.notes == (f"{tmp_path / 'last.ckpt'}: loaded the weights under 'state_dict'",)


def test_the_measurement_ends_when_its_time_is_over(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizing, "_SECONDS", 0.0)
    found = size_tiny(photos, batch_size=2)
    assert found.rows == 36
    assert found.throughput.images == 2


def test_of_many_images_some_from_all_over_are_measured(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizing, "_IMAGES", 5)
    assert size_tiny(photos).throughput.images == 5


def test_images_that_cannot_be_decoded_give_no_pace(tmp_path: Path) -> None:
    (tmp_path / "ants").mkdir()
    (tmp_path / "ants" / "1.jpg").write_bytes(b"no image")
    with pytest.raises(ImagesNotFoundError, match=r"none of the images.*1\.jpg"):
        size_tiny(tmp_path)


def test_bad_images_before_the_others_are_no_reason_to_give_up(photos: Path) -> None:
    bad = 4 * available_cpus()  # more than there are in the first batches
    for i in range(bad):
        (photos / "train" / "ants" / f"0{i}.jpg").write_bytes(b"no image")
    assert size_tiny(photos, batch_size=1).throughput.images == bad + 36


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"tasks": 0}, InvalidOptionError),
        ({"shard_size": 0}, InvalidOptionError),
        ({"layers": []}, InvalidOptionError),
        ({"pool": "most"}, InvalidOptionError),
        ({"precision": "float8"}, InvalidOptionError),
        ({"dtype": "int8"}, InvalidOptionError),
        ({"layers": ["layer9"]}, UnknownNameError),
    ],
)
def test_plan_refuses_the_arguments_that_extract_refuses(
    photos: Path, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        size_tiny(photos, **options)


# Advice


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (a_sizing(), []),
        (a_sizing(tasks=100), []),
        (a_sizing(tasks=200), [r"100 of 200 tasks have no shard: use 100, or `shard_size=5`"]),
        (a_sizing(5, tasks=8), ["7 of 8 tasks have no shard: use 1, or `shard_size=1`$"]),
        (a_sizing(5, shard_size=1, tasks=8), ["3 of 8 tasks have no shard: use 5$"]),
        (a_sizing(tasks=60), []),
        (a_sizing(tasks=70), [r"2 shards and some 1, so that 29% .*: `shard_size=8` divides"]),
        (
            a_sizing(tasks=20, startup=60),
            [r"starts for 60 s and works for 50 s: use no more than 1"],
        ),
        (a_sizing(200_000), [r"a task takes more than a day: with 5 tasks"]),
        (
            a_sizing(4_000_000, shard_size=4000, tasks=100),
            [r"loses up to 1 h 7 min: `shard_size=900`"],
        ),
        (
            a_sizing(10**6, shard_size=9, rate=100),
            [r"111112 files .* `shard_size=50` makes 20000$"],
        ),
    ],
)
def test_advice_names_what_would_serve_better(found: ExtractionPlan, said: list[str]) -> None:
    advice = found.advice()
    assert len(advice) == len(said)
    for text, pattern in zip(advice, said, strict=True):
        assert re.search(pattern, text)


@given(rows=st.integers(1, 5000), size=st.integers(1, 400), tasks=st.integers(1, 60))
def test_the_advised_shard_size_divides_the_work_evenly(rows: int, size: int, tasks: int) -> None:
    found = a_sizing(rows, shard_size=size, tasks=tasks)
    advised = re.search(r"`shard_size=(\d+)`", " ".join(found.advice()[:1]))
    if advised:
        better = dataclasses.replace(found, shard_size=int(advised[1]))
        assert better.task_seconds <= found.task_seconds
        assert (
            better.task_seconds <= rows / tasks + found.max_shards_per_task
        )  # of the best that can be


# The command


def test_plan_prints_shards_bytes_and_time(run: Run, photos: Path) -> None:
    result = run("plan", photos, *TINY, "--shard-size", 8, "--tasks", 2)
    assert result.exit_code == 0
    assert result.stdout.startswith("36 images, 3 classes, train 24, val 12\n")
    assert "36 images, shards a layer: 5, of up to 8 rows" in result.stdout
    assert re.search(r"\d images/s", result.stdout)
    assert "2 tasks on machines like this one" in result.stdout


def test_plan_prints_notes_once(run: Run, photos: Path) -> None:
    words = ("plan", photos, *TINY, "--range", "0,65535")
    note = "pixels deeper than 8 bits: 0 is black and 65535 white (--range)"
    assert run(*words).output.count(note) == 1
    assert note in json.loads(run(*words, "--json").stdout)["notes"]


def test_plan_prints_json_for_programs(run: Run, photos: Path) -> None:
    found = json.loads(run("plan", photos, *TINY, "--shard-size", 8, "--tasks", 2, "--json").stdout)
    assert (found["rows"], found["shards"], found["shards_a_task"]) == (36, 5, 3)
    assert found["layers"]["layer2"]["code_shape"] == [8]
    assert found["task_seconds"] < found["seconds"]
    assert found["images"]["splits"] == {"train": 24, "val": 12}


def test_the_command_gives_its_advice_in_its_own_options(run: Run, photos: Path) -> None:
    words = ("plan", photos, *TINY, "--shard-size", 8, "--tasks", 36)
    advice = "31 of 36 tasks have no shard: use 5, or --shard-size 1"
    assert f"advice: {advice}" in run(*words).stdout.splitlines()
    assert json.loads(run(*words, "--json").stdout)["advice"][0] == advice
    assert "`shard_size=1`" in str(size_tiny(photos, shard_size=8, tasks=36))


def test_plan_refuses_a_misspelt_layer(run: Run, photos: Path) -> None:
    refused(run("plan", photos, "--model", PLAIN, "--layer", "layer22"), "layer2", code=2)


# docs/sizing.md

_ROWS = {"ImageNet-21k": 14_197_122, "LAION-400M": 400_000_000}
_CODES = {"layer4, averaged": (2048,), "layer3, unpooled": (1024, 14, 14)}


def measured(layer: str) -> float:
    """Images a second of docs/benchmarks/extraction.md: ResNet-50, bfloat16, generated JPEGs."""
    page = (DOCS / "benchmarks" / "extraction.md").read_text("utf-8")
    row = re.search(rf"^\| resnet50 \| {layer} \| auto: bfloat16 \| 2000 .*$", page, re.MULTILINE)
    assert row
    return float(row[0].split("|")[6])


def computed() -> list[str]:
    """The lines of the page's table."""
    lines = []
    for images, rows in _ROWS.items():
        for codes, shape in _CODES.items():
            size = default_shard_size(2 * math.prod(shape))
            layer = estimate(rows, size, shape)
            speed = Throughput(1, 1 / measured(codes.partition(",")[0]), 0.0, "forward")
            run = ExtractionPlan(rows, size, 1, {"": layer}, speed, found(rows))
            hours = [
                dataclasses.replace(run, tasks=tasks).task_seconds / 3600
                for tasks in (1, 100, 1000)
            ]
            cells = [images, codes, f"{rows}", f"{size}", f"{run.shards}"]
            cells += [f"{layer.bytes / 1e12:.3f}", *(f"{hour:.2f}" for hour in hours)]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def test_the_numbers_of_the_page_are_computed() -> None:
    page = (DOCS / "sizing.md").read_text("utf-8")
    for line in computed():
        assert line in page, line
    for layer in ("layer3", "layer4"):
        assert f"{measured(layer)} images/s" in page
