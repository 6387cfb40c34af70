"""`predict` and `evaluate` take a tuned tail as they take a head."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import softmax
from torch import nn

from bottleneck.backbones.backbone import load_backbone
from bottleneck.cache.store import Cache
from bottleneck.errors import HeadError, SpecMismatchError
from bottleneck.extraction.options import ComputeOptions
from bottleneck.finetuning.tune import tune
from bottleneck.finetuning.tuned_tail import TunedTail
from bottleneck.prediction.evaluate import evaluate
from bottleneck.prediction.inputs import open_head
from bottleneck.prediction.predict import predict
from tests.helpers.networks import SMALL
from tests.helpers.photographs import as_torchvision
from tests.helpers.tuning import CHAIN, QUICK, hard_images, maps_cache

CPU = ComputeOptions(device="cpu", batch_size=7)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hard_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def maps(images: Path) -> Cache:
    return maps_cache(images, images.parent / "maps", count=1)


@pytest.fixture(scope="module")
def tail(maps: Cache) -> Path:
    path = maps.path.parent / "tail.safetensors"
    tune(maps, options=QUICK).tail.save(path)
    return path


@pytest.fixture(scope="module")
def network(images: Path) -> Path:
    path = images.parent / "network.safetensors"
    tune(images, model=CHAIN, transform=SMALL, options=QUICK).tail.save(path)
    return path


def tuned_network(path: Path) -> nn.Module:
    """The whole network with the tensors of a file in their places."""
    tuned = TunedTail.load(path)
    network = load_backbone(CHAIN, transform=SMALL).network
    assert isinstance(network, nn.Sequential)
    network[9] = nn.Linear(8, len(tuned.classes))
    state = network.state_dict()
    for name, tensor in tuned.tensors.items():
        key = name.removeprefix("tail.").replace("output.", "9.")
        state[key] = torch.from_numpy(tensor)
    network.load_state_dict(state)
    return network.eval()


@pytest.mark.parametrize("kind", ["tail", "network"])
def test_predictions_are_those_of_the_network_with_its_tensors(
    kind: str, request: pytest.FixtureRequest, images: Path
) -> None:
    path: Path = request.getfixturevalue(kind)
    found = list(predict(path, images, compute=CPU))
    pixels = []
    for prediction in found:
        with Image.open(images.parent / prediction.path) as image:
            pixels.append(as_torchvision(image.convert("RGB"), resize=32, crop=32))
    with torch.no_grad():
        logits = tuned_network(path)(torch.stack(pixels)).double().numpy()
    classes = TunedTail.load(path).classes
    scores = np.array([[p.scores[name] for name in classes] for p in found])
    png = np.array([p.path.suffix == ".png" for p in found])  # JPEG decoders differ by rounding
    np.testing.assert_allclose(scores[png], softmax(logits, axis=1)[png], rtol=1e-3, atol=1e-5)
    assert len(found) == 60


def test_the_network_is_loaded_once(
    tail: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    load = load_backbone

    def spy(model: object, *arguments: object, **options: object) -> object:
        loaded.append(model)
        return load(model, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("bottleneck.extraction.setup.loading.load_backbone", spy)
    list(predict(tail, images, compute=CPU))
    assert loaded == [CHAIN]


def test_a_tail_is_opened_by_what_its_file_says(tail: Path, tmp_path: Path) -> None:
    opened = open_head(tail)
    assert isinstance(opened, TunedTail)
    assert open_head(opened) is opened
    (tmp_path / "other").write_bytes(b"no safetensors")
    with pytest.raises(HeadError, match="not a head"):
        open_head(tmp_path / "other")


def test_a_cache_of_another_spec_is_refused(tail: Path, images: Path, tmp_path: Path) -> None:
    pooled = maps_cache(images, tmp_path / "pooled", pool="avg", count=1)
    with pytest.raises(SpecMismatchError, match="pool is none in the tuned tail and avg in cache"):
        evaluate(tail, pooled, compute=CPU)


def test_another_network_is_refused(tail: Path, images: Path) -> None:
    other = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Flatten())
    with pytest.raises(SpecMismatchError, match="in the tuned tail"):
        predict(tail, images, model=other, compute=CPU)


def test_a_tuned_network_refuses_codes(network: Path, maps: Cache, images: Path) -> None:
    with pytest.raises(HeadError, match="reads images, not codes"):
        evaluate(network, maps)
    assert evaluate(network, images, compute=CPU).score.n == 20
