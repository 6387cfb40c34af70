import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from bottleneck.backbones.backbone import build_skeleton, load_backbone
from bottleneck.errors import (
    BackboneError,
    InvalidOptionError,
    UnknownNameError,
    WeightsError,
)
from bottleneck.spec import InputTransform
from tests.helpers.networks import NETWORKS, PLAIN


def test_the_network_is_frozen() -> None:
    network = load_backbone("squeezenet1_0", "none").network
    assert not network.training
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_no_weights_are_the_same_weights_every_time() -> None:
    state = torch.get_rng_state()
    first = load_backbone("squeezenet1_0", "none")
    assert torch.equal(torch.get_rng_state(), state)  # the caller's random numbers are untouched
    torch.manual_seed(99)
    assert load_backbone("squeezenet1_0", "none").weights_digest == first.weights_digest


def test_a_weights_file_brings_the_preprocessing_of_the_default_weights(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "w.pth")
    preset = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    found = load_backbone("resnet18", str(tmp_path / "w.pth")).preprocess
    assert (found.resize, found.crop) == (preset.resize_size[0], preset.crop_size[0])
    assert (found.mean, found.std) == (tuple(preset.mean), tuple(preset.std))
    assert found.interpolation == preset.interpolation.value


def test_a_transformer_is_built_for_the_size_of_its_default_weights() -> None:
    network, preprocess = build_skeleton("vit_h_14")
    assert network.get_parameter("encoder.pos_embedding").shape[1] == (518 // 14) ** 2 + 1
    assert preprocess.crop == 518


def test_given_preprocessing_replaces_the_weights_own() -> None:
    found = load_backbone("resnet18", "none", preprocess={"crop": 64, "resize": 72}).preprocess
    assert found == InputTransform(resize=72, crop=64)


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
    assert f"put {name} into {hub}, or give it with --weights FILE" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", ["squeezenet1_0", "googlenet"])
def test_weights_by_name_and_by_file_are_the_same_network(hub: Path, model: str) -> None:
    entry = torchvision.models.get_model_weights(model).DEFAULT
    options = {"init_weights": False} if model == "googlenet" else {}
    trained = torchvision.models.get_model(model, weights=None, **options)
    torch.save(trained.state_dict(), hub / published_name(entry))
    by_name = load_backbone(model, "DEFAULT")
    by_entry = load_backbone(model, entry.name)
    by_file = load_backbone(model, str(hub / published_name(entry)))
    assert by_name.weights_digest == by_entry.weights_digest == by_file.weights_digest
    image = torch.randn(1, 3, 64, 64)
    expected = torchvision.models.get_model(model, weights=entry).eval()(image)
    torch.testing.assert_close(by_file.network(image), expected)


def test_default_weights_of_two_versions_are_two_digests(hub: Path) -> None:
    digests = []
    for seed, entry in enumerate(torchvision.models.ResNet50_Weights):
        torch.manual_seed(seed)
        state = torchvision.models.resnet50(weights=None).state_dict()
        torch.save(state, hub / published_name(entry))
        digests.append(load_backbone("resnet50", entry.name).weights_digest)
    assert len(set(digests)) == 2


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


def test_weights_that_do_not_exist() -> None:
    with pytest.raises(UnknownNameError, match="did you mean IMAGENET1K_V1"):
        load_backbone("resnet18", "IMAGENET1K_V3")


# A file with a factory


def test_a_factory_is_known_by_its_code(tmp_path: Path) -> None:
    code = NETWORKS.read_text()
    (tmp_path / "net.py").write_text(code)
    first = load_backbone(f"{tmp_path}/net.py:plain")
    assert first.model.startswith("net.py:plain@")
    (tmp_path / "net.py").write_text(code + "# another byte\n")
    assert load_backbone(f"{tmp_path}/net.py:plain").model != first.model


def test_a_factory_is_seeded() -> None:
    digests = {load_backbone(PLAIN, weights).weights_digest for weights in ("DEFAULT", "none")}
    assert len(digests) == 1


def test_a_factory_takes_a_weights_file(tmp_path: Path) -> None:
    torch.manual_seed(5)
    from tests.helpers.tiny_networks import Plain

    trained = Plain()
    torch.save(trained.state_dict(), tmp_path / "w.pth")
    loaded = load_backbone(PLAIN, str(tmp_path / "w.pth")).network
    torch.testing.assert_close(loaded.state_dict()["fc.bias"], trained.fc.bias)


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ("absent.py:plain", BackboneError, "no file absent.py"),
        (f"{NETWORKS}:plian", UnknownNameError, "did you mean.*plain"),
        (f"{NETWORKS}:not_a_network", BackboneError, "must return a torch.nn.Module, got str"),
        (f"{NETWORKS.parent}/../README.md:x", BackboneError, "is not a Python file|no file"),
    ],
)
def test_factories_that_do_not_work(model: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_backbone(model)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ('{"crop": 64, "mean": (0, 0, 0)}', InputTransform(crop=64, mean=(0.0, 0.0, 0.0))),
        ("{}", InputTransform()),
        ("lambda x: x", InputTransform()),  # another network's method of that name
    ],
)
def test_a_network_may_say_what_input_it_expects(
    tmp_path: Path, own: str, expected: InputTransform
) -> None:
    code = f"import torch\nclass Net(torch.nn.Identity):\n    preprocess = {own}\n"
    (tmp_path / "net.py").write_text(code)
    model = f"{tmp_path}/net.py:Net"
    assert load_backbone(model).preprocess == expected
    assert load_backbone(model, preprocess={"crop": 7}).preprocess.crop == 7


@pytest.mark.parametrize(
    ("own", "error"),
    [
        ('{"crp": 64}', UnknownNameError),
        ('{"std": (0, 1, 1)}', InvalidOptionError),
        ('{"interpolation": "lanczos"}', InvalidOptionError),
    ],
)
def test_an_input_that_cannot_be_meant_is_refused(
    tmp_path: Path, own: str, error: type[Exception]
) -> None:
    code = f"import torch\nclass Net(torch.nn.Identity):\n    preprocess = {own}\n"
    (tmp_path / "net.py").write_text(code)
    with pytest.raises(error):
        load_backbone(f"{tmp_path}/net.py:Net")


def test_a_file_that_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("import no_such_module\n")
    with pytest.raises(BackboneError, match=r"net\.py cannot be imported.*no_such_module"):
        load_backbone(f"{tmp_path}/net.py:plain")


def test_the_source_leads_back_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.py").write_text(NETWORKS.read_text())
    monkeypatch.chdir(tmp_path)
    first = load_backbone("net.py:plain")
    monkeypatch.chdir("/")
    again = load_backbone(first.source.model, first.source.weights)
    assert (again.model, again.weights_digest) == (first.model, first.weights_digest)


# A sketch


def test_a_sketch_needs_no_weights_and_computes_nothing(hub: Path) -> None:
    network, preprocess = build_skeleton("vit_h_14")
    assert next(network.parameters()).device.type == "meta"
    assert preprocess.crop == 518
    assert list(hub.iterdir()) == []


def test_a_sketch_has_the_input_of_the_weights_that_are_named() -> None:
    assert build_skeleton("vit_h_14", "IMAGENET1K_SWAG_LINEAR_V1")[1].crop == 224
