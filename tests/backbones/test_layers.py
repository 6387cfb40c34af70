"""Layers: their names, shapes and costs; the tap against a hook on the whole network."""

from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from bottleneck.backbones.backbone import build_skeleton
from bottleneck.backbones.layers import (
    Layer,
    check_pool,
    list_layers,
    select_layers,
)
from bottleneck.backbones.truncated import TruncatedNetwork
from bottleneck.errors import BackboneError, InvalidOptionError, UnknownNameError
from tests.helpers.tiny_networks import Plain, Reused


def frozen(network: nn.Module) -> nn.Module:
    return network.eval().requires_grad_(False)


def tap(network: nn.Module, *names: str, size: int = 32, **options: Any) -> TruncatedNetwork:
    return TruncatedNetwork(network, select_layers(list_layers(network, size), names), **options)


def whole(network: nn.Module, images: Tensor, module: str, call: int = 0) -> Tensor:
    """A module's output at its n-th call in a full forward pass, copied at that moment."""
    seen: list[Tensor] = []
    handle = network.get_submodule(module).register_forward_hook(
        lambda _module, _args, output: seen.append(output.clone())
    )
    with torch.inference_mode():
        network(images)
    handle.remove()
    return seen[call]


def images(count: int = 3, size: int = 32) -> Tensor:
    return torch.randn(count, 3, size, size)


# Listing


def test_layers_have_the_shapes_that_the_network_gives() -> None:
    network = frozen(Plain())
    found = {layer.name: layer.shape for layer in list_layers(network, 32)}
    assert found["layer1"] == (6, 16, 16)
    assert found["layer2.0"] == (8, 8, 8)
    assert found["layer3"] == (10, 8, 8)
    assert found["fc"] == (4,)


def test_work_is_the_share_of_multiply_adds_counted_by_hand() -> None:
    layers = {layer.name: layer.cost for layer in list_layers(frozen(Plain()), 32)}
    steps = {
        "layer1": 16 * 16 * 6 * 3 * 9,
        "layer2": 8 * 8 * 8 * 6 * 9,
        "layer3": 8 * 8 * 10 * 8 * 9,
        "fc": 10 * 4,
    }
    total, done = sum(steps.values()), 0
    for name, step in steps.items():
        done += step
        assert layers[name] == pytest.approx(done / total)


@pytest.mark.parametrize("model", ["resnet50", "squeezenet1_0", "vit_b_16", "swin_t"])
def test_total_work_is_what_torchvision_publishes(model: str) -> None:
    network, transform = build_skeleton(model)
    from torch.utils.flop_counter import FlopCounterMode

    size = transform.crop
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, 3, size, size, device="meta"))
    published = torchvision.models.get_model_weights(model).DEFAULT.meta["_ops"]
    assert counter.get_total_flops() / 2e9 == pytest.approx(published, rel=1e-2)
    assert list_layers(network, size)[-1].cost == pytest.approx(1.0)


@pytest.mark.parametrize("model", ["regnet_y_400mf", "vit_h_14", "maxvit_t", "swin_v2_t"])
def test_unusual_builders_and_sizes_can_be_listed(model: str) -> None:
    network, transform = build_skeleton(model)
    assert list_layers(network, transform.crop)[-1].shape == (1000,)


def test_a_module_called_again_has_torchvisions_node_names() -> None:
    from torchvision.models.feature_extraction import get_graph_node_names

    network = frozen(torchvision.models.resnet18(weights=None))
    nodes = get_graph_node_names(network)[1]
    ours = {layer.name for layer in list_layers(network, 64)}
    assert {"layer1.0.relu", "layer1.0.relu_1", "layer4.1.relu_1"} <= ours
    relus = {node for node in nodes if ".relu" in node}
    assert relus == {name for name in ours if ".relu" in name}


def test_a_network_that_takes_another_size_says_so() -> None:
    network = frozen(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5)))
    with pytest.raises(BackboneError, match=r"3 × 32 × 32.*`crop`"):
        list_layers(network, 32)
    assert [layer.shape for layer in list_layers(network, 8)] == [(192,), (5,)]


def test_outputs_that_are_no_tensor_of_images_are_not_listed() -> None:
    network = frozen(torchvision.models.vit_b_16(weights=None, image_size=32))
    names = [layer.name for layer in list_layers(network, 32)]
    assert "encoder.layers.encoder_layer_0.mlp" in names
    assert not [name for name in names if name.endswith("self_attention")]  # a tuple


