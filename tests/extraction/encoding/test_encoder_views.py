"""Views of images: what the encoder makes of each, in any order, batch and number of threads."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bottleneck.backbones.backbone import load_backbone
from bottleneck.data.decoding.decode import decode_image
from bottleneck.data.resizing import views as module
from bottleneck.data.resizing.view_recipe import AUGMENTATIONS, ViewRecipe
from bottleneck.data.resizing.views import ViewSet, decode_views
from bottleneck.data.sources.files.file_source import FileSource
from bottleneck.extraction import ComputeOptions
from bottleneck.extraction.encoding.encoder import EncodedBatch, Encoder
from bottleneck.extraction.setup.loading import make_spec
from bottleneck.input_transform import InputTransform
from bottleneck.runtime.files import sha256
from tests.helpers.networks import PLAIN, SMALL
from tests.helpers.photographs import write_photographs

RECIPE = ViewRecipe(AUGMENTATIONS, 7)


@pytest.fixture(scope="module")
def used() -> Encoder:
    return encoder()


def encoder(workers: int | None = None) -> Encoder:
    backbone = load_backbone(PLAIN, transform=SMALL)
    spec = make_spec(backbone, relu=True, pool="none", precision="float32")
    layers, compute = backbone.select_layers(["layer1"]), ComputeOptions(workers=workers)
    return Encoder(backbone, layers, spec, [torch.device("cpu")], compute=compute)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return write_photographs(tmp_path, 9, label="ants")


def encode(
    used: Encoder, paths: list[Path], batches: Any, views: Sequence[int] = (0,)
) -> list[EncodedBatch]:
    return list(used.encode(FileSource.from_paths(paths), batches, ViewSet(views, RECIPE)))


def by_image(batches: list[EncodedBatch]) -> dict[tuple[int, int], Any]:
    """The code of each row and view."""
    return {
        (row, batch.view): code
        for batch in batches
        for row, code in zip(batch.row.tolist(), batch.codes["layer1"], strict=True)
    }


def test_the_code_of_a_view_is_that_of_the_picture_through_the_network(
    used: Encoder, paths: list[Path]
) -> None:
    codes = by_image(encode(used, paths, [range(9)], views=range(3)))
    network = load_backbone(PLAIN).network
    transform = InputTransform(resize=SMALL["resize"], crop=SMALL["crop"])
    mean, std = (torch.tensor(values)[:, None, None] for values in (transform.mean, transform.std))
    for row, path in enumerate(paths):
        data, views = path.read_bytes(), ViewSet(range(3), RECIPE)
        made = decode_views(data, transform, views, image_sha256=sha256(data))
        for view, pixels in enumerate(made):
            image = (torch.from_numpy(pixels).permute(2, 0, 1) / 255 - mean) / std
            with torch.inference_mode():
                expected = network.get_submodule("layer1")(image[None]).relu()[0].numpy()
            np.testing.assert_allclose(codes[row, view], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(
    "batches", [[[k] for k in range(9)], [[8, 3, 0], [1, 2, 7, 4], [6, 5]], [range(9)]]
)
def test_a_view_is_the_same_in_any_order_batch_and_number_of_threads(
    used: Encoder, paths: list[Path], batches: Any, workers: int
) -> None:
    expected = by_image(encode(used, paths, [range(9)], views=(0, 1, 2)))
    found = by_image(encode(encoder(workers), paths, batches, views=(2, 0)))
    assert set(found) == {(row, view) for row in range(9) for view in (0, 2)}
    for where, code in found.items():
        np.testing.assert_allclose(code, expected[where], rtol=1e-5, atol=1e-6)


def test_views_of_a_batch_come_in_their_order_and_view_0_is_bit_for_bit_the_plain_one(
    used: Encoder, paths: list[Path]
) -> None:
    batches = [range(5), range(5, 9)]
    found = encode(used, paths, batches, views=range(4))
    assert [(batch.row[0], batch.view) for batch in found] == [
        (first, view) for first in (0, 5) for view in range(4)
    ]
    plain = encode(used, paths, batches)
    assert [batch.view for batch in plain] == [0, 0]
    for with_views, alone in zip(found[::4], plain, strict=True):
        np.testing.assert_array_equal(with_views.codes["layer1"], alone.codes["layer1"])


def test_an_image_is_read_and_decoded_once_for_all_views(
    used: Encoder, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: Counter[bytes] = Counter()

    def decode(data: bytes, limits: Any = None) -> Any:
        decoded[data] += 1
        return decode_image(data, limits)

    monkeypatch.setattr(module, "decode_image", decode)
    encode(used, paths, [range(4), range(4, 9)], views=range(5))
    assert decoded == {path.read_bytes(): 1 for path in paths}


def test_an_image_that_cannot_be_decoded_has_no_view(used: Encoder, paths: list[Path]) -> None:
    paths[3].write_bytes(b"no image")
    found = encode(used, paths, [range(5)], views=(0, 2))
    for batch in found:
        assert batch.valid.tolist() == [True, True, True, False, True]
        assert "cannot be decoded" in batch.reason[3]
        assert not batch.codes["layer1"][3].any()
