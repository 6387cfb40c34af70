"""Cuts, against a truth of their own: another image's output put in the place of a layer's."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from bottleneck.backbones.cutting.cuts import Cuts, list_cuts
from bottleneck.backbones.layers.layer import Layer
from bottleneck.backbones.layers.listing import list_layers
from bottleneck.backbones.layers.outputs import find_tensors, follow
from bottleneck.backbones.preparation import prepare_network
from bottleneck.errors import BackboneError
from tests.helpers.brought_networks import build, conv
from tests.helpers.random_networks import MODULES, Planned, Step, plans
from tests.helpers.tiny_networks import Branching, Dense, Plain, Residual, Reused, WithToken, frozen

SIZE = 16


def cuts_of(network: nn.Module, size: int = SIZE) -> Cuts:
    return list_cuts(network, list_layers(network, size), size)


def result_of(
    network: nn.Module, image: Tensor, at: Layer | None, change: Callable[[Tensor], Any]
) -> Any:
    """What the network returns for an image if `change` is called with a layer's output."""
    calls: Counter[str] = Counter()

    def hook(_module: nn.Module, _args: Any, output: Any) -> None:
        if at and calls[at.module] == at.call:
            change(follow(output, at.path))
        calls[at.module if at else ""] += 1

    module = network.get_submodule(at.module) if at else network
    handle = module.register_forward_hook(hook)
    try:
        with torch.no_grad():
            returned = network(image.clone())
        return next(tensor for _, tensor in find_tensors(returned)).clone()
    finally:
        handle.remove()


def is_cut(network: nn.Module, layer: Layer, size: int) -> bool:
    """Whether an image with another's output at a layer is the other image from there on."""
    one, other = torch.randn(2, 1, 3, size, size, generator=torch.Generator().manual_seed(1))
    kept: list[Tensor] = []
    expected = result_of(network, other, layer, lambda output: kept.append(output.clone()))
    # In place, for what reads the same memory later is computed from that output too.
    found = result_of(network, one, layer, lambda output: output.copy_(kept[0]))
    return torch.allclose(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "plain": (
        Plain,
        [
            *("layer1.0", "layer1.1", "layer1.2", "layer1"),
            *("layer2.0", "layer2.1", "layer2.2", "layer2", "layer3"),
        ],
    ),
    "residual": (Residual, ["stem.0", "stem.1", "stem.2", "stem", "relu", "relu_1"]),
    "dense": (Dense, ["stem", "join"]),
    "token": (WithToken, ["patches", "norm"]),
    "a module called again": (Reused, ["conv1", "relu", "conv2", "relu_1", "conv3", "relu_2"]),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_cuts_are_those_of_the_network(name: str) -> None:
    make, expected = NETWORKS[name]
    network = frozen(make())
    found = cuts_of(network)
    assert list(found.layers) == expected
    layers = list_layers(network, SIZE)
    up_to = [layer.name for layer in layers].index(expected[-1]) + 1
    assert [layer.name for layer in layers[:up_to] if is_cut(network, layer, SIZE)] == expected


@settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(plan=plans())
def test_a_layer_is_a_cut_if_another_images_output_makes_it_that_image(
    plan: tuple[list[Step], int],
) -> None:
    steps, size = plan
    torch.manual_seed(0)
    network = frozen(Planned(steps))
    layers = list_layers(network, size)
    found = set(cuts_of(network, size).layers)
    if steps[-1].kind not in MODULES:
        return  # its last layer is not its result
    for layer in layers:
        parts = is_cut(network, layer, size)
        assert parts or layer.name not in found, layer.name
        # A path may be there and carry nothing, where a ReLU lets nothing through.
        dead = any("relu" in f"{step.kind} {step.how}" for step in steps)
        assert not parts or layer.name in found or dead, layer.name


# The penultimate layer


def classified(*behind: nn.Module, **own: Any) -> nn.Module:
    """A network that ends with some modules."""
    network = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), *behind)
    for name, value in own.items():
        setattr(network, name, value)
    return frozen(network)


