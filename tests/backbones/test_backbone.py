from pathlib import Path

import pytest
import torch

from bottleneck.backbones.backbone import load_backbone
from bottleneck.spec import InputTransform
from tests.helpers.networks import NETWORKS


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
