import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms import functional as F  # noqa: N812  (the name it has everywhere)

from bottleneck.backbones.backbone import Backbone
from bottleneck.data.resizing.resize import resize_and_crop
from bottleneck.data.sources.files.file_source import FileSource
from bottleneck.errors import ImageError
from bottleneck.extraction.encoding.encoder import Encoder
from bottleneck.extraction.setup.loading import make_spec
from bottleneck.input_transform import INTERPOLATIONS, InputTransform
from bottleneck.model_reference import ModelReference
from tests.helpers.image_files import (
    Pixels,
    noise,
)


def on_tensors(transform: InputTransform) -> v2.Compose:
    return v2.Compose(
        [
            v2.Resize(transform.resize, InterpolationMode(transform.interpolation)),
            v2.CenterCrop(transform.crop),
        ]
    )


def prepared_by_torchvision(pixels: Pixels, transform: InputTransform) -> Pixels:
    image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
    prepared: Pixels = on_tensors(transform)(image).permute(1, 2, 0).numpy()
    return prepared


@settings(deadline=None)
@given(
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    resize=st.integers(2, 50),  # torch resizes no contiguous tensor to one pixel: a bug of its own
    crop=st.integers(1, 70),
    interpolation=st.sampled_from(INTERPOLATIONS),
)
@example(width=33, height=32, resize=31, crop=18, interpolation="bilinear")  # half a pixel off
@example(width=32, height=33, resize=31, crop=18, interpolation="bicubic")
@example(width=1, height=70, resize=50, crop=50, interpolation="nearest")
@example(width=20, height=30, resize=20, crop=25, interpolation="bilinear")  # larger one way
@example(width=20, height=20, resize=20, crop=33, interpolation="bilinear")  # larger both ways
def test_preparation_equals_torchvisions_bit_by_bit(
    width: int, height: int, resize: int, crop: int, interpolation: str
) -> None:
    image = noise(height, width, 3)
    transform = InputTransform(resize=resize, crop=crop, interpolation=interpolation)
    pixels = resize_and_crop(image, transform)
    assert pixels.shape == (crop, crop, 3)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, prepared_by_torchvision(image, transform))
    np.testing.assert_array_equal(image, noise(height, width, 3))  # as it was


