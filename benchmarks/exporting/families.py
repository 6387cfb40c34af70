"""Export heads on networks of many families, and measure how near each file is to `predict`.

The networks have seeded random weights, so that nothing is downloaded; each head reads two layers,
is scaled by their codes of generated images, and has random coefficients.

    python -m benchmarks.exporting.families
"""

import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.helpers.machine import machine
from bottleneck.backbones import Backbone, load_backbone
from bottleneck.exporting.check_images import GeneratedImages
from bottleneck.exporting.export import export
from bottleneck.extraction import ComputeOptions, make_encoder, make_spec
from bottleneck.fitting import Head
from bottleneck.fitting.loading.features import Features
from bottleneck.linear import ArrayMatrix, Calibration, fit_scaler
from bottleneck.runtime import format_size

# Of each, a layer in the middle and one of the last.
TORCHVISION: Mapping[str, tuple[str, str]] = {
    "resnet50": ("layer3", "avgpool"),
    "squeezenet1_0": ("features.5", "features.12"),
    "densenet121": ("features.transition2", "features.norm5"),
    "mobilenet_v3_small": ("features.6", "avgpool"),
    "efficientnet_b0": ("features.4", "avgpool"),
    "convnext_tiny": ("features.5", "features.7"),
    "regnet_y_400mf": ("trunk_output.block2", "avgpool"),
    "shufflenet_v2_x1_0": ("stage3", "conv5"),
    "vit_b_16": ("encoder.layers.encoder_layer_5", "encoder.ln"),
    "swin_t": ("features.5", "norm"),
}
TIMM: Mapping[str, tuple[str, str]] = {
    "timm:tf_efficientnet_lite0": ("blocks.3", "global_pool"),
    "timm:vit_tiny_patch16_224": ("blocks.5", "norm"),
    "timm:convnext_atto": ("stages.1", "stages.3"),
}
FAMILIES = {**TORCHVISION, **TIMM}
_CLASSES = 10


def random_head(network: Backbone, layers: tuple[str, ...]) -> Head:
    """Return a head that nothing was trained for, whose probabilities are neither 0 nor 1."""
    spec = make_spec(network, precision="float32", relu=True, pool="avg")
    encoder = make_encoder(network, spec, layers, compute=ComputeOptions(device="cpu"))
    images = GeneratedImages(spec.transform)
    (batch,) = encoder.encode(images, [range(len(images.table))])
    parts = [batch.codes[layer].reshape(len(batch.row), -1) for layer in layers]
    codes = np.hstack(parts)
    scaler = fit_scaler("standardize", ArrayMatrix(codes), [part.shape[1] for part in parts])
    random = np.random.default_rng(0)
    return Head(
        features=Features(layers),
        classes=[f"class {k}" for k in range(_CLASSES)],
        calibration=Calibration(np.ones(_CLASSES), np.zeros(_CLASSES), independent=False),
        multilabel=False,
        spec=spec,
        reference=network.reference,
        training_record={},
        clf="softmax",
        coef=random.normal(size=(_CLASSES, codes.shape[1])) / np.sqrt(codes.shape[1]),
        intercept=np.zeros(_CLASSES),
        scaler=scaler,
    )


def row(model: str, folder: Path) -> str:
    """Export one network as both formats; return a row of the table."""
    network = load_backbone(model, "none")
    head = random_head(network, FAMILIES[model])
    cells = [model.removeprefix("timm:"), " + ".join(head.features.layers)]
    for suffix in (".onnx", ".pt"):
        out = folder / f"head{suffix}"
        start = time.process_time()
        result = export(head, out)
        seconds = time.process_time() - start
        cells += [f"{result.difference:.1g}", f"{seconds:.0f}", format_size(result.size)]
        out.unlink()
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the weights are random: nothing to ask for
    print(machine(), end="\n\n")
    print("| network | layers | ONNX: difference | seconds | size | TorchScript | seconds | size |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for family in FAMILIES:
            print(row(family, Path(name)), flush=True)
