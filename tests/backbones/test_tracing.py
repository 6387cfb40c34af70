"""Graphs: their codes against hooks on the whole network, run as it is and to its end."""

import copy
import itertools
import operator
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812

from bottleneck.backbones.layers import Layer, list_layers, select_layers
from bottleneck.backbones.tracing import Forward, trace
from bottleneck.backbones.truncated import TruncatedNetwork
from tests.helpers.tiny_networks import Branching, Plain, Residual, Reused, Wired, frozen

CPU = torch.device("cpu")
SIZE = 16
TOLERANCE = 1e-4  # of the largest code: another order of summation, and no more
COSINE = 0.999  # in bfloat16

fuses = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(),  # type: ignore[no-untyped-call, unused-ignore]
    reason="oneDNN is not part of this torch",
)
# Where a processor has no bfloat16, oneDNN refuses it, and there is no graph.
in_bfloat16 = pytest.mark.skipif(
    not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()),
    reason="the processor has no bfloat16",
)
PRECISIONS = [torch.float32, pytest.param(torch.bfloat16, marks=in_bfloat16)]


def images(count: int = 3, size: int = SIZE) -> Tensor:
    return torch.randn(count, 3, size, size)


def every_module(network: nn.Module) -> list[str]:
    return [layer.name for layer in list_layers(network, SIZE)]


def tap(network: nn.Module, names: list[str], **options: Any) -> TruncatedNetwork:
    return TruncatedNetwork(network, select_layers(list_layers(network, SIZE), names), **options)


def traced(
    network: nn.Module, names: list[str], dtype: torch.dtype = torch.float32, **options: Any
) -> Forward | None:
    graph = trace(tap(network, names, **options), SIZE, dtype=dtype, device=CPU)
    return graph and graph.program


def run(graph: Forward, batch: Tensor, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    with torch.inference_mode():
        return graph(batch.clone().to(dtype))


def truth(
    network: nn.Module, names: list[str], batch: Tensor, *, relu: bool, pool: str
) -> dict[str, Tensor]:
    """Codes from a full forward pass of the network, by hooks that copy."""
    layers = select_layers(list_layers(network, SIZE), names)
    outputs: dict[tuple[str, int], Tensor] = {}
    calls: Counter[str] = Counter()

    def keep(module: str) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Tensor) -> None:
            outputs[module, calls[module]] = output.clone()
            calls[module] += 1

        return hook

    handles = [
        network.get_submodule(module).register_forward_hook(keep(module))
        for module in {layer.module for layer in layers}
    ]
    with torch.inference_mode():
        network(batch.clone())
    for handle in handles:
        handle.remove()
    return {
        layer.name: code(outputs[layer.module, layer.call], relu=relu, pool=pool)
        for layer in layers
    }


def code(output: Tensor, *, relu: bool, pool: str) -> Tensor:
    if relu:
        output = output.clamp(min=0)
    if pool == "none" or output.ndim == 2:
        return output
    if pool in ("avg", "max"):
        return output.mean((2, 3)) if pool == "avg" else output.flatten(2).max(2).values
    (height, width), k = output.shape[2:], int(pool)
    bounds = [
        [(i * side // k, -(-(i + 1) * side // k)) for i in range(k)] for side in (height, width)
    ]
    cells = [output[:, :, a:b, c:d].mean((2, 3)) for (a, b), (c, d) in itertools.product(*bounds)]
    return torch.stack(cells, 2).reshape(*output.shape[:2], k, k)


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], dtype: torch.dtype) -> None:
    assert found.keys() == expected.keys()
    for layer, code_ in expected.items():
        assert found[layer].shape == code_.shape
        assert found[layer].dtype == torch.float32
        scale = float(code_.nan_to_num().abs().max())
        if dtype == torch.float32:
            torch.testing.assert_close(
                found[layer],
                code_,
                rtol=0,
                atol=TOLERANCE * scale,
                equal_nan=True,
            )
            continue
        a, b = found[layer].flatten().double(), code_.flatten().double()
        if scale:
            assert float(a @ b / a.norm() / b.norm()) >= COSINE, layer
            assert float(a.norm() / b.norm()) == pytest.approx(1, abs=0.03), layer
        else:
            assert not a.any(), layer


def assert_alike(
    network: nn.Module,
    names: list[str],
    dtype: torch.dtype = torch.float32,
    *,
    relu: bool = False,
    pool: str = "none",
) -> fx.GraphModule:
    """That there is a graph, and that it gives the codes of the network; in any batch."""
    graph = traced(network, names, dtype, relu=relu, pool=pool)
    assert isinstance(graph, fx.GraphModule)
    for count in (1, 3):
        batch = images(count)
        expected = truth(network, names, batch, relu=relu, pool=pool)
        assert_close(run(graph, batch, dtype), expected, dtype)
    return graph


def steps(graph: fx.GraphModule) -> list[str]:
    """What a graph does, step by step, without what only makes codes of a map."""
    names = []
    for node in graph.graph.nodes:
        if node.op == "call_module":
            names.append(type(graph.get_submodule(str(node.target))).__name__.lstrip("_"))
        elif node.op in ("call_function", "call_method"):
            names.append(getattr(node.target, "__name__", str(node.target)))
    return [name for name in names if name not in ("clone", "float")]


def conv(inputs: int = 6, outputs: int = 6, size: int = 3, **options: Any) -> nn.Conv2d:
    padding = options.pop("padding", size // 2)
    return nn.Conv2d(inputs, outputs, size, padding=padding, **options)


def norm(channels: int = 6, **options: Any) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, **options)


# Convolutions with what follows them


def activated(activate: Callable[[Tensor], Tensor]) -> nn.Module:
    return Wired(
        lambda m, x: m.end(activate(m.bn(m.conv(x)))), conv=conv(3), bn=norm(), end=conv(6, 5)
    )


def activated_by(module: nn.Module) -> nn.Module:
    modules: dict[str, nn.Module] = {"conv": conv(3), "bn": norm(), "act": module}
    return Wired(lambda m, x: m.end(m.act(m.bn(m.conv(x)))), **modules, end=conv(6, 5))


