"""Thumbnails are small, and show what the network is given."""

import io

import numpy as np
import pytest
from PIL import Image

from bottleneck.data import decode_image, make_thumbnail
from bottleneck.errors import ImageError
from bottleneck.input_transform import InputTransform
from tests.helpers.image_files import encode, noise


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize(("size", "small"), [((200, 80), (64, 26)), ((30, 20), (30, 20))])
def test_the_longer_side_is_the_limit_and_nothing_is_enlarged(
    size: tuple[int, int], small: tuple[int, int]
) -> None:
    data = encode(Image.new("RGB", size, (200, 100, 50)), "JPEG")
    made = opened(make_thumbnail(data, 64))
    assert (made.format, made.size) == ("WEBP", small)
    assert np.abs(np.asarray(made.convert("RGB")).astype(int) - (200, 100, 50)).max() < 8


def test_a_tiny_image_keeps_each_pixel() -> None:
    data = encode(Image.fromarray(noise(8, 8, 3, seed=0)), "PNG")
    assert np.array_equal(np.asarray(opened(make_thumbnail(data, 64))), decode_image(data))


def test_thumbnails_are_upright_and_deep_pixels_have_their_range() -> None:
    picture = Image.fromarray(np.linspace(0, 4095, 512, dtype=np.uint16).reshape(16, 32))
    data = encode(picture, "PNG")
    values = np.asarray(opened(make_thumbnail(data, 64, (0.0, 4095.0))))
    assert np.array_equal(values, decode_image(data, InputTransform(range=(0.0, 4095.0))))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.new("RGB", (40, 20)).save(file, "JPEG", exif=exif)
    assert opened(make_thumbnail(file.getvalue(), 64)).size == (20, 40)


def test_no_image_is_said() -> None:
    with pytest.raises(ImageError, match="the file is empty"):
        make_thumbnail(b"", 64)
