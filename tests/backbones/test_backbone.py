from pathlib import Path

import pytest
import torch

from bottleneck.backbones.backbone import load_backbone
from bottleneck.backbones.layers.truncated import TruncatedNetwork
from bottleneck.errors import BackboneError, UnknownNameError
from bottleneck.spec import InputTransform
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
