"""Fusion hides no NaN of the network."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from tests.helpers.tiny_networks import Residual, Wired, frozen
from tests.helpers.tracing import (
    PRECISIONS,
    SIZE,
    conv,
    images,
    mostly_float32,
    norm,
    run,
    traced,
    truth,
)

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
    # Fused are the network's own ReLU, then one that makes a code, then none that others read.
    for names, relu in ((["relu"], False), (["end"], True), (["conv", "bn", "relu", "end"], True)):
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


@pytest.mark.parametrize(("poison", "dtype"), mostly_float32(POISON, rounded=("division",)))
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


@pytest.mark.parametrize("relu", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "value", [torch.nan, torch.inf, pytest.param(-torch.inf, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("where", ["stem.0.weight", "bn1.weight", "bn1.running_mean", "conv2.bias"])
def test_weights_that_are_not_finite_are_not_hidden(where: str, value: float, relu: bool) -> None:
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
