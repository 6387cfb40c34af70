"""Networks that the caller built: copied, and never changed."""

import copy
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from bottleneck.backbones.backbone import build_skeleton, load_backbone
from bottleneck.errors import BackboneError, UnknownNameError, WeightsError
from tests.helpers.brought_networks import in_float64
from tests.helpers.networks import SMALL
from tests.helpers.tiny_networks import Plain


def snapshot(network: nn.Module) -> list[tuple[object, ...]]:
    tensors = [*network.named_parameters(), *network.named_buffers()]
    return [
        *((name, module.training, len(module._forward_hooks)) for name, module in
          network.named_modules()),
        *((name, value.data_ptr(), value.dtype, value.stride(), value.requires_grad,
           value.detach().double().sum().item()) for name, value in tensors),
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_callers_network_is_copied_and_never_changed(dtype: torch.dtype) -> None:
    network = Plain().train().to(dtype)
    before = snapshot(network)
    backbone = load_backbone(network)
    _ = backbone.layers
    assert snapshot(network) == before
    assert not any(module.training for module in backbone.network.modules())
    assert {value.dtype for value in backbone.network.parameters()} == {torch.float32}
    assert not any(value.requires_grad for value in backbone.network.parameters())
    with torch.no_grad():
        network.fc.bias.add_(1)
    assert not torch.equal(network.fc.bias.float(), backbone.network.get_parameter("fc.bias"))


def test_computations_in_float64_stay_in_float64() -> None:
    network, images = in_float64(), torch.randn(2, 3, 32, 32)
    codes = load_backbone(network, transform=SMALL).network(images)
    assert codes.dtype is torch.float64
    assert torch.equal(codes, network(images))


def test_identity_and_reference_name_the_class() -> None:
    backbone = load_backbone(Plain())
    name, _, digest = backbone.model.partition("@")
    assert (name, len(digest)) == ("module:Plain", 16)
    assert (backbone.reference.model, backbone.reference.weights) == ("module:Plain", "DEFAULT")


def test_weights_are_those_of_the_network_or_of_a_file(tmp_path: Path) -> None:
    one, other = Plain(), Plain()
    torch.save(other.state_dict(), tmp_path / "w.pth")
    digests = [load_backbone(one, weights).weights_digest for weights in ("DEFAULT", "none")]
    loaded = load_backbone(one, str(tmp_path / "w.pth"))
    assert digests[0] == digests[1] == load_backbone(copy.deepcopy(one)).weights_digest
    assert loaded.weights_digest == load_backbone(other).weights_digest != digests[0]
    assert loaded.reference.weights == str(tmp_path / "w.pth")
    for build in (load_backbone, build_skeleton):
        with pytest.raises(UnknownNameError, match="weights of Plain"):
            build(one, "IMAGENET1K_V1")
        with pytest.raises(WeightsError, match="no weights file"):
            build(one, str(tmp_path / "absent.pth"))


def test_its_preprocess_dictionary_is_honoured() -> None:
    network = Plain()
    network.preprocess = {"crop": 48, "resize": 50}  # type: ignore[assignment]
    assert load_backbone(network).transform.crop == 48
    assert build_skeleton(network)[1].resize == 50
    network.preprocess = {"crp": 48}  # type: ignore[assignment]
    with pytest.raises(UnknownNameError, match="preprocess in Plain"):
        load_backbone(network)


def test_a_network_that_cannot_be_copied_is_refused() -> None:
    network = Plain()
    network.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(BackboneError, match=r"Plain cannot be copied.*`model=path/to/file"):
        load_backbone(network)


def test_a_network_without_values_is_refused() -> None:
    network = nn.Conv2d(3, 8, 3, device="meta")
    with pytest.raises(BackboneError, match=r"^'weight' is on the meta device.*on the CPU"):
        load_backbone(network)
