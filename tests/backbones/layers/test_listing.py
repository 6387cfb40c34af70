"""The listing of layers: their names, shapes and costs; their selection by name."""

import functools
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from bottleneck.backbones.backbone import build_skeleton
from bottleneck.backbones.layers.layer import Layer
from bottleneck.backbones.layers.listing import list_layers, select_layers
from bottleneck.backbones.layers.truncated import TruncatedNetwork
from bottleneck.backbones.probing.probe import probe
from bottleneck.backbones.tracing.traced import trace
from bottleneck.errors import BackboneError, InvalidOptionError, UnknownNameError
from tests.helpers.brought_networks import SIDE, build, conv, outputs, small_transformer
from tests.helpers.tiny_networks import Plain, Wired
from tests.helpers.tracing import CPU


def frozen(network: nn.Module) -> nn.Module:
    return network.eval().requires_grad_(False)


@functools.cache
def listed(model: str) -> dict[str, Layer]:
    """Layers of one of torchvision's networks, by name."""
    network, transform = build_skeleton(model)
    return {layer.name: layer for layer in list_layers(network, transform.crop)}


def test_layers_have_the_shapes_that_the_network_gives() -> None:
    network = frozen(Plain())
    found = {layer.name: layer.shape for layer in list_layers(network, 32)}
    assert found["layer1"] == (6, 16, 16)
    assert found["layer2.0"] == (8, 8, 8)
    assert found["layer3"] == (10, 8, 8)
    assert found["fc"] == (4,)


def test_cost_is_the_fraction_of_multiply_adds_counted_by_hand() -> None:
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


@pytest.mark.parametrize(
    "model",
    [
        *("squeezenet1_0", "vit_b_16"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet50", "swin_t")),
    ],
)
def test_total_cost_is_what_torchvision_publishes(model: str) -> None:
    network, transform = build_skeleton(model)
    from torch.utils.flop_counter import FlopCounterMode

    size = transform.crop
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, 3, size, size, device="meta"))
    published = torchvision.models.get_model_weights(model).DEFAULT.meta["_ops"]
    assert counter.get_total_flops() / 2e9 == pytest.approx(published, rel=1e-2)
    assert [*listed(model).values()][-1].cost == pytest.approx(1.0)


@pytest.mark.parametrize(
    "model",
    [
        "regnet_y_400mf",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("swin_v2_t", "vit_h_14", "maxvit_t")
        ),
    ],
)
def test_unusual_builders_and_sizes_can_be_listed(model: str) -> None:
    assert [*listed(model).values()][-1].shape == (1000,)


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


def test_the_first_tensor_of_several_outputs_is_a_layer() -> None:
    found = {layer.name: layer for layer in list_layers(small_transformer(32), 32)}
    attention = found["encoder.layers.encoder_layer_0.self_attention"]  # (tokens, None)
    assert (attention.shape, attention.path) == ((5, 32), (0,))


@pytest.mark.parametrize(
    ("kind", "paths"),
    [
        ("tuple", {"block": (1,), "block:2": (2,)}),
        ("list", {"block": (0,), "block:1": (1,)}),
        ("dict", {"block": ("map",), "block:tokens": ("tokens",)}),
        ("dataclass", {"block": ("codes",), "block:tokens": ("tokens",)}),
    ],
)
def test_other_tensors_of_several_outputs_are_named_by_their_keys(
    kind: str, paths: dict[str, tuple[int | str, ...]]
) -> None:
    network = outputs(kind)
    found = [layer for layer in list_layers(network, SIDE) if layer.module == "block"]
    assert {layer.name: layer.path for layer in found} == paths
    assert [layer.shape for layer in found] == [(6, SIDE, SIDE), (SIDE * SIDE, 6)]
    images = torch.randn(2, 3, SIDE, SIDE)
    inner = network.get_submodule("block.conv")(images).relu()
    truncated = TruncatedNetwork(network, found)
    graph = trace(truncated, probe(truncated, SIDE), dtype=torch.float32, device=CPU)
    assert graph is not None
    with torch.inference_mode():
        for codes in (truncated(images), graph(images)):
            assert codes.keys() == paths.keys()
            for code in codes.values():
                torch.testing.assert_close(code, inner.mean((2, 3)), rtol=1e-4, atol=1e-5)


def test_outputs_that_are_no_tensor_of_images_are_not_listed() -> None:
    network = Wired(
        lambda m, x: m.a(x), a=Wired(lambda _m, x: (x.mean(), x.long(), x[:, :0], "text", None))
    )
    assert list_layers(frozen(network), SIDE) == []


def test_a_module_whose_name_ends_in_a_pooling_is_refused() -> None:
    network = nn.Sequential()
    for name in ("a", "b@max"):
        network.add_module(name, nn.Conv2d(3, 3, 1))
    layers = list_layers(frozen(network), 8)
    assert [layer.name for layer in layers] == ["a", "b@max"]
    assert [layer.name for layer in select_layers(layers, ["a@max"])] == ["a@max"]
    for name in ("b@max", "b@max@avg"):
        with pytest.raises(InvalidOptionError, match="own name does not end in a pooling"):
            select_layers(layers, [name])


