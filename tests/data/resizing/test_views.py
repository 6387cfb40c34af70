"""Views of an image, against torchvision and a second implementation of the rule."""

import hashlib
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional as v2

from bottleneck.data.decoding.decode import decode_image
from bottleneck.data.resizing.resize import resize_and_crop
from bottleneck.data.resizing.view_recipe import AUGMENTATIONS, ViewRecipe
from bottleneck.data.resizing.views import ViewSet, decode_views
from bottleneck.errors import ImageError
from bottleneck.input_transform import InputTransform

SMALL = InputTransform(resize=20, crop=16)
DIGEST = "ab" * 32


def picture(height: int = 60, width: int = 90, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def file_of(pixels: NDArray[np.uint8]) -> bytes:
    height, width, _ = pixels.shape
    return f"P6 {width} {height} 255\n".encode() + pixels.tobytes()


def view_of(
    pixels: NDArray[np.uint8],
    view: int = 1,
    augmentations: tuple[str, ...] = ("flip", "crop"),
    *,
    seed: int = 0,
    digest: str = DIGEST,
    transform: InputTransform = SMALL,
) -> NDArray[np.uint8]:
    views = ViewSet([view], ViewRecipe(augmentations, seed))
    (made,) = decode_views(file_of(pixels), transform, views, image_sha256=digest)
    return made


def draw(name: str, number: int = 0, *, view: int, seed: int = 0, digest: str = DIGEST) -> float:
    """The rule of docs/format.md: 53 of the first 64 bits of SHA-256, as a fraction."""
    text = f"{digest} {seed} {view} {name} {number}"
    first = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return math.floor(first / 2**11) / 2**53


def box(height: int, width: int, view: int) -> tuple[int, int, int, int]:
    """Top, left, height and width of the part that is cut out, by docs/format.md."""
    for k in range(10):
        u = [draw("crop", 4 * k + i, view=view) for i in range(4)]
        area = height * width * (0.5 + 0.5 * u[0])
        signed = 2 * u[1] - 1
        ratio = 1 + signed / 3 if signed >= 0 else 1 / (1 - signed / 3)
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(u[2] * (height - h + 1)), int(u[3] * (width - w + 1)), h, w
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    return int(u[2] * (height - h + 1)), int(u[3] * (width - w + 1)), h, w


def as_tensor(pixels: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)


def test_view_0_is_the_image(tmp_path: object) -> None:
    pixels = picture()
    np.testing.assert_array_equal(view_of(pixels, 0), resize_and_crop(pixels, SMALL))
    (plain,) = decode_views(file_of(pixels), SMALL, image_sha256="")
    np.testing.assert_array_equal(plain, resize_and_crop(pixels, SMALL))


@pytest.mark.parametrize("fit", ["crop", "squash"])
@pytest.mark.parametrize("size", [(60, 90), (300, 20), (17, 17), (5, 3), (1, 1)])
def test_a_crop_is_torchvisions_resized_crop_of_the_decoded_image(
    size: tuple[int, int], fit: str
) -> None:
    pixels = picture(*size)
    transform = InputTransform(resize=20, crop=16, fit=fit)
    for view in range(1, 6):
        expected = v2.resized_crop(as_tensor(pixels), *box(*size, view), [16, 16], antialias=True)
        found = view_of(pixels, view, ("crop",), transform=transform)
        np.testing.assert_array_equal(found, expected.permute(1, 2, 0).numpy())


def test_a_crop_keeps_its_proportions_where_images_are_padded() -> None:
    pixels = picture()
    transform = InputTransform(crop=16, fit="pad")
    top, left, height, width = box(60, 90, 1)
    part = np.ascontiguousarray(pixels[top : top + height, left : left + width])
    expected = resize_and_crop(part, transform)
    np.testing.assert_array_equal(view_of(pixels, 1, ("crop",), transform=transform), expected)


def test_mirrored_turned_and_coloured_as_torchvision_does() -> None:
    pixels = picture()
    plain = as_tensor(resize_and_crop(pixels, SMALL))
    seen = set()
    for view in range(1, 20):
        turns = math.floor(4 * draw("rotate", view=view))
        expected = torch.from_numpy(np.rot90(plain.numpy(), turns, (1, 2)).copy())
        mirrored = draw("flip", view=view) < 0.5
        expected = v2.horizontal_flip(expected) if mirrored else expected
        found = view_of(pixels, view, ("rotate", "flip"))
        np.testing.assert_array_equal(found, expected.permute(1, 2, 0).numpy())
        seen.add((turns, mirrored))

        factors = [0.8 + 0.4 * draw("color", i, view=view) for i in range(3)]
        expected = v2.adjust_brightness(plain, factors[0])
        expected = v2.adjust_contrast(expected, factors[1])
        expected = v2.adjust_saturation(expected, factors[2])
        difference = view_of(pixels, view, ("color",)) - expected.permute(1, 2, 0).numpy()
        assert set(np.unique(difference)) <= {0, 1, 255}  # a factor's last bit
    assert len(seen) == 8


@given(
    size=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    names=st.sets(st.sampled_from(AUGMENTATIONS), min_size=1),
    view=st.integers(1, 999),
    seed=st.integers(0, 2**63 - 1),
    fit=st.sampled_from(["crop", "squash", "pad"]),
)
@settings(max_examples=60, deadline=None)
def test_a_view_is_a_function_of_bytes_view_and_seed_alone(
    size: tuple[int, int], names: set[str], view: int, seed: int, fit: str
) -> None:
    pixels = picture(*size)
    options: dict[str, Any] = {
        "seed": seed,
        "transform": InputTransform(resize=20, crop=16, fit=fit),
    }
    found = view_of(pixels, view, tuple(names), **options)
    assert found.shape == (16, 16, 3)
    assert found.flags.c_contiguous
    again = view_of(pixels, view, tuple(sorted(names)), **options)
    np.testing.assert_array_equal(found, again)


@pytest.mark.parametrize("numbers", [(0,), (1,), (0, 1)])
def test_an_image_too_thin_to_be_resized_has_no_view_by_itself(numbers: tuple[int, ...]) -> None:
    data, views = b"P6 20000 1 255\n" + bytes(60000), ViewSet(numbers, ViewRecipe())
    with pytest.raises(ImageError, match="too long and thin"):
        list(decode_views(data, InputTransform(resize=8000), views, image_sha256="ab" * 32))


def test_the_views_of_a_file_are_made_of_one_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []

    def decode(data: bytes, transform: InputTransform) -> NDArray[np.uint8]:
        decoded.append(decode_image(data, transform))
        return decoded[-1]

    monkeypatch.setattr("bottleneck.data.resizing.views.decode_image", decode)
    pixels, recipe = picture(), ViewRecipe(AUGMENTATIONS)
    views = ViewSet([1, 2, 0, 1], recipe)
    found = list(decode_views(file_of(pixels), SMALL, views, image_sha256=DIGEST))
    np.testing.assert_array_equal(decoded, [pixels])
    np.testing.assert_array_equal(found, [view_of(pixels, n, AUGMENTATIONS) for n in (1, 2, 0, 1)])


def test_other_bytes_views_and_seeds_give_other_pictures() -> None:
    pixels = picture()
    pictures = [
        view_of(pixels),
        view_of(pixels, 2),
        view_of(pixels, seed=1),
        view_of(pixels, digest="cd" * 32),
    ]
    assert len({each.tobytes() for each in pictures}) == 4


def test_an_augmentation_more_leaves_the_draws_of_the_others() -> None:
    pixels = picture()
    for view in range(1, 6):
        cropped = view_of(pixels, view, ("crop",))
        both = view_of(pixels, view, ("crop", "flip"))
        mirrored = draw("flip", view=view) < 0.5
        np.testing.assert_array_equal(both, cropped[:, ::-1] if mirrored else cropped)


def test_a_crop_has_half_of_the_area_or_more_and_is_everywhere() -> None:
    boxes = np.array([box(600, 800, view) for view in range(1, 1000)])
    top, left, height, width = boxes.T
    share = height * width / (600 * 800)
    assert 0.499 < share.min() < 0.52
    assert share.max() > 0.9
    ratio = width / height
    assert 0.745 < ratio.min() < ratio.max() < 1.34
    assert top.min() == left.min() == 0
    assert (top + height).max() >= 599
    assert (left + width).max() >= 798
