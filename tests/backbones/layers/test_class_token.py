"""Class tokens: which networks have one, and at which of their layers."""

from collections.abc import Callable
from functools import partial

import pytest
import timm
import torch
from torch import Tensor, nn

from bottleneck.backbones.layers.class_token import count_prefix_tokens, has_class_token
from bottleneck.backbones.layers.listing import list_layers
from tests.helpers.brought_networks import small_transformer


def small_timm(name: str = "vit_tiny_patch16_224", **options: object) -> nn.Module:
    torch.manual_seed(3)
    network: nn.Module = timm.create_model(name, img_size=64, depth=2, **options)
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("network", "prefix"),
    [
        (small_transformer, 1),
        (small_timm, 1),
        (partial(small_timm, reg_tokens=4), 5),
        (partial(small_timm, class_token=False, global_pool="avg"), 0),
        (partial(small_timm, class_token=False, global_pool="avg", reg_tokens=4), 0),
        (partial(small_timm, "deit_tiny_distilled_patch16_224"), 2),
        (partial(nn.Conv2d, 3, 8, 3), 0),
    ],
)
def test_tokens_before_the_patches_are_counted(
    network: Callable[[], nn.Module], prefix: int
) -> None:
    assert count_prefix_tokens(network()) == prefix


def test_numbered_tokens_are_one_for_each_branch_or_stage() -> None:
    torch.manual_seed(3)
    # Patches of 12 pixels in one branch, and of 16 in the other; each has a token of its own.
    network = timm.create_model("crossvit_tiny_240", img_size=120, depth=[[1, 1, 0]] * 3)
    listed = {layer.name: layer for layer in list_layers(network.eval(), 120)}
    assert count_prefix_tokens(network) == 1
    having = {name for name, layer in listed.items() if layer.class_token}
    assert {"blocks.0", "blocks.0:1", "norm.0", "norm.1"} <= having
    assert not {"patch_embed.0", "patch_embed.1"} & having


def test_parameters_are_known_by_their_usual_names_wherever_they_are() -> None:
    class Embeddings(nn.Module):
        def __init__(self, names: dict[str, tuple[int, ...]]) -> None:
            super().__init__()
            for name, shape in names.items():
                self.register_parameter(name, nn.Parameter(torch.zeros(shape)))

    def wrapped(**names: tuple[int, ...]) -> nn.Module:
        return nn.Sequential(nn.Identity(), nn.Sequential(Embeddings(names)))

    assert count_prefix_tokens(wrapped(cls_token=(1, 1, 8), register_tokens=(1, 4, 8))) == 5
    assert count_prefix_tokens(wrapped(cls_token=(1, 1, 8), mask_token=(1, 1, 8))) == 1
    assert count_prefix_tokens(wrapped(cls_token=(1, 1, 8), distillation_token=(1, 1, 8))) == 2
    assert count_prefix_tokens(wrapped(class_embedding=(8,))) == 1
    assert count_prefix_tokens(wrapped(register_tokens=(1, 4, 8))) == 0


@pytest.mark.parametrize(
    ("shape", "prefix", "expected"),
    [
        ((197, 8), 1, True),
        ((196, 8), 1, False),  # patches alone
        ((1, 8), 1, True),  # the class token alone
        ((201, 8), 5, True),
        ((196, 8), 5, False),
        ((197, 8), 5, False),
        ((197, 8), 0, False),
        ((8, 14, 14), 1, False),
        ((8,), 1, False),
        ((1, 8), 2, False),
    ],
)
def test_the_number_of_tokens_tells(shape: tuple[int, ...], prefix: int, expected: bool) -> None:
    assert has_class_token(shape, prefix) is expected


@pytest.mark.parametrize("prefix", [1, 2, 5])
def test_patches_alone_are_never_taken_for_tokens_with_a_class_token(prefix: int) -> None:
    for side in range(4, 80):
        assert not has_class_token((side**2, 8), prefix)
        assert has_class_token((side**2 + prefix, 8), prefix)


def reaches_first_token(network: nn.Module, layer: str, size: int, token: str) -> bool:
    """Whether a large change of the parameter changes the first token, and no other as much."""
    kept: list[Tensor] = []
    handle = network.get_submodule(layer).register_forward_hook(
        lambda _module, _args, output: kept.append(output.clone())
    )
    image = torch.randn(1, 3, size, size)
    with torch.inference_mode():
        network(image)
        network.get_parameter(token).add_(100 * torch.randn(network.get_parameter(token).shape))
        network(image)
    handle.remove()
    change = (kept[1] - kept[0]).norm(dim=-1)[0]
    return bool(change.argmax() == 0 and change[0] > 0)


@pytest.mark.parametrize(
    ("name", "without", "having"),
    [
        ("vit_tiny_patch16_224", "patch_embed", "blocks.0"),
        ("cait_xxs24_224", "blocks.1", "blocks_token_only.0"),
        ("beit_base_patch16_224", "patch_embed", "blocks.0"),
    ],
)
def test_layers_are_marked_where_the_parameter_reaches_the_first_token(
    name: str, without: str, having: str
) -> None:
    network = small_timm(name)
    marked = {layer.name: layer.class_token for layer in list_layers(network, 64)}
    assert (marked[without], marked[having]) == (False, True)
    assert not reaches_first_token(network, without, 64, "cls_token")
    assert reaches_first_token(network, having, 64, "cls_token")
