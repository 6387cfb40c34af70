"""Squares made on a device: those of the images one by one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bottleneck.data.resizing import device_squares as module
from bottleneck.data.resizing.device_squares import make_squares
from bottleneck.data.resizing.resize import resize_and_crop
from bottleneck.data.resizing.torch_resampling import resize_by_torchvision
from bottleneck.input_transform import FITS, INTERPOLATIONS, InputTransform
from tests.helpers.image_files import Pixels, noise

SIZES = st.tuples(st.integers(1, 60), st.integers(1, 60))


def tensors(images: list[Pixels]) -> list[torch.Tensor | None]:
    return [torch.from_numpy(image).permute(2, 0, 1).contiguous() for image in images]


def waves(height: int, width: int) -> Pixels:
    """An image as smooth as photographs are."""
    y, x = np.mgrid[0:height, 0:width] / 8
    colours = [127 + 60 * np.sin(x * a + y) + 50 * np.cos(y * a) for a in (0.7, 1.0, 1.3)]
    return np.stack(colours, axis=-1).round().astype(np.uint8)


@settings(deadline=None)
@given(
    sizes=st.lists(SIZES, min_size=1, max_size=3),
    resize=st.integers(2, 50),
    crop=st.integers(2, 60),
    fit=st.sampled_from(FITS),
    interpolation=st.sampled_from(INTERPOLATIONS),
)
def test_squares_are_those_of_each_image_alone(
    sizes: list[tuple[int, int]], resize: int, crop: int, fit: str, interpolation: str
) -> None:
    transform = InputTransform(resize=resize, crop=crop, fit=fit, interpolation=interpolation)
    images = [noise(*size, 3, seed=i) for i, size in enumerate([*sizes, *sizes])]
    for square, image in zip(make_squares(tensors(images), transform), images, strict=True):
        assert square is not None
        assert square.dtype == torch.uint8
        apart = square.int().numpy() - resize_and_crop(image, transform)
        assert np.abs(apart).max() <= 1  # the last bit is the device's


def test_images_of_one_size_are_resized_together_and_not_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts: list[int] = []

    def counted(images: torch.Tensor, *size: object) -> torch.Tensor:
        counts.append(len(images))
        return resize_by_torchvision(images, *size)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "resize_by_torchvision", counted)
    monkeypatch.setattr(module, "_PIXELS", 3 * 30 * 40)
    images = [noise(*size, 3) for size in [(30, 40)] * 5 + [(40, 30)] * 2 + [(90, 90)]]
    make_squares(tensors(images), InputTransform(resize=20, crop=20))
    assert counts == [3, 2, 2, 1]


def test_images_that_cannot_be_resized_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:

    def refuse(images: torch.Tensor, *size: object) -> torch.Tensor:
        if images.shape[3] == 50:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return resize_by_torchvision(images, *size)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "resize_by_torchvision", refuse)
    sizes = [(30, 40), (30, 50), (1, 60_000)]  # too long and thin
    images = [*tensors([noise(*size, 3) for size in sizes]), None]
    found = make_squares(images, InputTransform(resize=2000, crop=20))
    assert [square is not None for square in found] == [True, False, False, False]


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_squares_on_a_gpu_are_those_of_the_cpu(fit: str, interpolation: str) -> None:
    transform = InputTransform(resize=60, crop=52, fit=fit, interpolation=interpolation)
    images = [waves(*size) for size in [(300, 400), (90, 61), (40, 40), (300, 400)]]
    on_gpu = [image.cuda() for image in tensors(images) if image is not None]
    for square, image in zip(make_squares(on_gpu, transform), images, strict=True):
        assert square is not None
        assert square.device.type == "cuda"
        apart = square.cpu().int().numpy() - resize_and_crop(image, transform)
        # A GPU rounds once, the CPU after each direction: 1 at most and 0.29, with float32 sums of
        # the CPU in the GPU's place. In noise, where the CPU clips between them, it is up to 15.
        assert np.abs(apart).max() <= 2
        assert (apart != 0).mean() < 0.4
