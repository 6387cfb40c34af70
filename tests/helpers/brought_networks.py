"""Networks as people bring them; each class is one situation."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from tests.helpers.tiny_networks import Wired

SIDE = 16


def build(wiring: Callable[[Any, Tensor], Any], **modules: nn.Module) -> nn.Module:
    """A frozen network of some modules and a function that passes an image through them."""
    return Wired(wiring, **modules).eval().requires_grad_(False)


def conv(inputs: int = 3, outputs: int = 6) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class DropPath(nn.Module):
    """Drops its input as a whole, seldom, and forgets to ask whether it is in training."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (torch.rand(len(x), 1, 1, 1) > 0.1)


class Doubled(torch.autograd.Function):
    """An operation of one's own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x.contiguous()


def _double(x: Tensor) -> Any:
    return Doubled.apply(x)  # type: ignore[no-untyped-call, unused-ignore]


@dataclass
class Outputs:
    weights: None
    codes: Tensor
    tokens: Tensor


def always_dropout() -> nn.Module:
    return build(
        lambda m, x: m.fc(m.two(F.dropout(m.one(x), 0.2)).mean((2, 3))),
        one=conv(),
        two=conv(6),
        fc=nn.Linear(6, 4),
    )


def drop_path() -> nn.Module:
    return build(lambda m, x: m.end(m.drop(m.one(x))), one=conv(), drop=DropPath(), end=conv(6))


def rare_depth() -> nn.Module:
    """Skips a block in one pass of two hundred, by a number for the whole batch."""
    return build(
        lambda m, x: m.end(x if torch.rand(()) > 0.995 else x + m.block(x)),
        block=conv(3, 3),
        end=conv(),
    )


def batch_statistics() -> nn.Module:
    norm = nn.BatchNorm2d(6, track_running_stats=False)
    return build(lambda m, x: m.end(m.norm(m.one(x))), one=conv(), norm=norm, end=conv(6))


def centred_batch() -> nn.Module:
    return build(lambda m, x: m.end(m.one(x - x.mean(0, keepdim=True))), one=conv(), end=conv(6))


def below_the_maximum() -> nn.Module:
    """Takes the largest value of all images: the image that has it gets its own code."""
    return build(lambda m, x: m.end(m.one(x) - m.one(x).amax()), one=conv(), end=conv(6))


def counting() -> nn.Module:
    calls = itertools.count(1)
    return build(lambda m, x: m.end(m.one(x) * next(calls)), one=conv(), end=conv(6))


def views() -> nn.Module:
    """LeNet: it views a map, so that maps must be contiguous."""
    return build(
        lambda m, x: m.fc(F.relu(m.two(F.relu(m.one(x)))).view(x.size(0), -1)),
        one=conv(),
        two=conv(6),
        fc=nn.Linear(6 * SIDE * SIDE, 4),
    )


def _shuffled(m: Any, x: Tensor) -> Any:
    x = m.one(x).relu()
    n, c, h, w = x.shape
    x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
    if x.max() > 1e9:
        x = x * 0
    return m.fc(m.two(x).view(n, -1))


def shuffles() -> nn.Module:
    """Views, and a branch on the data: it cannot be traced either."""
    return build(_shuffled, one=conv(), two=conv(6), fc=nn.Linear(6 * SIDE * SIDE, 4))


def strided() -> nn.Module:
    """Reads memory as if it were contiguous; other memory gives other numbers, and no error."""
    return build(
        lambda m, x: m.end(torch.as_strided(y := m.one(x), y.shape, (6 * 256, 256, 16, 1)) + 0 * y),
        one=conv(),
        end=conv(6),
    )


def autograd_function() -> nn.Module:
    return build(lambda m, x: m.end(_double(m.one(x))), one=conv(), end=conv(6))


def in_float64() -> nn.Module:
    """Computes its last layer in float64, with weights of that type."""
    return build(lambda m, x: m.fc(m.one(x).mean((2, 3)).double()), one=conv(),
                 fc=nn.Linear(6, 4).double())  # fmt: skip


class Filter(nn.Module):
    """A filter in the frequency domain, whose parameter is complex."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.randn(6, SIDE, SIDE // 2 + 1, dtype=torch.complex64))
        self.one, self.norm = conv(), nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        frequencies = torch.fft.rfft2(self.one(x)) * self.filter
        return torch.as_tensor(self.norm(torch.fft.irfft2(frequencies, s=x.shape[-2:])))


def fourier() -> nn.Module:
    return Filter().eval().requires_grad_(False)


def constants() -> nn.Module:
    """Makes a constant in float32, and cannot be traced, so that no other precision fits it."""
    return build(
        lambda m, x: m.one(x * torch.tensor([0.9, 1.0, 1.1]).view(1, 3, 1, 1)) if len(x) else x,
        one=conv(),
    )


def one_image_alone() -> nn.Module:
    return build(lambda m, x: m.end(m.one(x).view(1, 6, SIDE, SIDE)), one=conv(), end=conv(6))


def spans_the_range() -> nn.Module:
    """Its codes are finite in float32, and not in float16."""
    network = build(lambda m, x: m.end(m.one(x).exp()) if len(x) else x, one=conv(), end=conv(6))
    network.get_parameter("one.bias").fill_(12.0)
    return network


def outputs(kind: str) -> nn.Module:
    """A block that returns a map and tokens, as a tuple, a dictionary or a dataclass."""
    kinds: dict[str, Callable[[Tensor, Tensor], Any]] = {
        "tuple": lambda a, b: (None, a, b),
        "list": lambda a, b: [a, b],
        "dict": lambda a, b: {"map": a, "tokens": b},
        "dataclass": lambda a, b: Outputs(None, a, b),
    }
    made = kinds[kind]
    block = Wired(lambda m, x: made(m.conv(x), m.conv(x).flatten(2).transpose(1, 2)), conv=conv())
    return build(lambda m, x: m.block(x), block=block)


class Stored(nn.Module):
    """Reads features that a hook of its own has stored, in itself or, in a copy, in the first."""

    def __init__(self, one: nn.Module | None = None, *, in_the_first: bool = False) -> None:
        super().__init__()
        self.stem, self.one, self.two, self.end = conv(), one or nn.ReLU(), conv(6), conv(6)
        self.kept = kept = dict[str, Tensor]()

        def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            kept["one"] = output

        self.one.register_forward_hook(keep if in_the_first else self.keep)

    def keep(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        self.kept["one"] = output

    def forward(self, x: Tensor) -> Tensor:
        own = self.one(self.stem(x))
        return torch.as_tensor(self.end(self.two(self.kept["one"]) + own))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = conv()

    def forward(self, image: Tensor, age: Tensor) -> Tensor:
        return torch.as_tensor(self.one(image) + age)


def small_transformer(size: int = 48) -> nn.Module:
    """Torchvision's ViT, narrow and with two blocks."""
    torch.manual_seed(3)
    network: nn.Module = torchvision.models.VisionTransformer(
        image_size=size, patch_size=16, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64
    )
    return network.eval().requires_grad_(False)
