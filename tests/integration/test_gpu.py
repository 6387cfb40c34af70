"""Every verb that computes, on a GPU and on the CPU: nearly the same codes, heads and tails."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bottleneck.backbones.inference.replica import TorchReplica
from bottleneck.cache.store import Cache
from bottleneck.extraction.extract import extract
from bottleneck.extraction.options import ComputeOptions
from bottleneck.finetuning.options import TuneOptions
from bottleneck.finetuning.tune import tune
from bottleneck.fitting.fit import fit
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.linear import ClassifierOptions
from bottleneck.prediction.evaluate import evaluate
from bottleneck.prediction.predict import predict
from tests.helpers.networks import SMALL
from tests.helpers.simulated_gpus import simulated_gpus
from tests.helpers.tiny_networks import plain

pytestmark = pytest.mark.gpu


@pytest.fixture
def both(gpu: torch.device) -> dict[str, ComputeOptions]:
    """Where networks run: ``"cpu"`` and ``"auto"``, which is the GPU."""
    return {
        device: ComputeOptions(device=device, precision="float32") for device in ("cpu", "auto")
    }


@pytest.fixture
def network() -> torch.nn.Module:
    return plain()


def caches(
    photos: Path, folder: Path, both: dict[str, ComputeOptions], **options: Any
) -> dict[str, Cache]:
    given: dict[str, Any] = {"transform": SMALL} | options
    return {
        device: extract(photos, folder / device, compute=compute, **given).cache
        for device, compute in both.items()
    }


@pytest.mark.parametrize("clf", ["svm", pytest.param("softmax", marks=pytest.mark.slow)])
def test_codes_heads_and_predictions(
    clf: str,
    network: torch.nn.Module,
    photos: Path,
    tmp_path: Path,
    both: dict[str, ComputeOptions],
) -> None:
    layers = ["layer1", "layer2"]
    found = caches(photos, tmp_path, both, model=network, layers=layers, views=2)
    for layer in layers:
        ours, expected = (found[device].load(layer)[0] for device in ("auto", "cpu"))
        np.testing.assert_allclose(ours, expected, rtol=2e-3, atol=1e-3)
    # In memory and from disk, in the host's memory and the GPU's, the solver gets the same rows.
    search = SearchOptions(c=(1.0,), cv=2, scaling="l2")
    options = ClassifierOptions(clf, device="cuda")
    heads = [
        fit(found["cpu"], one, layers="all", search=search, memory=memory).head
        for one in (clf, options)
        for memory in (None, 1 << 12)
    ]
    for head in heads[1:]:
        np.testing.assert_allclose(head.coef, heads[0].coef, rtol=5e-3, atol=1e-3)
    by_gpu, by_cpu = (
        [
            list(each.scores.values())
            for each in predict(heads[0], photos / "val", model=network, compute=both[device])
        ]
        for device in ("auto", "cpu")
    )
    np.testing.assert_allclose(by_gpu, by_cpu, atol=1e-3)


@pytest.mark.skipif(torch.cuda.device_count() == 1, reason="one GPU")
def test_two_gpus_encode_each_a_part(
    network: torch.nn.Module, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_compute, used = TorchReplica.compute, set()

    def compute(replica: TorchReplica, images: torch.Tensor) -> dict[str, torch.Tensor]:
        used.add(replica.device)
        return plain_compute(replica, images)

    monkeypatch.setattr(TorchReplica, "compute", compute)
    with nullcontext() if torch.cuda.is_available() else simulated_gpus(2):
        both = {
            device: ComputeOptions(device=device, precision="float32", batch_size=2)
            for device in ("cpu", "auto")
        }
        found = caches(photos, tmp_path, both, model=network, layers=["layer2"])
    ours, expected = (found[device].load("layer2")[0] for device in ("auto", "cpu"))
    np.testing.assert_allclose(ours, expected, rtol=2e-3, atol=1e-3)
    assert used == {torch.device("cpu"), torch.device("cuda", 0), torch.device("cuda", 1)}


@pytest.mark.parametrize("on_maps", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_tails(
    on_maps: bool,
    network: torch.nn.Module,
    photos: Path,
    tmp_path: Path,
    both: dict[str, ComputeOptions],
) -> None:
    accuracies = []
    for device, compute in both.items():
        options = TuneOptions(epochs=1, lr=1e-3, device=device)
        cache: Any = photos
        given: dict[str, Any] = {"transform": SMALL}
        if on_maps:
            maps: dict[str, Any] = {"model": network, "layers": ["layer2"], "pool": "none"}
            cache, given = caches(photos, tmp_path, {device: compute}, **maps)[device], {}
        tail = tune(cache, model=network, options=options, **given).tail
        for judged_by in both.values():
            score = evaluate(tail, photos, model=network, compute=judged_by).score
            accuracies.append(score.accuracy)
    assert len(set(accuracies)) == 1