def test_a_network_that_cannot_be_counted_is_listed_without_its_cost() -> None:
    class Uncounted(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if torch.utils._python_dispatch._get_current_dispatch_mode() is not None:
                raise NotImplementedError("under a dispatch mode")
            return x

    network = nn.Sequential(nn.Conv2d(3, 4, 3), Uncounted())
    assert [layer.cost for layer in list_layers(frozen(network), 8)] == [None, None]


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
def test_channels_are_distinguished_from_positions(
    model: str, layer: str, channels_last: bool, channels: int
) -> None:
    found = listed(model)[layer]
    assert (found.channels_last, found.channels) == (channels_last, channels)


def test_a_misspelt_layer_gets_the_nearest_names() -> None:
    layers = list_layers(frozen(Plain()), 32)
    with pytest.raises(UnknownNameError, match=r"'layr3'.*did you mean layer3.*bottleneck.layers`"):
        select_layers(layers, ["layer1", "layr3"])


def test_layers_are_chosen_in_the_networks_order_and_once() -> None:
    layers = list_layers(frozen(Plain()), 32)
    chosen = select_layers(layers, ["layer3", "layer1", "layer3"])
    assert [layer.name for layer in chosen] == ["layer1", "layer3"]


def test_a_layer_named_as_in_a_wrapper_or_with_a_key_is_one_output_of_one_call() -> None:
    """Of a module that is called twice: the first call, as by the plain name."""

    def wiring(m: Any, x: Tensor) -> Tensor:
        x, y = m.two(m.relu(m.conv(x)))
        x, y = m.two(m.relu(x - y))
        return torch.cat([x, y])

    conv = nn.Conv2d(3, 4, 3)
    network = frozen(Wired(wiring, conv=conv, relu=nn.ReLU(), two=Two()))
    layers = list_layers(network, 8)
    names = ["module.relu", "relu_1", "module.two:0", "two_1:0", "module.two_1:1"]
    chosen = select_layers(layers, names)
    images = torch.randn(2, 3, 8, 8)
    relu = conv(images).relu()
    expected = {
        "module.relu": relu,
        "module.two:0": relu + 1,
        "relu_1": (1 - relu).relu(),
        "two_1:0": (1 - relu).relu() + 1,
        "module.two_1:1": 2 * (1 - relu).relu(),
    }
    assert [layer.name for layer in chosen] == list(expected)
    codes = TruncatedNetwork(network, chosen, relu=False, pool="none")(images)
    for name, values in expected.items():
        torch.testing.assert_close(codes[name], values)
    with pytest.raises(UnknownNameError):
        select_layers(layers, ["two:1:1"])


class Two(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x + 1, 2 * x


# Outputs that are not one row an image, and networks of one size


class Windowed(nn.Module):
    """Channels last, in windows, with a table of positions; of one size, as timm's Swin."""

    def __init__(self, size: int = 32) -> None:
        super().__init__()
        self.size = size
        self.embed = nn.Conv2d(3, 6, 4, 4)
        self.norm = nn.LayerNorm(6)
        self.attend = nn.Linear(6, 6)
        self.table = nn.Linear(6, 6)
        self.merge = nn.Linear(6, 8)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.size:
            raise ValueError(f"{x.shape[-1]} is not {self.size}")
        x = self.norm(self.embed(x).permute(0, 2, 3, 1))
        windows = x.unfold(1, 4, 4).unfold(2, 4, 4).reshape(-1, 6, 16).mT
        x = x + self.attend(windows).mean() + self.table(torch.ones(1, 6)).mean()
        return torch.as_tensor(self.fc(self.merge(x).mean((1, 2))))


def test_channels_are_distinguished_from_positions_in_a_network_of_one_size() -> None:
    layers = {layer.name: layer for layer in list_layers(frozen(Windowed()), 32)}
    assert layers["norm"].shape == (8, 8, 6)
    assert (layers["norm"].channels_last, layers["norm"].code_shape("avg")) == (True, (6,))
    assert layers["merge"].code_shape("avg") == (8,)


def test_channels_are_distinguished_from_positions_in_a_map_of_one_size() -> None:
    """Pooled maps are as large for a larger image, with channels last or first."""
    last = build(
        lambda m, x: m.fc(m.norm(m.pool(m.one(x)).permute(0, 2, 3, 1))),
        one=conv(),
        pool=nn.AdaptiveAvgPool2d(1),
        norm=nn.LayerNorm(6),
        fc=nn.Linear(6, 4),
    )
    layers = {layer.name: layer for layer in list_layers(last, 8)}
    assert [layers[name].shape for name in ("pool", "norm", "fc")] == [
        (6, 1, 1),
        (1, 1, 6),
        (1, 1, 4),
    ]
    assert [layers[name].channels for name in ("pool", "norm", "fc")] == [6, 6, 4]


def test_outputs_without_a_row_for_each_image_are_not_listed() -> None:
    names = [layer.name for layer in list_layers(frozen(Windowed()), 32)]
    assert names == ["embed", "norm", "merge", "fc"]


def test_tokens_with_a_class_token_are_marked() -> None:
    layers = {layer.name: layer for layer in list_layers(small_transformer(32), 32)}
    marked = [name for name, layer in layers.items() if layer.class_token]
    assert {"encoder.dropout", "encoder.layers.encoder_layer_1.mlp", "encoder.ln"} <= set(marked)
    assert not {"conv_proj", "heads"} & set(marked)
    assert layers["encoder.ln"].code_shape("cls") == (32,)


def test_sequences_with_channels_first_are_no_tokens() -> None:
    """As `Flatten(2)` makes them, and a convolution over positions."""
    convolved = nn.Sequential(nn.Conv2d(3, 6, 8, 8), nn.Flatten(2), nn.Conv1d(6, 4, 1))
    layers = {layer.name: layer for layer in list_layers(frozen(convolved), 32)}
    assert [layers[name].shape for name in "12"] == [(6, 16), (4, 16)]
    assert [layers[name].code_shape("avg") for name in "12"] == [(6,), (4,)]
    network = TruncatedNetwork(convolved, [layers["1"]], relu=True, pool="avg")
    images = torch.randn(2, 3, 32, 32)
    expected = torch.relu(convolved[1](convolved[0](images))).mean(2)
    torch.testing.assert_close(network(images)["1"], expected)


# Outputs of more axes than an image's


class Swapped(nn.LayerNorm):
    """A norm over the channels of a map with channels first, as torchvision's LayerNorm2d."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def windows(m: Any, x: Tensor) -> Tensor:
    """Of one size, as timm's NesT: (images, 4 windows, 16 positions, channels) in the blocks."""
    x = m.swapped(m.embed(x.reshape(-1, 3, 8, 8)))
    windows = x.reshape(-1, 6, 2, 4, 2, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 4, 16, 6)
    windows = m.block(m.norm(windows))
    return torch.as_tensor(m.head(windows.mean((1, 2))))


def test_windows_have_the_channels_of_their_linear_layers() -> None:
    block = nn.Sequential(nn.Linear(6, 24), nn.GELU(), nn.Linear(24, 6), nn.Identity())
    parts = {"embed": conv(), "swapped": Swapped(6), "norm": nn.LayerNorm(6), "block": block}
    network = build(windows, **parts, head=nn.Linear(6, 5))
    layers = list_layers(network, 8)
    sizes = {layer.name: layer.code_shape("avg") for layer in layers}
    in_windows = {"norm": (6,), "block.0": (24,), "block.1": (24,), "block.2": (6,)}
    assert in_windows.items() <= sizes.items()
    assert [sizes[name] for name in ("swapped", "block.3", "block", "head")] == [(6,)] * 3 + [(5,)]
    images = torch.randn(2, 3, 8, 8)
    kept: list[Tensor] = []
    block.register_forward_hook(lambda _module, _args, output: kept.append(output.clone()))
    network(images)
    (chosen,) = select_layers(layers, ["block"])
    codes = TruncatedNetwork(network, [chosen], relu=True, pool="avg")(images)
    torch.testing.assert_close(codes["block"], kept[0].relu().mean((1, 2)))


def test_a_norm_of_each_head_has_the_channels_of_a_head() -> None:
    """Neither end grows with the image: heads and channels, or channels and a strip's width."""

    def wiring(m: Any, x: Tensor) -> Any:
        maps = m.embed(x)
        heads = maps.flatten(2).unflatten(1, (3, 2)).mT  # images, heads, tokens, channels
        return m.norm(heads), m.strips(maps.mean(3, keepdim=True))

    network = build(wiring, embed=conv(), norm=nn.LayerNorm(2), strips=nn.Identity())
    layers = {layer.name: layer for layer in list_layers(network, 8)}
    assert layers["norm"].channels == 2
    assert layers["strips"].channels == 6


def test_a_shape_of_channels_first_and_last_is_taken_for_channels_first() -> None:
    """Six channels of 6 × 6, in a network of one size: as many one way as the other."""

    def wiring(m: Any, x: Tensor) -> Any:
        x = m.first(m.embed(x.reshape(-1, 3, 6, 6)))
        return m.linear(x.movedim(1, -1))

    parts = {"embed": conv(), "first": nn.Identity(), "linear": nn.Linear(6, 6)}
    layers = {layer.name: layer for layer in list_layers(build(wiring, **parts), 6)}
    assert {name: layer.channels_last for name, layer in layers.items()} == {
        "embed": False,
        "first": False,
        "linear": True,
    }
