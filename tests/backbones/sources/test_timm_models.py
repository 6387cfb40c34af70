"""timm's models: names and tags, weights from the hub and from files, identity, skeletons."""

import json
import logging
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import nn

from bottleneck.backbones.backbone import build_skeleton, load_backbone
from bottleneck.backbones.layers.listing import list_layers
from bottleneck.backbones.sources.model_source import find_source
from bottleneck.backbones.sources.timm_models import TimmModel
from bottleneck.errors import (
    BackboneError,
    MissingPackageError,
    SpecMismatchError,
    UnknownNameError,
    WeightsError,
)
from bottleneck.extraction.setup.loading import make_spec
from tests.helpers.tiny_networks import Plain

NAME = "mobilenetv3_small_050"
TAG = "lamb_in1k"
REPOSITORY = f"timm/{NAME}.{TAG}"


def network_of(seed: int, name: str = NAME, **options: Any) -> nn.Module:
    torch.manual_seed(seed)
    network: nn.Module = timm.create_model(name, **options)
    return network.eval()


def publish(hub: Path, repository: str, **files: Any) -> None:
    """Put files into a cache of the hub as if they had been downloaded."""
    folder = hub / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    if "weights" in files:
        save_file(files["weights"], snapshot / "model.safetensors")
    if "config" in files:
        (snapshot / "config.json").write_text(json.dumps(files["config"]))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub's cache of our own, without a network behind it."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def unresolved(*_arguments: object, **_options: object) -> None:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    return tmp_path / "hub"


# Names


@pytest.mark.parametrize("model", [f"timm:{NAME}", f"timm:{NAME}.{TAG}"])
def test_a_reference_finds_the_same_model_again(model: str) -> None:
    assert find_source(model) == TimmModel(model.removeprefix("timm:"))
    assert find_source(model).reference == model
    assert find_source(find_source(model).reference) == find_source(model)


@pytest.mark.parametrize("model", ["hf-hub:org/name", "timm:hf-hub:org/name"])
def test_a_model_of_the_hub_may_have_timms_prefix(model: str) -> None:
    assert find_source(model).reference == "hf-hub:org/name"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("timm:resnet81", "unknown model 'timm:resnet81': did you mean .*timm:resnet18"),
        ("timm:", "unknown model 'timm:'"),
        (f"timm:{NAME}.lamb", f"unknown tag of timm:{NAME} 'lamb': did you mean {TAG}"),
        ("timm:resnet18.nonsense", "there is .*a1_in1k.*tv_in1k"),
        ("timm:org/resnet18", "unknown model"),
    ],
)
def test_names_and_tags_that_do_not_exist(model: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        load_backbone(model, "none")


def test_an_unknown_torchvision_name_suggests_timm() -> None:
    with pytest.raises(UnknownNameError, match="timm:NAME"):
        load_backbone("vit_tiny_patch16_224", "none")


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    words = r"timm:resnet18 needs timm.*bottleneck-features\[timm"
    with pytest.raises(MissingPackageError, match=words):
        load_backbone("timm:resnet18", "none")


def test_timm_is_imported_for_its_own_models_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)  # an import fails
    for model in ("resnet18", Plain()):
        assert build_skeleton(model)[1].crop == 224


# Weights


def test_published_weights_come_from_the_hub(hub: Path) -> None:
    trained = network_of(7)
    publish(hub, REPOSITORY, weights=trained.state_dict())
    digest = load_backbone(trained).weights_digest
    for model in (f"timm:{NAME}", f"timm:{NAME}.{TAG}"):
        backbone = load_backbone(model)
        assert backbone.weights_digest == digest
        image = torch.randn(1, 3, 64, 64)
        with torch.inference_mode():
            torch.testing.assert_close(backbone.network(image), trained(image))


def test_weights_that_cannot_be_downloaded_are_one_line_with_the_next_step(
    hub: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[logging.LogRecord] = []
    monkeypatch.setattr(logging.Logger, "handle", lambda _, record: logged.append(record))
    with pytest.raises(WeightsError, match=rf"{REPOSITORY} \(no connection") as caught:
        load_backbone(f"timm:{NAME}")
    assert str(caught.value).endswith("give their file as `weights`")
    assert "\n" not in str(caught.value)
    assert not constants.HF_HUB_OFFLINE
    assert (capsys.readouterr(), logged) == (("", ""), [])
    assert not hub.exists() or not list(hub.rglob("*.safetensors"))


def test_weights_in_the_hubs_cache_that_are_damaged_are_not_said_to_be_missing(hub: Path) -> None:
    publish(hub, REPOSITORY, weights=network_of(7).state_dict())
    (file,) = hub.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"\(SafetensorError: .*give their file as `weights`"):
        load_backbone(f"timm:{NAME}")


def test_a_model_without_published_weights_says_so() -> None:
    name = next(n for n in timm.list_models() if not timm.get_pretrained_cfg(n).has_weights)
    with pytest.raises(WeightsError, match=f"no weights for timm:{name}.*`weights=none`"):
        load_backbone(f"timm:{name}")


@pytest.mark.parametrize("suffix", [pytest.param("pth", marks=pytest.mark.slow), "safetensors"])
def test_weights_may_come_from_a_file(tmp_path: Path, suffix: str) -> None:
    trained, file = network_of(7), tmp_path / f"w.{suffix}"
    save = save_file if suffix == "safetensors" else torch.save
    save(trained.state_dict(), file)
    backbone = load_backbone(f"timm:{NAME}", str(file))
    assert backbone.weights_digest == load_backbone(trained).weights_digest
    assert (backbone.reference.model, backbone.reference.weights) == (f"timm:{NAME}", str(file))


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    torch.save(network_of(7, "resnet10t").state_dict(), tmp_path / "w.pth")
    backbone = load_backbone(f"timm:{NAME}", str(tmp_path / "w.pth"))
    with pytest.raises(WeightsError, match=f"does not fit timm:{NAME}"):
        backbone.select_layers([backbone.layers[-1].name])