def residual(add: Callable[[Tensor, Tensor], Tensor], *, inplace: bool = True) -> nn.Module:
    """`add` takes the branch's map and the identity."""
    return Wired(
        lambda m, x: block(m, m.stem(x), add),
        stem=conv(3),
        conv=conv(),
        bn=norm(),
        relu=nn.ReLU(inplace),
        end=conv(6, 5),
    )


def block(m: Any, x: Tensor, add: Callable[[Tensor, Tensor], Tensor]) -> Any:
    return m.end(m.relu(add(m.bn(m.conv(x)), x)))


CHAINS: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    # name: network, steps of its graph up to the layer "end"
    "convolution": (
        lambda: Wired(lambda m, x: m.end(m.conv(x)), conv=conv(3), end=conv(6, 5)),
        ["Convolution"],
    ),
    "convolution, norm": (
        lambda: Wired(lambda m, x: m.end(m.bn(m.conv(x))), conv=conv(3), bn=norm(), end=conv(6, 5)),
        ["Convolution"],
    ),
    "ReLU": (lambda: activated_by(nn.ReLU()), ["Convolution"]),
    "ReLU in place": (lambda: activated_by(nn.ReLU(inplace=True)), ["Convolution"]),
    "F.relu": (lambda: activated(F.relu), ["Convolution"]),
    "F.relu in place": (lambda: activated(lambda x: F.relu(x, inplace=True)), ["Convolution"]),
    "torch.relu": (lambda: activated(torch.relu), ["Convolution"]),
    "x.relu()": (lambda: activated(lambda x: x.relu()), ["Convolution"]),
    "x.relu_()": (lambda: activated(lambda x: x.relu_()), ["Convolution"]),
    "ReLU6": (lambda: activated_by(nn.ReLU6(inplace=True)), ["Convolution"]),
    "Hardswish": (lambda: activated_by(nn.Hardswish(inplace=True)), ["Convolution"]),
    "SiLU": (lambda: activated_by(nn.SiLU(inplace=True)), ["Convolution"]),
    "GELU": (lambda: activated_by(nn.GELU()), ["Convolution", "GELU"]),
    "Sigmoid": (lambda: activated_by(nn.Sigmoid()), ["Convolution", "Sigmoid"]),
    "out += identity": (lambda: residual(operator.iadd), ["Convolution"] * 2),
    "out + identity": (lambda: residual(operator.add), ["Convolution"] * 2),
    "identity + out": (lambda: residual(lambda a, b: b + a), ["Convolution"] * 2),
    "torch.add": (lambda: residual(torch.add), ["Convolution"] * 2),
    "out.add_(identity)": (lambda: residual(lambda a, b: a.add_(b)), ["Convolution"] * 2),
    "ReLU not in place": (lambda: residual(operator.add, inplace=False), ["Convolution"] * 2),
    "SiLU of a sum": (
        lambda: Wired(
            lambda m, x: m.end(m.act(m.bn(m.conv(y := m.stem(x))) + y)),
            stem=conv(3),
            conv=conv(),
            bn=norm(),
            act=nn.SiLU(),
            end=conv(6, 5),
        ),
        ["Convolution", "Convolution", "SiLU"],
    ),
    "norm of its own batch": (
        lambda: Wired(
            lambda m, x: m.end(m.relu(m.bn(m.conv(x)))),
            conv=conv(3),
            bn=norm(track_running_stats=False),
            relu=nn.ReLU(),
            end=conv(6, 5),
        ),
        ["Convolution", "BatchNorm2d", "ReLU"],
    ),
    "norm without weights": (
        lambda: Wired(
            lambda m, x: m.end(m.relu(m.bn(m.conv(x)))),
            conv=conv(3, bias=False),
            bn=norm(affine=False),
            relu=nn.ReLU(),
            end=conv(6, 5),
        ),
        ["Convolution"],
    ),
}


@fuses
@pytest.mark.parametrize("chain", CHAINS)
def test_a_convolution_takes_in_what_follows_it_alone(chain: str) -> None:
    build, expected = CHAINS[chain]
    graph = assert_alike(frozen(build()), ["end"])
    assert steps(graph) == [*expected, "Convolution"]


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("chain", CHAINS)
def test_every_module_of_a_chain_gives_what_it_returned(
    chain: str, relu: bool, dtype: torch.dtype
) -> None:
    network = frozen(CHAINS[chain][0]())
    for name in every_module(network):
        assert_alike(network, [name], dtype, relu=relu)
    assert_alike(network, every_module(network), dtype, relu=relu)


def downsampled(m: Any, x: Tensor) -> Any:
    x = m.stem(x)
    out = m.bn(m.conv(x))
    out += m.down_bn(m.down(x))  # computed after the convolution that takes it in
    return m.end(m.relu(out))


def identity_used_again(m: Any, x: Tensor) -> Any:
    x = m.relu(m.stem(x))
    out = m.bn(m.conv(x))
    out += x
    return m.end(m.relu(out) + x)


def identity_read_by_a_branch(m: Any, x: Tensor) -> Any:
    x = m.stem(x)
    out = m.bn(m.conv(x)) + x
    aside = m.down(x)
    return m.end(m.relu(out) + m.down_bn(aside))


def identity_rewritten(m: Any, x: Tensor) -> Any:
    x = m.stem(x)
    out = m.bn(m.conv(x))
    x.add_(out)  # in place into the other: who reads x below reads the sum
    return m.end(m.relu(out) + x)


def identity_rewritten_alone(m: Any, x: Tensor) -> Any:
    x = m.stem(x)
    kept = m.down(x)
    x += m.bn(m.conv(x))
    return m.end(m.relu(x) + kept)


def identity_kept_by_another_name(m: Any, x: Tensor) -> Any:
    x = m.stem(x)
    kept = x  # one memory with two names; torch.fx makes two maps of it
    x += m.bn(m.conv(x))
    return m.end(m.relu(x) + kept)


