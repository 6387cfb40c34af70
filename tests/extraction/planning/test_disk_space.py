import dataclasses
import itertools
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bottleneck.backbones.layers.layer import Layer
from bottleneck.cache.format.manifest import StorageLayout
from bottleneck.cache.format.series import Series
from bottleneck.cache.format.shard import ShardData
from bottleneck.cache.format.shard_writer import write_shard
from bottleneck.cache.store import Cache, open_cache
from bottleneck.data.table.image_table import ImageTable
from bottleneck.data.table.string_column import StringColumn
from bottleneck.errors import DiskSpaceError
from bottleneck.extraction.planning.disk_space import (
    DiskEstimate,
    LayerEstimate,
    estimate_disk_use,
    longest_text,
)
from bottleneck.extraction.result import ExtractionProgress
from bottleneck.runtime import OnProgress, Progress
from bottleneck.runtime.schedulers.array_task import ArrayTask
from tests.helpers.fixture_types import Extract
from tests.helpers.networks import PLAIN, SMALL
from tests.helpers.photographs import photograph

WIDE = Layer("wide", "wide", 0, (1000, 3, 3), False, 0.5)
FLAT = Layer("flat", "flat", 0, (10,), False, 1.0)


SHAPES = [(1, 8), (4096, 8), (30, 8), (600, 1024), (4096, 1000), (3, 200704), (2, 700_000)]
PATHS = ["a.jpg", "train/n01440764/n01440764_10026.JPEG", "é" * 1500]
CORNERS = {
    *((shape, "float16", PATHS[1]) for shape in SHAPES),
    *((shape, dtype, PATHS[2]) for shape in SHAPES[:2] for dtype in ("float16", "float32")),
    *(
        (SHAPES[1], "float16", PATHS[0]),
        (SHAPES[2], "float16", PATHS[2]),
        (SHAPES[5], "float32", PATHS[1]),
    ),
}


@pytest.fixture
def planned(cache: Path) -> Cache:
    """36 rows in shards of 8, the last with 4; float32, averaged."""
    return open_cache(cache)


def disk(monkeypatch: pytest.MonkeyPatch, free: int) -> list[Path]:
    """A disk with so many bytes free; the list fills with the places that are asked about."""
    asked: list[Path] = []

    def usage(path: Path) -> SimpleNamespace:
        asked.append(Path(path))
        return SimpleNamespace(total=10**15, used=0, free=free)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    return asked