POOLED = (nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize(
    ("network", "output", "dropout"),
    [
        (classified(*POOLED, nn.Linear(6, 4)), "4", 0.0),
        (classified(*POOLED, nn.Dropout(0.3), nn.Linear(6, 4)), "4", 0.3),
        (
            classified(*POOLED, nn.Linear(6, 9), nn.ReLU(), nn.Dropout(0.4), nn.Linear(9, 4)),
            "6",
            0.4,
        ),
        (classified(*POOLED, nn.Linear(6, 4), nn.Softmax(1)), "4", 0.0),
        # As SqueezeNet, which rectifies and averages its logits.
        (
            classified(nn.Dropout(0.5), nn.Conv2d(6, 4, 1), nn.ReLU(), *POOLED, num_classes=4),
            "2",
            0.5,
        ),
        # No classifier: a hidden layer, a norm, maps, and one that says so.
        (classified(*POOLED, nn.Linear(6, 9), nn.ReLU()), "6", 0.0),
        (classified(*POOLED), "4", 0.0),
        (classified(nn.Conv2d(6, 8, 1)), "3", 0.0),
        (classified(*POOLED, nn.Linear(6, 4), num_classes=0), "5", 0.0),
    ],
)
def test_the_penultimate_layer_is_the_last_before_the_classifier(
    network: nn.Module, output: str, dropout: float
) -> None:
    found = cuts_of(network)
    assert (found.output, found.dropout) == (output, dropout)
    assert found.layers[-1] == output


def test_of_a_block_and_the_sequence_that_ends_with_it_the_block_is_named() -> None:
    network = build(
        lambda self, x: self.fc(self.features(x).mean((2, 3))),
        features=nn.Sequential(conv(3, 6), nn.ReLU()),
        fc=nn.Linear(6, 4),
    )
    assert cuts_of(network) == Cuts(("features.0", "features.1", "features"), "features.1", 0.0)


def test_dropout_by_a_function_is_found() -> None:
    network = build(
        lambda self, x: self.fc(F.dropout(self.conv(x).mean((2, 3)), p=0.25, training=False)),
        conv=conv(),
        fc=nn.Linear(6, 4),
    )
    assert cuts_of(network) == Cuts(("conv",), "conv", 0.25)


@pytest.mark.parametrize("shared", [True, False])
def test_two_classifiers_side_by_side_have_one_penultimate_layer(shared: bool) -> None:
    def wiring(network: Any, x: Tensor) -> Any:
        codes = network.pool(network.conv(x))
        others = codes if shared else network.pool(network.conv(x))
        return network.one(codes) + 2 * network.two(others)

    heads = {"one": nn.Linear(6, 4), "two": nn.Linear(6, 4)}
    network = build(wiring, conv=conv(), pool=nn.Sequential(*POOLED), **heads)
    if shared:
        assert cuts_of(network).output == "pool.1"
    else:
        with pytest.raises(BackboneError, match="none of its layers is on every path"):
            cuts_of(network)


def summed(join: nn.Module | None = None) -> nn.Module:
    """A residual network whose sum is a function's, returned by no module but one that is given."""

    def wiring(network: Any, x: Tensor) -> Any:
        maps = network.stem(x)
        maps = F.relu(maps + network.two(F.relu(network.one(maps))))
        return network.fc((network.join(maps) if join else maps).mean((2, 3)))

    joins = {"join": join} if join else {}
    parts = {"stem": conv(), "one": conv(6), "two": conv(6), "fc": nn.Linear(6, 4)}
    return build(wiring, **parts, **joins)


def test_weights_between_the_last_cut_and_the_classifier_are_not_left_out() -> None:
    message = r"'stem' is its last cut, and the weights of 'one' to 'two' .*: let a module return"
    with pytest.raises(BackboneError, match=message):
        cuts_of(summed())
    assert cuts_of(summed(nn.Identity())) == Cuts(("stem", "join"), "join", 0.0)


def test_weights_of_a_function_are_not_left_out_either() -> None:
    network = build(
        lambda self, x: self.fc(F.conv2d(self.stem(x), self.one.weight).mean((2, 3))),
        **{"stem": conv(), "one": conv(6), "fc": nn.Linear(6, 4)},
    )
    with pytest.raises(BackboneError, match="the weights of 'conv2d' between"):
        cuts_of(network)


# What cannot be traced


def test_a_module_that_cannot_be_traced_stays_whole() -> None:
    network = frozen(nn.Sequential(conv(3, 3), Branching(), nn.ReLU(), nn.Linear(4, 5)))
    assert cuts_of(network).layers == ("0", "1", "2")


@pytest.mark.parametrize(
    "network",
    [frozen(Branching()), build(lambda m, x: x if float(x.sum()) > 0 else -x)],
    ids=["layers", "no layers"],
)
def test_a_network_that_cannot_be_traced_says_why(network: nn.Module) -> None:
    with pytest.raises(BackboneError, match=r"cannot be cut: .*float\(\).*\.py, line"):
        cuts_of(network)


@pytest.mark.filterwarnings("ignore")  # that TorchScript is deprecated
def test_torchscript_has_no_cuts_and_says_why_and_is_one_layer_of_a_plain_network() -> None:
    script = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    with pytest.raises(BackboneError, match=r"^a TorchScript program \(Sequential\) .*nn.Module"):
        cuts_of(prepare_network(nn.DataParallel(script), SIZE))
    mixed = nn.Sequential(nn.Conv2d(3, 3, 1), script, nn.Flatten(), nn.Linear(784, 2))
    assert cuts_of(prepare_network(mixed, SIZE)).layers == ("0", "1", "2")


def test_functions_behind_the_last_layer_do_not_matter() -> None:
    network = frozen(
        build(
            lambda self, x: torch.as_tensor(self.fc(self.conv(x).mean((2, 3)))).numpy(),
            conv=conv(),
            fc=nn.Linear(6, 4),
        )
    )
    assert cuts_of(network) == Cuts(("conv",), "conv", 0.0)


def test_the_network_stays_as_it_is() -> None:
    network = Residual()
    frozen(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    cuts_of(network)
    assert network.relu.inplace
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