def summand_added_into(m: Any, x: Tensor) -> Any:
    x = m.stem(x)
    other = m.down(x)
    out = m.relu(other.add_(m.bn(m.conv(x))))
    return m.end(out + other)


def summand_rewritten_before_the_relu(m: Any, x: Tensor) -> Any:
    x = m.stem(x)
    other = m.down(x)
    out = m.bn(m.conv(x)) + other
    other.add_(1.0)  # after the addition and before the ReLU
    return m.end(m.relu(out) + other)


def summand_activated_before_the_relu(m: Any, x: Tensor) -> Any:
    x = m.stem(x)
    other = m.down(x)
    out = m.bn(m.conv(x)) + other
    return m.end(m.relu(other) + m.relu(out))


def input_rewritten_before_the_relu(m: Any, x: Tensor) -> Any:
    x = m.stem(x)
    out = m.conv(x)
    x.add_(1.0)
    return m.end(m.relu(m.bn(out) + x))


def input_rewritten_by_another_name(m: Any, x: Tensor) -> Any:
    x = m.stem(x)
    again = m.identity(x)  # the same memory
    out = m.conv(again)
    x.add_(1.0)
    return m.end(m.relu(m.bn(out) + x))


def input_activated_in_place(m: Any, x: Tensor) -> Any:
    x = m.stem(x)
    out = m.bn(m.conv(m.relu(x)))  # pre-activation: rewrites x, which is added
    return m.end(m.relu(out + x))


def result_of_the_relu_ignored(m: Any, x: Tensor) -> Any:
    x = m.bn(m.conv(m.stem(x)))
    x.relu_()
    return m.end(x)


def images_rewritten(m: Any, x: Tensor) -> Any:
    x.sub_(0.5)
    return m.end(m.relu(m.bn(m.conv(m.stem(x)))))


ENTANGLED = [
    *(downsampled, identity_used_again, identity_read_by_a_branch, identity_rewritten),
    *(identity_rewritten_alone, identity_kept_by_another_name, summand_added_into),
    *(summand_rewritten_before_the_relu, summand_activated_before_the_relu),
    *(input_rewritten_before_the_relu, input_rewritten_by_another_name, input_activated_in_place),
    *(result_of_the_relu_ignored, images_rewritten),
]


def entangled(wiring: Callable[[Any, Tensor], Any], *, inplace: bool) -> nn.Module:
    return frozen(
        Wired(
            wiring,
            stem=conv(3),
            conv=conv(),
            bn=norm(),
            down=conv(size=1),
            down_bn=norm(),
            relu=nn.ReLU(inplace),
            identity=nn.Identity(),
            end=conv(6, 5),
        )
    )


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("inplace", [True, False])
@pytest.mark.parametrize("wiring", ENTANGLED, ids=lambda wiring: str(wiring.__name__))
def test_residual_maps_that_are_rewritten_or_read_again(
    wiring: Callable[[Any, Tensor], Any], inplace: bool, dtype: torch.dtype
) -> None:
    network = entangled(wiring, inplace=inplace)
    for names in (["end"], every_module(network)):
        for relu in (False, True):
            assert_alike(network, names, dtype, relu=relu)


def summand_activated(m: Any, x: Tensor) -> Any:
    other = m.down(x) + 20
    out = m.conv(x) + other
    other.relu_()  # which does something to dark images alone
    return m.end(torch.relu(out) + other)


def summand_replaced(m: Any, x: Tensor) -> Any:
    other = m.down(x) + 20
    out = m.conv(x) + other
    other.add_(torch.relu(-other))
    return m.end(torch.relu(out) + other)


def input_activated(m: Any, x: Tensor) -> Any:
    x = m.down(x) + 20
    again = m.identity(x)  # the same memory
    out = m.second(again)
    x.relu_()
    return m.end(torch.relu(m.bn(out) + x))


def kept_by_another_name(m: Any, x: Tensor) -> Any:
    x = m.down(x) + 20
    kept = [x]
    x += torch.relu(-x)
    return m.end(m.second(x) + kept[0])


def doubled_by_another_name(m: Any, x: Tensor) -> Any:
    x = m.bn(m.conv(x))
    active = torch.relu(x)
    kept = active
    active += x
    return m.plain_end(torch.relu(kept))  # of twice what it would be of another memory


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize(
    "wiring",
    [
        *(summand_activated, summand_replaced, input_activated, kept_by_another_name),
        doubled_by_another_name,
    ],
    ids=lambda wiring: str(wiring.__name__),
)
def test_what_two_images_of_noise_do_not_show(
    wiring: Callable[[Any, Tensor], Any], dtype: torch.dtype
) -> None:
    network = Wired(
        wiring,
        conv=conv(3),
        down=conv(3),
        identity=nn.Identity(),
        second=conv(),
        bn=norm(),
        end=conv(6, 5),
        plain_end=conv(6, 5, bias=False),
    )
    frozen(network)
    names = ["plain_end" if wiring is doubled_by_another_name else "end"]
    graph = traced(network, names, dtype, relu=False, pool="none")
    batch = images() * 100
    expected = truth(network, names, batch, relu=False, pool="none")
    if graph is not None:
        assert_close(run(graph, batch, dtype), expected, dtype)


class _Biased(Wired):
    """Adds a parameter of a shape of its own."""

    def __init__(self, *shape: int) -> None:
        super().__init__(
            lambda m, x: m.end(m.relu(m.bn(m.conv(x)) + m.extra)),
            conv=conv(3),
            bn=norm(),
            relu=nn.ReLU(),
            end=conv(6, 5),
        )
        self.extra = nn.Parameter(torch.randn(*shape))


def added(add: Callable[[Any, Tensor, Tensor], Tensor]) -> nn.Module:
    return Wired(
        lambda m, x: m.end(m.relu(add(m, m.conv(m.stem(x)), x))),
        stem=conv(3),
        conv=conv(),
        relu=nn.ReLU(),
        one=conv(3, 1),
        side=conv(3),
        end=conv(6, 5),
    )


