"""The tail against hooks on the whole network; what it says of itself; what is refused."""

import copy
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from bottleneck.backbones import Backbone, Tail, load_backbone
from bottleneck.backbones.layers.truncated import TruncatedNetwork
from bottleneck.errors import (
    BackboneError,
    InvalidOptionError,
    UnknownNameError,
    WeightsError,
)
from tests.helpers.brought_networks import Stored, build, conv
from tests.helpers.tiny_networks import Branching, Dense, Plain, Residual, Reused, WithToken, frozen
from tests.helpers.tracing import assert_close, truth

SIZE = 16


def backbone_of(network: nn.Module, size: int = SIZE) -> Backbone:
    return load_backbone(network, transform={"resize": size, "crop": size})


def maps_and_codes(
    backbone: Backbone, boundary: str, output: str, count: int = 3
) -> tuple[Tensor, Tensor]:
    """The boundary's maps and the output's codes, by hooks on a full pass that copy."""
    size = backbone.transform.crop
    kept: dict[str, Tensor] = {}
    calls: dict[str, int] = {}

    def keep(name: str) -> None:
        layer = backbone.select_layers([name])[0]

        def hook(_module: nn.Module, _args: object, result: Tensor) -> None:
            call = calls.get(name, 0)
            calls[name] = call + 1
            if call == layer.call:
                kept[name] = result.clone()

        handles.append(backbone.network.get_submodule(layer.module).register_forward_hook(hook))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    keep(boundary)
    if output != boundary:
        keep(output)
    with torch.no_grad():
        backbone.network(torch.randn(count, 3, size, size))
    for handle in handles:
        handle.remove()
    codes = kept[output].clamp(min=0)
    if codes.ndim == 3:
        return kept[boundary], codes.mean(1)  # over tokens
    return kept[boundary], codes.flatten(2).mean(2) if codes.ndim > 2 else codes


def assert_parity(backbone: Backbone, boundary: str) -> Tail:
    tail = backbone.tail(boundary)
    maps, codes = maps_and_codes(backbone, boundary, tail.output)
    before = maps.clone()
    with torch.no_grad():
        found = tail(maps)
    assert torch.equal(maps, before)
    assert (tail.boundary, tail.in_shape) == (boundary, tuple(maps.shape[1:]))
    assert found.shape == (len(maps), tail.features)
    assert_close({"": found}, {"": codes}, torch.float32)
    if tail.non_negative:
        with torch.no_grad():
            assert_close({"": tail(maps.relu())}, {"": codes}, torch.float32)
    return tail


@pytest.mark.parametrize("make", [Plain, Residual, Reused, Dense, WithToken])
def test_behind_every_cut_it_gives_the_networks_codes(make: type[nn.Module]) -> None:
    backbone = backbone_of(frozen(make()))
    for boundary in backbone.cuts:
        assert_parity(backbone, boundary)


@pytest.mark.parametrize(
    ("family", "boundary", "output", "dropout"),
    [
        ("squeezenet1_1", "features.11", "features.12", 0.5),
        pytest.param("resnet18", "layer3", "avgpool", 0.0, marks=pytest.mark.slow),
        ("shufflenet_v2_x0_5", "stage3", "conv5.2", 0.0),
        pytest.param("mnasnet0_5", "layers.11", "layers.16", 0.2, marks=pytest.mark.slow),
    ],
)
def test_tails_give_the_codes_of_torchvisions_networks(
    family: str, boundary: str, output: str, dropout: float
) -> None:
    backbone = backbone_of(frozen(torchvision.models.get_model(family, weights=None)), 64)
    tail = assert_parity(backbone, boundary)
    assert (tail.output, tail.dropout) == (output, dropout)


def test_without_a_boundary_it_is_the_whole_network() -> None:
    backbone = backbone_of(frozen(Residual()))
    tail = backbone.tail(None)
    images = torch.randn(2, 3, SIZE, SIZE)
    expected = truth(backbone.network, [tail.output], images, relu=True, pool="avg")
    with torch.no_grad():
        assert_close({tail.output: tail(images)}, expected, torch.float32)
    assert (tail.boundary, tail.in_shape, tail.frozen_multiply_adds) == (None, (3, SIZE, SIZE), 0)
    assert re.fullmatch(r"whole network: \d+ parameters", str(tail))


def test_its_multiply_adds_are_those_counted_by_hand() -> None:
    tail = backbone_of(frozen(Plain())).tail("layer1")
    assert tail.multiply_adds == 4 * 4 * 8 * 6 * 9 + 4 * 4 * 10 * 8 * 9
    assert tail.frozen_multiply_adds == 8 * 8 * 6 * 3 * 9
    count = sum(parameter.numel() for parameter in tail.parameters())
    assert str(tail) == f"tail behind {tail.boundary}: {count} parameters, 64% of the multiply-adds"
    assert backbone_of(frozen(Plain())).tail("layer3").multiply_adds == 0