@pytest.mark.parametrize("size", [(500, 333), (333, 500), (256, 256), (640, 480)])
def test_preparation_of_a_photographs_size_equals_torchvisions(size: tuple[int, int]) -> None:
    image = noise(size[1], size[0], 3)
    expected = prepared_by_torchvision(image, InputTransform())
    np.testing.assert_array_equal(resize_and_crop(image, InputTransform()), expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_an_image_is_resized_to_one_pixel(interpolation: str) -> None:
    one = InputTransform(resize=1, crop=1, interpolation=interpolation)
    mean = noise(5, 5, 3).mean(axis=(0, 1))
    assert np.abs(resize_and_crop(noise(5, 5, 3), one)[0, 0] - mean).max() < 25


@pytest.mark.parametrize(("interpolation", "most"), [("bilinear", 1), ("bicubic", 2)])
@pytest.mark.parametrize("size", [(500, 375), (333, 500), (131, 90), (640, 480)])
def test_preparation_is_nearly_that_of_torchvisions_preset_on_pil_images(
    size: tuple[int, int], interpolation: str, most: int
) -> None:
    image = noise(size[1], size[0], 3)
    preset = v2.Compose([on_tensors(InputTransform(interpolation=interpolation)), v2.PILToTensor()])
    expected = preset(Image.fromarray(image)).permute(1, 2, 0).numpy()
    pixels = resize_and_crop(image, InputTransform(interpolation=interpolation))
    differences = np.abs(pixels.astype(int) - expected)
    assert differences.max() <= most
    assert (differences > 0).mean() < 0.02


SIZES = st.tuples(st.integers(1, 70), st.integers(1, 70))


@settings(deadline=None)
@given(size=SIZES, crop=st.integers(2, 60), interpolation=st.sampled_from(INTERPOLATIONS))
def test_a_squashed_image_is_torchvisions_resized_to_both_sides(
    size: tuple[int, int], crop: int, interpolation: str
) -> None:
    image = noise(*size, 3)
    transform = InputTransform(crop=crop, fit="squash", interpolation=interpolation)
    pixels = resize_and_crop(image, transform)
    resized = v2.Resize((crop, crop), InterpolationMode(interpolation))(
        torch.from_numpy(image).permute(2, 0, 1).contiguous()
    )
    np.testing.assert_array_equal(pixels, resized.permute(1, 2, 0).numpy())
    np.testing.assert_array_equal(image, noise(*size, 3))


@settings(deadline=None)
@given(size=SIZES, crop=st.integers(2, 60), interpolation=st.sampled_from(INTERPOLATIONS))
@example(size=(30, 40), crop=24, interpolation="bilinear")
@example(size=(40, 29), crop=23, interpolation="bicubic")
@example(size=(1, 70), crop=20, interpolation="bilinear")  # half a pixel high
def test_a_padded_image_is_torchvisions_in_a_square_of_the_mean_colour(
    size: tuple[int, int], crop: int, interpolation: str
) -> None:
    image = noise(*size, 3)
    mean = (0.485, 0.456, 0.406)
    transform = InputTransform(crop=crop, fit="pad", mean=mean, interpolation=interpolation)
    pixels = resize_and_crop(image, transform)
    assert pixels.shape == (crop, crop, 3)

    height, width = (max(1, int(crop * length / max(size) + 1e-9)) for length in size)
    resized = v2.Resize((height, width), InterpolationMode(interpolation))(
        torch.from_numpy(image).permute(2, 0, 1).contiguous()
    )
    expected = np.empty((crop, crop, 3), dtype=np.uint8)
    expected[:] = 124, 116, 104  # 0.485, 0.456 and 0.406 of 255, rounded
    top, left = (crop - height) // 2, (crop - width) // 2
    expected[top : top + height, left : left + width] = resized.permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("fit", ["squash", "pad"])
def test_other_fits_are_nearly_pillows(fit: str, interpolation: str) -> None:
    image = noise(131, 90, 3)
    transform = InputTransform(crop=64, fit=fit, interpolation=interpolation, mean=(0, 0, 0))
    width = 64 if fit == "squash" else 64 * 90 // 131
    method = Image.Resampling[interpolation.upper()]
    left = (64 - width) // 2
    pixels = resize_and_crop(image, transform)[:, left : left + width]
    expected = np.asarray(Image.fromarray(image).resize((width, 64), method))
    differences = np.abs(pixels.astype(int) - expected)
    assert (differences > 2).mean() < 0.01  # overshoot that is clipped in the middle of the way
    assert np.median(differences) == 0


def test_a_mean_outside_of_the_scale_pads_with_black_or_white() -> None:
    transform = InputTransform(crop=4, fit="pad", mean=(-1, 0.5, 2))
    assert resize_and_crop(noise(2, 4, 3), transform)[0, 0].tolist() == [0, 128, 255]


def test_a_long_and_thin_image_is_no_obstacle_to_other_fits() -> None:
    image = noise(1, 4000, 3)
    for fit in ("squash", "pad"):
        assert resize_and_crop(image, InputTransform(crop=224, fit=fit)).shape == (224, 224, 3)


def test_every_interpolation_has_torchvisions_name() -> None:
    assert sorted(INTERPOLATIONS) == ["bicubic", "bilinear", "nearest"]


def test_a_crop_larger_than_the_image_is_padded_with_black() -> None:
    white = np.full((4, 4, 3), 255, dtype=np.uint8)
    pixels = resize_and_crop(white, InputTransform(resize=4, crop=8))
    expected = np.zeros((8, 8, 3))
    expected[2:6, 2:6] = 255
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(("length", "fits"), [(100, True), (101, False)])
@pytest.mark.parametrize("turned", [False, True])
def test_the_resized_image_may_have_as_many_pixels_as_pillow_allows(
    monkeypatch: pytest.MonkeyPatch, length: int, fits: bool, turned: bool
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10 * 100)
    image = np.zeros((length, 10, 3) if turned else (10, length, 3), dtype=np.uint8)
    if fits:
        assert resize_and_crop(image, InputTransform(resize=10, crop=8)).shape == (8, 8, 3)
    else:
        with pytest.raises(ImageError, match="too long and thin"):
            resize_and_crop(image, InputTransform(resize=10, crop=8))


THIN = """
import resource
from pathlib import Path
import numpy as np
from bottleneck.data.resizing.resize import resize_and_crop
from bottleneck.errors import ImageError
from bottleneck.input_transform import InputTransform

def kibibytes(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))

# Should the image be resized after all, that fails before the machine does.
limit = (kibibytes("VmSize:") << 10) + (2 << 30)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
before = kibibytes("VmHWM:")
for size in [(65500, 1), (1, 65500)]:
    try:
        resize_and_crop(np.zeros((size[1], size[0], 3), dtype=np.uint8), InputTransform())
    except ImageError as error:
        assert "too long and thin" in str(error) and f"{size[0]} × {size[1]}" in str(error)
    else:
        raise AssertionError("a narrow strip was prepared")
print(kibibytes("VmHWM:") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured in Linux's way")
def test_a_narrow_strip_is_rejected_within_little_memory() -> None:
    done = subprocess.run([sys.executable, "-c", THIN], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64 * 1024  # KiB; its 16,768,000 × 256 pixels would be 12 GiB


# The whole path


class Glass(nn.Module):
    """A network that shows its input."""

    def __init__(self) -> None:
        super().__init__()
        self.pane = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.pane(x))


def inputs_of(paths: list[Path], transform: InputTransform) -> NDArray[np.float32]:
    """What a network is given for some files, shape (n, 3, crop, crop)."""
    network = Glass().eval()
    backbone = Backbone(network, "glass", "", transform, ModelReference("glass", "none"))
    spec = make_spec(backbone, precision="float32", relu=False, pool="none")
    encoder = Encoder(backbone, backbone.layers, spec, [torch.device("cpu")])
    (batch,) = encoder.encode(FileSource.from_paths(paths), [range(len(paths))])
    assert batch.reason == [""] * len(paths)
    return batch.codes["pane"]


def preset_of(name: str) -> Any:
    return torchvision.models.get_weight(name).transforms()


def small_preset() -> Any:
    weights = torchvision.models.get_weight("ResNet50_Weights.IMAGENET1K_V1")
    return weights.transforms(resize_size=40, crop_size=57, interpolation=InterpolationMode.NEAREST)


@pytest.mark.parametrize(
    "preset",
    [
        preset_of("ResNet50_Weights.IMAGENET1K_V1"),  # 256 → 224, bilinear
        preset_of("EfficientNet_B0_Weights.IMAGENET1K_V1"),  # 256 → 224, bicubic
        preset_of("Inception_V3_Weights.IMAGENET1K_V1"),  # 342 → 299
        small_preset(),  # a crop larger than the resized image
    ],
    ids=["resnet", "efficientnet", "inception", "small"],
)
def test_the_whole_path_equals_torchvisions_on_tensors(tmp_path: Path, preset: Any) -> None:
    paths = [tmp_path / name for name in ["wide.jpg", "tall.png", "grey.png", "small.bmp"]]
    for path, shape in zip(paths, [(90, 131, 3), (131, 90, 3), (77, 80), (9, 7, 3)], strict=True):
        Image.fromarray(noise(*shape)).save(path)
    transform = InputTransform(
        resize=preset.resize_size[0],
        crop=preset.crop_size[0],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
    )
    inputs = torch.from_numpy(inputs_of(paths, transform))
    for given_input, path in zip(inputs, paths, strict=True):
        with Image.open(path) as image:
            pixels = on_tensors(transform)(v2.functional.pil_to_tensor(image.convert("RGB")))
        # As the preset ends; v2's normalize rounds in another order.
        scaled = F.convert_image_dtype(pixels, torch.float32)
        expected = F.normalize(scaled, mean=preset.mean, std=preset.std)
        assert torch.equal(given_input, expected), path.name


def test_the_preprocessing_by_default_is_that_of_torchvisions_resnet() -> None:
    preset = preset_of("ResNet50_Weights.IMAGENET1K_V1")
    assert InputTransform() == InputTransform(
        resize=preset.resize_size[0],
        crop=preset.crop_size[0],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
    )