@pytest.mark.parametrize(
    ("model", "layer", "channels_last", "channels"),
    [
        ("resnet18", "layer3", False, 256),
        ("swin_t", "features.3", True, 192),
        ("swin_t", "permute", False, 768),
        ("convnext_tiny", "features.3.1.block.3", True, 768),
        ("convnext_tiny", "features.3.1", False, 192),
        ("vit_b_16", "encoder.ln", True, 768),
        ("vit_b_16", "conv_proj", False, 768),
    ],
)
def test_channels_are_told_from_space(
    model: str, layer: str, channels_last: bool, channels: int
) -> None:
    network, transform = build_skeleton(model)
    found = {found.name: found for found in list_layers(network, transform.crop)}[layer]
    assert (found.channels_last, found.channels) == (channels_last, channels)


def test_a_misspelt_layer_gets_the_nearest_names() -> None:
    layers = list_layers(frozen(Plain()), 32)
    with pytest.raises(UnknownNameError, match=r"'layr3'.*did you mean layer3.*bottleneck.layers`"):
        select_layers(layers, ["layer1", "layr3"])


def test_layers_are_chosen_in_the_networks_order_and_once() -> None:
    layers = list_layers(frozen(Plain()), 32)
    chosen = select_layers(layers, ["layer3", "layer1", "layer3"])
    assert [layer.name for layer in chosen] == ["layer1", "layer3"]


# Pooling


@pytest.mark.parametrize("wrong", ["", "0", "-1", "mean", "1.5", "2x2"])
def test_pools_that_do_not_exist_are_refused(wrong: str) -> None:
    with pytest.raises(InvalidOptionError, match="avg, max, none"):
        check_pool(wrong)


@pytest.mark.parametrize(
    ("shape", "channels_last", "pool", "expected"),
    [
        ((8, 5, 5), False, "avg", (8,)),
        ((8, 5, 5), False, "3", (8, 3, 3)),
        ((5, 5, 8), True, "max", (8,)),
        ((5, 5, 8), True, "2", (8, 2, 2)),
        ((8, 5, 5), False, "none", (8, 5, 5)),
        ((197, 16), True, "avg", (16,)),
        ((10,), False, "avg", (10,)),
        ((10,), False, "2", (10,)),
    ],
)
def test_code_shapes(
    shape: tuple[int, ...], channels_last: bool, pool: str, expected: tuple[int, ...]
) -> None:
    layer = Layer("x", "x", 0, shape, channels_last, 1.0)
    assert layer.code_shape(pool) == expected


def test_a_grid_of_tokens_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match=r"`pool='2'`.*'x'.*197 × 16"):
        Layer("x", "x", 0, (197, 16), True, 1.0).code_shape("2")


def test_pooling_is_of_the_relu_and_not_the_relu_of_the_pool() -> None:
    network, batch = frozen(Plain()), images()
    out = whole(network, batch, "layer3")
    assert (out < 0).any()
    relu = out.clamp(min=0)
    expected = {
        "avg": relu.mean((2, 3)),
        "max": relu.amax((2, 3)),
        "none": relu,
        "2": relu.reshape(3, 10, 2, 4, 2, 4).mean((3, 5)),  # 8 × 8 into 2 × 2 blocks
    }
    for pool, code in expected.items():
        torch.testing.assert_close(tap(network, "layer3", pool=pool)(batch)["layer3"], code)


def test_without_relu_codes_keep_their_sign() -> None:
    network, batch = frozen(Plain()), images()
    code = tap(network, "layer3", relu=False)(batch)["layer3"]
    torch.testing.assert_close(code, whole(network, batch, "layer3").mean((2, 3)))
    assert (code < 0).any()


def test_channels_last_maps_pool_over_space() -> None:
    network = frozen(torchvision.models.swin_t(weights=None))
    batch = images(2, 64)
    code = tap(network, "features.3", size=64)(batch)["features.3"]
    torch.testing.assert_close(code, whole(network, batch, "features.3").clamp(min=0).mean((1, 2)))