def test_without_weights_the_network_is_the_same_each_time() -> None:
    one, two = (load_backbone(f"timm:{NAME}", "none") for _ in range(2))
    assert one.weights_digest == two.weights_digest


def test_weights_that_do_not_exist() -> None:
    for build in (load_backbone, build_skeleton):
        with pytest.raises(UnknownNameError, match=r"weights of timm:.*DEFAULT, none"):
            build(f"timm:{NAME}", "IMAGENET1K_V1")
        with pytest.raises(WeightsError, match="no weights file"):
            build(f"timm:{NAME}", "absent.pth")


# The hub's models


def hub_config(**changes: Any) -> dict[str, Any]:
    config = {
        "input_size": [3, 96, 96],
        "crop_pct": 0.8,
        "interpolation": "bilinear",
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "num_classes": 7,
        "first_conv": "conv_stem",
        "classifier": "classifier",
    }
    return {"architecture": NAME, "num_classes": 7, "pretrained_cfg": config | changes}


def test_a_model_of_the_hub_has_its_own_configuration_and_weights(hub: Path) -> None:
    trained = network_of(7, num_classes=7)
    publish(hub, "org/mine", weights=trained.state_dict(), config=hub_config())
    backbone = load_backbone("hf-hub:org/mine")
    assert backbone.reference.model == "hf-hub:org/mine"
    assert backbone.weights_digest == load_backbone(trained).weights_digest
    assert (backbone.transform.resize, backbone.transform.crop) == (120, 96)
    assert backbone.transform.mean == (0.1, 0.2, 0.3)
    assert build_skeleton("hf-hub:org/mine")[1] == backbone.transform
    by_name = load_backbone(f"timm:{NAME}", "none").model
    assert backbone.model.partition("@")[0] == by_name.partition("@")[0] == f"timm:{NAME}"
    assert backbone.model != by_name  # seven classes, not a thousand


def test_a_model_of_the_hub_that_cannot_be_had_is_one_line(hub: Path) -> None:
    for build in (load_backbone, build_skeleton):
        with pytest.raises(BackboneError, match="hf-hub:org/none could not be loaded") as caught:
            build("hf-hub:org/none")
        assert "`model=timm:NAME`" in str(caught.value)
        assert "\n" not in str(caught.value)


# Input and identity


def test_the_input_is_that_of_the_tag() -> None:
    one = load_backbone("timm:resnet18.a1_in1k", "none").transform
    other = load_backbone("timm:resnet18.tv_in1k", "none").transform
    assert (one.resize, one.crop, one.interpolation) == (235, 224, "bicubic")
    assert (other.resize, other.crop, other.interpolation) == (256, 224, "bilinear")


def test_the_identity_is_that_of_the_architecture_whatever_the_tag() -> None:
    models = ("timm:resnet18", "timm:resnet18.tv_in1k")
    (identity,) = {load_backbone(model, "none").model for model in models}
    name, _, digest = identity.partition("@")
    assert (name, len(digest)) == ("timm:resnet18", 16)


def test_another_architecture_under_the_same_name_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = "timm:resnet10t"
    before = load_backbone(model, "none")
    forward = timm.models.resnet.BasicBlock.forward
    monkeypatch.setattr(
        timm.models.resnet.BasicBlock, "forward", lambda self, x: forward(self, x) * 1.5
    )
    after = load_backbone(model, "none")
    assert before.weights_digest == after.weights_digest
    specs = [
        make_spec(backbone, precision="float32", relu=True, pool="avg")
        for backbone in (before, after)
    ]
    with pytest.raises(SpecMismatchError, match="model is timm:resnet10t@"):
        specs[0].require(specs[1], this="a", that="b", next_step="…")


# Skeletons


def test_a_skeleton_computes_and_downloads_nothing(hub: Path) -> None:
    network, transform = build_skeleton("timm:vit_base_patch16_224")
    assert {value.device.type for value in network.parameters()} == {"meta"}
    layers = {layer.name: layer for layer in list_layers(network, transform.crop)}
    assert layers["blocks.11"].shape == (197, 768)
    assert layers["blocks.11"].class_token
    assert not hub.exists()


def test_a_builder_that_computes_with_its_weights_is_listed_as_well() -> None:
    network, transform = build_skeleton("timm:vit_tiny_r_s16_p8_224")
    assert list_layers(network, transform.crop)[-1].shape == (1000,)


# A small model of each of timm's modules.
@pytest.mark.slow
@pytest.mark.parametrize("module", timm.list_modules())
def test_every_family_lists_its_layers(module: str) -> None:
    names = timm.list_models(module=module)
    if not names:
        pytest.skip("no model")
    words = ("nano", "tiny", "pico", "femto", "atto", "small", "xxs", "_s", "18", "050")
    name = next((name for name in names if any(word in name for word in words)), names[0])
    if timm.get_pretrained_cfg(name).crop_mode == "border":  # rounds unlike any `fit`
        with pytest.raises(BackboneError, match="expects crop_mode 'border'"):
            build_skeleton(f"timm:{name}")
        return
    network, transform = build_skeleton(f"timm:{name}")
    listed = list_layers(network, transform.crop)
    assert len(listed) > 5
    assert listed[-1].cost == pytest.approx(1.0)
