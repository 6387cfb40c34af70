"""Loading: what fits is loaded, and layers that depend on a difference are refused."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from bottleneck.backbones.backbone import Backbone, load_backbone
from bottleneck.backbones.checkpoints.loading import LoadedWeights, load_weights
from bottleneck.errors import WeightsError
from tests.helpers.tiny_networks import Plain, Wired

State = dict[str, Tensor]
SMALL = {"resize": 32, "crop": 32}


def weights(seed: int = 7) -> State:
    torch.manual_seed(seed)
    return dict(Plain().state_dict())


def load(path: Path, network: nn.Module | None = None) -> tuple[nn.Module, LoadedWeights]:
    torch.manual_seed(8)
    network = network or Plain()
    return network, load_weights(network, path, model="plain")


def backbone(path: Path, network: nn.Module | None = None) -> Backbone:
    torch.manual_seed(8)
    return load_backbone(network or Plain(), str(path), transform=SMALL)


def assert_loaded(network: nn.Module, state: State) -> None:
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)


# What fits


@pytest.mark.parametrize("wrap", ["", "state_dict", "model", "model_state_dict"])
def test_state_dicts_load_bare_or_wrapped(tmp_path: Path, wrap: str) -> None:
    state = weights()
    torch.save({wrap: state, "epoch": 3} if wrap else state, tmp_path / "w.pth")
    network, loaded = load(tmp_path / "w.pth")
    assert_loaded(network, state)
    assert loaded.misfits == ()
    assert len(loaded.notes) == bool(wrap)


def test_safetensors_files_load(tmp_path: Path) -> None:
    save_file(weights(), tmp_path / "w.safetensors")
    assert_loaded(load(tmp_path / "w.safetensors")[0], weights())


def test_the_note_names_the_weights_that_were_chosen(tmp_path: Path) -> None:
    raw, average = weights(1), {f"module.{k}": v for k, v in weights(2).items()}
    torch.save({"model": raw, "model_ema": average, "epoch": 3}, tmp_path / "both.pth")
    network, loaded = load(tmp_path / "both.pth")
    assert_loaded(network, weights(2))
    assert loaded.notes == (
        f"{tmp_path / 'both.pth'}: loaded the weights under 'model_ema', a moving average, not "
        "those under 'model', which fit as well, 'module.layer1.0.weight' as 'layer1.0.weight'",
    )


def test_the_note_names_tensors_that_were_not_used(tmp_path: Path) -> None:
    state = {f"backbone.{name}": value for name, value in weights().items()}
    more = {"head.weight": torch.zeros(2), "head.bias": torch.zeros(2)}
    torch.save({"state_dict": state | more}, tmp_path / "ssl.pth")
    network, loaded = load(tmp_path / "ssl.pth")
    assert_loaded(network, weights())
    assert loaded.notes[1] == f"{tmp_path / 'ssl.pth'}: passed over 'head.weight' (and 1 more)"


def test_weights_without_batch_counts_load(tmp_path: Path) -> None:
    state = {k: v for k, v in weights().items() if "num_batches" not in k}
    torch.save(state, tmp_path / "w.pth")
    assert load(tmp_path / "w.pth")[1].misfits == ()


def test_counts_of_operations_are_passed_over(tmp_path: Path) -> None:
    counts = {"layer1.total_ops": torch.zeros(1), "layer1.0.total_params": torch.zeros(1)}
    counts["n_averaged"] = torch.tensor(5)
    torch.save(weights() | counts, tmp_path / "w.pth")
    assert load(tmp_path / "w.pth")[1].misfits == ()


def test_a_tensor_with_two_names_is_needed_once(tmp_path: Path) -> None:
    def tied() -> nn.Module:
        network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        network[1].weight = network[0].weight
        return network

    state = dict(tied().state_dict())
    del state["1.weight"]  # as safetensors does with memory that is shared
    torch.save(state, tmp_path / "w.pth")
    network, loaded = load(tmp_path / "w.pth", tied())
    assert loaded.misfits == ()
    assert torch.equal(network.get_parameter("1.weight"), state["0.weight"])


def test_half_precision_weights_load_into_float32(tmp_path: Path) -> None:
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in weights().items()},
               tmp_path / "w.pth")  # fmt: skip
    network, loaded = load(tmp_path / "w.pth")
    assert loaded.misfits == ()
    torch.testing.assert_close(
        network.get_parameter("fc.weight"), weights()["fc.weight"].half().float()
    )


def test_published_densenet_files_with_old_names_load(tmp_path: Path) -> None:
    network = torchvision.models.densenet121(weights=None)
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", name): value
        for name, value in network.state_dict().items()
    }
    assert any(".norm.1." in name for name in old)
    torch.save(old, tmp_path / "w.pth")
    assert load(tmp_path / "w.pth", torchvision.models.densenet121(weights=None))[1].misfits == ()


def test_mnasnet_loads_from_a_file_without_versions(tmp_path: Path) -> None:
    state = dict(torchvision.models.mnasnet0_5(weights=None).state_dict())
    save_file(state, tmp_path / "w.safetensors")
    network = torchvision.models.mnasnet0_5(weights=None)
    assert load(tmp_path / "w.safetensors", network)[1].misfits == ()


# What does not fit


def change(state: State, kind: str) -> State:
    state = dict(state)
    if kind == "headless":
        del state["fc.weight"], state["fc.bias"]
    elif kind == "classes":
        state |= {"fc.weight": torch.zeros(9, 10), "fc.bias": torch.zeros(9)}
    elif kind == "more":
        state["fc.extra"] = torch.zeros(1)
    return state


DIFFERENCES = [
    ("headless", "'fc.weight' is missing in the file (and 1 more)"),
    ("classes", "'fc.weight' is (9, 10) in the file and (4, 10) in the network (and 1 more)"),
    ("more", "the network has no 'fc.extra'"),
]


@pytest.mark.parametrize(("kind", "problem"), DIFFERENCES)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_mismatches_behind_a_layer_do_not_prevent_its_use(
    tmp_path: Path, kind: str, problem: str, suffix: str
) -> None:
    file = tmp_path / f"w{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(change(weights(), kind), file)
    found = backbone(file)
    assert [layer.name for layer in found.select_layers(["layer3", "layer1"])] == [
        "layer1", "layer3"]  # fmt: skip
    assert found.notes(["layer3", "layer1"]) == (
        f"{file}: {problem}: behind 'layer3', which does not need it",
    )
    for name in ("layer1.0.weight", "layer2.1.running_mean", "layer3.bias"):
        assert torch.equal(found.network.state_dict()[name], weights()[name])
    with pytest.raises(WeightsError) as caught:
        found.select_layers(["layer1", "fc"])
    for part in (f"w{suffix} does not fit module:Plain: {problem}, and layer 'fc' depends on it",
                 "give `layers` up to 'layer3'", "`model=file.py:factory`"):  # fmt: skip
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "name", ["layer1.0.weight", "layer1.1.running_var", "layer2.1.bias", "layer3.weight"]
)
@pytest.mark.parametrize("kind", ["missing", "shape"])
def test_mismatches_that_a_layer_depends_on_are_refused(
    tmp_path: Path, name: str, kind: str
) -> None:
    state = weights()
    if kind == "missing":
        del state[name]
    else:
        state[name] = state[name][:-1]
    torch.save(state, tmp_path / "w.pth")
    found = backbone(tmp_path / "w.pth")
    owner = name.rpartition(".")[0]
    with pytest.raises(WeightsError, match=f"{name}.* and layer '{owner}' depends on it"):
        found.select_layers([owner])
    with pytest.raises(WeightsError):
        found.largest_code(["fc"], "avg")


def test_a_deeper_network_of_the_same_shapes_is_another_network(tmp_path: Path) -> None:
    blocks = (torchvision.models.resnet.BasicBlock, [3, 2, 2, 2])  # resnet18 has two at first too
    torch.save(torchvision.models.ResNet(*blocks).state_dict(), tmp_path / "w.pth")
    found = load_backbone("resnet18", str(tmp_path / "w.pth"), transform=SMALL)
    with pytest.raises(WeightsError, match=r"has no 'layer1\.2\.conv1\.weight'.*'layer1\.1'"):
        found.select_layers(["layer1.1"])
    with pytest.raises(WeightsError, match="up to 'maxpool'"):
        found.select_layers(["layer4"])
    assert found.select_layers(["maxpool"])


def flat() -> Wired:
    def wiring(net: Any, x: Tensor) -> Tensor:
        return torch.as_tensor(net.second(net.first(x)))

    return Wired(wiring, first=nn.Conv2d(3, 4, 3), second=nn.Conv2d(4, 5, 3))


def test_a_module_that_the_network_lacks_counts_by_its_place_in_the_file(tmp_path: Path) -> None:
    state = dict(flat().state_dict())
    between = dict([*list(state.items())[:2], ("norm.weight", torch.ones(4)),
                    *list(state.items())[2:]])  # fmt: skip
    torch.save(between, tmp_path / "between.pth")
    torch.save(state | {"my_output.weight": torch.ones(4)}, tmp_path / "after.pth")
    save_file(between, tmp_path / "unknown.safetensors")
    assert backbone(tmp_path / "between.pth", flat()).select_layers(["first"])
    with pytest.raises(WeightsError, match=r"no 'norm\.weight'.*'second' depends"):
        backbone(tmp_path / "between.pth", flat()).select_layers(["second"])
    assert backbone(tmp_path / "after.pth", flat()).select_layers(["second"])
    with pytest.raises(WeightsError, match=r"no 'norm\.weight'.*'first' depends"):
        backbone(tmp_path / "unknown.safetensors", flat()).select_layers(["first"])


def test_a_usual_head_that_the_network_lacks_is_passed_over(tmp_path: Path) -> None:
    state = {"fc.weight": torch.ones(4), **flat().state_dict()}
    save_file(state, tmp_path / "w.safetensors")
    found = backbone(tmp_path / "w.safetensors", flat())
    assert found.select_layers(["second"])
    assert found.notes(["second"]) == (f"{tmp_path / 'w.safetensors'}: passed over 'fc.weight'",)


def test_a_network_of_which_nothing_fits_is_refused_at_once(tmp_path: Path) -> None:
    torch.save(flat().state_dict(), tmp_path / "w.pth")
    with pytest.raises(
        WeightsError, match=r"w\.pth does not fit plain: 'layer1\.0\.weight' is miss"
    ):
        load(tmp_path / "w.pth")


# Identity


def test_the_digest_does_not_depend_on_what_was_not_loaded(tmp_path: Path) -> None:
    for kind in ("headless", "classes"):
        torch.save(change(weights(), kind), tmp_path / f"{kind}.pth")
    digests = set()
    for seed in (1, 2):
        torch.manual_seed(seed)
        network = Plain()
        for kind in ("headless", "classes"):
            digests.add(load_backbone(network, str(tmp_path / f"{kind}.pth")).weights_digest)
    assert len(digests) == 1
    torch.save(weights(), tmp_path / "whole.pth")
    assert load_backbone(Plain(), str(tmp_path / "whole.pth")).weights_digest not in digests
    other = change(weights(), "headless") | {"layer3.bias": torch.zeros(10)}
    torch.save(other, tmp_path / "other.pth")
    assert load_backbone(Plain(), str(tmp_path / "other.pth")).weights_digest not in digests


def test_the_digest_of_weights_does_not_depend_on_their_wrapping(tmp_path: Path) -> None:
    state = weights()
    torch.save(state, tmp_path / "bare.pth")
    wrapped = {"state_dict": {f"model.{name}": value for name, value in state.items()}}
    torch.save(wrapped, tmp_path / "last.ckpt")
    trained = Plain()
    trained.load_state_dict(state)
    assert (
        backbone(tmp_path / "bare.pth").weights_digest
        == backbone(tmp_path / "last.ckpt").weights_digest
        == load_backbone(trained).weights_digest
    )
