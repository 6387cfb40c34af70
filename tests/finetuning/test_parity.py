"""A tail trained on cached maps, against the same recipe with the frozen part run again."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bottleneck.backbones.backbone import load_backbone
from bottleneck.data import encode_targets, open_images
from bottleneck.finetuning.loading.batches import Batch, Examples
from bottleneck.finetuning.loading.images import ImageBatches
from bottleneck.finetuning.loading.maps import open_maps
from bottleneck.finetuning.training.forward import tail_codes
from bottleneck.finetuning.training.loop import train
from bottleneck.finetuning.training.module import start_module
from bottleneck.fitting.loading.features import Features
from tests.helpers.fixture_types import Extract
from tests.helpers.networks import SMALL
from tests.helpers.tails import on_cpu
from tests.helpers.tiny_networks import frozen as with_statistics
from tests.helpers.tiny_networks import plain, residual


@dataclass(frozen=True)
class Recomputed:
    """Batches of maps that the whole network computes anew from images, caught by a hook."""

    network: nn.Module
    boundary: str
    images: ImageBatches

    views = 1

    @property
    def shape(self) -> tuple[int, ...]:
        raise NotImplementedError

    def _through(self, batch: Batch) -> Batch:
        caught: list[Tensor] = []
        module = self.network.get_submodule(self.boundary)
        handle = module.register_forward_hook(lambda _m, _i, output: caught.append(output.clone()))
        with torch.no_grad():
            self.network(batch[0])
        handle.remove()
        return caught[0], batch[1]

    def shuffled(self, rows: NDArray[np.int64], **options: Any) -> Iterator[Batch]:
        return map(self._through, self.images.shuffled(rows, **options))

    def ordered(self, rows: NDArray[np.int64], **options: Any) -> Iterator[Batch]:
        return map(self._through, self.images.ordered(rows, **options))


def normed() -> nn.Module:
    return with_statistics(plain()).requires_grad_(True)


@pytest.mark.parametrize(
    ("network", "boundary"),
    [(normed, "layer1"), (residual, "stem")],
    ids=["batch norm", "residual blocks"],
)
def test_a_tail_learns_from_the_cache_what_it_learns_from_images(
    network: Any, boundary: str, photos: Path, extract_tiny: Extract
) -> None:
    torch.manual_seed(0)
    whole = network().eval()
    before = copy.deepcopy(whole.state_dict())
    extracted = extract_tiny(photos, model=whole, layers=[boundary], pool="none")
    cache, source = extracted.cache, open_images(photos)
    rows = np.arange(len(source.table))
    names = sorted(set(source.table.label.categories) - {""})
    targets = encode_targets(source.table, rows, names, multilabel=False)
    backbone = load_backbone(whole, transform=SMALL)
    tail, options = backbone.tail(boundary), on_cpu(epochs=3)
    losses = []
    for batches in (
        open_maps(cache, Features((boundary,)), rows),
        Recomputed(whole, boundary, ImageBatches(source, backbone.transform)),
    ):
        some = Examples(batches, rows, targets, len(names))
        module = start_module(tail, tail_codes(tail, some, options), options, c=0.1)
        run = train(module, some, options, lr=1e-3, epochs=3, kept_back=some)
        assert not run.diverged
        losses.append(
            [scores.loss for scores in run.curves[1:]]
            + [scores.kept_back_loss for scores in run.curves]
        )
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert len(set(losses[0])) == 7  # it moved
    state = whole.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in state.items())