SUMS: dict[str, Callable[[], nn.Module]] = {
    "bias of each channel": lambda: _Biased(6, 1, 1),
    "bias of each pixel": lambda: _Biased(1, 6, SIZE, SIZE),
    "a number": lambda: added(lambda _m, a, _x: a + 0.5),
    "one channel for all": lambda: added(lambda m, a, x: a + m.one(x)),
    "one channel, expanded": lambda: added(lambda m, a, x: a + m.one(x).expand(-1, 6, -1, -1)),
    "mean of each map": lambda: added(lambda m, a, x: a + m.side(x).mean((2, 3), keepdim=True)),
    "first image for all": lambda: added(lambda m, a, x: a + m.side(x)[:1] * 0),
    "itself": lambda: added(lambda _m, a, _x: a + a),
    "twice": lambda: added(lambda m, a, x: a + m.side(x) + m.side(x)),
    "weighted": lambda: added(lambda m, a, x: torch.add(a, m.side(x), alpha=2)),
    "transposed": lambda: added(lambda m, a, x: a + m.side(x).transpose(2, 3)),
    "convolution plus convolution": lambda: added(lambda m, a, x: m.side(x) + a),
}


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("summand", SUMS)
def test_sums_of_other_shapes_and_kinds(summand: str, dtype: torch.dtype) -> None:
    network = frozen(SUMS[summand]())
    assert_alike(network, ["end"], dtype)
    assert_alike(network, every_module(network), dtype)


def test_a_convolution_that_is_read_twice_keeps_its_own_result() -> None:
    network = frozen(
        Wired(
            lambda m, x: m.end(m.relu(m.conv(x)) - m.conv(x) + (y := m.conv(x)) * y.sigmoid()),
            conv=conv(3),
            relu=nn.ReLU(),
            end=conv(6, 5),
        )
    )
    assert_alike(network, ["conv", "conv_1", "conv_2", "relu", "end"])


# What a tap reads


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("names", [["bn1"], ["conv1"], ["conv1", "bn1", "relu", "down", "fc"]])
def test_a_layer_is_what_its_module_returned(
    names: list[str], relu: bool, dtype: torch.dtype
) -> None:
    assert_alike(frozen(Residual()), names, dtype, relu=relu)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(
    "names", [["relu"], ["relu_1"], ["relu", "relu_2"], ["conv1", "relu", "relu_1", "relu_2"]]
)
def test_calls_of_one_module_are_told_apart(names: list[str], relu: bool) -> None:
    assert_alike(frozen(Reused()), names, relu=relu)


@pytest.mark.parametrize("pool", ["avg", "max", "none", "1", "2", "3"])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_codes_are_pooled_as_a_tap_pools_them(pool: str, relu: bool, dtype: torch.dtype) -> None:
    assert_alike(frozen(Residual()), ["stem", "bn1", "relu_1"], dtype, relu=relu, pool=pool)


def test_maps_with_channels_last_and_tokens() -> None:
    network = frozen(
        Wired(
            lambda m, x: m.fc(m.norm(m.conv(x).permute(0, 2, 3, 1)).flatten(1, 2)),
            conv=conv(3, 6),
            norm=nn.LayerNorm(6),
            fc=nn.Linear(6, 4),
        )
    )
    graph = traced(network, ["norm", "fc"], relu=False, pool="avg")
    assert graph
    batch = images()
    expected = truth(network, ["norm", "fc"], batch, relu=False, pool="none")
    pooled = {"norm": expected["norm"].mean((1, 2)), "fc": expected["fc"].mean(1)}
    assert_close(run(graph, batch), pooled, torch.float32)


@pytest.mark.parametrize("inplace", [True, False])
def test_a_map_that_is_rewritten_after_the_tap_has_read_it(inplace: bool) -> None:
    def wiring(m: Any, x: Tensor) -> Any:
        x = m.conv(x)
        m.relu(x).mul_(2).add_(1)
        y = m.bn(x)
        y -= 3
        return m.end(y.clamp_(min=0))

    relu = nn.ReLU(inplace)
    network = frozen(Wired(wiring, conv=conv(3), relu=relu, bn=norm(), end=conv(6, 5)))
    assert_alike(network, ["conv", "relu", "bn", "end"])


def test_a_module_with_two_names() -> None:
    shared = conv()
    network = frozen(
        Wired(
            lambda m, x: m.b(m.relu(m.a(m.stem(x)))),
            stem=conv(3),
            a=shared,
            b=shared,
            relu=nn.ReLU(inplace=True),
        )
    )
    assert_alike(network, ["a", "a_1", "relu"])


def test_a_submodule_called_network() -> None:
    inner = Wired(lambda m, x: m.network(x) * 2, network=conv(3))
    network = frozen(Wired(lambda m, x: m.end(m.network(x)), network=inner, end=conv(6, 5)))
    assert_alike(network, ["network", "network.network", "end"])


def test_nothing_behind_the_deepest_layer_is_in_the_graph() -> None:
    graph = traced(frozen(Residual()), ["bn1"], relu=False)
    assert isinstance(graph, fx.GraphModule)
    assert [name for name in graph.state_dict() if "2" in name or "fc" in name] == []
    assert steps(graph)[0] == "Convolution"
    assert len(steps(graph)) <= 5
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    assert all(node.users for node in graph.graph.nodes if node is not output)


# Convolutions of every kind


KINDS: dict[str, Callable[[], nn.Module]] = {
    "dilation": lambda: conv(dilation=2),
    "groups": lambda: conv(6, 9, groups=3),
    "depthwise": lambda: conv(groups=6),
    "depthwise with a multiplier": lambda: conv(6, 12, groups=6),
    "stride": lambda: conv(stride=2),
    "uneven": lambda: nn.Conv2d(6, 6, (1, 5), (2, 1), (0, 2)),
    "no bias": lambda: conv(bias=False),
    "padding same": lambda: conv(padding="same"),
    "padding valid": lambda: conv(padding="valid"),
    "padding reflect": lambda: conv(padding_mode="reflect"),
    "padding circular": lambda: conv(padding_mode="circular"),
    "transposed": lambda: nn.ConvTranspose2d(6, 6, 2, 2),
    "one dimension": lambda: Wired(
        lambda m, x: m.line(x.flatten(2)).view(-1, 6, SIZE, SIZE), line=nn.Conv1d(6, 6, 3, 1, 1)
    ),
    "a convolution of one's own": lambda: _Halved(6, 6, 3),
    "parametrised": lambda: nn.utils.parametrizations.weight_norm(conv()),
}


