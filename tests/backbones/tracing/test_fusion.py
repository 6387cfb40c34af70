"""Fused convolutions: chains of operations, shared maps, and convolutions of every kind."""

import itertools
import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from bottleneck.backbones import parallelism
from bottleneck.backbones.probing.probe import probe_images
from bottleneck.backbones.tracing import fusion
from tests.helpers.tiny_networks import Residual, Wired, frozen
from tests.helpers.tracing import (
    PRECISIONS,
    SIZE,
    assert_alike,
    assert_close,
    conv,
    every_module,
    fuses,
    images,
    in_bfloat16,
    mostly_float32,
    norm,
    run,
    steps,
    traced,
    truth,
)

MOSTLY_TRUE = [True, pytest.param(False, marks=pytest.mark.slow)]

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
def test_a_convolution_is_fused_with_what_only_it_feeds(chain: str) -> None:
    build, expected = CHAINS[chain]
    graph = assert_alike(frozen(build()), ["end"])
    assert steps(graph) == [*expected, "Convolution"]


@pytest.mark.parametrize("relu", MOSTLY_TRUE)
@pytest.mark.parametrize(
    ("chain", "dtype"),
    mostly_float32(
        CHAINS,
        rounded=("convolution, norm", "ReLU", "ReLU6", "Hardswish", "SiLU", "out += identity"),
        # What others do, spelt otherwise: that they are fused is asked above.
        slow=("F.relu", "torch.relu", "x.relu()", "identity + out", "torch.add"),
    ),
)
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


@pytest.mark.parametrize("inplace", MOSTLY_TRUE)
@pytest.mark.parametrize(
    ("wiring", "dtype"),
    mostly_float32(ENTANGLED, rounded=[downsampled, identity_used_again, summand_added_into]),
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_residual_maps_that_are_rewritten_or_read_again(
    wiring: Callable[[Any, Tensor], Any], inplace: bool, dtype: torch.dtype
) -> None:
    network = entangled(wiring, inplace=inplace)
    assert_alike(network, ["end"], dtype)
    for relu in (False, True):
        assert_alike(network, every_module(network), dtype, relu=relu)


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


@pytest.mark.parametrize(
    ("wiring", "dtype"),
    mostly_float32(
        [
            *(summand_activated, summand_replaced, input_activated, kept_by_another_name),
            doubled_by_another_name,
        ],
    ),
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_differences_that_two_random_images_do_not_show(
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


@pytest.mark.parametrize(("summand", "dtype"), mostly_float32(SUMS))
def test_sums_of_other_shapes_and_kinds(summand: str, dtype: torch.dtype) -> None:
    network = frozen(SUMS[summand]())
    assert_alike(network, ["end"], dtype)
    assert_alike(network, every_module(network), dtype)


@fuses
@pytest.mark.parametrize(
    ("summand", "fused"), [("convolution plus convolution", True), ("transposed", False)]
)
def test_a_sum_is_fused_with_a_map_that_lies_in_memory_alike(summand: str, fused: bool) -> None:
    graph = assert_alike(frozen(SUMS[summand]()), ["end"])
    assert ("add" not in steps(graph)) == fused


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


@pytest.mark.parametrize(
    ("kind", "dtype"),
    mostly_float32(KINDS, slow=("depthwise", "stride", "no bias", "padding valid")),
)
def test_convolutions_of_every_kind(kind: str, dtype: torch.dtype) -> None:
    def wiring(m: Any, x: Tensor) -> Any:
        return m.end(m.relu(m.kind(m.stem(x))))

    kind_ = KINDS[kind]()
    channels = 9 if kind == "groups" else 12 if "multiplier" in kind else 6
    modules = {"stem": conv(3), "kind": kind_, "relu": nn.ReLU(True), "end": conv(channels, 5)}
    network = frozen(Wired(wiring, **modules))
    assert_alike(network, ["end"], dtype)
    assert_alike(network, ["kind", "relu", "end"], dtype)


@fuses
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_weights_are_laid_out_once_and_not_in_each_pass(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """By oneDNN's own log. Its layout depends on the threads and on the size of maps."""
    monkeypatch.setattr(parallelism, "available_cpus", lambda: 2)
    deep = frozen(
        nn.Sequential(
            *(nn.Conv2d(3, 672, 3, 2, 1), nn.ReLU6()),
            *(nn.Conv2d(672, 192, 1), nn.ReLU6(), nn.Conv2d(192, 1152, 1)),
        )
    )
    graph = traced(deep, ["4"], dtype)
    assert graph
    batch = images(8).contiguous(memory_format=torch.channels_last)
    with parallelism.arithmetic_threads(1):
        run(graph, batch, dtype)
        with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):  # type: ignore[no-untyped-call, unused-ignore]
            run(graph, batch, dtype)
    log = capfd.readouterr().out
    assert log.count(",convolution,") == 3
    weights = ("672x3x3x3", "192x672x1x1", "1152x192x1x1")
    assert not [
        line for line in log.splitlines() if ",reorder," in line and line.split(",")[-2] in weights
    ]


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize(  # oneDNN's blocks have 16 channels, or 32
    "channels",
    [1, 16, 33, *(pytest.param(count, marks=pytest.mark.slow) for count in (2, 5, 15, 17))],
)
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


@pytest.mark.parametrize(
    ("reading", "dtype"), mostly_float32(READ, rounded=("transposed", "expanded"))
)
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


# Fusions that would be wrong


def scaled(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """Let the weight of every fused convolution be so many times as large."""
    init = fusion._Convolution.__init__

    def wrong(self: Any, conv: nn.Conv2d, weight: Tensor, *others: Any) -> None:
        init(self, conv, weight * factor, *others)

    monkeypatch.setattr(fusion._Convolution, "__init__", wrong)


@fuses
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_a_fusion_that_is_wrong_by_a_few_percent_is_refused(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = frozen(nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.ReLU()))
    assert traced(network, ["1"], dtype) is not None
    scaled(monkeypatch, 1.03)
    assert traced(network, ["1"], dtype) is None


@fuses
@in_bfloat16
def test_a_fault_that_rounding_would_hide_is_found_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A kernel is wrong by a few percent, and the codes by less than rounding makes."""
    fold, factors = fusion._fold_batch_norm, itertools.chain([1.03], itertools.repeat(1.0))

    def fold_wrongly(*args: Any) -> tuple[Tensor, Tensor]:
        weight, bias = fold(*args)
        return weight * next(factors), bias

    monkeypatch.setattr(fusion, "_fold_batch_norm", fold_wrongly)
    network = frozen(Residual())
    assert traced(network, ["fc"], torch.bfloat16) is None
    assert traced(network, ["fc"], torch.bfloat16) is not None  # no factor is left


@fuses
@in_bfloat16
def test_a_network_that_rounding_changes_much_is_traced_if_nothing_else_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its values lie close together, far from zero, and only what differs is read."""
    first, second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, bias=False)
    network = frozen(nn.Sequential(first, nn.ReLU(), second))
    with torch.no_grad():
        assert first.bias is not None
        first.bias += 20.0
        second.weight -= second.weight.mean(dim=1, keepdim=True)
    batch = probe_images(SIZE)
    expected = truth(network, ["2"], batch, relu=True, pool="avg")["2"]
    found = traced(network, ["2"], torch.bfloat16)
    assert found is not None
    difference = run(found, batch, torch.bfloat16)["2"] - expected
    assert difference.norm() > 0.015 * expected.norm()  # more than others may
    scaled(monkeypatch, 1.2)
    assert traced(network, ["2"], torch.bfloat16) is None
