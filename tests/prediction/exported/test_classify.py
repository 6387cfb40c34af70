"""Images through a network that a test stands in for: decoding, views, batches, labels."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bottleneck.data.decoding.decode import decode_image
from bottleneck.data.resizing.resize import resize_and_crop
from bottleneck.data.resizing.torch_resampling import resample_by_torchvision
from bottleneck.data.resizing.view_recipe import ViewRecipe
from bottleneck.data.resizing.views import ViewSet, decode_views
from bottleneck.data.sources.files.file_source import FileSource
from bottleneck.errors import ExportError, InvalidOptionError, NonFiniteCodesError
from bottleneck.extraction.options import ComputeOptions
from bottleneck.input_transform import DECODERS
from bottleneck.prediction.exported.classify import classify_by_export, require_same_views
from bottleneck.prediction.exported.metadata import ExportMetadata
from bottleneck.runtime.files import sha256
from tests.helpers.exports import METADATA
from tests.helpers.photographs import write_photographs

TRANSFORM = METADATA.spec.transform


class MeanColours:
    """Scores are the mean red, green and blue of an image; keeps what it was given."""

    def __init__(self, metadata: ExportMetadata = METADATA) -> None:
        self.metadata = metadata
        self.given: list[NDArray[Any]] = []

    def run(self, images: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        self.given.append(images)
        channel = -1 if self.metadata.input == "uint8" else -3
        axes = tuple(i for i in range(1, images.ndim) if i != images.ndim + channel)
        scores = images.mean(axes, dtype=np.float32)
        half = 128 if self.metadata.input == "uint8" else 0.5
        return scores, scores > half if self.metadata.multilabel else scores.argmax(axis=1)


@pytest.fixture
def source(tmp_path: Path) -> FileSource:
    """Red, green and blue photographs, and a file that is none."""
    paths = [
        path
        for label in ("ants", "bees", "wasps")
        for path in write_photographs(tmp_path / label, 2, label=label)
    ]
    (tmp_path / "bees" / "none.jpg").write_bytes(b"no image")
    return FileSource.from_paths([*paths[:3], tmp_path / "bees" / "none.jpg", *paths[3:]])


def prepared(source: FileSource, row: int, views: ViewSet = ViewSet()) -> NDArray[np.uint8]:
    """The views of an image as `extract` gives them to a network."""
    data = source.read(row)
    made = decode_views(
        data, TRANSFORM, views, image_sha256=sha256(data), resample=resample_by_torchvision
    )
    return np.stack(list(made))


def test_images_are_those_of_extract_and_labels_those_of_the_file(source: FileSource) -> None:
    network = MeanColours()
    found = list(classify_by_export(network, source, compute=ComputeOptions(batch_size=3)))
    assert [len(batch) for batch in network.given] == [3, 2, 1]
    images = np.concatenate(network.given)
    assert images.dtype == np.uint8
    for image, row in zip(images, (0, 1, 2, 4, 5, 6), strict=True):
        np.testing.assert_array_equal(image, prepared(source, row)[0])
    assert [p.label for p in found] == ["ant", "ant", "bee", "", "bee", "wasp", "wasp"]
    assert [str(p.path) for p in found] == [source.path(row) for row in range(7)]
    assert (found[3].scores, found[3].reason[:17]) == ({}, "cannot be decoded")
    assert list(found[0].scores) == ["ant", "bee", "wasp"]  # the highest first
    assert next(iter(found[5].scores)) == "wasp"


def test_images_are_decoded_by_the_rule_of_the_file(tmp_path: Path) -> None:
    (large,) = write_photographs(tmp_path, 1, label="ants")
    with Image.open(large) as image:
        image.resize((640, 480)).save(large, quality=95)
    transform = dataclasses.replace(TRANSFORM, decoder=DECODERS["fast"])
    spec = dataclasses.replace(METADATA.spec, transform=transform)
    network = MeanColours(dataclasses.replace(METADATA, spec=spec))
    list(classify_by_export(network, FileSource.from_paths([large])))
    ((given,),) = network.given
    pixels = decode_image(large.read_bytes(), transform)
    assert pixels.shape[0] < 480
    np.testing.assert_array_equal(given, resize_and_crop(pixels, transform))


def test_a_batch_without_an_image_does_not_run(source: FileSource) -> None:
    network = MeanColours()
    (found,) = classify_by_export(network, FileSource.from_paths([source.path(3)]))
    assert (network.given, found.label) == ([], "")


@pytest.mark.parametrize("input_type", ["uint8", "float"])
def test_views_are_an_axis_and_floats_have_channels_first(
    source: FileSource, input_type: str
) -> None:
    recipe = ViewRecipe(("flip", "crop", "rotate", "color"), 3)
    network = MeanColours(
        dataclasses.replace(METADATA, views=3, view_recipe=recipe, input=input_type)
    )
    list(classify_by_export(network, FileSource.from_paths([source.path(0)])))
    ((given,),) = network.given
    views = prepared(source, 0, ViewSet(range(3), recipe))
    expected: NDArray[Any] = views
    if input_type == "float":
        expected = np.moveaxis(views, -1, -3).astype(np.float32) / 255
    assert given.dtype == expected.dtype
    np.testing.assert_array_equal(given, expected)


def test_an_image_may_have_several_labels_or_none(source: FileSource, tmp_path: Path) -> None:
    colours = {"none": (9, 9, 9), "two": (255, 9, 255), "all": (255, 255, 255)}
    for name, colour in colours.items():
        Image.new("RGB", (20, 20), colour).save(tmp_path / f"{name}.png")
    network = MeanColours(dataclasses.replace(METADATA, multilabel=True))
    images = FileSource.from_paths([tmp_path / f"{name}.png" for name in colours])
    found = classify_by_export(network, images)
    assert [p.label for p in found] == ["", "ant|wasp", "ant|bee|wasp"]


def test_numbers_that_are_not_finite_name_the_image(source: FileSource) -> None:
    network = MeanColours()
    network.run = lambda images: (np.full((len(images), 3), np.nan), np.zeros(len(images)))  # type: ignore[method-assign]
    with pytest.raises(NonFiniteCodesError, match=r"NaN or infinity for .*ants000.jpg"):
        list(classify_by_export(network, source))


@pytest.mark.parametrize("rule", ["torchvision-9", DECODERS["gpu"]])
def test_another_rule_of_decoding_is_refused_before_any_image(
    rule: str, source: FileSource
) -> None:
    transform = dataclasses.replace(TRANSFORM, decoder=rule)
    spec = dataclasses.replace(METADATA.spec, transform=transform)
    network = MeanColours(dataclasses.replace(METADATA, spec=spec))
    with pytest.raises(ExportError, match=f"made for images decoded by {rule}"):
        classify_by_export(network, source)


def test_an_error_of_a_users_own_source_is_raised_as_it_is(
    source: FileSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    class UnknownToUsError(Exception):
        pass

    def read(self: FileSource, row: int) -> bytes:
        raise UnknownToUsError("the archive is locked")

    monkeypatch.setattr(FileSource, "read", read)
    with pytest.raises(UnknownToUsError, match="the archive is locked"):
        list(classify_by_export(MeanColours(), source))


def test_too_many_pixels_reject_an_image(source: FileSource) -> None:
    compute = ComputeOptions(max_pixels=100)
    found = list(classify_by_export(MeanColours(), source, compute=compute))
    assert all("more than 100" in p.reason for p in found if "none.jpg" not in p.path.name)


def test_the_views_are_those_of_the_file() -> None:
    require_same_views(METADATA, None)
    require_same_views(METADATA, 1)
    with pytest.raises(InvalidOptionError, match="`views=2`: must be 1, which the exported file"):
        require_same_views(METADATA, 2)
