"""Images to check with: the same each time, of several sizes and kinds."""

import pickle

import numpy as np
import pytest

from bottleneck.data.decoding.decode import decode_image
from bottleneck.exporting.check_images import GeneratedImages
from bottleneck.input_transform import InputTransform


def test_images_are_the_same_each_time_and_of_several_sizes() -> None:
    images = GeneratedImages(InputTransform(resize=40, crop=32))
    rows = range(len(images.table))
    decoded = [decode_image(images.read(row)) for row in rows]
    assert len({pixels.shape for pixels in decoded}) > 4
    again = pickle.loads(pickle.dumps(images))
    assert [again.read(row) for row in rows] == [images.read(row) for row in rows]
    assert list(images.table.path) == [images.path(row) for row in rows]
    other = GeneratedImages(images.transform, seed=1)
    assert all(other.read(row) != images.read(row) for row in rows)
    assert images.with_table(images.table) is images
    assert images.missing_here() == ""


def test_half_of_them_are_smooth_as_photographs_are() -> None:
    images = GeneratedImages(InputTransform())
    steps = [
        np.abs(np.diff(decode_image(images.read(row)).astype(int), axis=0)).mean()
        for row in range(len(images.table))
    ]
    assert max(steps[::2]) < 20 < min(steps[1::2])


@pytest.mark.parametrize("crop", [1, 2, 5])
def test_a_tiny_input_has_images_too(crop: int) -> None:
    images = GeneratedImages(InputTransform(resize=crop, crop=crop))
    for row in range(len(images.table)):
        assert decode_image(images.read(row)).shape[2] == 3
