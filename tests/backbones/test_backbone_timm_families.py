"""Codes of timm's families against a plain hook on the whole network, tokens included.

Truncated, traced and fused where that is possible, in several threads: `BatchRunner` as `extract`
has it. The truth is timm's own network, run to its end on the same images, and pooled here by what
is known of each output: a map of channels first or last, tokens, or a vector.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from bottleneck.backbones.backbone import Backbone, build_skeleton, load_backbone
from bottleneck.backbones.inference.runner import BatchRunner
from bottleneck.backbones.layers.listing import list_layers
from bottleneck.extraction.setup.loading import make_spec
from tests.helpers.tiny_networks import frozen

# An early, a middle and a late layer of each, with the axes of its output: images, channels,
# height, width, blocks, tokens.
FAMILIES: dict[str, dict[str, str]] = {
    "tf_efficientnet_lite0": {"bn1": "nchw", "blocks.3": "nchw", "global_pool": "nc"},
    "resnet18": {"bn1": "nchw", "layer2.0.bn2": "nchw", "layer4": "nchw"},
    "mobilenetv3_small_050": {
        "blocks.1": "nchw",
        "blocks.4.1.se": "nchw",
        "conv_head": "nchw",
        "flatten": "nc",
    },
    "convnext_atto": {"stem": "nchw", "stages.1.blocks.0.norm": "nchw", "stages.3": "nchw"},
    "regnety_002": {"stem": "nchw", "s2.b1.se": "nchw", "s4": "nchw"},
    "ghostnet_050": {"bn1": "nchw", "blocks.4": "nchw", "conv_head": "nchw"},
    "poolformer_s12": {"stem": "nchw", "stages.1.blocks.0.mlp": "nchw", "stages.3": "nchw"},
    "vit_tiny_patch16_224": {"patch_embed": "ntc", "blocks.3.attn.qkv": "ntc", "norm": "ntc"},
    "deit_tiny_distilled_patch16_224": {
        "blocks.0": "ntc",
        "blocks.8.mlp.fc1": "ntc",
        "norm": "ntc",
    },
    "cait_xxs24_224": {"blocks.2": "ntc", "blocks_token_only.0": "ntc", "norm": "ntc"},
    "swin_tiny_patch4_window7_224": {
        "layers.0": "nhwc",
        "layers.2.blocks.1": "nhwc",
        "norm": "nhwc",
    },
    "nest_tiny": {"levels.0": "nchw", "levels.1.transformer_encoder.0": "nbtc", "norm": "nhwc"},
    "mixer_s32_224": {"stem": "ntc", "blocks.3.mlp_channels": "ntc", "norm": "ntc"},
    "levit_128s": {"stem": "nchw", "stages.0": "ntc", "stages.2": "ntc"},
    "mobilevit_xxs": {"stem": "nchw", "stages.2": "nchw", "final_conv": "nchw"},
}

# Small inputs where the network takes any size: a full pass of each is the price.
OF_ONE_SIZE = {name for name in FAMILIES if "224" in name} | {"levit_128s", "nest_tiny"}
SIZES = dict.fromkeys(FAMILIES.keys() - OF_ONE_SIZE, 96)


# Of fewer blocks and for small images: what is told of a network, its own code does with any.
SHORT: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {"img_size": 64, "depth": 4},
    "convnext_atto": {"depths": (1, 1, 1, 1)},
}


def trained(name: str, **options: Any) -> nn.Module:
    """A network of seeded weights, whose norms do something."""
    torch.manual_seed(5)
    return frozen(timm.create_model(name, **options))


def outputs_of(network: nn.Module, layers: list[str], batch: Tensor) -> dict[str, Tensor]:
    kept: dict[str, Tensor] = {}
    for layer in layers:
        network.get_submodule(layer).register_forward_hook(
            lambda _module, _args, output, layer=layer: kept.update({layer: output.clone()})
        )
    with torch.inference_mode():
        network(batch)
    return kept


def pooled(output: Tensor, axes: str, pool: str) -> Tensor:
    assert output.ndim == len(axes)
    output = output.clamp(min=0)
    if pool == "cls":
        return output[:, 0]
    rest = tuple(i for i, axis in enumerate(axes) if axis not in "nc")
    return output.mean(rest) if rest else output


# CaiT's 24 blocks take a while; a shorter one is in test_class_token.py.
# A network of each kind of output is always run: maps with channels first, tokens, a vector.
FAST = [("mobilenetv3_small_050", "torch")]
FAST_IF_SHORT = [("vit_tiny_patch16_224", "torch"), ("convnext_atto", "openvino")]


@pytest.mark.parametrize(
    ("name", "runtime"),
    [
        pytest.param(name, runtime, marks=[] if (name, runtime) in FAST else [pytest.mark.slow])
        for runtime in ("torch", "openvino")
        for name in FAMILIES
    ],
)
def test_codes_are_those_of_the_whole_network(name: str, runtime: str, tmp_path: Path) -> None:
    network = trained(name)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    size = SIZES.get(name, 224)
    backbone = load_backbone(
        f"timm:{name}", str(tmp_path / "w.pth"), transform={"crop": size, "resize": size}
    )
    assert_codes(network, backbone, FAMILIES[name], runtime)


@pytest.mark.parametrize(("name", "runtime"), FAST_IF_SHORT)
def test_codes_of_a_short_network_are_those_of_the_whole(name: str, runtime: str) -> None:
    network = trained(name, **SHORT[name])
    backbone = load_backbone(network, transform={"crop": 64, "resize": 64})
    assert_codes(network, backbone, FAMILIES[name], runtime)


def assert_codes(
    network: nn.Module, backbone: Backbone, layers: dict[str, str], runtime: str
) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino")
    size = backbone.transform.crop
    images = torch.randint(0, 256, (3, size, size, 3), dtype=torch.uint8)
    mean, std = torch.tensor(backbone.transform.mean), torch.tensor(backbone.transform.std)
    batch = ((images / 255 - mean) / std).permute(0, 3, 1, 2)
    expected = outputs_of(network, list(layers), batch)

    found = {layer.name: layer for layer in backbone.select_layers(list(layers))}
    for pool in ("avg", "cls"):
        chosen = [layer for layer in found.values() if layer.supports_pooling(pool)]
        if not chosen:
            continue
        spec = make_spec(backbone, precision="float32", relu=True, pool=pool)
        runner = BatchRunner(backbone, chosen, spec, [torch.device("cpu")])
        runner.choose_runtime(runtime, len(images))
        with runner.threads() as threads:
            codes = threads.submit(runner.run, images).result()
        for layer in chosen:
            code = pooled(expected[layer.name], layers[layer.name], pool).numpy()
            scale = np.abs(code).max()
            assert scale > 0
            assert codes[layer.name].shape == code.shape
            np.testing.assert_allclose(codes[layer.name], code, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize(
    ("name", "having", "without"),
    [
        ("vit_tiny_patch16_224", ["blocks.3.attn.qkv", "norm"], ["patch_embed", "head"]),
        ("mixer_s32_224", [], ["stem", "norm"]),
        *(  # a shorter CaiT is in test_class_token.py
            pytest.param(*each, marks=pytest.mark.slow)
            for each in [
                ("deit_tiny_distilled_patch16_224", ["blocks.0", "norm"], ["patch_embed", "head"]),
                ("cait_xxs24_224", ["blocks_token_only.0", "norm"], ["patch_embed", "blocks.23"]),
                ("swin_tiny_patch4_window7_224", [], ["layers.0", "norm"]),
                ("levit_128s", [], ["stages.0"]),
            ]
        ),
    ],
)
def test_layers_with_a_class_token_are_known(
    name: str, having: list[str], without: list[str]
) -> None:
    network, transform = build_skeleton(f"timm:{name}")
    listed = {layer.name: layer.class_token for layer in list_layers(network, transform.crop)}
    assert all(listed[layer] for layer in having)
    assert not any(listed[layer] for layer in without)