class _Halved(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 2


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_convolutions_of_every_kind(kind: str, dtype: torch.dtype) -> None:
    def wiring(m: Any, x: Tensor) -> Any:
        return m.end(m.relu(m.kind(m.stem(x))))

    kind_ = KINDS[kind]()
    channels = 9 if kind == "groups" else 12 if "multiplier" in kind else 6
    modules = {"stem": conv(3), "kind": kind_, "relu": nn.ReLU(True), "end": conv(channels, 5)}
    network = frozen(Wired(wiring, **modules))
    assert_alike(network, ["end"], dtype)
    assert_alike(network, ["kind", "relu", "end"], dtype)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("channels", [1, 2, 5, 15, 16, 17, 33])
def test_any_number_of_channels(channels: int, dtype: torch.dtype) -> None:
    network = Wired(
        lambda m, x: m.end(m.relu(m.bn(m.conv(y := m.stem(x))) + y)),
        stem=conv(3, channels),
        conv=conv(channels, channels),
        bn=norm(channels),
        relu=nn.ReLU(True),
        end=conv(channels, channels, 1),
    )
    assert_alike(frozen(network), ["bn", "relu", "end"], dtype)


READ: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": lambda x: x.transpose(2, 3),
    "every second": lambda x: x[:, :, ::2, ::2],
    "half of the channels": lambda x: torch.cat([x[:, 3:], x[:, 3:]], 1),
    "chunks": lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "shuffled": lambda x: (
        x.reshape(-1, 2, 3, SIZE, SIZE).transpose(1, 2).reshape(-1, 6, SIZE, SIZE)
    ),
    "flipped": lambda x: x.flip(-1),
    "expanded": lambda x: x[:, :1].expand(-1, 6, -1, -1),
    "contiguous": lambda x: x.contiguous(),
    "pooled": lambda x: F.max_pool2d(x, 2),
}


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("reading", READ)
def test_convolutions_of_views_and_concatenations(reading: str, dtype: torch.dtype) -> None:
    view = READ[reading]
    network = Wired(
        lambda m, x: m.end(torch.cat([m.relu(m.bn(m.conv(y := view(m.stem(x))))), y], 1)),
        stem=conv(3),
        conv=conv(),
        bn=norm(),
        relu=nn.ReLU(True),
        end=conv(12, 5),
    )
    assert_alike(frozen(network), ["stem", "relu", "end"], dtype)


# NaN is never hidden


POISON: dict[str, Callable[[Tensor], Tensor]] = {
    # NaN for an image of zeros, and for no other
    "division": lambda x: x / x.abs().amax((1, 2, 3), keepdim=True),
    "logarithm": lambda x: x + (x.abs().amax((1, 2, 3), keepdim=True) - 1e-9).log() * 0.1,
    "root": lambda x: x + (x.abs().amax((1, 2, 3), keepdim=True) - 1e-9).sqrt() * 0.1,
    "where": lambda x: torch.where(x.abs().amax((1, 2, 3), keepdim=True) > 0, x, torch.nan),
    "masked_fill": lambda x: x.masked_fill(x == 0, torch.nan),
    "norm": lambda x: x / x.flatten(1).norm(dim=1)[:, None, None, None],
    "power": lambda x: x * x.abs().amax((1, 2, 3), keepdim=True).pow(-1),
    "layer norm without eps": lambda x: F.layer_norm(x, x.shape[1:], eps=0.0),
}


def poisoned(poison: Callable[[Any, Tensor], Any], **modules: nn.Module) -> nn.Module:
    return frozen(
        Wired(
            lambda m, x: m.end(m.relu(m.bn(m.conv(poison(m, x))))),
            conv=conv(3),
            bn=norm(),
            relu=nn.ReLU(True),
            end=conv(6, 5),
            **modules,
        )
    )


def assert_nan_is_kept(network: nn.Module, batch: Tensor, dtype: torch.dtype) -> None:
    """A batch whose second image alone gives NaN."""
    for names in (["relu"], ["end"], ["conv", "bn", "relu", "end"]):
        for relu in (True, False):
            graph = traced(network, names, dtype, relu=relu, pool="avg")
            assert graph
            found, expected = (
                run(graph, batch, dtype),
                truth(network, names, batch, relu=relu, pool="avg"),
            )
            for name in names:
                assert expected[name][1].isnan().all()
                torch.testing.assert_close(found[name].isnan(), expected[name].isnan())
                assert not found[name][[0, 2]].isnan().any()


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("poison", POISON)
def test_nan_of_the_networks_own_arithmetic_stays_nan(poison: str, dtype: torch.dtype) -> None:
    network = poisoned(lambda _m, x: POISON[poison](x))
    batch = images()
    batch[1] = 0
    assert_nan_is_kept(network, batch, dtype)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize(
    "module",
    [nn.LayerNorm(SIZE, eps=0), nn.GroupNorm(3, 3, eps=0)],
    ids=lambda module: type(module).__name__,
)
def test_nan_of_a_norm_without_eps_stays_nan(module: nn.Module, dtype: torch.dtype) -> None:
    network = poisoned(lambda m, x: m.norm(x), norm=module)
    batch = images()
    batch[1] = 0.5  # of one colour
    assert_nan_is_kept(network, batch, dtype)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_nan_of_power_pooling_stays_nan(dtype: torch.dtype) -> None:
    network = poisoned(lambda m, x: m.pool(x + 10), pool=nn.LPPool2d(3, 2))  # NaN below 0
    batch = images()
    batch[1] = -20
    assert_nan_is_kept(network, batch, dtype)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("where", ["stem.0.weight", "bn1.weight", "bn1.running_mean", "conv2.bias"])
