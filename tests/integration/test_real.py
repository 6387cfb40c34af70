"""Real photographs and a real ImageNet network: run where BOTTLENECK_REAL names their folder."""

import math
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from sklearn.model_selection import StratifiedKFold, cross_val_score
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF  # noqa: N812

from bottleneck.advising.advise import advise
from bottleneck.backbones.backbone import load_backbone
from bottleneck.backbones.layers.truncated import TruncatedNetwork
from bottleneck.backbones.probing.probe import probe
from bottleneck.backbones.tracing.traced import trace
from bottleneck.cache.store import open_cache
from bottleneck.exporting.export import export
from bottleneck.extraction.extract import extract
from bottleneck.extraction.options import ComputeOptions
from bottleneck.fitting.fit import fit
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.prediction.predict import predict
from tests.helpers.datasets import by_sklearn
from tests.helpers.photographs import as_torchvision
from tests.helpers.tracing import in_bfloat16

pytestmark = pytest.mark.real

LAYERS = ["features.12", "features.10"]
EARLY = "features.5"
OUTPUT = "classifier.3"  # the pooled maps of the 1000 classes, each behind a ReLU


def photographs() -> Path:
    real = Path(os.environ.get("BOTTLENECK_REAL") or "/nonexistent")
    if not real.is_dir():
        pytest.skip("BOTTLENECK_REAL does not name a folder of photographs and weights")
    return real / "data" / "hymenoptera"


def some_of(folder: Path, out: Path, every: int) -> Path:
    """A folder with links to every n-th file of another."""
    for path in sorted(folder.rglob("*.*"))[::every]:
        link = out / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    return out


def extracted(out: Path, precision: str, images: Path, layers: list[str] = LAYERS) -> Path:
    done = extract(
        images,
        out / "cache",
        model="squeezenet1_0",
        weights=str(photographs().parents[1] / "weights" / "squeezenet1_0_imagenet.pth"),
        layers=layers,
        compute=ComputeOptions(precision=precision, device="cpu"),
    )
    return done.cache.path


