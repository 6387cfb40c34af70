from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bottleneck.data.decoding.depth import PixelDepth, measure_depth
from bottleneck.data.images import open_images
from tests.helpers.photographs import write_photographs


def write_deep(folder: Path, count: int, top: int, *, dtype: str = "uint16") -> NDArray[np.float64]:
    """Write grey images of values below `top`; return all values."""
    folder.mkdir(parents=True, exist_ok=True)
    values = []
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, top, (20, 30)).astype(dtype)
        Image.fromarray(pixels).save(folder / f"{i:03d}.tif")
        values.append(pixels)
    return np.concatenate(values).astype(np.float64)


@pytest.mark.parametrize("top", [256, 4096, 65536])
def test_limits_are_the_percentiles_of_the_images(tmp_path: Path, top: int) -> None:
    values = write_deep(tmp_path, 12, top)
    found = measure_depth(open_images(tmp_path), 12)
    assert (found.tried, found.deep, found.floating) == (12, 12, 0)
    assert found.limits is not None
    low, high = np.percentile(values, [0.1, 99.9])
    assert found.limits == pytest.approx((low, high), abs=top / 200)
    assert all(limit == int(limit) for limit in found.limits)
    assert found.looks_black == (top <= 4096)


def test_other_images_are_not_measured(tmp_path: Path) -> None:
    write_photographs(tmp_path / "bees", 6, label="bees")
    (tmp_path / "bees" / "broken.png").write_bytes(b"no image")
    assert measure_depth(open_images(tmp_path), 20) == PixelDepth(6, 0, 0, None)
    write_deep(tmp_path / "ants", 2, 1000)
    mixed = measure_depth(open_images(tmp_path), 20)
    assert (mixed.tried, mixed.deep, mixed.looks_black) == (8, 2, True)


def test_a_sample_is_bounded_and_always_the_same(tmp_path: Path) -> None:
    write_deep(tmp_path, 30, 4096)
    source = open_images(tmp_path)
    first = measure_depth(source, 5)
    assert first.tried == 5
    assert measure_depth(source, 5) == first


def test_floating_point_images_are_recognised_and_nan_and_infinity_left_out(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10)
    values[0, :2] = np.nan, np.inf
    Image.fromarray(values).save(tmp_path / "a.tif")
    found = measure_depth(open_images(tmp_path), 5)
    assert (found.floating, found.looks_black) == (1, False)
    assert found.limits == (float(values[0, 2]), 1)


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.05), (-0.4, 0.3), (2000.25, 2000.5)])
def test_floating_point_images_fill_less_than_a_unit(
    tmp_path: Path, low: float, high: float
) -> None:
    values = np.linspace(low, high, 10_000, dtype=np.float32).reshape(100, 100)
    Image.fromarray(values).save(tmp_path / "a.tif")
    wanted = pytest.approx((low, high), abs=(high - low) / 100)
    assert measure_depth(open_images(tmp_path), 5).limits == wanted


def test_images_of_one_value_have_limits_that_ascend(tmp_path: Path) -> None:
    Image.fromarray(np.full((5, 5), 700, dtype=np.uint16)).save(tmp_path / "a.png")
    assert measure_depth(open_images(tmp_path), 5).limits == (700, 701)


def test_removed_images_are_not_drawn(tmp_path: Path) -> None:
    write_deep(tmp_path, 3, 4096)
    source = open_images(tmp_path)
    source.table.size[:] = -1
    assert measure_depth(source, 5) == PixelDepth(0, 0, 0, None)
