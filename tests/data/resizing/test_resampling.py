"""NumPy resizes to the bits of torchvision."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as v2

from bottleneck.data.resizing.resampling import Resample, resample
from bottleneck.data.resizing.torch_resampling import resample_by_torchvision
from bottleneck.input_transform import INTERPOLATIONS
from tests.helpers.image_files import Pixels, noise

RESAMPLERS = pytest.mark.parametrize("resampler", [resample, resample_by_torchvision])
SIDE = st.integers(2, 90)


def by_torchvision(pixels: Pixels, height: int, width: int, interpolation: str) -> Pixels:
    planes = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
    resized: Pixels = v2.resize(
        planes, [height, width], interpolation=InterpolationMode(interpolation)
    ).numpy()
    return resized.transpose(1, 2, 0)


@RESAMPLERS
@settings(deadline=None)
@given(
    size=st.tuples(SIDE, SIDE),
    to=st.tuples(SIDE, SIDE),
    interpolation=st.sampled_from(INTERPOLATIONS),
    hard=st.booleans(),
    seed=st.integers(0, 9),
)
def test_pixels_are_torchvisions(
    resampler: Resample,
    *,
    size: tuple[int, int],
    to: tuple[int, int],
    interpolation: str,
    hard: bool,
    seed: int,
) -> None:
    pixels = noise(*size, 3, seed=seed)
    if hard:  # bicubic weights are negative beside an edge: sums leave 0…255
        pixels = np.where(pixels > 127, np.uint8(255), np.uint8(0))
    before = pixels.copy()
    found = resampler(pixels, *to, interpolation)
    assert found.shape == (*to, 3)
    np.testing.assert_array_equal(found, by_torchvision(pixels, *to, interpolation))
    np.testing.assert_array_equal(pixels, before)


@RESAMPLERS
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_large_photograph_becomes_small(resampler: Resample, interpolation: str) -> None:
    pixels = noise(700, 900, 3)
    found = resampler(pixels, 37, 48, interpolation)
    np.testing.assert_array_equal(found, by_torchvision(pixels, 37, 48, interpolation))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_an_image_of_that_size_is_handed_back(interpolation: str) -> None:
    pixels = noise(5, 7, 3)
    assert resample(pixels, 5, 7, interpolation) is pixels