# Training


def test_its_parameters_are_copies_that_can_be_trained() -> None:
    backbone = backbone_of(frozen(Residual()))
    before = copy.deepcopy(backbone.network.state_dict())
    tail = backbone.tail("stem")
    assert {name.removeprefix("program.") for name in tail.state_dict()} == {
        name for name in before if name.split(".")[0] in ("conv1", "bn1", "conv2", "bn2", "down")
    }
    assert all(parameter.requires_grad for parameter in tail.parameters())
    optimizer = torch.optim.SGD(tail.parameters(), lr=0.1)
    tail.train()
    tail(torch.randn(4, *tail.in_shape)).sum().backward()
    assert all(parameter.grad is not None for parameter in tail.parameters())
    optimizer.step()
    changed = {name for name, value in tail.program.state_dict().items() if "running" in name}
    assert len(changed) == 6
    for name, value in tail.program.state_dict().items():
        assert not torch.equal(value, before[name]), name
    after = backbone.network.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_operations_that_depend_on_the_mode_become_modules() -> None:
    network = frozen(
        build(
            lambda self, x: self.fc(self.drop(self.norm(self.conv(x)).relu()).mean((2, 3))),
            conv=conv(),
            norm=nn.BatchNorm2d(6),
            drop=torchvision.ops.StochasticDepth(0.5, "row"),
            fc=nn.Linear(6, 4),
        )
    )
    tail = backbone_of(network).tail("conv")
    assert not any(module.training for module in tail.modules())
    kinds = {type(module).__name__ for module in tail.modules()}
    assert {"BatchNorm2d", "StochasticDepth"} <= kinds
    maps = torch.randn(8, *tail.in_shape)
    assert torch.equal(tail(maps), tail(maps))
    tail.train()
    assert not torch.equal(tail(maps), tail(maps))


def test_a_copy_of_it_gives_the_same() -> None:
    tail = backbone_of(frozen(Plain())).tail("layer1")
    maps = torch.randn(2, *tail.in_shape)
    copied = copy.deepcopy(tail)
    assert torch.equal(copied(maps), tail(maps))
    assert {id(p) for p in copied.parameters()}.isdisjoint(id(p) for p in tail.parameters())


# ReLU'd codes as maps


@pytest.mark.parametrize(
    ("name", "expected"),
    [("layer1.0", False), ("layer1.1", True), ("layer1", True), ("layer2", True), ("layer3", True)],
)
def test_a_tail_knows_whether_its_maps_are_non_negative(name: str, expected: bool) -> None:
    assert backbone_of(frozen(Plain())).tail(name).non_negative is expected


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (lambda x: x.relu(), True),
        (lambda x: x.sigmoid() * 2 + 1, True),
        (lambda x: torch.cat([x.relu(), x.relu().mean((2, 3), keepdim=True) + x.relu()], 1), True),
        (lambda x: x.relu() - 1, False),
        (lambda x: x.relu() * -1, False),
        (lambda x: x.relu() + -0.5, False),
        (lambda x: torch.mul(x.relu(), other=-1.0), False),
        (lambda x: torch.add(x.relu(), other=-0.5), False),
        (lambda x: x.relu() * -x.size(0), False),
        (lambda x: x.relu() * x.size(0), True),
        (lambda x: torch.cat([x.relu(), x], 1), False),
        (lambda x: torch.add(x.relu(), x.relu(), alpha=-1), False),
    ],
)
def test_only_what_is_known_to_be_non_negative_is_called_so(
    step: Callable[[Tensor], Tensor], expected: bool
) -> None:
    channels = step(torch.zeros(1, 6, 1, 1)).shape[1]
    network = frozen(
        build(
            lambda self, x: self.fc(self.last(self.mark(step(self.conv(x)))).mean((2, 3))),
            conv=conv(),
            mark=nn.Identity(),
            last=conv(channels, 6),
            fc=nn.Linear(6, 4),
        )
    )
    assert assert_parity(backbone_of(network), "mark").non_negative is expected


def test_a_norm_with_an_activation_of_its_own_is_no_such_activation() -> None:
    class NormAct(nn.BatchNorm2d):  # as timm's
        def __init__(self, act: nn.Module) -> None:
            super().__init__(6)
            self.act = act

        def forward(self, x: Tensor) -> Tensor:
            return torch.as_tensor(self.act(super().forward(x)))

    norms = (NormAct(nn.ReLU()), NormAct(nn.Identity()))
    network = frozen(nn.Sequential(conv(), *norms, nn.Flatten(), nn.Linear(6 * 256, 4)))
    backbone = backbone_of(network)
    assert not assert_parity(backbone, "0").non_negative
    assert assert_parity(backbone, "1").non_negative
    assert not assert_parity(backbone, "2").non_negative


