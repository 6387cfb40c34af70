"""A tail trained on cached maps, against PyTorch alone, which runs the frozen layers every time."""

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from bottleneck.backbones.backbone import load_backbone
from bottleneck.data import encode_targets
from bottleneck.finetuning.loading.batches import Examples
from bottleneck.finetuning.loading.maps import open_maps
from bottleneck.finetuning.training.forward import logits, tail_codes
from bottleneck.finetuning.training.loop import train
from bottleneck.finetuning.training.module import start_module
from bottleneck.finetuning.training.schedule import rate_factor
from bottleneck.fitting.loading.features import Features
from tests.helpers.fixture_types import Extract
from tests.helpers.networks import SMALL
from tests.helpers.photographs import as_torchvision
from tests.helpers.tails import on_cpu
from tests.helpers.tiny_networks import frozen as with_statistics
from tests.helpers.tiny_networks import plain, residual

EPOCHS, BATCH, LR, DECAY = 3, 9, 1e-3, 0.05
# As `as_torchvision` makes pictures; timm's own configuration of lite0 says otherwise.
TRANSFORM = SMALL | {
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "interpolation": "bilinear",
}
STEM = ("conv_stem", "bn1", *(f"blocks.{i}" for i in range(5)))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As `make test` runs: the drawn lite0 amplifies how two threads round their sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def normed() -> nn.Module:
    return with_statistics(plain())


class Inverted(nn.Module):
    """A stem without ReLU, two inverted residual blocks on it, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6))
        self.blocks = nn.Sequential(*(self.block() for _ in range(2)))
        self.head = nn.Sequential(nn.Conv2d(6, 8, 1), nn.ReLU())
        self.fc = nn.Linear(8, 4)

    @staticmethod
    def block() -> nn.Module:
        return nn.Sequential(
            *(nn.Conv2d(6, 12, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU6(True)),
            nn.Conv2d(12, 12, 3, 1, 1, groups=12, bias=False),
            *(nn.BatchNorm2d(12), nn.ReLU6(True)),
            *(nn.Conv2d(12, 6, 1, bias=False), nn.BatchNorm2d(6)),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return torch.as_tensor(self.fc(self.head(x).mean((2, 3))))


def inverted() -> nn.Module:
    return with_statistics(Inverted())


def lite0() -> nn.Module:
    # Without dropout, whose draws depend on what else is drawn.
    return with_statistics(timm.create_model("tf_efficientnet_lite0", drop_rate=0.0))


def real_lite0(weights: Path) -> nn.Module:
    network: nn.Module = timm.create_model("tf_efficientnet_lite0", drop_rate=0.0)
    state = torch.load(weights / "efficientnet_lite0_imagenet.pth", weights_only=True)
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("build", "frozen", "relu"),
    [
        (normed, ["layer1"], True),
        (residual, ["stem"], True),
        (inverted, ["stem"], False),  # a linear bottleneck, with values below 0
        pytest.param(lite0, STEM, False, marks=pytest.mark.slow),
    ],
    ids=["batch norm", "residual blocks", "inverted blocks", "EfficientNet-lite0"],
)
def test_a_tail_learns_from_the_cache_what_the_network_learns(
    build: Callable[[], nn.Module],
    frozen: Sequence[str],
    relu: bool,
    photos: Path,
    extract_tiny: Extract,
) -> None:
    torch.manual_seed(0)
    require_parity(build(), frozen, photos, extract_tiny, relu=relu)


@pytest.mark.slow
@pytest.mark.real
def test_lite0_as_it_was_pretrained_does_so_too(
    real: Path, photos: Path, extract_tiny: Extract
) -> None:
    require_parity(real_lite0(real / "weights"), STEM, photos, extract_tiny, relu=False)


def require_parity(
    network: nn.Module, frozen: Sequence[str], photos: Path, extract_tiny: Extract, *, relu: bool
) -> None:
    """Train the layers behind the last frozen one both ways, and compare losses and logits."""
    boundary = frozen[-1]
    options: dict[str, Any] = {"transform": TRANSFORM, "pool": "none", "relu": relu}
    cache = extract_tiny(photos, model=network, layers=[boundary], **options).cache
    rows = np.arange(len(cache.images))
    names = sorted(set(cache.images.label.categories) - {""})
    targets = encode_targets(cache.images, rows, names, multilabel=False)
    examples = Examples(open_maps(cache, Features((boundary,)), rows), rows, targets, len(names))
    before = copy.deepcopy(network.state_dict())
    recipe = on_cpu(epochs=EPOCHS, batch_size=BATCH, init="fresh", weight_decay=DECAY)
    tail = load_backbone(network, transform=TRANSFORM).tail(boundary)
    module = start_module(tail, tail_codes(tail, examples, recipe), recipe)
    run = train(module, examples, recipe, lr=LR, epochs=EPOCHS)
    state = network.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in state.items())

    images = [Image.open(photos / path) for path in cache.images.path]
    pictures = torch.stack([as_torchvision(image.convert("RGB"), **SMALL) for image in images])
    whole = copy.deepcopy(network)
    losses = train_whole(whole, frozen, pictures, torch.from_numpy(targets))
    assert [scores.loss for scores in run.curves[1:]] == pytest.approx(losses, rel=1e-4)
    assert losses[-1] < losses[0] - 0.001
    with torch.no_grad():
        expected = whole(pictures)
    found = logits(module, examples, recipe)
    np.testing.assert_allclose(found, expected, atol=1e-3 * float(expected.abs().max()))


def train_whole(
    network: nn.Module, frozen: Sequence[str], pictures: Tensor, targets: Tensor
) -> list[float]:
    """Give a network a new classifier of zeros, and train what is not frozen: the mean losses."""
    (name, old), *_ = [(n, m) for n, m in network.named_children() if isinstance(m, nn.Linear)]
    new = nn.Linear(old.in_features, int(targets.max()) + 1)
    nn.init.zeros_(new.weight)
    nn.init.zeros_(new.bias)
    setattr(network, name, new)
    network.eval()  # batch norm keeps its statistics
    groups: list[dict[str, Any]] = []
    for parameter_name, parameter in network.named_parameters():
        if not parameter_name.startswith(tuple(f"{part}." for part in frozen)):
            lr = 10 * LR if parameter_name.startswith(f"{name}.") else LR
            decay = DECAY if parameter.ndim > 1 else 0.0
            groups.append({"params": [parameter.requires_grad_()], "lr": lr, "weight_decay": decay})
    largest = [group["lr"] for group in groups]
    optimizer = torch.optim.AdamW(groups)
    trained = [group["params"][0] for group in groups]
    losses, steps = [], len(targets) // BATCH
    for epoch in range(EPOCHS):
        order = np.random.default_rng((0, epoch)).permutation(len(targets))
        total = 0.0
        for step, index in enumerate(np.array_split(order, steps)):
            for group, lr in zip(optimizer.param_groups, largest, strict=True):
                group["lr"] = lr * rate_factor((epoch + step / steps) / EPOCHS)
            loss = F.cross_entropy(network(pictures[index]), targets[index])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            total += float(loss.detach()) * len(index)
        losses.append(total / len(targets))
    return losses