def test_each_layer_counts_the_rows_that_it_lacks(
    planned: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk(monkeypatch, 123)
    wide, flat = Series("wide"), Series("flat")
    found = estimate_disk_use(planned, [WIDE, FLAT], {(wide, flat): [0, 4], (wide,): [1]})
    assert (found.path, found.rows, found.free) == (planned.path, 20, 123)
    assert list(found.layers) == ["wide", "flat"]
    assert (found.layers["wide"].code_shape, found.layers["wide"].rows) == ((1000,), 20)
    assert (found.layers["flat"].code_shape, found.layers["flat"].rows) == ((10,), 12)
    # float32 codes, 320 bytes a row, 16 kB a shard, and texts beside them
    texts = longest_text(planned.images, map(planned.rows, (0, 1, 4)))
    assert found.layers["wide"].bytes == 20 * (4000 + 320) + 3 * 16_000 + (20 + 3 * 20) * texts
    assert found.layers["flat"].bytes == 12 * (40 + 320) + 2 * 16_000 + (12 + 2 * 20) * texts
    assert found.bytes == found.layers["wide"].bytes + found.layers["flat"].bytes


def test_each_view_that_is_missing_is_a_forward_pass_and_takes_the_space_of_the_image(
    planned: Cache,
) -> None:
    flat = [Series("flat", view) for view in range(3)]
    found = estimate_disk_use(planned, [WIDE, FLAT], {tuple(flat): [0], (flat[2],): [1]})
    assert (found.rows, found.passes) == (16, 32)
    assert found.layers["flat"].rows == 32
    texts = (32 + 4 * 20) * longest_text(planned.images, map(planned.rows, (0, 1)))
    assert found.bytes == 32 * (40 + 320) + 4 * 16_000 + texts
    assert str(found).startswith("32 views of 16 images to encode at flat (10): at most")


def test_a_long_path_counts_in_its_shard_alone(planned: Cache) -> None:
    paths = StringColumn([*planned.images.path[:-1], "x" * 1000])
    images = dataclasses.replace(planned.images, path=paths)
    long = dataclasses.replace(planned, images=images)

    def size(cache: Cache, shard: int) -> int:
        return estimate_disk_use(cache, [FLAT], {(Series("flat"),): [shard]}).bytes

    assert size(long, 0) == size(planned, 0)
    last = planned.shard_count - 1
    assert size(long, last) > size(planned, last) + 1000


def test_rows_of_removed_images_take_their_space_and_are_not_encoded(planned: Cache) -> None:
    wide, flat = [Series("wide"), Series("wide", 1)], Series("flat")
    missing = {(*wide, flat): [0, 4], tuple(wide): [1]}
    found = estimate_disk_use(planned, [WIDE, FLAT], missing, removed_rows={1, 2, 30, 33})
    assert (found.rows, found.passes) == (6 + 3 + 8, 2 * (6 + 3 + 8))
    assert (found.layers["wide"].rows, found.layers["flat"].rows) == (34, 9)
    all_rows = estimate_disk_use(planned, [WIDE, FLAT], missing)
    assert found.bytes == all_rows.bytes


def test_a_layer_that_lacks_nothing_is_not_named(planned: Cache) -> None:
    found = estimate_disk_use(planned, [WIDE, FLAT], {(Series("flat"),): [0]})
    assert list(found.layers) == ["flat"]
    nothing = estimate_disk_use(planned, [], {})
    assert (nothing.rows, nothing.bytes, nothing.layers) == (0, 0, {})


@pytest.mark.parametrize(
    ("shape", "dtype", "path"),
    [
        pytest.param(*each, marks=[] if each in CORNERS else [pytest.mark.slow])
        for each in itertools.product(SHAPES, ("float16", "float32"), PATHS)
    ],
)
def test_a_real_shard_takes_no_more_and_not_much_less(
    planned: Cache, tmp_path: Path, shape: tuple[int, int], dtype: str, path: str
) -> None:
    rows, size = shape
    written = tmp_path / "shard.h5"
    rng = np.random.default_rng(0)
    shard = ShardData(
        codes=rng.random((rows, size), dtype=np.float32),
        row=np.arange(rows),
        path=[path] * rows,
        label=["n01440764"] * rows,
        valid=np.ones(rows, dtype=bool),
        reason=[""] * rows,
        image_sha256=["f" * 64] * rows,
    )
    layout = StorageLayout(dtype, rows, "none")
    manifest = dataclasses.replace(planned.manifest, layout=layout)
    write_shard(written, shard, manifest=manifest, series="flat")
    blank, zeros = [""] * rows, np.zeros(rows, dtype=np.int64)
    many = ImageTable([path] * rows, shard.label, blank, blank, zeros, zeros)
    cache = Cache(planned.path, manifest, many)
    layer = Layer("flat", "flat", 0, (size,), False, 1.0)
    counted = estimate_disk_use(cache, [layer], {(Series("flat"),): [0]}).bytes
    real = written.stat().st_size
    unused = 120 * rows + 20 * len(path.encode())
    assert real <= counted <= real + unused + 10_000


def test_the_disk_is_that_of_the_nearest_folder_that_exists(
    planned: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = disk(monkeypatch, 1)
    monkeypatch.chdir(tmp_path)
    for place in (planned.path, tmp_path / "not" / "yet", Path("neither")):
        there = dataclasses.replace(planned, path=place)
        estimate_disk_use(there, [], {})
    assert asked == [planned.path, tmp_path, tmp_path]


def test_a_disk_that_is_just_large_enough_will_do() -> None:
    work = {"flat": LayerEstimate((10,), 20, 3, 100, 100)}
    DiskEstimate(Path("cache"), 3, 3, work, 100).require_free_space()
    with pytest.raises(DiskSpaceError) as caught:
        DiskEstimate(Path("cache"), 3, 3, work, 99).require_free_space()
    assert str(caught.value) == (
        "the codes of 3 images take up to 100 B, and the disk of cache has 99 B free: try "
        "`pool=avg`, `dtype=float16`, fewer layers, another disk with `out`, or `force` to go on"
    )


def test_the_estimate_is_printed_in_one_line() -> None:
    layers = {
        "layer3": LayerEstimate((1024,), 2048, 3000, 6 * 10**6, 6 * 10**6),
        "fc": LayerEstimate((2, 7, 7), 196, 10, 10**6, 10**6),
    }
    assert str(DiskEstimate(Path("cache"), 3000, 3000, layers, 52 * 10**9)) == (
        "3000 images to encode at layer3 (1024), fc (2×7×7, 10 images): at most 7 MB, 52 GB free "
        "on the disk"
    )


@pytest.mark.parametrize(
    ("rows", "passes", "counted"),
    [
        (1, 1, "1 image"),
        (1, 4, "4 views of 1 image"),
        (2, 2, "2 images"),
        (2, 4, "4 views of 2 images"),
    ],
)
def test_one_image_is_no_images(rows: int, passes: int, counted: str) -> None:
    layers = {"flat": LayerEstimate((10,), 20, passes, 100, 100)}
    estimate = DiskEstimate(Path("cache"), rows, passes, layers, 10**6)
    assert str(estimate).startswith(f"{counted} to encode at flat (10): ")


def test_of_many_layers_the_first_are_named() -> None:
    layers = {f"l{i}": LayerEstimate((i,), 2 * i, 5, 100, 100) for i in range(1, 11)}
    text = str(DiskEstimate(Path("cache"), 5, 5, layers, 10**6))
    assert "l7 (7), l8 (8), … and 2 more: at most 1 kB, 1 MB free" in text


# In a run


def first(told: list[Any]) -> OnProgress:
    """Put the estimate into the list when a run tells its progress for the first time."""

    def on_progress(progress: Progress) -> None:
        if isinstance(progress, ExtractionProgress) and progress.done == 0:
            told.append(progress.estimate)

    return on_progress


def test_the_estimate_is_reported_once_before_any_image_is_encoded(
    photos: Path, extract_tiny: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[DiskEstimate | str] = []

    def read(_path: Path) -> bytes:
        told.append("read")
        return b""

    monkeypatch.setattr("bottleneck.data.sources.files.file_source.read_image_bytes", read)
    done = extract_tiny(photos, layers=["layer3", "layer2"], on_progress=first(told))
    (ahead,) = (item for item in told if isinstance(item, DiskEstimate))
    assert told.index(ahead) <= 16  # images are looked at for the depth of their pixels
    assert {name: work.rows for name, work in ahead.layers.items()} == {"layer2": 36, "layer3": 36}
    assert ahead.rows == done.rows == 36


def test_only_what_is_missing_is_announced(photos: Path, extract_tiny: Extract) -> None:
    told: list[DiskEstimate] = []
    extract_tiny(photos, task=ArrayTask(1, 2), on_progress=first(told))
    assert told.pop().rows == 16  # shards 1 and 3 of 0…4
    extract_tiny(photos, on_progress=first(told))
    assert told.pop().rows == 20
    extract_tiny(photos, on_progress=first(told))
    assert told == []
    changed = sorted(photos.rglob("*.*"))[11]
    photograph(999, "wasps", (60, 60)).save(changed)
    extract_tiny(photos, layers=["layer2", "layer3"], on_progress=first(told))
    (ahead,) = told
    assert ahead.rows == 36
    assert {name: work.rows for name, work in ahead.layers.items()} == {"layer2": 8, "layer3": 36}


def test_a_refused_run_leaves_no_trace(
    photos: Path, extract_tiny: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk(monkeypatch, 1000)
    told: list[DiskEstimate] = []
    with pytest.raises(DiskSpaceError):
        extract_tiny(photos, on_progress=first(told))
    assert not (tmp_path / "cache").exists()
    assert told == []
    assert extract_tiny(photos, force=True).rows == 36
    assert extract_tiny(photos).rows == 0  # nothing to do needs no room


def test_a_refused_run_leaves_a_cache_as_it_was_though_images_came_and_changed(
    photos: Path, extract_tiny: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = extract_tiny(photos).cache
    before = {path: path.read_bytes() for path in cache.path.rglob("*.*")}
    photograph(999, "wasps", (60, 60)).save(photos / cache.images.path[11])
    photograph(1000, "wasps").save(photos / "train" / "wasps" / "zz.png")
    with monkeypatch.context() as patch, pytest.raises(DiskSpaceError):
        disk(patch, 1000)
        extract_tiny(photos)
    assert {path: path.read_bytes() for path in cache.path.rglob("*.*")} == before
    assert open_cache(cache.path).valid_rows("layer2").all()
    again = extract_tiny(photos)
    assert (again.rows, again.changes.added, again.changes.changed) == (13, 1, 1)


def test_a_refused_run_can_be_mended_at_the_same_place(
    photos: Path, extract_tiny: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk(monkeypatch, 60_000)
    options: dict[str, Any] = {"model": PLAIN, "transform": SMALL, "shard_size": None}
    with pytest.raises(DiskSpaceError):
        extract_tiny(photos, pool="none", **options)
    assert extract_tiny(photos, pool="avg", **options).rows == 36
