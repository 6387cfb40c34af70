"""A network is recalled only as it was loaded: by the same names, files and versions."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from bottleneck.backbones import recall
from bottleneck.backbones.backbone import load_backbone
from bottleneck.backbones.recall import NetworkIdentity, recall_network, remember_network
from bottleneck.input_transform import InputTransform
from bottleneck.model_reference import ModelReference


@pytest.fixture(autouse=True)
def nothing_is_remembered_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    path = tmp_path / "weights.pth"
    torch.save(torchvision.models.squeezenet1_1().state_dict(), path)
    return path


def test_a_loaded_network_is_recalled(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = load_backbone("squeezenet1_1", str(weights), transform={"crop": 64})
    known = recall_network("squeezenet1_1", str(weights))
    assert known is not None
    assert (known.model, known.weights_digest) == (backbone.model, backbone.weights_digest)
    assert known.reference == backbone.reference
    assert known.preset.crop == 224  # what was changed is no property of the weights
    monkeypatch.chdir(weights.parent)
    assert recall_network("squeezenet1_1", weights.name) == known
    assert recall_network("squeezenet1_0", str(weights)) is None
    assert recall_network("squeezenet1_1", "none") is None


def test_published_weights_are_recalled_by_their_enum_as_by_their_name() -> None:
    identity = NetworkIdentity("m", "ab", InputTransform(), ModelReference("m", "IMAGENET1K_V1"))
    remember_network("squeezenet1_1", "IMAGENET1K_V1", [], identity)
    entry: Any = torchvision.models.SqueezeNet1_1_Weights.DEFAULT
    assert recall_network("squeezenet1_1", entry) == identity
    assert recall_network("squeezenet1_0", entry) is None


@pytest.mark.parametrize("change", ["content", "time", "another file", "removed"])
def test_changed_weights_are_not_recalled(weights: Path, change: str) -> None:
    load_backbone("squeezenet1_1", str(weights))
    if change == "content":
        weights.write_bytes(weights.read_bytes() + b" ")
    if change == "time":
        os.utime(weights, (1, 1))
    if change == "another file":  # of the same size and time
        before = weights.stat()
        weights.with_name("new").write_bytes(weights.read_bytes())
        weights.with_name("new").replace(weights)
        os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    if change == "removed":
        weights.unlink()
    assert recall_network("squeezenet1_1", str(weights)) is None


def test_another_version_of_a_library_recalls_nothing(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_backbone("squeezenet1_1", str(weights))
    assert recall_network("squeezenet1_1", str(weights)) is not None
    monkeypatch.setattr(recall, "_version", lambda library: f"{library} of another day")
    assert recall_network("squeezenet1_1", str(weights)) is None


def test_code_is_never_recalled(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text("from torch import nn\ndef net():\n    return nn.Conv2d(3, 4, 3)\n")
    load_backbone(f"{file}:net")
    assert recall_network(f"{file}:net", "DEFAULT") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": [], "identity": {"model": 1}}'])
def test_a_record_that_is_damaged_is_no_record(weights: Path, text: str) -> None:
    load_backbone("squeezenet1_1", str(weights))
    recall._place("squeezenet1_1", str(weights)).write_text(text)
    assert recall_network("squeezenet1_1", str(weights)) is None


def test_without_a_home_directory_nothing_is_remembered(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # HOME unset, an unknown user
    load_backbone("squeezenet1_1", str(weights))
    assert recall_network("squeezenet1_1", str(weights)) is None


def test_without_a_writable_state_directory_nothing_is_remembered(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    load_backbone("squeezenet1_1", str(weights))
    assert recall_network("squeezenet1_1", str(weights)) is None