def test_weights_that_are_no_numbers_are_not_hidden(where: str, value: float, relu: bool) -> None:
    network = Residual()
    network.conv2 = nn.Conv2d(7, 9, 3, 2, 1)
    frozen(network)
    network.state_dict()[where].view(-1)[0] = value
    names = ["stem", "bn1", "relu", "bn2", "relu_1"]
    for name in names:
        graph = traced(network, [name], relu=relu)
        batch = images()
        expected = truth(network, [name], batch, relu=relu, pool="avg")
        if graph is not None:
            torch.testing.assert_close(run(graph, batch), expected, equal_nan=True)


# No graph is better than a wrong one


def counting(change: Callable[[Tensor, int], Tensor]) -> nn.Module:
    """Does something else at each call, and keeps the count where a copy shares it."""
    count = itertools.count(1)
    return Wired(lambda m, x: m.relu(change(m.conv(x), next(count))), conv=conv(3), relu=nn.ReLU())


def counting_itself(m: Any, x: Tensor) -> Any:
    m.calls = getattr(m, "calls", 0) + 1
    return m.relu(m.conv(x) + m.calls)


class _Locked(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


def one_image_only(m: Any, x: Tensor) -> Any:
    return m.relu(m.conv(x).view(1, 6, SIZE, SIZE))


def two_images_refused(m: Any, x: Tensor) -> Any:
    if isinstance(x, Tensor) and len(x) > 1:  # a symbol is no Tensor
        raise ValueError("one image at a time")
    return m.relu(m.conv(x))


def otherwise_in_a_trace(m: Any, x: Tensor) -> Any:
    return m.relu(m.conv(x if isinstance(x, Tensor) else x.flip(1)))


def doubled_in_a_trace(m: Any, x: Tensor) -> Any:
    return m.relu(m.conv(x) * (1 if isinstance(x, Tensor) else 2))


def seen_from_afar(m: Any, x: Tensor) -> Any:
    return m.relu(m.conv(x) + torch.randn(1, 6, 1, 1))


UNTRACEABLE: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "branches on values": (Branching, "layer3"),
    "branches on the batch": (
        lambda: Wired(
            lambda m, x: m.relu(m.conv(x) if x.shape[0] > 2 else -m.conv(x)),
            conv=conv(3),
            relu=nn.ReLU(),
        ),
        "relu",
    ),
    "iterates over its images": (
        lambda: Wired(
            lambda m, x: m.relu(torch.stack([m.conv(one) for one in x])),
            conv=conv(3),
            relu=nn.ReLU(),
        ),
        "relu",
    ),
    "writes into a part of a map": (
        lambda: Wired(
            lambda m, x: m.relu(operator.setitem(y := m.conv(x), slice(1), 0) or y),
            conv=conv(3),
            relu=nn.ReLU(),
        ),
        "relu",
    ),
    "cannot be copied": (_Locked, "layer2"),
    "takes one image": (
        lambda: Wired(one_image_only, conv=conv(3), relu=nn.ReLU()),
        "relu",
    ),
    "refuses two images": (
        lambda: Wired(two_images_refused, conv=conv(3), relu=nn.ReLU()),
        "relu",
    ),
    "does otherwise in a trace": (
        lambda: Wired(otherwise_in_a_trace, conv=conv(3), relu=nn.ReLU()),
        "relu",
    ),
    "doubles in a trace": (
        lambda: Wired(doubled_in_a_trace, conv=conv(3), relu=nn.ReLU()),
        "relu",
    ),
    "draws numbers": (lambda: Wired(seen_from_afar, conv=conv(3), relu=nn.ReLU()), "relu"),
    "counts and flips": (lambda: counting(lambda x, i: x.flip(1) if i % 2 else x), "relu"),
    "counts and adds": (lambda: counting(lambda x, i: x + i), "relu"),
    "counts and scales": (lambda: counting(lambda x, i: x * i), "relu"),
    "counts in an attribute": (
        lambda: Wired(counting_itself, conv=conv(3), relu=nn.ReLU()),
        "relu",
    ),
    "keeps inner layers to itself": (
        lambda: Wired(
            lambda m, x: m.encoder(m.conv(x).flatten(2).transpose(1, 2)),
            conv=conv(3, 8),
            encoder=nn.TransformerEncoderLayer(8, 2, 16, activation=F.silu, batch_first=True),
        ),
        "encoder.linear1",
    ),
}


@pytest.mark.parametrize("kind", UNTRACEABLE)
def test_no_graph_of_a_network_that_it_would_not_be_like(kind: str) -> None:
    build, layer = UNTRACEABLE[kind]
    assert traced(frozen(build()), [layer]) is None


def test_no_graph_where_a_users_hook_changes_a_convolution() -> None:
    """Or one that does as the hook does."""
    network = frozen(Plain())
    network.get_submodule("layer2.0").register_forward_hook(lambda _m, _args, output: 2 * output)
    for names in (["layer2.0"], ["layer2.2"], ["layer2.0", "layer3"]):
        graph, batch = traced(network, names, relu=False, pool="none"), images()
        if graph is not None:
            expected = truth(network, names, batch, relu=False, pool="none")
            assert_close(run(graph, batch), expected, torch.float32)


@pytest.mark.parametrize("factor", [0.5, 0.98, 1.001, 1.02, 2])
def test_a_graph_with_codes_of_another_scale_is_not_used(factor: float) -> None:
    """Direction alone does not tell."""

    def wiring(m: Any, x: Tensor) -> Any:
        return m.end(m.conv(x) * (1 if isinstance(x, Tensor) else factor))

    assert traced(frozen(Wired(wiring, conv=conv(3), end=conv(bias=False))), ["end"]) is None


@pytest.mark.parametrize("error", [1e-3, 1e-2, 1])
def test_a_graph_with_codes_a_little_off_is_not_used(error: float) -> None:
    def wiring(m: Any, x: Tensor) -> Any:
        x = m.conv(x)
        return m.end(x if isinstance(x, Tensor) else x + error * x.flip(1))

    assert traced(frozen(Wired(wiring, conv=conv(3), end=conv(bias=False))), ["end"]) is None


