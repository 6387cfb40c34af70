"""The choice of a model source."""

import pytest

from bottleneck.backbones.backbone import load_backbone
from bottleneck.backbones.sources.given_module import GivenModule
from bottleneck.backbones.sources.model_source import find_source
from bottleneck.backbones.sources.python_file import PythonFile
from bottleneck.backbones.sources.torchvision_models import TorchvisionModel
from bottleneck.errors import BackboneError, InvalidOptionError
from tests.helpers.networks import NETWORKS, PLAIN
from tests.helpers.tiny_networks import Plain


def test_each_kind_of_model_has_its_source() -> None:
    network = Plain()
    assert find_source("resnet18") == TorchvisionModel("resnet18")
    assert find_source(PLAIN) == PythonFile(NETWORKS, "plain")
    given = find_source(network)
    assert isinstance(given, GivenModule)
    assert given.network is network


@pytest.mark.parametrize("model", ["resnet18", PLAIN])
def test_a_reference_finds_the_same_source_again(model: str) -> None:
    assert find_source(find_source(model).reference) == find_source(model)


def test_a_reference_to_a_given_network_cannot_be_loaded() -> None:
    with pytest.raises(BackboneError, match=r"module:Plain .*give the same network.*`model`"):
        load_backbone("module:Plain")


@pytest.mark.parametrize("wrong", [Plain, 3, None])
def test_objects_that_are_neither_a_name_nor_a_network_are_refused(wrong: object) -> None:
    with pytest.raises(InvalidOptionError, match=r"torch\.nn\.Module"):
        load_backbone(wrong)  # type: ignore[arg-type]
