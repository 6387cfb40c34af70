"""A few images run the network by its own modules; many, or an unknown number, trace it."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from bottleneck.backbones.inference import forward_choice as module
from bottleneck.backbones.inference.forward_choice import choose_forwards
from bottleneck.backbones.inference.runner import BatchRunner
from bottleneck.backbones.inference.untraced import UntracedNetwork
from bottleneck.backbones.layers.listing import list_layers
from bottleneck.backbones.layers.truncated import TruncatedNetwork
from bottleneck.backbones.tracing.traced import TracedNetwork
from tests.helpers.brought_networks import SIDE, one_image_alone
from tests.helpers.networks import PLAIN
from tests.helpers.runners import BRANCHING, CPU, RESIDUAL, parts, pixels, run, truth
from tests.helpers.tracing import in_bfloat16


@pytest.mark.parametrize(
    ("images", "kind"),
    [(1, UntracedNetwork), (16, UntracedNetwork), (17, TracedNetwork), (None, TracedNetwork)],
)
def test_a_network_is_traced_where_images_are_many_or_unknown(
    images: int | None, kind: type
) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval().requires_grad_(False)
    truncated = TruncatedNetwork(network, list_layers(network, 8))
    chosen = choose_forwards(truncated, 8, dtype=torch.float32, devices=[CPU, CPU], images=images)
    assert {type(forward) for forward in chosen} == {kind}
    assert len(chosen) == (1 if kind is UntracedNetwork else 2)


@pytest.mark.parametrize("model", [PLAIN, RESIDUAL, BRANCHING])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.03)])
def test_codes_of_a_few_images_are_those_of_the_network(
    model: str, precision: str, tolerance: float
) -> None:
    runner = BatchRunner(*parts(model, precision=precision), images=3)
    images = pixels(3)
    codes, expected = run(runner, images, 2), truth(model, images)
    assert runner.parallel_batches == 1
    for layer, code in expected.items():
        apart = torch.from_numpy(codes[layer] - code).norm() / torch.from_numpy(code).norm()
        assert float(apart) < tolerance


class Alone(nn.Module):
    """Its program would take any number of images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, images: Tensor) -> Tensor:
        if isinstance(images, Tensor) and len(images) > 1:  # a symbol is no Tensor
            raise ValueError("one image at a time")
        codes: Tensor = self.conv(images)
        return codes


@pytest.mark.parametrize("make", [Alone, one_image_alone])
def test_a_network_that_takes_one_image_alone_is_not_traced(make: Callable[[], nn.Module]) -> None:
    network = make().eval().requires_grad_(False)
    truncated = TruncatedNetwork(network, list_layers(network, SIDE))
    (chosen,) = choose_forwards(truncated, SIDE, dtype=torch.float32, devices=[CPU])
    assert isinstance(chosen, UntracedNetwork)


class Cancelling(nn.Module):
    """Rounding in bfloat16 changes its codes by some hundredths."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, images: Tensor) -> Tensor:
        codes: Tensor = self.conv(images) + 32 - 32
        return codes


def test_a_few_images_are_not_traced_where_rounding_is_large() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(Cancelling()).eval().requires_grad_(False)
    truncated = TruncatedNetwork(network, [list_layers(network, 8)[-1]])
    (chosen,) = choose_forwards(truncated, 8, dtype=torch.bfloat16, devices=[CPU], images=1)
    assert isinstance(chosen, UntracedNetwork)
    assert 0.015 < chosen.deviation < 0.1


@pytest.mark.parametrize(
    ("dtype", "deviation", "kind"),
    [
        (torch.float32, 5e-5, SimpleNamespace),
        (torch.float32, 2e-4, TracedNetwork),
        (torch.bfloat16, 0.09, SimpleNamespace),
        pytest.param(torch.bfloat16, 0.11, TracedNetwork, marks=in_bfloat16),
        pytest.param(torch.bfloat16, float("inf"), TracedNetwork, marks=in_bfloat16),
    ],
)
def test_a_few_images_are_traced_where_the_modules_codes_are_further_off_than_rounding(
    dtype: torch.dtype, deviation: float, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = SimpleNamespace(deviation=deviation)
    monkeypatch.setattr(module, "UntracedNetwork", lambda *_, **__: found)
    network = nn.Sequential(nn.Conv2d(3, 8, 3)).eval().requires_grad_(False)
    truncated = TruncatedNetwork(network, list_layers(network, 8))
    (chosen,) = choose_forwards(truncated, 8, dtype=dtype, devices=[CPU], images=1)
    assert isinstance(chosen, kind)


class Unrounded(nn.Module):
    """Its modules are no use in bfloat16; a program's constants are rounded with its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, images: Tensor) -> Tensor:
        if isinstance(images, torch.fx.Proxy) or images.dtype is torch.float32:
            codes: Tensor = self.conv(images)
            return codes
        raise RuntimeError("only float32")


@in_bfloat16
def test_a_network_that_its_modules_do_not_run_in_a_precision_is_traced() -> None:
    network = Unrounded().eval().requires_grad_(False)
    truncated = TruncatedNetwork(network, list_layers(network, 8))
    (chosen,) = choose_forwards(truncated, 8, dtype=torch.bfloat16, devices=[CPU], images=1)
    assert isinstance(chosen, TracedNetwork)
