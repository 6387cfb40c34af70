"""Weights as users give them: names, members of torchvision's enums, files."""

from pathlib import Path
from typing import Any

import pytest
import torchvision
from torch import nn

from bottleneck.backbones.backbone import build_skeleton, load_backbone
from bottleneck.backbones.sources.weights import (
    is_weights_file,
    require_own_weights,
    require_weights_file,
    weights_name,
)
from bottleneck.errors import InvalidOptionError, UnknownNameError, WeightsError

CLASSIFIERS = torchvision.models.list_models(module=torchvision.models)


@pytest.mark.parametrize("model", CLASSIFIERS)
def test_a_member_of_each_networks_enum_is_known_by_its_name(model: str) -> None:
    entries = torchvision.models.get_model_weights(model)
    assert [weights_name(model, entry) for entry in entries] == [entry.name for entry in entries]


@pytest.mark.parametrize("weights", ["DEFAULT", "none", Path("w.pth")])
def test_names_and_paths_are_text(weights: str | Path) -> None:
    assert weights_name("resnet18", weights) == str(weights)


@pytest.mark.parametrize(
    ("model", "words"),
    [("resnet50", "weights of resnet50"), (nn.Flatten(), "weights of Flatten")],
)
def test_weights_of_another_network_are_refused(model: Any, words: str) -> None:
    entry: Any = torchvision.models.ResNet18_Weights.DEFAULT
    for build in (load_backbone, build_skeleton):
        with pytest.raises(InvalidOptionError) as caught:
            build(model, entry)
        given = "`weights='ResNet18_Weights.IMAGENET1K_V1'`"
        assert str(caught.value) == f"{given}: must be {words}"


def test_a_network_is_listed_by_a_member_of_its_enum() -> None:
    entry: Any = torchvision.models.SqueezeNet1_1_Weights.DEFAULT
    assert build_skeleton("squeezenet1_1", entry)[1] == build_skeleton("squeezenet1_1")[1]


def test_a_state_dict_is_refused_without_its_tensors() -> None:
    state: Any = nn.Linear(2, 2).state_dict()
    for build in (load_backbone, build_skeleton):
        with pytest.raises(InvalidOptionError, match="`weights='OrderedDict'`: must be DEFAULT"):
            build("resnet18", state)


@pytest.mark.parametrize(
    ("weights", "is_file"),
    [("DEFAULT", False), ("IMAGENET1K_V1", False), ("none", False), ("w.pth", True), ("a/b", True)],
)
def test_weights_with_a_suffix_or_a_separator_are_files(weights: str, is_file: bool) -> None:
    assert is_weights_file(weights) is is_file


@pytest.mark.parametrize("name", ["model", "IMAGENET1K_V9", "last.ckpt", "model_best.pth.tar"])
def test_a_file_that_exists_is_a_file_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_weights_file(name) is ("." in name)  # a suffix is no part of a published name
    (tmp_path / name).touch()
    assert is_weights_file(name)
    require_own_weights(name, model="mine")


@pytest.mark.parametrize("weights", ["", "x" * 5000, "nul\0"])
def test_any_text_may_be_asked_about(weights: str) -> None:
    assert not is_weights_file(weights)


def test_a_file_that_is_none_says_what_it_may_be(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no weights file .*absent\.pth: `weights` is"):
        require_weights_file(str(tmp_path / "absent.pth"))
    with pytest.raises(WeightsError, match="is a folder: name the weights file in it"):
        require_weights_file(str(tmp_path))
    with pytest.raises(UnknownNameError, match=r"weights of mine 'IMAGENET1K_V1'.*\(or a file\)"):
        require_own_weights("IMAGENET1K_V1", model="mine")
