"""Heads and tails that nothing was trained for, and what they say of pixels by plain PyTorch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from bottleneck.backbones.backbone import Backbone, load_backbone
from bottleneck.data.resizing.view_recipe import ViewRecipe
from bottleneck.extraction.setup.loading import make_spec
from bottleneck.finetuning.training.module import TunedModule
from bottleneck.finetuning.tuned_tail import TunedTail
from bottleneck.fitting.heads.head import Head
from bottleneck.fitting.loading.features import INPUT, Features
from bottleneck.input_transform import InputTransform
from bottleneck.linear.calibration import Calibration
from bottleneck.linear.scaling import FeatureScaler
from bottleneck.prediction.exported.metadata import ExportMetadata
from bottleneck.spec import Spec
from tests.helpers.networks import PLAIN, SMALL
from tests.helpers.tuning import QUICK

CLASSES = ["ants", "bees", "wasps"]
TEMPERATURE = Calibration(np.full(3, 0.4), np.zeros(3), independent=False)
PLATT = Calibration(np.array([0.3, 2.0, 0.7]), np.array([-1.0, 0.5, 0.2]), independent=True)


def plain_network(model: str = PLAIN, **transform: Any) -> Backbone:
    """A network of a file, for images of 32 × 32."""
    return load_backbone(model, transform=SMALL | transform)


def a_head(
    network: Backbone,
    layers: Sequence[str] = ("layer2",),
    *,
    scaling: str = "standardize",
    calibration: Calibration | None = TEMPERATURE,
    classes: Sequence[str] = CLASSES,
    multilabel: bool = False,
    clf: str = "svm",
    views: int = 1,
    seed: int = 0,
    **spec: Any,
) -> Head:
    """A head of random numbers, of the size that training gives them."""
    random = np.random.default_rng(seed)
    known: dict[str, Any] = {"precision": "float32", "relu": True, "pool": "avg"}
    made = make_spec(network, **known | spec)
    sizes = tuple(layer.code_size(made.pool) for layer in network.select_layers(layers))
    d, k = sum(sizes), len(classes)
    mean, scale = np.zeros(d), np.ones(d)
    if scaling in ("standardize", "sqrt"):
        mean, scale = random.uniform(0, 0.5, d), random.uniform(0.1, 0.4, d)
    return Head(
        features=Features(tuple(layers), views, ViewRecipe() if views > 1 else None),
        classes=list(classes),
        calibration=calibration,
        multilabel=multilabel,
        spec=made,
        reference=network.reference,
        training_record={},
        clf=clf,
        coef=random.normal(size=(k, d)),
        intercept=random.normal(size=k),
        scaler=FeatureScaler(scaling, sizes, mean, scale),
    )


def a_tuned_tail(network: Backbone, boundary: str | None, *, hidden: int = 0) -> TunedTail:
    """A tail with the network's own layers, and an output of random numbers."""
    module = TunedModule(network.tail(boundary), classes=3, hidden=hidden)
    return TunedTail.of_module(
        module,
        QUICK,
        features=Features((boundary or INPUT,)),
        classes=CLASSES,
        multilabel=False,
        spec=make_spec(network, precision="float32", relu=boundary is not None, pool="none"),
        reference=network.reference,
        training_record={},
    )


def some_pixels(n: int, side: int = 32, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def as_input(pixels: NDArray[np.uint8], network: Backbone) -> Tensor:
    """Normalised images."""
    mean, std = (torch.tensor(getattr(network.transform, name)) for name in ("mean", "std"))
    images: Tensor = ((torch.from_numpy(pixels).float() / 255 - mean) / std).permute(0, 3, 1, 2)
    return images


def hooked_codes(
    network: nn.Module, layers: Sequence[str], images: Tensor, *, relu: bool = True
) -> NDArray[np.float32]:
    """Pooled outputs of some modules side by side, while the whole network runs.

    The average of a layer, or its averages in four quarters: ``layer2@2x2``.
    """
    kept: dict[str, Tensor] = {}
    handles = [
        network.get_submodule(layer.removesuffix("@2x2")).register_forward_hook(
            lambda _module, _args, output, layer=layer: kept.update({layer: output.clone()})
        )
        for layer in layers
    ]
    with torch.inference_mode():
        network(images)
    for handle in handles:
        handle.remove()
    codes = [kept[layer].relu() if relu else kept[layer] for layer in layers]
    sides = [2 if layer.endswith("@2x2") else 1 for layer in layers]
    parts = zip(codes, sides, strict=True)
    return np.hstack([adaptive_avg_pool2d(code, side).flatten(1).numpy() for code, side in parts])


def expected_scores(
    head: Head, network: Backbone, pixels: NDArray[np.uint8]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The scores and the decision values of a head."""
    images = as_input(pixels, network)
    codes = hooked_codes(network.network, head.features.layers, images, relu=head.spec.relu)
    values = head.decision_function(codes)
    return head.predict_scores(values), values


METADATA = ExportMetadata(
    labels=["ant", "bee", "wasp"],
    multilabel=False,
    scores="probabilities",
    calibration="softmax",
    classifier="svm",
    layers=["layer3"],
    views=1,
    view_recipe=None,
    input="uint8",
    opset=20,
    spec=Spec("net", "ab" * 32, InputTransform(resize=20, crop=16), "float32", True, "avg"),
)
