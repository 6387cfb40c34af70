from pathlib import Path

import pytest
import torch
from torch import nn

from bottleneck.backbones.sources.weights import (
    digest_weights,
    is_weights_file,
    require_own_weights,
    require_weights_file,
)
from bottleneck.errors import UnknownNameError, WeightsError
from tests.helpers.tiny_networks import Plain


def test_the_digest_sees_values_names_shapes_and_types() -> None:
    torch.manual_seed(0)
    base = Plain()
    digests = {digest_weights(base)}

    def differs(network: nn.Module) -> None:
        digest = digest_weights(network)
        assert digest not in digests
        digests.add(digest)

    with torch.no_grad():
        base.fc.bias[0] += 1e-6
    differs(base)
    differs(base.to(torch.bfloat16))
    differs(nn.Sequential(nn.Linear(4, 1, bias=False)))
    differs(nn.Sequential(nn.Linear(1, 4, bias=False)))


def test_the_digest_of_equal_weights_is_equal() -> None:
    networks = []
    for _ in range(2):
        torch.manual_seed(3)
        networks.append(Plain())
    assert digest_weights(networks[0]) == digest_weights(networks[1])


@pytest.mark.parametrize(
    ("weights", "is_file"),
    [("DEFAULT", False), ("IMAGENET1K_V1", False), ("none", False), ("w.pth", True), ("a/b", True)],
)
def test_what_names_a_file(weights: str, is_file: bool) -> None:
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
        require_weights_file(tmp_path / "absent.pth")
    with pytest.raises(WeightsError, match="is a folder: name the weights file in it"):
        require_weights_file(tmp_path)
    with pytest.raises(UnknownNameError, match=r"weights of mine 'IMAGENET1K_V1'.*\(or a file\)"):
        require_own_weights("IMAGENET1K_V1", model="mine")


def test_the_digest_leaves_out_what_it_is_told_to() -> None:
    network = Plain()
    before = digest_weights(network, {"fc.weight"})
    with torch.no_grad():
        network.fc.weight.add_(1)
    assert digest_weights(network, {"fc.weight"}) == before != digest_weights(network)


def test_the_digest_sees_the_values_of_sparse_tensors() -> None:
    digests = set()
    for value in (1.0, 2.0):
        network = nn.Module()
        network.register_buffer("graph", torch.diag(torch.tensor([value, 0.0])).to_sparse())
        digests.add(digest_weights(network))
    assert len(digests) == 2
