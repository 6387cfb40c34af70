from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from bottleneck.backbones.backbone import load_backbone
from bottleneck.backbones.layers.truncated import TruncatedNetwork
from bottleneck.errors import BackboneError, InvalidOptionError, UnknownNameError
from bottleneck.input_transform import InputTransform
from tests.helpers.brought_networks import small_transformer
from tests.helpers.networks import NETWORKS, PLAIN, SMALL


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


@pytest.mark.parametrize("model", ["squeezenet1_0", PLAIN])
def test_a_network_is_the_same_whatever_the_process_makes_by_default(model: str) -> None:
    expected = load_backbone(model, "none", transform=SMALL).weights_digest
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            found = load_backbone(model, "none", transform=SMALL).weights_digest
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert found == expected


def test_given_preprocessing_replaces_the_weights_own() -> None:
    found = load_backbone("resnet18", "none", transform={"crop": 64, "resize": 72}).transform
    assert found == InputTransform(resize=72, crop=64)


def test_the_reference_loads_the_network_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.py").write_text(NETWORKS.read_text())
    monkeypatch.chdir(tmp_path)
    first = load_backbone("net.py:plain")
    monkeypatch.chdir("/")
    again = load_backbone(first.reference.model, first.reference.weights)
    assert (again.model, again.weights_digest) == (first.model, first.weights_digest)


class Parts(nn.Module):
    """A module that is called twice, one that returns two maps, and one with a strange name."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 4, 3), nn.ReLU()
        self.block, self.named = Two(), nn.ModuleDict({"x@y": nn.Conv2d(4, 3, 1)})

    def forward(self, x: Tensor) -> Tensor:
        x, y = self.block(self.relu(self.relu(self.conv(x)) - 0.1))
        out: Tensor = self.named["x@y"](x + y)
        return out


class Two(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, 2 * x


def test_layers_with_poolings_of_their_own_are_pooled_from_the_maps() -> None:
    network = load_backbone(Parts(), transform=SMALL)
    names = ["relu_1", "relu_1@2x2", "module.block:1@max"]
    names += ["module.named.x@y", "module.named.x@y@max"]
    layers = network.select_layers(names)
    maps = network.select_layers(["relu_1", "block:1", "named.x@y"])
    images = torch.rand(2, 3, 32, 32)
    codes = TruncatedNetwork(network.network, layers, pool="none")(images)
    whole = TruncatedNetwork(network.network, maps, pool="none")(images)
    expected = {
        "relu_1": whole["relu_1"],
        "relu_1@2x2": adaptive_avg_pool2d(whole["relu_1"], 2),
        "module.block:1@max": whole["block:1"].amax((2, 3)),
        "module.named.x@y": whole["named.x@y"],
        "module.named.x@y@max": whole["named.x@y"].amax((2, 3)),
    }
    assert codes.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(codes[name], values)


def test_a_pooling_that_does_not_exist_is_said_and_no_layer_is_suggested() -> None:
    network = load_backbone(PLAIN, transform=SMALL)
    with pytest.raises(InvalidOptionError, match=r"`pool='2x3'`: must be avg, .* as 2 or 2x2"):
        network.select_layers(["module.layer2@2x3"])
    with pytest.raises(UnknownNameError, match="'layer9': did you mean layer"):
        network.select_layers(["layer9@2x2"])


def test_a_class_token_beside_the_average_of_all_tokens() -> None:
    network = load_backbone(small_transformer(32), transform=SMALL)
    name = "encoder.ln"
    average, token = network.select_layers([name, f"{name}@cls"])
    images = torch.rand(1, 3, 32, 32)
    codes = TruncatedNetwork(network.network, [average, token], relu=False)(images)
    tokens = TruncatedNetwork(network.network, [average], relu=False, pool="none")(images)[name]
    torch.testing.assert_close(codes[f"{name}@cls"], tokens[:, 0])
    torch.testing.assert_close(codes[name], tokens.mean(1))


def test_the_program_of_a_network_gives_the_codes_of_its_layers() -> None:
    network = load_backbone(PLAIN, transform=SMALL)
    program = network.program(["layer3", "layer1"], relu=True, pool="avg")
    for n in (1, 3):
        images = torch.rand(n, 3, 32, 32)
        layers = network.select_layers(["layer1", "layer3"])
        expected = TruncatedNetwork(network.network, layers)(images)
        codes = program(images)
        assert codes.keys() == expected.keys()
        for layer, values in expected.items():
            torch.testing.assert_close(codes[layer], values)
    with pytest.raises(UnknownNameError, match="layer33"):
        network.program(["layer33"], relu=True, pool="avg")


def test_a_network_without_a_program_is_refused() -> None:
    network = load_backbone(f"{NETWORKS}:branching", transform=SMALL)
    with pytest.raises(
        BackboneError, match=r"cannot be traced as a program: .* neither on an image"
    ):
        network.program(["layer2"], relu=True, pool="avg")


@pytest.mark.filterwarnings("ignore")  # that TorchScript is deprecated
def test_torchscript_has_no_program_and_is_refused_as_such() -> None:
    part = nn.Sequential(torch.jit.script(nn.Conv2d(3, 4, 3)), nn.ReLU())
    whole = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    for network, name in ((part, "Conv2d"), (whole, "Sequential")):
        backbone = load_backbone(network, transform=SMALL)
        with pytest.raises(BackboneError, match=rf"a TorchScript program \({name}\) .*nn.Module"):
            backbone.program(["1"], relu=True, pool="avg")