def test_a_layer_that_the_pass_does_not_reach_gives_no_graph_or_the_taps_error() -> None:
    from bottleneck.errors import BackboneError

    ghost = Layer("relu_7", "relu", 7, (6, SIZE, SIZE), False, 1.0)
    caught = TruncatedNetwork(frozen(Reused()), [ghost])
    try:
        assert trace(caught, SIZE, dtype=torch.float32, device=CPU) is None
    except BackboneError as error:
        assert "relu_7" in str(error)


def test_float16_is_not_fused_so_that_an_overflow_is_seen() -> None:
    network = frozen(Plain())
    with torch.no_grad():
        next(network.parameters()).mul_(1e6)
    batch = images()
    graph = traced(network, ["layer1"], torch.float16, pool="max")
    if graph is not None:
        assert run(graph, batch, torch.float16)["layer1"].isinf().any()


# The network that was handed in


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("build", [Residual, Plain, Branching, Reused])
def test_the_network_is_left_as_it_was(build: Callable[[], nn.Module], dtype: torch.dtype) -> None:
    network = frozen(build())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modules = dict(network.named_modules())
    attributes = {name: set(vars(module)) for name, module in modules.items()}
    traced(network, [every_module(network)[2]], dtype)
    assert dict(network.named_modules()) == modules
    assert {name: set(vars(module)) for name, module in modules.items()} == attributes
    after = network.state_dict()
    assert after.keys() == before.keys()
    for name, value in before.items():
        assert after[name].dtype == value.dtype
        assert torch.equal(after[name], value)
        assert after[name].stride() == value.stride()
    for module in modules.values():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module.training
    assert nn.Module.__call__ is type(network).__call__


def test_a_graph_shares_no_memory_with_the_network() -> None:
    network = frozen(Residual())
    graph, batch = traced(network, ["fc"]), images()
    assert graph
    before = run(graph, batch)["fc"]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    torch.testing.assert_close(run(graph, batch)["fc"], before)


def test_codes_are_the_callers_own() -> None:
    network = frozen(Residual())
    names = ["conv1", "bn1", "relu", "relu_1"]
    graph, batch = traced(network, names, relu=False, pool="none"), images()
    assert graph
    first = run(graph, batch)
    kept = {name: value.clone() for name, value in first.items()}
    run(graph, images())
    assert all(torch.equal(first[name], kept[name]) for name in names)
    assert len({value.data_ptr() for value in first.values()}) == len(names)


# Any network


@dataclass(frozen=True)
class Step:
    """What makes one more map out of one map or two."""

    kind: str
    source: int
    other: int = 0
    how: str = ""
    channels: int = 0
    outputs: int = 0
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    bias: bool = True


_RELUS: dict[str, Callable[[Tensor], Tensor]] = {
    "F.relu": F.relu,
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "torch.relu": torch.relu,
    "relu_": lambda x: x.relu_(),
}
_SUMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "+": operator.add,
    "+=": operator.iadd,
    "torch.add": torch.add,
    "add_": lambda a, b: a.add_(b),
}
_MODULES: dict[str, Callable[[Step], nn.Module]] = {
    "relu": lambda _step: nn.ReLU(),
    "relu in place": lambda _step: nn.ReLU(inplace=True),
    "relu6": lambda _step: nn.ReLU6(),
    "silu": lambda _step: nn.SiLU(inplace=True),
    "max": lambda _step: nn.MaxPool2d(2, ceil_mode=True),
    "avg": lambda _step: nn.AvgPool2d(3, 1, 1),
    "bn": lambda step: nn.BatchNorm2d(step.channels),
    "conv": lambda step: nn.Conv2d(
        step.channels,
        step.outputs,
        step.kernel,
        step.stride,
        step.kernel // 2,
        groups=step.groups,
        bias=step.bias,
    ),
}


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[Step], int]:
    """Steps of a network whose maps are read by any step after them, and its images' size."""
    size = draw(st.integers(8, 24))
    made: list[Step] = []
    shapes = [(3, size)]  # channels and side of each map

    def recent(among: list[int]) -> int:
        """Often the newest, so that chains come about."""
        return among[-1 - min(draw(st.sampled_from([0, 0, 0, 1, 2, 5])), len(among) - 1)]

    def convolution(source: int) -> Step:
        channels = shapes[source][0]
        alike = draw(st.booleans())  # so that there is something to add to
        outputs = channels if alike else draw(st.integers(1, 20))
        stride = 1 if alike else draw(st.sampled_from([1, 1, 2]))
        return Step(
            "conv",
            source,
            channels=channels,
            outputs=outputs,
            kernel=draw(st.sampled_from([1, 3])),
            stride=stride,
            groups=draw(st.sampled_from([1, channels])) if alike else 1,
            bias=draw(st.booleans()),
        )

    for _ in range(draw(st.integers(2, 10))):
        source = recent(list(range(len(shapes))))
        channels, side = shapes[source]
        same = [i for i, shape in enumerate(shapes) if shape == shapes[source] and i != source]
        beside = [i for i, shape in enumerate(shapes) if shape[1] == side]
        kinds = ["conv", "conv", "bn", "relu", "relu in place", "functional", "silu", "relu6"]
        kinds += ["max", "avg", "cat"] + ["add"] * 4 * bool(same)
        kind = draw(st.sampled_from(kinds)) if made else "conv"
        if kind == "conv":
            step = convolution(source)
            channels, side = step.outputs, -(-side // step.stride)
        elif kind == "add":
            step = Step(kind, source, recent(same), how=draw(st.sampled_from(sorted(_SUMS))))
        elif kind == "cat":
            step = Step(kind, source, recent(beside))
            channels += shapes[step.other][0]
        elif kind == "functional":
            step = Step(kind, source, how=draw(st.sampled_from(sorted(_RELUS))))
        else:
            step = Step(kind, source, channels=channels)
            side = -(-side // 2) if kind == "max" else side
        made.append(step)
        shapes.append((channels, side))
    return made, size


class Planned(nn.Module):
    def __init__(self, plan: list[Step]) -> None:
        super().__init__()
        self.plan = plan
        for i, step in enumerate(plan):
            if step.kind in _MODULES:
                self.add_module(f"step{i}", _MODULES[step.kind](step))

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for i, step in enumerate(self.plan):
            one, other = maps[step.source], maps[step.other]
            if step.kind == "add":
                maps.append(_SUMS[step.how](one, other))
            elif step.kind == "cat":
                maps.append(torch.cat([one, other], 1))
            elif step.kind == "functional":
                maps.append(_RELUS[step.how](one))
            else:
                maps.append(self.get_submodule(f"step{i}")(one))
        return maps[-1]


@settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    plan=plans(),
    relu=st.booleans(),
    pool=st.sampled_from(["avg", "max", "none", "2"]),
    data=st.data(),
)
def test_any_network_gives_its_own_codes_as_a_graph(
    plan: tuple[list[Step], int], relu: bool, pool: str, data: st.DataObject
) -> None:
    steps_, size = plan
    torch.manual_seed(0)
    network = frozen(Planned(steps_))
    layers = list_layers(network, size)
    names = data.draw(
        st.lists(st.sampled_from([layer.name for layer in layers]), min_size=1, unique=True)
    )
    caught = TruncatedNetwork(network, select_layers(layers, names), relu=relu, pool=pool)
    batch = images(3, size)
    expected = truth(network, names, batch, relu=relu, pool=pool)
    for dtype in (torch.float32, torch.bfloat16):
        graph = trace(caught, size, dtype=dtype, device=CPU)
        event(f"{dtype}: {'a graph' if graph else 'none'}")
        if graph is None:
            assert dtype == torch.bfloat16  # which may be far from the network's codes
        elif dtype == torch.float32:
            assert_close(run(graph, batch), expected, dtype)
        else:
            rounded = copy.deepcopy(network).to(dtype)
            plain = TruncatedNetwork(rounded, caught.layers, relu=relu, pool=pool)(batch.to(dtype))
            found = run(graph, batch, dtype)
            for name in names:
                error = float((plain[name] - expected[name]).norm())
                allowed = max(3 * error, 0.03 * float(expected[name].norm()))
                assert float((found[name] - expected[name]).norm()) <= allowed


# Max pooling by bits


POOLS: dict[str, Callable[[], nn.Module]] = {
    "3, 2, 0, up": lambda: nn.MaxPool2d(3, 2, ceil_mode=True),  # SqueezeNet's
    "3, 2, 1": lambda: nn.MaxPool2d(3, 2, 1),  # ResNet's
    "3, 2, 1, up": lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True),
    "2": lambda: nn.MaxPool2d(2),
    "2, 1, 1": lambda: nn.MaxPool2d(2, 1, 1),  # no pixel is in every window
    "3, 1, 1, up": lambda: nn.MaxPool2d(3, 1, 1, ceil_mode=True),
    "1, 2": lambda: nn.MaxPool2d(1, 2),
    "5, 3, 2, up": lambda: nn.MaxPool2d(5, 3, 2, ceil_mode=True),
    "of two numbers": lambda: nn.MaxPool2d((2, 3), (1, 2), (1, 0)),
    "dilated": lambda: nn.MaxPool2d(3, 1, 1, dilation=2),
}


