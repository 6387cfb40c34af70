"""Traced networks give the codes of the network's own forward pass, or are not used."""

import itertools
import operator
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812

from bottleneck.backbones.cutting.cuts import list_cuts
from bottleneck.backbones.layers.layer import Layer
from bottleneck.backbones.layers.truncated import TruncatedNetwork
from bottleneck.backbones.probing.probe import Probe, probe
from bottleneck.backbones.tracing.operations import has_hooks
from bottleneck.backbones.tracing.traced import trace
from tests.helpers.brought_networks import Stored
from tests.helpers.tiny_networks import Branching, Plain, Residual, Reused, Wired, frozen
from tests.helpers.tracing import (
    CPU,
    PRECISIONS,
    SIZE,
    assert_alike,
    assert_close,
    conv,
    every_module,
    images,
    layers_of,
    mostly_float32,
    norm,
    run,
    steps,
    traced,
    truncated,
    truth,
)

# Layers and their codes


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
def test_several_calls_of_one_module_are_distinguished(names: list[str], relu: bool) -> None:
    assert_alike(frozen(Reused()), names, relu=relu)


@pytest.mark.parametrize("relu", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("pool", "dtype"),
    mostly_float32(("avg", "max", "none", "1", "2", "3"), rounded=("avg", "max", "2")),
)
def test_codes_are_pooled_as_a_truncated_network_pools_them(
    pool: str, relu: bool, dtype: torch.dtype
) -> None:
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
def test_a_map_that_is_rewritten_after_its_code_was_taken(inplace: bool) -> None:
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


def test_nothing_after_the_deepest_layer_is_in_the_program() -> None:
    graph = traced(frozen(Residual()), ["bn1"], relu=False)
    assert isinstance(graph, fx.GraphModule)
    assert [name for name in graph.state_dict() if "2" in name or "fc" in name] == []
    assert steps(graph)[0] == "Convolution"
    assert len(steps(graph)) <= 5
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    assert all(node.users for node in graph.graph.nodes if node is not output)


# No graph is better than a wrong one


Wiring = Callable[[Any, Tensor], Any]


def convolved(wiring: Wiring) -> nn.Module:
    """A network of a convolution and a ReLU."""
    return Wired(wiring, conv=conv(3), relu=nn.ReLU())


def counting(change: Callable[[Tensor, int], Tensor]) -> Wiring:
    """Does something else at each call, and keeps the count where a copy shares it."""
    count = itertools.count(1)
    return lambda m, x: m.relu(change(m.conv(x), next(count)))


def counting_itself(m: Any, x: Tensor) -> Any:
    m.calls = getattr(m, "calls", 0) + 1
    return m.relu(m.conv(x) + m.calls)


