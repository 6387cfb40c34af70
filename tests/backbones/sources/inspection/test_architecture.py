"""The digest of an architecture: equal for equal networks, and different for others."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from bottleneck.backbones.backbone import load_backbone
from tests.helpers.tiny_networks import Plain, Wired, branching


def identity(network: nn.Module) -> str:
    return load_backbone(network).model


@dataclass
class Settings:
    slope: float = 0.1


class Scaled(Plain):
    def __init__(self, scale: object) -> None:
        super().__init__()
        self._scale = scale


class Doubled(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def renamed_class(forward: Callable[..., Tensor]) -> Plain:
    network: Plain = type("Doubled", (Plain,), {"forward": forward})()
    return network


def with_buffer(value: float) -> nn.Module:
    network = Plain()
    network.register_buffer("shift", torch.tensor([value]), persistent=False)
    return network


def with_hook(scale: object = 1) -> nn.Module:
    network = Plain()
    kept: list[object] = []  # what it keeps is no part of the architecture

    def hook(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        kept.append(output)
        return output + torch.as_tensor(scale).sum()

    network.fc.register_forward_hook(hook)
    return network


def sloping(slope: float) -> Callable[[Tensor], Tensor]:
    def slope_of(x: Tensor, by: float = slope) -> Tensor:
        return F.leaky_relu(x, by)

    return slope_of


def local_class(slope: float) -> nn.Module:
    class Local(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.leaky_relu(x, slope)

    return Local()


def test_equal_architectures_have_equal_identities_whatever_their_weights() -> None:
    assert identity(Plain()) == identity(Plain().train()) == identity(Plain().double())
    assert identity(branching()) == identity(branching())
    assert identity(local_class(0.1)) == identity(local_class(0.1))
    for scale in (
        2.0,
        [1, {"a": None}],
        Settings(),
        functools.partial(F.leaky_relu, negative_slope=0.2),
    ):
        assert identity(Scaled(scale)) == identity(Scaled(scale))


def test_what_a_hook_keeps_of_a_pass_does_not_change_the_identity() -> None:
    network = with_hook()
    before = identity(network)
    network(torch.zeros(1, 3, 16, 16))
    assert identity(network) == before == identity(with_hook())


def test_other_architectures_have_other_identities() -> None:
    networks: list[nn.Module] = [
        Plain(),
        Doubled(),
        renamed_class(lambda self, x: 3 * Plain.forward(self, x)),
        renamed_class(lambda self, x: 4 * Plain.forward(self, x)),
        *(Scaled(scale) for scale in (1, 2, 2.0, "2", None, (2,), {2}, {"x": 2}, F.relu, F.silu)),
        *(Scaled(scale) for scale in (Settings(0.1), Settings(0.2), torch.ones(2), torch.zeros(2))),
        *(Scaled(functools.partial(F.leaky_relu, negative_slope=slope)) for slope in (0.1, 0.2)),
        *(Scaled(torch.ones(2).numpy() * scale) for scale in (1, 2)),
        *(with_buffer(value) for value in (0.0, 1.0)),
        *map(with_hook, (1, 2, (1.0, 2.0), (1.0, 3.0), torch.ones(1), torch.zeros(1))),
        *(Scaled(sloping(slope)) for slope in (0.1, 0.2)),
        *map(local_class, (0.1, 0.2)),
        nn.Sequential(nn.Conv2d(3, 3, 3, padding=1)),
        nn.Sequential(nn.Conv2d(3, 3, 3, padding=0)),
        nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.SiLU()),
        nn.TransformerEncoderLayer(8, 2, 16, norm_first=True),
        nn.TransformerEncoderLayer(8, 2, 16, norm_first=False),
        nn.TransformerEncoderLayer(8, 4, 16),
        Wired(lambda self, x: self.conv(x), conv=nn.Conv2d(3, 3, 3)),
        Wired(lambda self, x: -self.conv(x), conv=nn.Conv2d(3, 3, 3)),
    ]
    identities = [identity(network) for network in networks]
    assert len(set(identities)) == len(identities)


def test_a_class_without_source_code_is_known_by_its_bytecode() -> None:
    def made(factor: int) -> nn.Module:
        names: dict[str, type[nn.Module]] = {"Plain": Plain}
        exec(
            "class Typed(Plain):\n"
            "    def forward(self, x):\n"
            f"        return {factor} * Plain.forward(self, x)\n",
            names,
        )
        return names["Typed"]()

    assert identity(made(2)) == identity(made(2)) != identity(made(3))
