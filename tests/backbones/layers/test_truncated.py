"""Codes of truncated networks against hooks on a full forward pass."""

from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from bottleneck.backbones.layers.layer import Layer
from bottleneck.backbones.layers.listing import list_layers, select_layers
from bottleneck.backbones.layers.truncated import TruncatedNetwork, layer_code
from bottleneck.errors import BackboneError, InvalidOptionError
from bottleneck.pooling import POOLINGS
from tests.helpers.brought_networks import small_transformer
from tests.helpers.tiny_networks import Plain, Reused


def frozen(network: nn.Module) -> nn.Module:
    return network.eval().requires_grad_(False)


def truncated(network: nn.Module, *names: str, size: int = 32, **options: Any) -> TruncatedNetwork:
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
        torch.testing.assert_close(truncated(network, "layer3", pool=pool)(batch)["layer3"], code)


@pytest.mark.parametrize("pool", [*POOLINGS, "2"])
def test_codes_of_every_pooling_have_the_shape_that_the_layer_says(pool: str) -> None:
    shape = (4, 4, 8) if pool.isdecimal() else (5, 8)
    layer = Layer("x", "x", 0, shape, channels_last=True, cost=1.0, class_token=len(shape) == 2)
    code = layer_code(torch.ones(3, *shape), layer, relu=True, pool=pool)
    assert code.shape == (3, *layer.code_shape(pool))


def test_without_relu_codes_keep_their_sign() -> None:
    network, batch = frozen(Plain()), images()
    code = truncated(network, "layer3", relu=False)(batch)["layer3"]
    torch.testing.assert_close(code, whole(network, batch, "layer3").mean((2, 3)))
    assert (code < 0).any()


def test_channels_last_maps_pool_over_space() -> None:
    network = frozen(
        torchvision.models.SwinTransformer(
            [4, 4], embed_dim=8, depths=[1, 1], num_heads=[1, 1], window_size=[4, 4]
        )
    )
    batch = images(2, 64)
    code = truncated(network, "features.3", size=64)(batch)["features.3"]
    torch.testing.assert_close(code, whole(network, batch, "features.3").clamp(min=0).mean((1, 2)))


def test_tokens_pool_over_tokens() -> None:
    network = small_transformer(32)
    batch = images(2, 32)
    code = truncated(network, "encoder.ln")(batch)["encoder.ln"]
    torch.testing.assert_close(code, whole(network, batch, "encoder.ln").clamp(min=0).mean(1))


def test_a_later_in_place_relu_does_not_change_a_code() -> None:
    network, batch = frozen(Plain()), images()
    code = truncated(network, "layer1.1", "layer2", relu=False, pool="none")(batch)["layer1.1"]
    assert (code < 0).any()  # layer1.2 is an in-place ReLU on this very tensor
    torch.testing.assert_close(code, whole(network, batch, "layer1.1"))


@pytest.mark.parametrize(("name", "call"), [("relu", 0), ("relu_1", 1), ("relu_2", 2)])
def test_each_call_of_a_reused_module_is_a_layer(name: str, call: int) -> None:
    network, batch = frozen(Reused()), images()
    code = truncated(network, name, pool="none")(batch)[name]
    torch.testing.assert_close(code, whole(network, batch, "relu", call))


def test_a_modules_own_name_precedes_that_of_a_call() -> None:
    class Clash(Reused):
        def __init__(self) -> None:
            super().__init__()
            self.relu_1 = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return torch.as_tensor(self.relu_1(super().forward(x)))

    network, batch = frozen(Clash()), images()
    code = truncated(network, "relu_1", pool="none")(batch)["relu_1"]
    torch.testing.assert_close(code, whole(network, batch, "relu_1"))


def test_nothing_after_the_deepest_layer_is_computed() -> None:
    network = frozen(Plain())
    network.get_submodule("fc").register_forward_pre_hook(lambda *_: pytest.fail("fc was called"))
    network.get_submodule("layer3").register_forward_pre_hook(lambda *_: pytest.fail("layer3"))
    layer = Layer("layer2", "layer2", 0, (8, 8, 8), False, 0.5)
    assert TruncatedNetwork(network, [layer])(images())["layer2"].shape == (3, 8)


