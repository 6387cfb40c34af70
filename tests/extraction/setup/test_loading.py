from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from bottleneck.backbones.backbone import load_backbone
from bottleneck.data.images import open_images
from bottleneck.errors import BackboneError, SpecMismatchError, UntrustedCodeError, WeightsError
from bottleneck.extraction import ComputeOptions
from bottleneck.extraction.encoding.encoder import Encoder
from bottleneck.extraction.setup.loading import load_network, make_encoder, make_spec
from bottleneck.model_reference import ModelReference
from bottleneck.spec import Spec
from tests.helpers.networks import PLAIN, SMALL
from tests.helpers.photographs import as_torchvision

ON_CPU = ComputeOptions(device="cpu")
MESSAGES: dict[str, Any] = {"owner": "the head", "next_step": "train another"}


def spec_of(model: str | nn.Module) -> Spec:
    backbone = load_backbone(model, transform=SMALL)
    return make_spec(backbone, precision="float32", relu=False, pool="max")


def codes(encoder: Encoder, photos: Path) -> torch.Tensor:
    (batch,) = encoder.encode(open_images(photos), [[0, 1]])
    return torch.from_numpy(batch.codes["layer2"])


def test_the_network_of_a_spec_is_loaded_with_all_that_the_spec_says(photos: Path) -> None:
    backbone = load_backbone(PLAIN, transform=SMALL)
    spec = spec_of(PLAIN)
    layers = backbone.select_layers(["layer2"])
    expected = codes(Encoder(backbone, layers, spec, [torch.device("cpu")]), photos)
    network = load_network(spec, backbone.reference, model=PLAIN, **MESSAGES)
    encoder = make_encoder(network, spec, ["layer2"], compute=ON_CPU)
    torch.testing.assert_close(codes(encoder, photos), expected)


def test_another_network_is_refused_by_name() -> None:
    other = nn.Sequential(nn.Conv2d(3, 8, 3))
    with pytest.raises(SpecMismatchError, match=r"in the head and module:Seq.*: train another"):
        load_network(spec_of(PLAIN), ModelReference(PLAIN, "none"), model=other, **MESSAGES)


def test_weights_that_do_not_fit_a_given_network_are_not_blamed(tmp_path: Path) -> None:
    backbone, weights = load_backbone(PLAIN), tmp_path / "plain.pth"
    torch.save(backbone.network.state_dict(), weights)
    (tmp_path / "other.py").write_text(
        "from torch import nn\n\n\ndef build():\n    return nn.Sequential(nn.Conv2d(3, 99, 1))\n"
    )
    reference, other = ModelReference(PLAIN, str(weights)), f"{tmp_path / 'other.py'}:build"
    with pytest.raises(WeightsError, match=r"^the head is of .*:plain, .*: leave `model` out"):
        load_network(spec_of(PLAIN), reference, model=other, **MESSAGES)
    with pytest.raises(WeightsError, match=r"^\S*plain\.pth does not fit"):  # the caller's own
        load_network(spec_of(PLAIN), reference, model=other, weights=weights, **MESSAGES)


def test_code_that_was_never_given_is_not_run(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text("raise SystemExit('it ran')\n")
    reference = ModelReference(f"{file}:build", "none")
    with pytest.raises(UntrustedCodeError):
        load_network(spec_of(PLAIN), reference, **MESSAGES)


def test_a_missing_network_or_weights_file_is_asked_for_by_option(tmp_path: Path) -> None:
    spec, code, weights = spec_of(PLAIN), tmp_path / "net.py", tmp_path / "net.pth"
    reference = ModelReference(f"{code}:build", str(weights))
    with pytest.raises(BackboneError, match=r"the head names a network .*`model=path/to/net\.py:b"):
        load_network(spec, reference, **MESSAGES)
    with pytest.raises(WeightsError, match=r"the head names weights .*`weights=path/to/net\.pth`"):
        load_network(spec, reference, model=PLAIN, **MESSAGES)
    reference = ModelReference(f"{code}:build", "DEFAULT")
    assert load_network(spec, reference, model=PLAIN, **MESSAGES).model == spec.model


def test_a_network_that_was_given_as_an_object_must_be_given_again(photos: Path) -> None:
    torch.manual_seed(1)
    network = nn.Sequential()
    network.add_module("layer2", nn.Conv2d(3, 8, 3))
    spec, reference = spec_of(network), ModelReference("module:Sequential", "DEFAULT")
    with pytest.raises(BackboneError, match="given as an object"):
        load_network(spec, reference, **MESSAGES)
    again = load_network(spec, reference, model=network, **MESSAGES)
    encoder = make_encoder(again, spec, ["layer2"], compute=ON_CPU)
    assert codes(encoder, photos).shape == (2, 8)


def test_the_codes_of_the_input_are_the_normalised_images(photos: Path) -> None:
    backbone = load_backbone(PLAIN, transform=SMALL)
    spec = make_spec(backbone, precision="float32", relu=False, pool="none")
    encoder = make_encoder(backbone, spec, [""], compute=ON_CPU)
    source = open_images(photos)
    (batch,) = encoder.encode(source, [[0, 1]])
    with Image.open(photos / source.table.path[1]) as image:
        pixels = as_torchvision(image.convert("RGB"), resize=32, crop=32)
    torch.testing.assert_close(torch.from_numpy(batch.codes[""][1]), pixels)