def test_tokens_pool_over_tokens() -> None:
    network = frozen(torchvision.models.vit_b_16(weights=None, image_size=32))
    batch = images(2, 32)
    code = tap(network, "encoder.ln")(batch)["encoder.ln"]
    torch.testing.assert_close(code, whole(network, batch, "encoder.ln").clamp(min=0).mean(1))


# The tap


def test_a_later_in_place_relu_does_not_rewrite_what_was_caught() -> None:
    network, batch = frozen(Plain()), images()
    code = tap(network, "layer1.1", "layer2", relu=False, pool="none")(batch)["layer1.1"]
    assert (code < 0).any()  # layer1.2 is an in-place ReLU on this very tensor
    torch.testing.assert_close(code, whole(network, batch, "layer1.1"))


@pytest.mark.parametrize(("name", "call"), [("relu", 0), ("relu_1", 1), ("relu_2", 2)])
def test_each_call_of_a_reused_module_is_a_layer(name: str, call: int) -> None:
    network, batch = frozen(Reused()), images()
    code = tap(network, name, pool="none")(batch)[name]
    torch.testing.assert_close(code, whole(network, batch, "relu", call))


def test_a_module_has_a_better_claim_to_a_name_than_a_call() -> None:
    class Clash(Reused):
        def __init__(self) -> None:
            super().__init__()
            self.relu_1 = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return torch.as_tensor(self.relu_1(super().forward(x)))

    network, batch = frozen(Clash()), images()
    code = tap(network, "relu_1", pool="none")(batch)["relu_1"]
    torch.testing.assert_close(code, whole(network, batch, "relu_1"))


def test_nothing_after_the_deepest_layer_is_computed() -> None:
    network = frozen(Plain())
    network.get_submodule("fc").register_forward_pre_hook(lambda *_: pytest.fail("fc was called"))
    network.get_submodule("layer3").register_forward_pre_hook(lambda *_: pytest.fail("layer3"))
    layer = Layer("layer2", "layer2", 0, (8, 8, 8), False, 0.5)
    assert TruncatedNetwork(network, [layer])(images())["layer2"].shape == (3, 8)


def test_several_layers_come_from_one_pass() -> None:
    network, batch = frozen(Plain()), images()
    several = tap(network, "layer3", "layer1", "fc")
    passes: list[int] = []
    network.get_submodule("layer1").register_forward_pre_hook(lambda *_: passes.append(1))
    codes = several(batch)
    assert len(passes) == 1
    for name in ("layer1", "layer3", "fc"):
        torch.testing.assert_close(codes[name], tap(network, name)(batch)[name])


def test_hooks_are_gone_after_a_pass_and_after_an_error() -> None:
    network = frozen(Plain())
    caught = tap(network, "layer2")
    caught(images())
    with pytest.raises(RuntimeError):
        caught(torch.zeros(1, 5, 32, 32))
    assert not any(module._forward_hooks for module in network.modules())


def test_codes_share_no_memory_with_activations() -> None:
    network, batch = frozen(Plain()), images()
    kept: list[Tensor] = []
    network.get_submodule("layer2").register_forward_hook(
        lambda _module, _args, output: kept.append(output)
    )
    code = tap(network, "layer2", pool="none", relu=False)(batch)["layer2"]
    before = code.clone()
    with torch.inference_mode():
        kept[-1].zero_()
    torch.testing.assert_close(code, before)


def test_a_layer_that_the_pass_does_not_reach_is_an_error() -> None:
    ghost = Layer("relu_7", "relu", 7, (6, 32, 32), False, 1.0)
    with pytest.raises(BackboneError, match="relu_7"):
        TruncatedNetwork(frozen(Reused()), [ghost])(images())


def test_a_network_that_catches_exceptions_cannot_catch_the_way_out() -> None:
    class Careful(Plain):
        def forward(self, x: Tensor) -> Tensor:
            try:
                return super().forward(x)
            except Exception:  # noqa: BLE001
                return x

    network, batch = frozen(Careful()), images()
    code = tap(network, "layer2")(batch)["layer2"]
    torch.testing.assert_close(code, whole(network, batch, "layer2").mean((2, 3)))


def test_codes_are_float32_whatever_the_precision() -> None:
    network = frozen(Plain()).to(torch.bfloat16)
    code = tap(network, "layer2")(images().to(torch.bfloat16))["layer2"]
    assert code.dtype == torch.float32
