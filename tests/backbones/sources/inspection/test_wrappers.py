"""Wrappers of training and compilation are taken off; layers keep their names with and without."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bottleneck.backbones.backbone import load_backbone
from bottleneck.backbones.sources.inspection.weight_values import digest_weights
from bottleneck.backbones.sources.inspection.wrappers import unwrap, without_wrappers
from bottleneck.errors import UnknownNameError
from tests.helpers.tiny_networks import Plain

# Some releases of PyTorch warn of what their own compiler uses.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated")

SMALL = {"crop": 32, "resize": 32}
FACTORIES = """
import torch
from torch import nn
from tests.helpers.tiny_networks import Plain

def plain(): return Plain()
def compiled(): return torch.compile(Plain())
def parallel():
    network = nn.DataParallel(Plain())
    network.preprocess = {"crop": 32, "resize": 40}
    return network
def inside():
    return nn.Sequential(torch.compile(nn.Conv2d(3, 4, 3)), nn.DataParallel(nn.ReLU()))
def in_place():
    network = Plain()
    network.compile()
    return network
"""


@pytest.fixture
def factories(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(FACTORIES)
    return f"{tmp_path}/net.py"


@pytest.mark.parametrize("name", ["compiled", "parallel", "in_place"])
def test_a_wrapped_network_is_the_network_inside(factories: str, name: str) -> None:
    backbone = load_backbone(f"{factories}:{name}", transform=SMALL)
    plain = load_backbone(f"{factories}:plain", transform=SMALL)
    assert type(backbone.network).__name__ == "Plain"
    assert [layer.name for layer in backbone.layers] == [layer.name for layer in plain.layers]
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(backbone.network(images), plain.network(images))


@pytest.mark.parametrize(
    ("name", "prefix"), [("compiled", "_orig_mod."), ("parallel", "module."), ("plain", "")]
)
def test_a_layer_may_be_named_as_in_the_wrapper(factories: str, name: str, prefix: str) -> None:
    backbone = load_backbone(f"{factories}:{name}", transform=SMALL)
    (plain,) = backbone.select_layers(["layer2.0"])
    (wrapped, last) = backbone.select_layers(["layer3", f"{prefix}layer2.0"])
    assert (wrapped.name, wrapped.module) == (f"{prefix}layer2.0", plain.module)
    assert last.name == "layer3"
    with pytest.raises(UnknownNameError, match="did you mean"):
        backbone.select_layers([f"{prefix}layr2"])


def test_the_digest_of_weights_is_of_the_names_that_were_brought(factories: str) -> None:
    """As it was when the wrapper was part of the network."""
    wrapped = load_backbone(f"{factories}:parallel").weights_digest
    torch.manual_seed(0)
    assert wrapped == digest_weights(nn.DataParallel(Plain()))


def test_the_wrapper_may_say_what_input_it_expects(factories: str) -> None:
    assert load_backbone(f"{factories}:parallel").transform.resize == 40


def test_weights_fit_the_network_inside(factories: str, tmp_path: Path) -> None:
    torch.save(Plain().state_dict(), tmp_path / "w.pth")
    loaded = load_backbone(f"{factories}:parallel", str(tmp_path / "w.pth"))
    expected = torch.load(tmp_path / "w.pth")["fc.bias"]
    torch.testing.assert_close(loaded.network.state_dict()["fc.bias"], expected)


def test_wrappers_of_parts_are_taken_off_too(factories: str) -> None:
    backbone = load_backbone(f"{factories}:inside", transform=SMALL)
    assert [layer.name for layer in backbone.layers] == ["0", "1.module", "1"]
    assert type(copy.deepcopy(backbone.network)[0]) is nn.Conv2d  # type: ignore[index]


def test_a_module_that_is_given_wrapped_is_the_module() -> None:
    network = Plain()
    compiled: Any = torch.compile(network)
    for wrapped in (compiled, nn.DataParallel(network)):
        found = load_backbone(wrapped)
        assert found.model == load_backbone(network).model
        assert found.reference.model == "module:Plain"
    both: Any = torch.compile(nn.DataParallel(network))
    assert unwrap(both) is network


@pytest.mark.parametrize(
    ("name", "plain"),
    [("module._orig_mod.a.0", "a.0"), ("net._orig_mod.b", "net.b"), ("modules.a", "modules.a")],
)
def test_names_without_wrappers(name: str, plain: str) -> None:
    assert without_wrappers(name) == plain