def test_several_layers_come_from_one_pass() -> None:
    network, batch = frozen(Plain()), images()
    several = truncated(network, "layer3", "layer1", "fc")
    passes: list[int] = []
    network.get_submodule("layer1").register_forward_pre_hook(lambda *_: passes.append(1))
    codes = several(batch)
    assert len(passes) == 1
    for name in ("layer1", "layer3", "fc"):
        torch.testing.assert_close(codes[name], truncated(network, name)(batch)[name])


def test_hooks_are_gone_after_a_pass_and_after_an_error() -> None:
    network = frozen(Plain())
    caught = truncated(network, "layer2")
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
    code = truncated(network, "layer2", pool="none", relu=False)(batch)["layer2"]
    before = code.clone()
    with torch.inference_mode():
        kept[-1].zero_()
    torch.testing.assert_close(code, before)


def test_a_layer_that_the_pass_does_not_reach_is_an_error() -> None:
    ghost = Layer("relu_7", "relu", 7, (6, 32, 32), False, 1.0)
    with pytest.raises(BackboneError, match="relu_7"):
        TruncatedNetwork(frozen(Reused()), [ghost])(images())


def test_a_network_that_catches_exceptions_cannot_catch_the_early_exit() -> None:
    class Careful(Plain):
        def forward(self, x: Tensor) -> Tensor:
            try:
                return super().forward(x)
            except Exception:  # noqa: BLE001
                return x

    network, batch = frozen(Careful()), images()
    code = truncated(network, "layer2")(batch)["layer2"]
    torch.testing.assert_close(code, whole(network, batch, "layer2").mean((2, 3)))


def test_codes_are_float32_whatever_the_precision() -> None:
    network = frozen(Plain()).to(torch.bfloat16)
    code = truncated(network, "layer2")(images().to(torch.bfloat16))["layer2"]
    assert code.dtype == torch.float32


# Class tokens


def with_class_token(size: int = 48) -> nn.Module:
    return frozen(
        torchvision.models.VisionTransformer(
            image_size=size, patch_size=16, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64
        )
    )


@pytest.mark.parametrize("relu", [True, False])
def test_the_class_token_is_the_first_token(relu: bool) -> None:
    network, batch = with_class_token(), images(3, 48)
    pooled = truncated(network, "encoder.ln", size=48, pool="cls", relu=relu)(batch)
    out = whole(network, batch, "encoder.ln")[:, 0]
    assert (out < 0).any()
    torch.testing.assert_close(pooled["encoder.ln"], out.clamp(min=0) if relu else out)


def test_the_average_of_tokens_includes_the_class_token() -> None:
    network, batch = with_class_token(), images(3, 48)
    code = truncated(network, "encoder.ln", size=48, relu=False)(batch)["encoder.ln"]
    tokens = whole(network, batch, "encoder.ln")
    assert tokens.shape[1] == 10
    torch.testing.assert_close(code, tokens.mean(1))


@pytest.mark.parametrize("relu", [True, False])
def test_a_class_token_shares_no_memory_with_activations(relu: bool) -> None:
    network, batch = with_class_token(), images(3, 48)
    kept: list[Tensor] = []
    network.get_submodule("encoder.ln").register_forward_hook(
        lambda _module, _args, output: kept.append(output)
    )
    code = truncated(network, "encoder.ln", size=48, pool="cls", relu=relu)(batch)["encoder.ln"]
    assert code.untyped_storage().data_ptr() != kept[-1].untyped_storage().data_ptr()
    assert code.shape == (3, 32)


def test_layers_without_a_class_token_are_refused() -> None:
    for network, layer, given in (
        (frozen(Plain()), "layer2", "8 × 8 × 8"),
        (with_class_token(32), "conv_proj", "32 × 2 × 2"),
        (with_class_token(32), "heads", "1000"),
    ):
        with pytest.raises(InvalidOptionError, match=f"avg, max, none.*'{layer}'.*{given}, which"):
            truncated(network, layer, pool="cls")
