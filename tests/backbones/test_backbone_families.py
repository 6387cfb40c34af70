"""Codes of every torchvision family against a plain script that runs the whole network.

The script is what a user would write: torchvision's transforms on an image's tensor, the full
network, a hook that keeps a copy of the output, a relu, a mean.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from bottleneck.backbones.backbone import build_skeleton
from bottleneck.backbones.layers.listing import list_layers
from bottleneck.extraction.extract import extract
from bottleneck.extraction.options import ComputeOptions, StorageOptions
from tests.helpers.photographs import as_torchvision, photograph

# An early, a middle and a late layer of each: outputs that an in-place ReLU rewrites further on
# (bn1 of ResNet, features.0 of VGG, norm5 of DenseNet, every conv of GoogLeNet), and modules that
# are called more than once (relu, relu_1).
FAMILIES: dict[str, list[str]] = {
    "alexnet": ["features.0", "features.6", "classifier.4"],
    "vgg11_bn": ["features.1", "features.11", "classifier.3"],
    "resnet18": ["bn1", "layer2.0.relu_1", "layer4.1.bn2"],
    "resnet50": ["layer1.0.relu_2", "layer3.2.relu", "layer4"],
    "squeezenet1_0": ["features.0", "features.5.expand1x1", "classifier.1"],
    "densenet121": ["features.norm0", "features.transition2.norm", "features.norm5"],
    "mobilenet_v2": ["features.0.1", "features.7.conv.1.1", "features.18"],
    "mobilenet_v3_small": [
        "features.1.block.0.1",
        "features.6.block.2.scale_activation",
        "avgpool",
    ],
    "efficientnet_b0": ["features.0", "features.4.0.block.2", "features.8.1"],
    "convnext_tiny": ["features.0.0", "features.5.3.block.0", "features.7.2"],
    "regnet_y_400mf": ["stem.1", "trunk_output.block2", "trunk_output.block4.block4-1.f.b.1"],
    "shufflenet_v2_x1_0": ["conv1.1", "stage3.1", "conv5.1"],
    "googlenet": ["conv1.bn", "inception4b.branch2.1.conv", "inception5b"],
    "inception_v3": ["Conv2d_1a_3x3.bn", "Mixed_6b.branch7x7_2", "Mixed_7c"],
}

# Their kinds of layers are those of the others too (ConvNeXt's: of timm's smallest one, in
# test_backbone_timm_families.py), which are quicker.
SLOW = (
    *("vgg11_bn", "resnet50", "googlenet", "inception_v3", "convnext_tiny", "regnet_y_400mf"),
    *("densenet121", "efficientnet_b0", "alexnet", "mobilenet_v2"),
    "squeezenet1_0",
)

SIZE = 96  # above every family's minimum; small, because a full pass of each is the price

# What torchvision's own builders set when they load trained weights.
AS_TRAINED: dict[str, dict[str, Any]] = {
    "googlenet": {"transform_input": True, "aux_logits": True, "init_weights": False},
    "inception_v3": {"transform_input": True, "aux_logits": True, "init_weights": False},
}

# Both have a classifier of 100 million weights in layers of this width.
WIDE, NARROW = 4096, 64


@pytest.fixture
def narrow_classifiers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build AlexNet and VGG with a narrower classifier, which is quicker to save and to load."""
    init = nn.Linear.__init__

    def narrow(self: nn.Linear, in_features: int, out_features: int, **options: Any) -> None:
        inputs, outputs = (NARROW if size == WIDE else size for size in (in_features, out_features))
        init(self, inputs, outputs, **options)

    monkeypatch.setattr(nn.Linear, "__init__", narrow)


def whole_network_codes(
    network: nn.Module, images: list[Image.Image], layers: list[str]
) -> dict[str, NDArray[np.float32]]:
    outputs: dict[str, Tensor] = {}
    calls: dict[str, int] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Tensor) -> None:
            call = calls.get(name, 0)
            calls[name] = call + 1
            outputs[f"{name}_{call}" if call else name] = output.clone()

        return hook

    modules = dict(network.named_modules())
    for layer in layers:
        name = layer if layer in modules else layer.rpartition("_")[0]
        modules[name].register_forward_hook(keep(name))
    with torch.inference_mode():
        inputs = [as_torchvision(image, resize=SIZE + 8, crop=SIZE) for image in images]
        network.eval()(torch.stack(inputs))
    codes = {layer: outputs[layer].clamp(min=0) for layer in layers}
    return {
        layer: (code.mean((2, 3)) if code.ndim == 4 else code).numpy()
        for layer, code in codes.items()
    }


@pytest.mark.usefixtures("narrow_classifiers")
@pytest.mark.parametrize(
    "family",
    [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in FAMILIES],
)
def test_codes_are_those_of_the_whole_network(family: str, tmp_path: Path) -> None:
    layers = FAMILIES[family]
    images = [photograph(i, size=size) for i, size in enumerate([(130, 100), (90, 140), (96, 96)])]
    folder = tmp_path / "images"
    folder.mkdir()
    for i, image in enumerate(images):
        image.save(folder / f"{i}.png")
    network = torchvision.models.get_model(family, weights=None, **AS_TRAINED.get(family, {}))
    torch.save(network.state_dict(), tmp_path / "weights.pth")

    done = extract(
        folder,
        tmp_path / "cache",
        model=family,
        weights=str(tmp_path / "weights.pth"),
        layers=layers,
        transform={"resize": SIZE + 8, "crop": SIZE, "interpolation": "bilinear"},
        storage=StorageOptions(dtype="float32"),
        compute=ComputeOptions(precision="float32", device="cpu"),
    )

    expected = whole_network_codes(network, images, layers)
    with h5py.File(done.cache.path / "codes.h5") as index:
        for layer in layers:
            code = index[layer][...]
            scale = np.abs(expected[layer]).max()
            assert scale > 0
            np.testing.assert_allclose(code, expected[layer], rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.slow
@pytest.mark.parametrize("model", torchvision.models.list_models(module=torchvision.models))
def test_every_torchvision_model_lists_its_layers(model: str) -> None:
    network, transform = build_skeleton(model)
    work = [layer.cost or 0.0 for layer in list_layers(network, transform.crop)]
    assert len(work) > 10
    assert work == sorted(work)
    assert work[-1] == pytest.approx(1.0)
