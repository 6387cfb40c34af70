from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2

from bottleneck.data import open_images
from bottleneck.data.resizing.view_recipe import ViewRecipe
from bottleneck.data.resizing.views import ViewSet, decode_views
from bottleneck.errors import ImageError
from bottleneck.finetuning.loading.images import ImageBatches, check_images
from bottleneck.input_transform import InputTransform
from bottleneck.runtime.files import sha256

SMALL = InputTransform(resize=16, crop=12)


def test_images_are_those_that_torchvision_makes(photos: Path) -> None:
    source = open_images(photos)
    rows = np.array([0, 5, 30])
    ((batch, index),) = ImageBatches(source, SMALL).ordered(rows, batch_size=8)
    assert index.tolist() == [0, 1, 2]
    preset = v2.Compose(
        [
            v2.PILToTensor(),
            v2.Resize(16, antialias=True),
            v2.CenterCrop(12),
            v2.ToDtype(batch.dtype, scale=True),
            v2.Normalize(SMALL.mean, SMALL.std),
        ]
    )
    for row, made in zip(rows.tolist(), batch, strict=True):
        with Image.open(source.path(row)) as image:
            assert np.allclose(preset(image.convert("RGB")), made, atol=1e-5)


def test_an_epoch_shows_another_view_of_every_image(photos: Path) -> None:
    source, recipe = open_images(photos), ViewRecipe()
    batches = ImageBatches(source, SMALL, 2, recipe)
    rows = np.arange(10)
    for epoch in (0, 7):
        seen = []
        for batch, index in batches.shuffled(rows, seed=3, epoch=epoch, batch_size=4):
            seen += index.tolist()
            for made, i in zip(batch, index.tolist(), strict=True):
                data = source.read(i)
                view = ViewSet([epoch], recipe)
                (pixels,) = decode_views(data, SMALL, view, image_sha256=sha256(data))
                mean, std = np.array(SMALL.mean), np.array(SMALL.std)
                expected = (pixels / 255 - mean) / std
                assert np.allclose(made.permute(1, 2, 0), expected, atol=1e-5)
        assert sorted(seen) == rows.tolist()
        assert seen == np.random.default_rng((3, epoch)).permutation(10).tolist()


def test_images_are_judged_in_order_with_all_their_views(photos: Path) -> None:
    source = open_images(photos)
    two = ImageBatches(source, SMALL, 2, ViewRecipe())
    parts = list(two.ordered(np.array([1, 2, 4]), batch_size=4))
    assert np.concatenate([index for _, index in parts]).tolist() == [0, 0, 1, 1, 2, 2]
    both = np.concatenate([batch for batch, _ in parts])
    ((plain, _),) = ImageBatches(source, SMALL).ordered(np.array([1, 2, 4]), batch_size=4)
    assert np.array_equal(both[::2], plain)
    assert not np.array_equal(both[1::2], plain)


def test_images_that_cannot_be_decoded_are_named(photos: Path) -> None:
    source = open_images(photos)
    Path(source.path(3)).write_bytes(b"no image")
    batches = ImageBatches(source, SMALL)
    digests, reasons = check_images(batches, np.arange(6))
    assert list(reasons) == [3]
    assert source.path(3) in reasons[3]
    others = [row for row in range(6) if row != 3]
    assert digests == {row: sha256(Path(source.path(row)).read_bytes()) for row in others}
    with pytest.raises(ImageError, match=Path(source.path(3)).name):
        list(batches.ordered(np.arange(6), batch_size=4))


def test_an_image_whose_bytes_are_not_those_that_were_checked_is_named(photos: Path) -> None:
    source, rows = open_images(photos), np.arange(4)
    digests, _ = check_images(ImageBatches(source, SMALL), rows)
    batches = ImageBatches(source, SMALL, digests=digests)
    assert list(batches.ordered(rows, batch_size=4))
    Path(source.path(3)).write_bytes(source.read(2))
    with pytest.raises(ImageError, match=f"{Path(source.path(3)).name}: changed while it was"):
        list(batches.ordered(rows, batch_size=4))
