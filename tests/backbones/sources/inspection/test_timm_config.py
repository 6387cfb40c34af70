"""The input that timm's configuration of a network asks for, against timm's own transforms."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.data import create_transform, resolve_model_data_config
from torch import nn
from torchvision import transforms

from bottleneck.backbones.backbone import build_skeleton, load_backbone
from bottleneck.backbones.sources.inspection.timm_config import (
    find_timm_config,
    transform_of_config,
)
from bottleneck.errors import BackboneError, InvalidOptionError
from bottleneck.input_transform import InputTransform
from tests.helpers.tiny_networks import Plain


class Configured(Plain):
    """A network with the attribute that timm's networks have."""

    def __init__(self, config: object) -> None:
        super().__init__()
        self.pretrained_cfg = config


CONFIG: dict[str, Any] = {
    "input_size": (3, 224, 224),
    "crop_pct": 0.9,
    "interpolation": "bicubic",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.25, 0.5, 0.5),
    "crop_mode": "center",
}


def by_timm(config: dict[str, Any]) -> InputTransform:
    """Our fields, read off the transforms that timm makes."""
    made = create_transform(**resolve_model_data_config(None, pretrained_cfg=config)).transforms
    resize, crop, _, normalise = made
    assert isinstance(resize, transforms.Resize)
    return InputTransform(
        resize=resize.size,
        crop=crop.size[0],
        mean=tuple(normalise.mean.tolist()),
        std=tuple(normalise.std.tolist()),
        interpolation=resize.interpolation.value,
    )


# Networks of other sizes, crops, means and interpolations, by timm's registry alone.
@pytest.mark.parametrize(
    "name",
    [
        *("resnet18.a1_in1k", "resnet18.tv_in1k", "tf_efficientnet_lite0", "efficientnet_b3"),
        *("vit_tiny_patch16_224.augreg_in21k_ft_in1k", "vit_base_patch16_clip_224.openai"),
        *("mobilenetv3_small_050", "inception_v3", "convnext_atto", "levit_128s", "xception41"),
        *("tf_efficientnet_b7", "deit_tiny_patch16_224", "mixer_s32_224", "ghostnet_100"),
    ],
)
def test_the_transform_equals_that_of_timm(name: str) -> None:
    config = timm.get_pretrained_cfg(name).to_dict()
    ours, theirs = transform_of_config(config, where=name), by_timm(config)
    assert (ours.resize, ours.crop, ours.interpolation) == (
        *(theirs.resize, theirs.crop),
        theirs.interpolation,
    )
    assert torch.allclose(torch.tensor(ours.mean), torch.tensor(theirs.mean))
    assert torch.allclose(torch.tensor(ours.std), torch.tensor(theirs.std))


@pytest.mark.parametrize(
    ("crop", "crop_pct", "resize"), [(224, 0.9, 248), (224, 0.875, 256), (300, 0.904, 331)]
)
def test_the_size_is_rounded_down(crop: int, crop_pct: float, resize: int) -> None:
    config = {"input_size": (3, crop, crop), "crop_pct": crop_pct}
    assert transform_of_config(config, where="x").resize == resize
    assert by_timm(config).resize == resize


def test_missing_fields_have_the_defaults_of_timm() -> None:
    ours = transform_of_config({"crop_pct": None, "mean": None}, where="x")
    assert ours == InputTransform(interpolation="bicubic")


def test_a_network_brings_its_configuration() -> None:
    expected = InputTransform(248, 224, (0.5, 0.5, 0.5), (0.25, 0.5, 0.5), "bicubic")
    assert load_backbone(Configured(CONFIG)).transform == expected
    assert build_skeleton(Configured(CONFIG))[1] == expected


def test_its_own_preprocess_and_what_is_given_precede_the_configuration() -> None:
    network = Configured(CONFIG)
    given = load_backbone(network, transform={"crop": 64, "mean": (0, 0, 0)}).transform
    assert (given.crop, given.resize, given.mean) == (64, 248, (0.0, 0.0, 0.0))
    network.preprocess = {"crop": 96}  # type: ignore[assignment]
    assert load_backbone(network).transform == InputTransform(crop=96)


def test_a_factory_brings_the_configuration_of_its_network(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import timm\ndef build():\n"
        "    return timm.create_model('vit_tiny_patch16_224.augreg_in21k_ft_in1k', depth=1)\n"
    )
    transform = load_backbone(f"{tmp_path}/net.py:build").transform
    half = (0.5, 0.5, 0.5)
    assert transform == InputTransform(248, 224, half, half, "bicubic")


@pytest.mark.parametrize("config", [None, "a name", {}, {"url": "https://example.org"}, lambda: 1])
def test_an_attribute_of_that_name_that_is_something_else_is_none(config: object) -> None:
    assert find_timm_config(Configured(config)) is None
    assert load_backbone(Configured(config)).transform == InputTransform()
    assert find_timm_config(nn.Identity()) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_size": (3, 224, 160)}, "3 × 224 × 160.*square.*`preprocess`"),
        ({"input_size": (1, 224, 224)}, "1 × 224 × 224.*3 channels"),
        ({"crop_mode": "squash"}, "crop_mode 'squash'.*center.*`preprocess`"),
        ({"crop_mode": "border", "crop_pct": 1.0}, "crop_mode 'border'.*center, squash"),
        ({"input_size": 224}, "not understood: TypeError: .*int.*`preprocess`"),
        ({"crop_pct": "0.9"}, "not understood: TypeError"),
        ({"mean": 0.5}, "not understood: TypeError.*float"),
        ({"interpolation": "lanczos"}, "interpolation 'lanczos'.*nearest, bilinear, bicubic"),
    ],
)
def test_an_input_that_cannot_be_made_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BackboneError, match=f"Configured.*{message}"):
        load_backbone(Configured(CONFIG | changes))


def test_a_value_that_is_not_allowed_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="mean"):
        load_backbone(Configured(CONFIG | {"mean": (0.5, 0.5)}))


def test_a_network_built_for_another_size_has_that_size() -> None:
    network = timm.create_model("vit_tiny_patch16_224", img_size=48, depth=1)
    transform = load_backbone(network).transform
    assert (transform.crop, transform.resize) == (48, 53)
    assert load_backbone(timm.create_model("resnet10t")).transform.crop == 176


def test_a_squashed_input_of_its_own_size_is_squashed() -> None:
    transform = transform_of_config({"crop_mode": "squash", "crop_pct": 1.0}, where="mine")
    assert (transform.fit, transform.crop) == ("squash", 224)
