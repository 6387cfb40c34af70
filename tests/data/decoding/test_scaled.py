"""The fast decoder: large JPEGs at a fraction of their size, everything else as it is."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from bottleneck.data.decoding.decode import decode_image
from bottleneck.data.decoding.pillow_decoder import decode_by_pillow
from bottleneck.data.decoding.scaled import draft_scaled
from bottleneck.data.resizing.resize import resize_and_crop
from bottleneck.errors import ImageError
from bottleneck.input_transform import DECODERS, FITS, InputTransform
from tests.helpers.image_files import FILES, Pixels, encode, exif_of, noise

FAST = DECODERS["fast"]
SMALL = InputTransform(resize=32, crop=28, decoder=FAST)


def waves(width: int, height: int) -> Image.Image:
    """Smooth, without symmetry, in three colours."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [np.sin(x / 19 + y / 31), np.cos(x / 41), np.sin(y / 23 - x / 67)]
    return Image.fromarray((np.stack(planes, axis=-1) * 100 + 128).astype(np.uint8))


def box(image: Image.Image, scale: int) -> Pixels:
    return np.asarray(image.reduce(scale))


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_large_jpeg_is_nearly_the_average_of_its_pixels(
    scale: int, subsampling: str, progressive: bool
) -> None:
    side = 64 * scale
    image = waves(side + 40, side)
    data = encode(image, "JPEG", quality=95, subsampling=subsampling, progressive=progressive)
    pixels = decode_image(data, SMALL)
    assert pixels.shape == (64, -(-(side + 40) // scale), 3)
    assert np.abs(pixels.astype(int) - box(image, scale)).mean() < 2
    assert pixels.flags.writeable
    np.testing.assert_array_equal(decode_by_pillow(data, SMALL), pixels)


@settings(deadline=None, max_examples=150)
@given(
    width=st.integers(1, 150),
    height=st.integers(1, 150),
    resize=st.integers(1, 40),
    grey=st.booleans(),
    options=st.fixed_dictionaries(
        {
            "quality": st.sampled_from([1, 75, 98]),
            "subsampling": st.sampled_from(["4:4:4", "4:2:2", "4:2:0", "keep RGB"]),
            "progressive": st.booleans(),
            "restart_marker_blocks": st.sampled_from([0, 1, 7]),
            "exif": st.sampled_from([exif_of(orientation) for orientation in range(1, 9)]),
        }
    ),
)
def test_any_usual_jpeg_gives_pillows_pixels(
    width: int, height: int, resize: int, grey: bool, options: dict[str, Any]
) -> None:
    if options["subsampling"] == "keep RGB":
        options = {**options, "subsampling": "4:4:4", "keep_rgb": True}
    image = Image.fromarray(noise(height, width, 3))
    data = encode(image.convert("L") if grey else image, "JPEG", **options)
    transform = InputTransform(resize=resize, crop=resize, decoder=FAST)
    by_pillow = Image.open(io.BytesIO(data))
    draft_scaled(by_pillow, transform)
    by_pillow.load()
    expected = np.asarray(ImageOps.exif_transpose(by_pillow).convert("RGB"))
    np.testing.assert_array_equal(decode_image(data, transform), expected)


def test_large_jpegs_need_no_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(waves(600, 400), "JPEG")
    expected = decode_image(data, SMALL)
    monkeypatch.setattr(Image, "open", pytest.fail)
    np.testing.assert_array_equal(decode_image(data, SMALL), expected)


def test_grey_and_turned_jpegs_are_scaled_too() -> None:
    image = waves(300, 200)
    grey = decode_image(encode(image.convert("L"), "JPEG", quality=95), SMALL)
    assert grey.shape == (100, 150, 3)
    turned = decode_image(encode(image, "JPEG", quality=95, exif=exif_of(6)), SMALL)
    plain = decode_image(encode(image, "JPEG", quality=95), SMALL)
    np.testing.assert_array_equal(turned, np.rot90(plain, k=-1))


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.integers(1, 400),
    st.integers(1, 400),
    st.sampled_from(FITS),
)
def test_twice_the_size_that_is_made_of_it_is_left(
    width: int, height: int, resize: int, crop: int, fit: str
) -> None:
    transform = InputTransform(resize=resize, crop=crop, fit=fit, decoder=FAST)
    image = Image.open(io.BytesIO(encode(Image.new("RGB", (8, 8)), "JPEG")))
    image._size = (width, height)
    scaled = draft_scaled(image, transform)
    left = image.size
    assert scaled == (left != (width, height))
    if not scaled:
        return
    scale = next(s for s in (8, 4, 2) if left == (-(-width // s), -(-height // s)))
    made = {"crop": (min(left), resize), "squash": (min(left), crop), "pad": (max(left), crop)}
    side, target = made[fit]
    assert side >= 2 * target
    if scale < 8 and min(width, height) >= 8:  # not more was left than had to be
        assert side // 2 < 2 * target + 1


@pytest.mark.parametrize("name", FILES)
def test_small_images_and_other_formats_are_decoded_exactly(name: str) -> None:
    large = InputTransform(resize=400, crop=400, decoder=FAST)
    np.testing.assert_array_equal(decode_image(FILES[name], large), decode_image(FILES[name]))
    if name not in ("jpeg", "jpeg-progressive", "jpeg-grey"):
        tiny = InputTransform(resize=1, crop=1, decoder=FAST)
        np.testing.assert_array_equal(decode_image(FILES[name], tiny), decode_image(FILES[name]))


def test_the_exact_decoder_scales_nothing() -> None:
    data = encode(waves(600, 400), "JPEG")
    assert decode_image(data, InputTransform(resize=32, crop=32)).shape == (400, 600, 3)


def test_a_truncated_file_is_rejected() -> None:
    data = encode(waves(600, 400), "JPEG")
    with pytest.raises(ImageError, match="truncated"):
        decode_image(data[: len(data) // 2], SMALL)


def test_the_square_is_nearly_that_of_the_exact_decoder() -> None:
    data = encode(waves(1200, 900), "JPEG", quality=92)
    exact = InputTransform(resize=64, crop=56)
    fast = InputTransform(resize=64, crop=56, decoder=FAST)
    squares = [resize_and_crop(decode_image(data, each), each) for each in (exact, fast)]
    assert np.abs(squares[0].astype(int) - squares[1]).mean() < 2