class _Locked(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


# Each has a layer `relu`.
UNTRACEABLE: dict[str, Wiring] = {
    "branches on the batch": lambda m, x: m.relu(m.conv(x) if x.shape[0] > 2 else -m.conv(x)),
    "iterates over its images": lambda m, x: m.relu(torch.stack([m.conv(one) for one in x])),
    "writes into a part of a map": (
        lambda m, x: m.relu(operator.setitem(y := m.conv(x), slice(1), 0) or y)
    ),
    "does otherwise in a trace": (
        lambda m, x: m.relu(m.conv(x if isinstance(x, Tensor) else x.flip(1)))
    ),
    "doubles in a trace": lambda m, x: m.relu(m.conv(x) * (1 if isinstance(x, Tensor) else 2)),
    "draws numbers": lambda m, x: m.relu(m.conv(x) + torch.randn(1, 6, 1, 1)),
    "counts and flips": counting(lambda x, i: x.flip(1) if i % 2 else x),
    "counts and adds": counting(lambda x, i: x + i),
    "counts and scales": counting(lambda x, i: x * i),
    "counts in an attribute": counting_itself,
}


def test_what_hooks_of_pytorchs_modules_store_is_of_the_same_images() -> None:
    """And not of the probe, nor of the images that another thread runs meanwhile."""
    network = frozen(Stored())
    whole = truncated(network, ["end"])
    program = trace(whole, probe(whole, SIZE), dtype=torch.float32, device=CPU)
    assert program
    assert not any(has_hooks(module) for module in program.program.modules())
    batch = images()
    expected = truth(network, ["end"], batch, relu=True, pool="avg")
    assert_close(run(program, batch), expected, torch.float32)


@pytest.mark.parametrize("kind", UNTRACEABLE)
def test_a_program_that_would_differ_is_not_used(kind: str) -> None:
    assert traced(frozen(convolved(UNTRACEABLE[kind])), ["relu"]) is None


def test_a_network_that_branches_on_values_or_cannot_be_copied_is_not_traced() -> None:
    assert traced(frozen(Branching()), ["layer3"]) is None
    assert traced(frozen(_Locked()), ["layer2"]) is None


def test_a_network_that_keeps_inner_layers_to_itself_is_not_traced() -> None:
    network = Wired(
        lambda m, x: m.encoder(m.conv(x).flatten(2).transpose(1, 2)),
        conv=conv(3, 8),
        encoder=nn.TransformerEncoderLayer(8, 2, 16, activation=F.silu, batch_first=True),
    )
    assert traced(frozen(network), ["encoder.linear1"]) is None


def test_modules_and_functions_that_are_called_by_keywords_are_traced() -> None:
    network = frozen(
        Wired(
            lambda m, x: m.relu(input=torch.dropout(input=m.conv(input=x), p=0.5, train=False)),
            conv=conv(3, 6),
            relu=nn.ReLU(inplace=True),
        )
    )
    graph, batch = traced(network, ["conv", "relu"], relu=False, pool="none"), images()
    assert graph
    expected = truth(network, ["conv", "relu"], batch, relu=False, pool="none")
    assert_close(run(graph, batch), expected, torch.float32)
    assert list_cuts(network, layers_of(network), SIZE).layers == ("conv", "relu")


def test_a_hook_on_a_convolution_is_traced() -> None:
    network = frozen(Plain())
    network.get_submodule("layer2.0").register_forward_hook(lambda _m, _args, output: 2 * output)
    for names in (["layer2.0"], ["layer2.2"], ["layer2.0", "layer3"]):
        graph, batch = traced(network, names, relu=False, pool="none"), images()
        assert graph
        expected = truth(network, names, batch, relu=False, pool="none")
        assert_close(run(graph, batch), expected, torch.float32)


@pytest.mark.parametrize("factor", [0.5, 0.98, 1.001, 1.02, 2])
def test_a_program_with_codes_of_another_scale_is_not_used(factor: float) -> None:
    """Direction alone does not tell."""

    def wiring(m: Any, x: Tensor) -> Any:
        return m.end(m.conv(x) * (1 if isinstance(x, Tensor) else factor))

    assert traced(frozen(Wired(wiring, conv=conv(3), end=conv(bias=False))), ["end"]) is None


@pytest.mark.parametrize("error", [1e-3, 1e-2, 1])
def test_a_program_with_codes_a_little_off_is_not_used(error: float) -> None:
    def wiring(m: Any, x: Tensor) -> Any:
        x = m.conv(x)
        return m.end(x if isinstance(x, Tensor) else x + error * x.flip(1))

    assert traced(frozen(Wired(wiring, conv=conv(3), end=conv(bias=False))), ["end"]) is None


def test_a_layer_that_is_never_computed_is_not_traced() -> None:
    ghost = Layer("relu_7", "relu", 7, (6, SIZE, SIZE), False, 1.0)
    caught = TruncatedNetwork(frozen(Reused()), [ghost])
    probed = Probe(images(2), {"relu_7": torch.zeros(2, 6)}, takes_batches=True)
    assert trace(caught, probed, dtype=torch.float32, device=CPU) is None


def test_float16_is_not_fused_so_that_an_overflow_is_seen() -> None:
    network, batch = frozen(Plain()), images()
    values = network.state_dict()
    values["layer1.0.weight"] *= 1e3
    values["layer1.1.running_var"] *= 1e6  # folded, it would hide the convolution's large values
    graph = traced(network, ["layer1"], torch.float16, pool="max")
    assert graph is not None
    assert run(graph, batch, torch.float16)["layer1"].isfinite().all()
    assert not run(graph, 100 * batch, torch.float16)["layer1"].isfinite().any()


# The network that was handed in


@pytest.mark.parametrize(
    ("build", "dtype"),
    [
        *((Residual, dtype) for dtype in (torch.float32, torch.bfloat16, torch.float16)),
        *((build, torch.float32) for build in (Branching, Reused)),
    ],
)
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


def test_a_program_shares_no_memory_with_the_network() -> None:
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


# Sizes, which are numbers, and functions that are modules


class _PadsLikeTensorFlow(nn.Conv2d):
    """Computes its padding from the size of the map, as timm's networks of TensorFlow do."""

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        lack = [max((-(-s // stride) - 1) * stride + kernel - s, 0) for s in x.shape[-2:]]
        x = F.pad(x, (lack[1] // 2, lack[1] - lack[1] // 2, lack[0] // 2, lack[0] - lack[0] // 2))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class _NormAct(nn.BatchNorm2d):
    """A batch norm as a function, with an activation in place, as timm has them."""

    def forward(self, x: Tensor) -> Tensor:
        tensors = (self.running_mean, self.running_var, self.weight, self.bias)
        return F.relu(F.batch_norm(x, *tensors, training=False, eps=self.eps), inplace=True)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_padding_by_the_size_of_the_map_is_traced_and_fused(dtype: torch.dtype) -> None:
    network = frozen(
        nn.Sequential(_PadsLikeTensorFlow(3, 6, 3, 2), _NormAct(6), conv(), norm(), nn.ReLU())
    )
    graph = assert_alike(network, ["1", "4"], dtype)
    assert steps(graph)[:2] == ["pad", "Convolution"]
    assert not {"conv2d", "batch_norm", "BatchNorm2d"} & set(steps(graph))


@pytest.mark.parametrize(
    "wiring",
    [
        lambda m, x: m.one(x if x.shape[-1] % 4 == 0 else x * 2),
        lambda m, x: m.one(x)[:, : x.size(-1) // 2] if x.dim() == 4 == x.ndim else x,
        lambda m, x: m.one(x).reshape(x.shape[0] * 2, 3, *x.shape[2:]).view(len_of(x), 6, -1),
        lambda m, x: m.one(x).permute(2, 3, 0, 1).reshape(-1, x.size()[0], 6).transpose(0, 1),
        lambda m, x: m.one(x) * float(x.shape[2]) ** -0.5,
        lambda m, x: m.one(x) + torch.arange(6.0).view(1, 6, 1, 1)[:, : m.one(x).shape[1]],
    ],
)
def test_sizes_are_numbers_but_for_that_of_the_images(
    wiring: Callable[[Any, Tensor], Tensor],
) -> None:
    graph = assert_alike(
        frozen(Wired(lambda m, x: m.end(wiring(m, x)), one=conv(3), end=nn.Identity())), ["end"]
    )
    assert graph is not None


def len_of(x: Tensor) -> Any:
    return x.shape[0]


def test_to_compute_a_size_no_symbol_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each has the whole graph, and PyTorch warns of what it cannot copy.
    copied: list[fx.Proxy] = []

    def copy(self: fx.Proxy, _memo: dict[int, Any]) -> fx.Proxy:
        copied.append(self)
        return self

    monkeypatch.setattr(fx.Proxy, "__deepcopy__", copy)
    network = frozen(nn.Sequential(conv(3), _PadsLikeTensorFlow(6, 6, 3, 2)))
    assert_alike(network, ["0", "1"])
    assert not copied


def test_a_branch_on_the_number_of_images_is_not_traced() -> None:
    network = frozen(
        Wired(lambda m, x: m.end(m.one(x) if x.shape[0] > 1 else x), one=conv(3, 3), end=conv(3))
    )
    assert traced(network, ["end"]) is None


def test_batch_norm_by_statistics_of_the_batch_stays_a_function() -> None:
    network = frozen(
        Wired(
            lambda m, x: m.end(F.batch_norm(m.one(x), None, None, training=True)),
            one=conv(3),
            end=conv(),
        )
    )
    graph = traced(network, ["end"])
    assert isinstance(graph, fx.GraphModule)
    assert "batch_norm" in steps(graph)