def behind(activate: Callable[[Any, Tensor], Tensor], pool: nn.Module) -> nn.Module:
    return frozen(
        Wired(
            lambda m, x: m.pool(activate(m, x)),
            conv=conv(3, 6),
            bn=norm(),
            relu=nn.ReLU(True),
            again=conv(6, 6),
            pool=pool,
        )
    )


def by_bits(graph: Forward | None) -> bool:
    assert isinstance(graph, fx.GraphModule)
    return "MaxPool" in steps(graph)


@in_bfloat16
@fuses
@pytest.mark.parametrize("size", [8, 13, 16])
@pytest.mark.parametrize("kind", POOLS)
def test_pooling_by_bits_is_pytorchs_bit_by_bit(kind: str, size: int) -> None:
    network = behind(lambda m, x: m.relu(m.bn(m.conv(x))), POOLS[kind]())
    layers = select_layers(list_layers(network, size), ["relu", "pool"])
    graph = trace(
        TruncatedNetwork(network, layers, pool="none"), size, dtype=torch.bfloat16, device=CPU
    )
    assert graph
    assert by_bits(graph.program) == (kind != "dilated")
    found = run(graph, images(3, size), torch.bfloat16)
    assert torch.equal(found["pool"], network.get_submodule("pool")(found["relu"]))


@in_bfloat16
@fuses
@pytest.mark.parametrize(
    ("activate", "expected"),
    [
        (lambda m, x: m.conv(x), False),
        (lambda m, x: m.bn(m.conv(x)), False),
        (lambda m, x: m.relu(m.conv(x)), True),
        (lambda m, x: F.silu(m.conv(x)), False),
        (lambda m, x: m.relu(m.conv(x)) - 1, False),
        (lambda m, x: torch.cat([y := m.relu(m.conv(x)), m.relu(m.again(y))], 1), True),
        (lambda m, x: torch.cat([y := m.relu(m.conv(x)), m.again(y)], 1), False),
        (lambda m, x: F.max_pool2d(m.relu(m.conv(x)), 2), False),
        (lambda m, x: m.relu(m.conv(x / x.abs().amax())), False),  # may be NaN
    ],
)
def test_only_what_a_relu_leaves_is_pooled_by_bits(
    activate: Callable[[Any, Tensor], Tensor], expected: bool
) -> None:
    network = behind(activate, nn.MaxPool2d(3, 2, 1))
    graph = assert_alike(network, ["pool"], torch.bfloat16)
    assert by_bits(graph) == expected


@fuses
def test_float32_is_pooled_as_ever() -> None:
    network = behind(lambda m, x: m.relu(m.conv(x)), nn.MaxPool2d(3, 2, 1))
    graph = assert_alike(network, ["pool"])
    assert "MaxPool2d" in steps(graph)