# Refusals


def test_a_layer_inside_of_a_block_is_refused_with_the_nearest_cuts() -> None:
    backbone = backbone_of(frozen(Residual()))
    with pytest.raises(
        InvalidOptionError,
        match=r"`layer='conv1'`: must be a cut.*there is 'stem' before it and 'relu' behind it",
    ):
        backbone.tail("conv1")


def test_the_classifier_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match=r"`layer='fc'`: must be a layer up to 'layer3'"):
        backbone_of(frozen(Plain())).tail("fc")


def test_an_unknown_layer_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(UnknownNameError, match="did you mean layer1"):
        backbone_of(frozen(Plain())).tail("layer11")


def test_a_network_that_cannot_be_traced_has_no_cuts_and_says_why() -> None:
    backbone = backbone_of(frozen(Branching()))
    assert backbone.cuts == ()
    for boundary in ("layer1", None):
        with pytest.raises(BackboneError, match=r"cannot be cut.*float\(\)"):
            backbone.tail(boundary)


class Remembers(nn.Module):
    """Keeps its input for `Recalls`, which no path of a graph shows."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = [torch.zeros(1)]

    def forward(self, x: Tensor) -> Tensor:
        if float(x.sum()) < float("inf"):  # which cannot be traced
            self.kept[0] = x
        return x


class Recalls(nn.Module):
    """Adds what `Remembers` keeps; once more in each pass."""

    def __init__(self, memory: Remembers) -> None:
        super().__init__()
        self.memory = [memory]

    def forward(self, x: Tensor) -> Tensor:
        found = self.memory[0].kept[0] if float(x.sum()) < float("inf") else x
        self.memory[0].kept[0] = torch.zeros(1)
        return x + found


def test_a_part_that_gives_other_codes_is_refused() -> None:
    memory = Remembers()
    head = (conv(3, 4), nn.Flatten(), nn.Linear(4 * SIZE**2, 4))
    backbone = backbone_of(frozen(nn.Sequential(memory, conv(3, 3), Recalls(memory), *head)))
    with pytest.raises(BackboneError, match="behind '1' gives other codes at '4'"):
        backbone.tail("1")


def test_a_part_that_reads_what_was_kept_of_a_pass_is_refused_each_time() -> None:
    backbone = backbone_of(frozen(Stored(nn.BatchNorm2d(6))))  # it stays a module with its hook
    for _ in range(2):  # the second time, what was kept is of the images of the first proof
        with pytest.raises(BackboneError, match=r"behind 'one' (fails|gives other codes)"):
            backbone.tail("one")


def test_weights_that_are_not_loaded_behind_the_boundary_are_refused(tmp_path: Path) -> None:
    whole = frozen(torchvision.models.resnet18(weights=None)).state_dict()
    partial = {name: value for name, value in whole.items() if not name.startswith("layer4")}
    torch.save(partial, tmp_path / "weights.pth")
    backbone = load_backbone(
        "resnet18", str(tmp_path / "weights.pth"), transform={"resize": 64, "crop": 64}
    )
    with pytest.raises(WeightsError):
        backbone.tail("layer2")


# Names, and input as it is prepared


def test_a_name_of_the_networks_wrapper_is_a_boundary_too() -> None:
    backbone = backbone_of(frozen(nn.DataParallel(Plain())))
    tail = backbone.tail("module.layer1")
    assert (tail.boundary, tail.output) == ("module.layer1", "layer3")
    with pytest.raises(InvalidOptionError, match="'layer3'"):
        backbone.tail("module.fc")


def test_a_network_of_one_channel_takes_images_of_three() -> None:
    backbone = backbone_of(nn.Sequential(conv(1, 6), nn.ReLU(), nn.Flatten(), nn.Linear(1536, 4)))
    images = torch.randn(2, 3, SIZE, SIZE)
    layers = backbone.select_layers(["2"])
    expected = TruncatedNetwork(backbone.network, layers)(images)
    with torch.no_grad():
        assert_close({"2": backbone.tail(None)(images)}, expected, torch.float32)


@pytest.mark.real
@pytest.mark.parametrize(
    ("model", "weights", "boundary"),
    [
        ("squeezenet1_0", "squeezenet1_0_imagenet.pth", "features.11"),
        ("timm:tf_efficientnet_lite0", "efficientnet_lite0_imagenet.pth", "blocks.4"),
    ],
)
def test_trained_networks_are_cut(real: Path, model: str, weights: str, boundary: str) -> None:
    backbone = load_backbone(model, str(real / "weights" / weights))
    assert_parity(backbone, boundary)
