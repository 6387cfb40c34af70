import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from bottleneck.backbones.sources.weights import (
    digest_weights,
    is_weights_file,
    load_own_weights,
)
from bottleneck.errors import WeightsError
from tests.helpers.tiny_networks import Plain


@pytest.fixture
def trained() -> nn.Module:
    torch.manual_seed(7)
    return Plain()


def load(path: Path) -> nn.Module:
    torch.manual_seed(8)
    network = Plain()
    load_own_weights(network, str(path), model="plain")
    return network


def assert_same_weights(a: nn.Module, b: nn.Module) -> None:
    for name, value in a.state_dict().items():
        torch.testing.assert_close(b.state_dict()[name], value, rtol=0, atol=0)


@pytest.mark.parametrize("wrap", ["", "state_dict", "model", "model_state_dict"])
def test_pth_files_load_bare_or_wrapped(trained: nn.Module, tmp_path: Path, wrap: str) -> None:
    state: Any = trained.state_dict()
    torch.save({wrap: state, "epoch": 3} if wrap else state, tmp_path / "w.pth")
    assert_same_weights(trained, load(tmp_path / "w.pth"))


def test_safetensors_files_load(trained: nn.Module, tmp_path: Path) -> None:
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    assert_same_weights(trained, load(tmp_path / "w.safetensors"))


def test_the_prefix_of_data_parallel_is_taken_off(trained: nn.Module, tmp_path: Path) -> None:
    state = {f"module.{name}": value for name, value in trained.state_dict().items()}
    torch.save(state, tmp_path / "w.pth")
    assert_same_weights(trained, load(tmp_path / "w.pth"))


def test_names_with_a_similar_prefix_are_unchanged(tmp_path: Path) -> None:
    class Dull(nn.Module):  # str.lstrip("module.") would leave "" of this name
        def __init__(self) -> None:
            super().__init__()
            self.module_ = nn.Linear(2, 2)

    torch.save(Dull().state_dict(), tmp_path / "w.pth")
    load_own_weights(Dull(), str(tmp_path / "w.pth"), model="dull")


def test_weights_without_batch_counts_load(trained: nn.Module, tmp_path: Path) -> None:
    state = {k: v for k, v in trained.state_dict().items() if "num_batches" not in k}
    torch.save(state, tmp_path / "w.pth")
    load(tmp_path / "w.pth")


def test_published_densenet_files_with_old_names_load(tmp_path: Path) -> None:
    network = torchvision.models.densenet121(weights=None)
    old: dict[str, Tensor] = {}
    for name, value in network.state_dict().items():
        published = re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", name)
        old[published] = value
    assert any(".norm.1." in name for name in old)
    torch.save(old, tmp_path / "w.pth")
    load_own_weights(
        torchvision.models.densenet121(weights=None), str(tmp_path / "w.pth"), model="x"
    )


def test_mnasnet_loads_from_a_file_without_versions(tmp_path: Path) -> None:
    network = torchvision.models.mnasnet0_5(weights=None)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    load_own_weights(
        torchvision.models.mnasnet0_5(weights=None), str(tmp_path / "w.safetensors"), model="x"
    )


def changed(state: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    state = dict(state)
    if kind == "missing":
        del state["fc.weight"]
    elif kind == "unexpected":
        state["fc.extra"] = torch.zeros(1)
    else:
        state["fc.weight"] = torch.zeros(9, 10)
    return state


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "'fc.weight' is missing in the file"),
        ("unexpected", "the network has no 'fc.extra'"),
        ("shape", r"'fc.weight' is \(9, 10\) in the file and \(4, 10\) in the network"),
    ],
)
def test_weights_of_another_network_are_refused(
    trained: nn.Module, tmp_path: Path, kind: str, message: str
) -> None:
    torch.save(changed(trained.state_dict(), kind), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=f"w.pth does not fit plain: {message}"):
        load(tmp_path / "w.pth")


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.safetensors"])
def test_a_pickle_is_refused_and_does_not_run(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(WeightsError, match="not a file of plain weights") as caught:
        load(tmp_path / name)
    assert "weights_only" not in str(caught.value)
    torch.save({"x": Bomb(tmp_path / "ran")}, tmp_path / "zip.pth")
    with pytest.raises(WeightsError, match="not a file of plain weights"):
        load(tmp_path / "zip.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut"])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    for name in ("w.pth", "w.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=name):
            load(tmp_path / name)


def test_a_file_without_a_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="holds no state dict"):
        load(tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="no weights file"):
        load(tmp_path / "absent.pth")


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
