import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bottleneck.data.decoding.decode import decode_image
from bottleneck.data.decoding.deep import deep_values, is_deep, map_to_bytes
from bottleneck.errors import ImageError
from bottleneck.input_transform import InputTransform
from tests.helpers.image_files import (
    FILES,
    HEIGHT,
    RGB,
    WIDTH,
    encode,
    noise,
    over_white,
    png,
    repeated,
)
from tests.helpers.tiff import tiff

LIMITS = (100.0, 4195.0)
DEEP = noise(HEIGHT, WIDTH, top=65536, dtype="uint16")
SHALLOW = noise(HEIGHT, WIDTH, top=4096, dtype="uint16")


def mapped(values: NDArray[Any], limits: tuple[float, float] = LIMITS) -> NDArray[np.uint8]:
    """The definition, one number at a time."""
    low, high = limits
    numbers = [
        round(255 * (min(max(float(v), low), high) - low) / (high - low)) for v in values.flat
    ]
    return np.array(numbers, dtype=np.uint8).reshape(values.shape)


@pytest.mark.parametrize("values", [DEEP, SHALLOW], ids=["16 bits", "12 bits"])
@pytest.mark.parametrize(
    ("kind", "order"), [("PNG", "<"), ("TIFF", "<"), ("TIFF", ">"), ("PPM", "<")]
)
def test_grey_of_sixteen_bits_is_spread_over_the_range(
    kind: str, order: str, values: NDArray[np.uint16]
) -> None:
    data = encode(Image.fromarray(values.astype(f"{order}u2")), kind)
    np.testing.assert_array_equal(
        decode_image(data, InputTransform(range=LIMITS)), repeated(mapped(values))
    )


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_colour_of_sixteen_bits_in_png_has_all_of_its_bits(colour: int, channels: int) -> None:
    values = noise(4, 5, channels, top=4096, dtype="uint16")
    if channels in (2, 4):
        values[..., -1] = 65535
    rows = [row.astype(">u2").tobytes() for row in values]
    data = png((5, 4), depth=16, colour=colour, rows=rows)
    expected = mapped(values[..., 0] if channels == 2 else values[..., :3])
    expected = repeated(expected) if channels == 2 else expected
    np.testing.assert_array_equal(decode_image(data, InputTransform(range=LIMITS)), expected)


@pytest.mark.parametrize("samples", [3, 4])
@pytest.mark.parametrize("order", ["<", ">"])
def test_colour_of_sixteen_bits_in_tiff_has_all_of_its_bits(order: str, samples: int) -> None:
    values = noise(4, 5, samples, top=4096, dtype="uint16")
    values[..., 3:] = 65535
    data = tiff(values, order, photometric=2, extra=2 if samples == 4 else None)
    np.testing.assert_array_equal(
        decode_image(data, InputTransform(range=LIMITS)), mapped(values[..., :3])
    )
    np.testing.assert_array_equal(decode_image(data), values[..., :3] >> 8)


def test_opacity_is_not_spread() -> None:
    values = noise(4, 5, 4, top=65536, dtype="uint16")
    rows = [row.astype(">u2").tobytes() for row in values]
    pixels = decode_image(png((5, 4), depth=16, colour=6, rows=rows), InputTransform(range=LIMITS))
    expected = over_white(mapped(values[..., :3]), values[..., 3] >> 8)
    assert np.abs(pixels - expected).max() <= 1


@pytest.mark.parametrize("kind", ["TIFF", "PPM"])
def test_floating_point_pixels_are_read_with_a_range(kind: str) -> None:
    values = np.linspace(-1, 2, 60, dtype=np.float32).reshape(6, 10)
    data = encode(Image.fromarray(values), kind)
    pixels = decode_image(data, InputTransform(range=(0.0, 1.0)))
    np.testing.assert_array_equal(pixels, repeated(mapped(values, (0.0, 1.0))))
    assert {pixels.min(), pixels.max()} == {0, 255}


def test_thirty_two_bit_integers_of_any_size_are_read_with_a_range() -> None:
    values = np.array([[-70_000, 0], [70_000, 140_000]], dtype=np.int32)
    pixels = decode_image(
        encode(Image.fromarray(values), "TIFF"), InputTransform(range=(-70_000.0, 140_000.0))
    )
    np.testing.assert_array_equal(pixels, repeated(np.array([[0, 85], [170, 255]])))


def test_a_pixel_that_is_no_number_is_rejected() -> None:
    values = np.array([[0.5, np.nan]], dtype=np.float32)
    with pytest.raises(ImageError, match="not a number"):
        decode_image(encode(Image.fromarray(values), "TIFF"), InputTransform(range=(0.0, 1.0)))


@pytest.mark.parametrize("name", FILES)
def test_a_range_does_not_concern_pixels_of_eight_bits(name: str) -> None:
    with Image.open(io.BytesIO(FILES[name])) as image:
        assert not is_deep(image)
    np.testing.assert_array_equal(
        decode_image(FILES[name], InputTransform(range=LIMITS)), decode_image(FILES[name])
    )


def test_values_are_those_of_the_file() -> None:
    for values in (DEEP, DEEP.astype(np.int32), DEEP.astype(np.float32)):
        data = encode(Image.fromarray(values), "TIFF")
        with Image.open(io.BytesIO(data)) as image:
            assert is_deep(image)
            found = deep_values(image, data)
        np.testing.assert_array_equal(found, values)
        assert found.dtype == values.dtype


def test_a_mapped_value_is_rounded_halves_to_even() -> None:
    values = np.arange(6)
    assert map_to_bytes(values, (0, 510)).tolist() == [0, 0, 1, 2, 2, 2]
    assert map_to_bytes(values.astype(np.uint16), (0, 510)).tolist() == [0, 0, 1, 2, 2, 2]


def test_eight_bit_rgb_is_not_deep() -> None:
    data = encode(RGB, "TIFF")
    with Image.open(io.BytesIO(data)) as image:
        assert not is_deep(image)
