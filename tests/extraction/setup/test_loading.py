from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bottleneck.backbones.backbone import load_backbone
from bottleneck.data.images import open_images
from bottleneck.errors import BackboneError, SpecMismatchError, UntrustedCodeError
from bottleneck.extraction.running.encoder import Encoder
from bottleneck.extraction.setup.loading import load_encoder, make_spec
from bottleneck.spec import ModelReference, Spec
from tests.helpers.networks import PLAIN, SMALL

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
    encoder = load_encoder(
        spec, backbone.reference, ["layer2"], model=PLAIN, device="cpu", **MESSAGES
    )
    torch.testing.assert_close(codes(encoder, photos), expected)


def test_another_network_is_refused_by_name() -> None:
    other = nn.Sequential(nn.Conv2d(3, 8, 3))
    with pytest.raises(SpecMismatchError, match=r"in the head and module:Seq.*: train another"):
        load_encoder(spec_of(PLAIN), ModelReference(PLAIN, "none"), ["0"], model=other, **MESSAGES)


def test_code_that_was_never_given_is_not_run(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text("raise SystemExit('it ran')\n")
    reference = ModelReference(f"{file}:build", "none")
    with pytest.raises(UntrustedCodeError):
        load_encoder(spec_of(PLAIN), reference, ["layer2"], **MESSAGES)


def test_a_network_that_was_given_as_an_object_must_be_given_again(photos: Path) -> None:
    torch.manual_seed(1)
    network = nn.Sequential()
    network.add_module("layer2", nn.Conv2d(3, 8, 3))
    spec, reference = spec_of(network), ModelReference("module:Sequential", "DEFAULT")
    with pytest.raises(BackboneError, match="given as an object"):
        load_encoder(spec, reference, ["layer2"], device="cpu", **MESSAGES)
    encoder = load_encoder(spec, reference, ["layer2"], model=network, device="cpu", **MESSAGES)
    assert codes(encoder, photos).shape == (2, 8)
