import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from bottleneck.data.decoding.decode import decode_image
from bottleneck.data.decoding.deep import map_to_bytes
from bottleneck.data.decoding.multiband import first_bands
from bottleneck.errors import ImageError
from bottleneck.input_transform import InputTransform
from tests.helpers.image_files import FILES, gradient, image_or_error, mutated, noise
from tests.helpers.tiff import tiff

HEIGHT, WIDTH = 19, 23


@pytest.mark.parametrize("samples", [3, 4, 5, 13])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rows": 4},
        {"deflate": True, "rows": 5},
        {"deflate": True, "predictor": 2, "rows": 7},
        {"tile": 16},
        {"deflate": True, "predictor": 2, "tile": 16},
    ],
    ids=str,
)
def test_the_first_three_of_many_samples_are_red_green_and_blue(
    samples: int, dtype: str, order: str, options: dict[str, Any]
) -> None:
    top = 256 if dtype == "uint8" else 65536
    values = noise(HEIGHT, WIDTH, samples, top=top, dtype=dtype)
    data = tiff(values, order, **options)
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(data))
    expected = values[..., :3] if dtype == "uint8" else values[..., :3] >> 8
    pixels = decode_image(data)
    np.testing.assert_array_equal(pixels, expected)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable


def test_a_range_spreads_sixteen_bits_and_floating_point() -> None:
    values = noise(HEIGHT, WIDTH, 8, top=4096, dtype="uint16")
    limits = (100.0, 3000.0)
    transform = InputTransform(range=limits)
    expected = map_to_bytes(values[..., :3], limits)
    np.testing.assert_array_equal(decode_image(tiff(values), transform), expected)
    numbers = values.astype(np.float32)
    np.testing.assert_array_equal(decode_image(tiff(numbers), transform), expected)
    with pytest.raises(ImageError, match="no stated range"):
        decode_image(tiff(numbers))


@pytest.mark.parametrize(("extra", "opaque"), [(0, True), (2, False)])
def test_a_fourth_sample_is_opacity_if_the_file_says_so(extra: int, opaque: bool) -> None:
    values = noise(HEIGHT, WIDTH, 4)
    values[..., 3] = 0
    pixels = decode_image(tiff(values, photometric=2, extra=extra))
    expected = values[..., :3] if opaque else np.full((HEIGHT, WIDTH, 3), 255)
    np.testing.assert_array_equal(pixels, expected)


def test_a_turned_image_comes_back_upright() -> None:
    stored = np.rot90(gradient())  # as orientation 6 has it
    values = np.concatenate([stored, stored], axis=-1)
    np.testing.assert_array_equal(decode_image(tiff(values, orientation=6)), gradient())


def test_too_many_samples_are_refused_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiff(noise(HEIGHT, WIDTH, 8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageError, match="23 × 19 pixels of 8 samples are more than 1000: `max_pi"):
        decode_image(data)


def test_other_files_are_not_for_it() -> None:
    for data in (b"", b"II", b"II*\0", *FILES.values()):
        if not data.startswith((b"II*\0", b"MM\0*")):
            assert first_bands(data) is None
    assert first_bands(tiff(noise(4, 4, 2))) is None
    with pytest.raises(ImageError, match="not an image of a known format"):
        decode_image(tiff(noise(4, 4, 2)))


def test_damage_gives_an_image_or_an_image_error() -> None:
    whole = tiff(noise(HEIGHT, WIDTH, 7), deflate=True, predictor=2, rows=5)
    for seed in range(300):
        image_or_error(mutated(whole, seed, 1 + seed % 4))
