"""torchvision's models: weights by name and by file, and skeletons."""

import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from bottleneck.backbones.backbone import build_skeleton, load_backbone
from bottleneck.backbones.sources.inspection.weight_values import digest_weights
from bottleneck.errors import BackboneError, UnknownNameError, WeightsError
from bottleneck.model_reference import ModelReference


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub folder of our own, without a network behind it."""

    def unreachable(*_args: Any, **_kwargs: Any) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))  # set_dir would outlast us
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


def published_name(entry: Any) -> str:
    return str(entry.url.rsplit("/", 1)[-1])


def test_a_failed_download_names_the_file_and_where_to_put_it(hub: Path) -> None:
    name = published_name(torchvision.models.ResNet18_Weights.DEFAULT)
    with pytest.raises(WeightsError) as caught:
        load_backbone("resnet18")
    assert f"put {name} into {hub}, or give the file as `weights`" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "model", ["squeezenet1_0", pytest.param("googlenet", marks=pytest.mark.slow)]
)
def test_weights_by_name_and_by_file_are_the_same_network(hub: Path, model: str) -> None:
    entry = torchvision.models.get_model_weights(model).DEFAULT
    options = {"init_weights": False} if model == "googlenet" else {}
    trained = torchvision.models.get_model(model, weights=None, **options)
    torch.save(trained.state_dict(), hub / published_name(entry))
    by_name = load_backbone(model, "DEFAULT")
    by_entry = load_backbone(model, entry)
    assert by_entry.reference == ModelReference(model, entry.name)
    by_file = load_backbone(model, str(hub / published_name(entry)))
    assert by_name.weights_digest == by_entry.weights_digest == by_file.weights_digest
    image = torch.randn(1, 3, 64, 64)
    expected = torchvision.models.get_model(model, weights=entry).eval()(image)
    torch.testing.assert_close(by_file.network(image), expected)


@pytest.mark.parametrize("content", [b"", b"\x09 no zip and no pickle", b"PK\x03\x04 cut"])
def test_a_published_file_that_is_damaged_is_named_and_is_to_be_removed(
    hub: Path, content: bytes
) -> None:
    file = hub / published_name(torchvision.models.SqueezeNet1_1_Weights.DEFAULT)
    file.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        load_backbone("squeezenet1_1")
    assert str(caught.value).startswith(f"{file}, the weights IMAGENET1K_V1 of squeezenet1_1, ")
    assert "remove it, and it is downloaded again" in str(caught.value)
    assert "\n" not in str(caught.value)


class Program:
    """What a pickle runs when it is read."""

    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.ran,)


def test_a_published_file_that_holds_a_program_is_refused_and_not_run(
    hub: Path, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    torch.save(
        {"conv": Program(ran)},
        hub / published_name(torchvision.models.SqueezeNet1_1_Weights.DEFAULT),
    )
    unread = "the weights IMAGENET1K_V1 of squeezenet1_1, cannot be read"
    with pytest.raises(WeightsError, match=unread):
        load_backbone("squeezenet1_1")
    assert not ran.exists()


def test_default_weights_of_two_versions_are_two_digests(hub: Path) -> None:
    digests = []
    for seed, entry in enumerate(torchvision.models.MobileNet_V2_Weights):
        torch.manual_seed(seed)
        state = torchvision.models.mobilenet_v2(weights=None).state_dict()
        torch.save(state, hub / published_name(entry))
        digests.append(load_backbone("mobilenet_v2", entry.name).weights_digest)
    assert len(set(digests)) == 2


def test_a_weights_file_brings_the_preprocessing_of_the_default_weights(tmp_path: Path) -> None:
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), tmp_path / "w.pth")
    preset = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.transforms()
    found = load_backbone("squeezenet1_1", str(tmp_path / "w.pth")).transform
    assert (found.resize, found.crop) == (preset.resize_size[0], preset.crop_size[0])
    assert (found.mean, found.std) == (tuple(preset.mean), tuple(preset.std))
    assert found.interpolation == preset.interpolation.value


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("resnet51", "did you mean resnet50"),
        ("fcn_resnet50", "unknown model"),  # segmentation: no classification network
        ("", "unknown model"),
    ],
)
def test_models_that_do_not_exist(model: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        load_backbone(model, "none")


def test_a_file_of_weights_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "resnet18.pth").touch()
    with pytest.raises(
        BackboneError, match=r"resnet18\.pth is a file.* as `weights`; .*torch\.jit\.load"
    ):
        load_backbone(str(tmp_path / "resnet18.pth"), "none")


def test_weights_that_do_not_exist() -> None:
    for build in (load_backbone, build_skeleton):
        with pytest.raises(UnknownNameError, match="did you mean IMAGENET1K_V1"):
            build("resnet18", "IMAGENET1K_V3")
        with pytest.raises(WeightsError, match="no weights file"):
            build("resnet18", "absent.pth")


# Auxiliary heads


def untrained(model: str) -> nn.Module:
    """The network as torchvision builds it for its published weights."""
    options = {"transform_input": True, "aux_logits": True, "init_weights": False}
    network: nn.Module = torchvision.models.get_model(model, weights=None, **options)
    return network


def without_heads(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.lower().startswith("aux")}


@pytest.mark.parametrize(
    "model", ["googlenet", pytest.param("inception_v3", marks=pytest.mark.slow)]
)
def test_auxiliary_heads_may_be_missing_in_a_file(tmp_path: Path, model: str) -> None:
    trained = untrained(model).eval()
    state = trained.state_dict()
    assert len(without_heads(state)) < len(state)
    torch.save(state, tmp_path / "with.pth")
    torch.save(without_heads(state), tmp_path / "without.pth")
    image = torch.randn(1, 3, 96, 96)
    with torch.inference_mode():
        expected = trained(image)
        for name in ("with", "without"):
            network = load_backbone(model, str(tmp_path / f"{name}.pth")).network
            torch.testing.assert_close(network(image), expected)


def test_half_an_auxiliary_head_is_as_good_as_none(tmp_path: Path) -> None:
    state = dict(untrained("googlenet").state_dict())
    torch.save(state, tmp_path / "whole.pth")
    del state["aux2.fc2.bias"]
    torch.save(state, tmp_path / "half.pth")
    digests = [load_backbone("googlenet", str(tmp_path / f"{name}.pth")).weights_digest
               for name in ("whole", "half")]  # fmt: skip
    assert digests[0] == digests[1]


def test_a_file_without_heads_is_still_refused_for_other_missing_weights(tmp_path: Path) -> None:
    state = without_heads(dict(untrained("googlenet").state_dict()))
    del state["fc.bias"]
    torch.save(state, tmp_path / "w.pth")
    found = load_backbone("googlenet", str(tmp_path / "w.pth"), transform={"crop": 64})
    with pytest.raises(WeightsError, match=r"'fc\.bias' is missing.*layer 'fc' depends on it"):
        found.select_layers(["fc"])
    assert found.select_layers(["inception5b"])


@pytest.mark.parametrize(
    "model", [pytest.param("googlenet", marks=pytest.mark.slow), "inception_v3"]
)
def test_the_digest_of_a_file_without_heads_is_that_of_the_network_without_them(
    tmp_path: Path, model: str
) -> None:
    trained: Any = untrained(model)
    torch.save(without_heads(trained.state_dict()), tmp_path / "w.pth")
    trained.aux1 = trained.aux2 = trained.AuxLogits = None
    assert load_backbone(model, str(tmp_path / "w.pth")).weights_digest == digest_weights(trained)


# Skeletons


def test_a_skeleton_needs_no_weights_and_computes_nothing(hub: Path) -> None:
    network, transform = build_skeleton("vit_h_14")
    assert next(network.parameters()).device.type == "meta"
    # A transformer is built for the size of its default weights.
    assert network.get_parameter("encoder.pos_embedding").shape[1] == (518 // 14) ** 2 + 1
    assert transform.crop == 518
    assert list(hub.iterdir()) == []


def test_a_skeleton_has_the_input_of_the_weights_that_are_named() -> None:
    assert build_skeleton("vit_h_14", "IMAGENET1K_SWAG_LINEAR_V1")[1].crop == 224
