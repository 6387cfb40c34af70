"""Weights that are given as a member of torchvision's enums."""

from pathlib import Path
from typing import Any

import pytest
import torchvision
from torch import nn

from bottleneck.backbones.backbone import build_skeleton, load_backbone
from bottleneck.backbones.sources.weights_name import weights_name
from bottleneck.errors import InvalidOptionError

CLASSIFIERS = torchvision.models.list_models(module=torchvision.models)


@pytest.mark.parametrize("model", CLASSIFIERS)
def test_a_member_of_each_networks_enum_is_known_by_its_name(model: str) -> None:
    entries = torchvision.models.get_model_weights(model)
    assert [weights_name(model, entry) for entry in entries] == [entry.name for entry in entries]


@pytest.mark.parametrize("weights", ["DEFAULT", "none", Path("w.pth")])
def test_names_and_paths_are_left_as_they_are(weights: Any) -> None:
    assert weights_name("resnet18", weights) is weights


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