@pytest.fixture(scope="module", params=[3, pytest.param(1, marks=pytest.mark.slow)])
def images(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every third photograph; all of them in the slow tests."""
    return some_of(photographs(), tmp_path_factory.mktemp("photographs"), request.param)


@pytest.fixture(scope="module")
def hymenoptera(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("real")
    return extracted(out, "float32", images, [*LAYERS, EARLY, OUTPUT])


def test_every_photograph_is_a_row(hymenoptera: Path, images: Path) -> None:
    count = len(list(images.rglob("*.*")))
    with h5py.File(hymenoptera / "codes.h5") as index:
        for layer in LAYERS:
            assert index[layer].shape == (count, 512)
            assert index[f"{layer}:valid"][...].all()  # the placeholder GIF among all is an image


@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_held_out_accuracy_is_that_of_plain_tools(hymenoptera: Path, clf: str) -> None:
    done = fit(hymenoptera, clf, layers="features.12")
    assert done.heldout is not None
    assert (done.heldout.split, done.heldout.n) in (("val", 153), ("val", 51))
    assert done.heldout.accuracy >= 0.89


@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_folds_score_as_scikit_learn_does(hymenoptera: Path, clf: str) -> None:
    images = open_cache(hymenoptera).images
    rows = [row for row, split in enumerate(images.split) if split == "train"]
    with h5py.File(hymenoptera / "codes.h5") as index:
        X = index["features.12"][...][rows].astype(np.float64)
    y = np.array(images.label)[rows]
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    done = fit(hymenoptera, clf, layers="features.12", search=SearchOptions(c=(1e-4, 1e-2, 1.0)))
    assert done.search is not None
    for found in done.search.candidates:
        expected = cross_val_score(by_sklearn(clf, found.c), X, y, cv=folds)
        np.testing.assert_allclose(found.scores, expected, atol=1.01 / (len(rows) // 5 - 1))


def test_photographs_like_those_of_the_network_need_no_more(
    hymenoptera: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bottleneck.advising.strategies.SEARCH", SearchOptions(c=[0.01, 0.1]))
    found = advise(hymenoptera, layers=[EARLY, "features.12"])
    assert (found.decision.kind, found.findings.unlike) == ("last layer", False)
    score = fit(hymenoptera, "svm", layers="features.12").score
    assert score is not None and score > 0.90  # 94.8 % is the best of all strategies, ± 2


@pytest.mark.slow
def test_half_the_bits_give_as_good_codes(hymenoptera: Path, images: Path, tmp_path: Path) -> None:
    half = extracted(tmp_path, "bfloat16", images)
    with h5py.File(hymenoptera / "codes.h5") as a, h5py.File(half / "codes.h5") as b:
        for layer in LAYERS:
            full, low = a[layer][...].astype(np.float64), b[layer][...].astype(np.float64)
            cosine = (
                (full * low).sum(1) / np.linalg.norm(full, axis=1) / np.linalg.norm(low, axis=1)
            )
            assert cosine.min() >= 0.999
    for clf in ("svm", "softmax"):
        for layer in LAYERS:
            heldout = [fit(cache, clf, layers=layer).heldout for cache in (hymenoptera, half)]
            full_accuracy, low_accuracy = (found.accuracy for found in heldout if found)
            held_out = len(list((images / "val").rglob("*.*")))
            error = math.sqrt(full_accuracy * (1 - full_accuracy) / held_out)
            assert abs(full_accuracy - low_accuracy) <= error


@pytest.mark.slow
def test_float16_gives_the_same_codes_and_labels(
    hymenoptera: Path, images: Path, tmp_path: Path
) -> None:
    # Of few photographs, because float16 is slow on a CPU; but it has eight times the precision
    # of bfloat16, so that more is asked of each code.
    few = some_of(images, tmp_path / "images", 8)
    known = open_cache(hymenoptera).images.path
    rows = sorted(known.index(str(path.relative_to(few))) for path in few.rglob("*.*"))
    low = extracted(tmp_path, "float16", few)
    with h5py.File(hymenoptera / "codes.h5") as a, h5py.File(low / "codes.h5") as b:
        for layer in LAYERS:
            full, half = a[layer][...][rows].astype(np.float64), b[layer][...].astype(np.float64)
            norms = np.linalg.norm(full, axis=1) * np.linalg.norm(half, axis=1)
            assert ((full * half).sum(1) / norms).min() >= 0.99999
            for clf in ("svm", "softmax"):
                head = fit(
                    hymenoptera, clf, layers=layer, search=SearchOptions(c=(1e-2,), cv=0)
                ).head
                labels = [head.predict_labels(head.decision_function(x)) for x in (full, half)]
                assert labels[0] == labels[1]


def test_codes_are_those_of_a_plain_script(hymenoptera: Path, images: Path, real: Path) -> None:
    network = torchvision.models.squeezenet1_0(weights=None).eval()
    weights = real / "weights" / "squeezenet1_0_imagenet.pth"
    network.load_state_dict(torch.load(weights, weights_only=True))
    kept: list[torch.Tensor] = []
    network.features[12].register_forward_hook(lambda _m, _a, output: kept.append(output.clone()))
    paths = sorted(str(path.relative_to(images)) for path in images.rglob("*.*"))[::13]
    with torch.inference_mode():
        for path in paths:
            image = Image.open(images / path).convert("RGB")
            network(as_torchvision(image, resize=256, crop=224)[None])
    expected = torch.cat(kept).relu().mean((2, 3)).numpy()
    lines = (hymenoptera / "images.csv").read_text().splitlines()[1:]
    rows = {line.split(",")[0]: i for i, line in enumerate(lines)}
    with h5py.File(hymenoptera / "codes.h5") as index:
        codes = np.stack([index["features.12"][rows[path]] for path in paths])
    np.testing.assert_allclose(codes, expected, rtol=2e-3, atol=2e-3)  # float16's rounding


def test_the_network_itself_knows_the_insects(hymenoptera: Path) -> None:
    images = open_cache(hymenoptera).images
    with h5py.File(hymenoptera / "codes.h5") as index:
        predicted = index[OUTPUT][...].reshape(len(images), 1000).argmax(axis=1)

    def count(label: str, index: int) -> int:
        rows = [i for i, path in enumerate(images.path) if path.startswith(f"val/{label}/")]
        return int((predicted[rows] == index).sum())

    # By the reference; one photograph's margin is thinner than resizing libraries differ.
    ants, bees = {398: (38, 56), 133: (14, 19)}[len(images)]
    assert abs(count("ants", 310) - ants) <= 1
    assert abs(count("bees", 309) - bees) <= 1


def test_new_photographs_are_predicted(hymenoptera: Path, images: Path) -> None:
    head = fit(
        hymenoptera, "softmax", layers="features.12", search=SearchOptions(c=(0.1,), cv=0)
    ).head
    found = list(predict(head, [str(images / "val" / "bees")]))
    assert len(found) in (83, 28)
    assert sum(p.label == "bees" for p in found) > 0.85 * len(found)


# timm


@pytest.fixture(scope="module")
def lite0(tmp_path_factory: pytest.TempPathFactory) -> Path:
    done = extract(
        photographs(),
        tmp_path_factory.mktemp("real") / "cache",
        model="timm:tf_efficientnet_lite0",
        weights=str(photographs().parents[1] / "weights" / "efficientnet_lite0_imagenet.pth"),
        layers=["global_pool"],
        compute=ComputeOptions(precision="float32", device="cpu"),
    )
    return done.cache.path


@pytest.mark.slow
def test_a_network_of_timm_tells_the_insects_apart(lite0: Path) -> None:
    transform = open_cache(lite0).spec.transform
    assert (transform.resize, transform.crop, transform.interpolation) == (256, 224, "bicubic")
    assert transform.mean == transform.std == (0.5, 0.5, 0.5)
    done = fit(lite0, "svm", layers="global_pool")
    assert done.heldout is not None
    assert done.heldout.accuracy >= 0.94


@in_bfloat16
@pytest.mark.slow
def test_a_deep_network_of_timm_is_traced_in_bfloat16(real: Path) -> None:
    """Its codes change by 3 % in bfloat16, and less once it is fused."""
    weights = real / "weights" / "efficientnet_lite0_imagenet.pth"
    backbone = load_backbone("timm:tf_efficientnet_lite0", str(weights))
    size, cpu = backbone.transform.crop, torch.device("cpu")
    for layer in ("blocks.5.3.bn3", "global_pool"):
        truncated = TruncatedNetwork(backbone.network, backbone.select_layers([layer]))
        assert trace(truncated, probe(truncated, size), dtype=torch.bfloat16, device=cpu)


@pytest.mark.slow
def test_codes_of_timm_are_those_of_a_plain_script(lite0: Path, real: Path) -> None:
    network = timm.create_model("tf_efficientnet_lite0").eval()
    weights = real / "weights" / "efficientnet_lite0_imagenet.pth"
    network.load_state_dict(torch.load(weights, weights_only=True))
    folder = real / "data" / "hymenoptera"
    paths = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*"))[::40]
    expected = []
    with torch.inference_mode():
        for path in paths:
            image = TF.pil_to_tensor(Image.open(folder / path).convert("RGB"))
            resized = TF.resize(image, [256], InterpolationMode.BICUBIC, antialias=True)
            pixels = TF.center_crop(resized, [224])[None] / 255
            expected.append(network.forward_features((pixels - 0.5) / 0.5).mean((2, 3)).relu())
    lines = (lite0 / "images.csv").read_text().splitlines()[1:]
    rows = {line.split(",")[0]: i for i, line in enumerate(lines)}
    with h5py.File(lite0 / "codes.h5") as index:
        codes = torch.from_numpy(np.stack([index["global_pool"][rows[path]] for path in paths]))
    cosine = torch.cosine_similarity(codes.double(), torch.cat(expected).double())
    assert float(cosine.min()) > 0.999999


@pytest.mark.slow
def test_an_exported_head_says_what_a_hook_on_the_network_says(
    hymenoptera: Path, real: Path, tmp_path: Path
) -> None:
    head = fit(hymenoptera, "softmax", layers="features.12").head
    photographs = sorted((real / "data" / "hymenoptera" / "val" / "bees").glob("*.jpg"))[:12]
    result = export(head, tmp_path / "head.onnx", check=photographs)
    assert result.checked == "12 images"
    network = torchvision.models.squeezenet1_0(weights=None).eval()
    weights = torch.load(real / "weights" / "squeezenet1_0_imagenet.pth", weights_only=True)
    network.load_state_dict(weights)
    kept: list[torch.Tensor] = []
    network.get_submodule("features.12").register_forward_hook(
        lambda _module, _args, output: kept.append(output.clone())
    )
    opened = [Image.open(path).convert("RGB") for path in photographs]
    with torch.inference_mode():
        network(torch.stack([as_torchvision(image, resize=256, crop=224) for image in opened]))
    values = head.decision_function(kept[0].relu().mean((2, 3)).numpy())
    expected = head.predict_scores(values)
    found = list(predict(tmp_path / "head.onnx", photographs))
    assert [p.label for p in found] == head.predict_labels(values)
    for prediction, scores in zip(found, expected, strict=True):
        named = [prediction.scores[name] for name in head.classes]
        np.testing.assert_allclose(named, scores, atol=1e-4)
