"""Tiny tails as a network's cut gives them, maps that no network made, and caches of both."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bottleneck.cache.store import Cache, open_cache
from bottleneck.finetuning.loading.batches import Examples
from bottleneck.finetuning.loading.maps import MapsInMemory
from bottleneck.finetuning.options import TuneOptions
from tests.helpers.datasets import written_cache

SHAPE = (4, 5, 5)
CPU: dict[str, Any] = {"device": "cpu", "batch_size": 8}


class TinyTail(nn.Module):
    """A convolution with batch norm and dropout, and a residual one, pooled after ReLU."""

    boundary = "layer"
    output = "conv2"
    in_shape = SHAPE
    non_negative = True

    def __init__(self, *, dropout: float = 0.0, inner: float = 0.0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(4, 6, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(6)
        self.inner = nn.Dropout(inner)
        self.conv2 = nn.Conv2d(6, 6, 1)
        self.features, self.dropout = 6, dropout

    def forward(self, maps: Tensor) -> Tensor:
        x = self.inner(torch.relu(self.bn(self.conv1(maps))))
        return torch.relu(x + self.conv2(x)).mean((2, 3))


def a_tail(seed: int = 0, **options: Any) -> Any:
    """A tail of random weights, whose batch norm has statistics of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tail = TinyTail(**options)
        assert tail.bn.running_mean is not None and tail.bn.running_var is not None
        tail.bn.running_mean.normal_(0, 0.1)
        tail.bn.running_var.uniform_(0.5, 1.5)
    return tail.eval()


def maps_of(targets: NDArray[Any], seed: int = 0, *, apart: float = 1.5) -> NDArray[np.float32]:
    """Maps that differ by class in where their values are, not in their mean."""
    random = np.random.default_rng(seed)
    maps = random.random((len(targets), *SHAPE), dtype=np.float32)
    several = targets if targets.ndim == 2 else np.eye(3, dtype=bool)[targets]
    for label in range(several.shape[1]):
        maps[several[:, label], label % 4, ::2, label::2] += apart
    return maps


def examples(
    n: int = 48,
    *,
    seed: int = 0,
    views: int = 1,
    targets: NDArray[Any] | None = None,
    groups: NDArray[np.int64] | None = None,
) -> Examples:
    """Images of three classes, in memory, in rows 0, 2, 4, … of a table."""
    targets = np.arange(n) % 3 if targets is None else targets
    rows = 2 * np.arange(n)
    maps = [maps_of(targets, 10 * seed + view) for view in range(views)]
    classes = targets.shape[1] if targets.ndim == 2 else 3
    return Examples(MapsInMemory(rows, maps), rows, targets, classes, groups)


def map_cache(folder: Path, maps: NDArray[Any], **columns: Any) -> Cache:
    """A cache of these maps, in shards of seven."""
    labels = ["abc"[i % 3] for i in range(len(maps))]
    return open_cache(written_cache(folder, maps, labels, **{"shard_size": 7, **columns}))


def on_cpu(**options: Any) -> TuneOptions:
    """Options for tests: small batches, on the CPU."""
    return TuneOptions(**{**CPU, **options})
