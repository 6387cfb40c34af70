"""Compare epochs on cached codes with epochs that run the frozen network on every image."""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.helpers.synthetic_images import write_jpegs
from benchmarks.profiles import FULL_FITTING, FittingProfile
from bottleneck.backbones.backbone import load_backbone
from bottleneck.data.sources.files.file_source import FileSource
from bottleneck.extraction.encoding.encoder import Encoder
from bottleneck.extraction.setup.loading import make_spec
from bottleneck.linear.matrix import ArrayMatrix
from bottleneck.linear.scaling import fit_scaler
from bottleneck.linear.solver.eigenbasis import make_design
from bottleneck.linear.solver.losses import Softmax
from bottleneck.linear.solver.objective import Objective

MODEL, LAYER = "resnet18", "layer4"
EPOCHS = 100

_C = 1e-2


def network_epoch(paths: list[Path]) -> tuple[float, NDArray[np.float32]]:
    """Run one epoch that decodes all images and runs the network; return seconds and codes."""
    backbone = load_backbone(MODEL, "none")
    spec = make_spec(backbone, precision="float32", relu=True, pool="avg")
    encoder = Encoder(backbone, backbone.select_layers([LAYER]), spec, [torch.device("cpu")])
    source, size = FileSource.from_paths(paths), encoder.runner.default_batch_size
    rows = range(len(paths))
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    list(encoder.encode(source, batches[:1]))  # warm
    start = time.perf_counter()
    found = [batch.codes[LAYER] for batch in encoder.encode(source, batches)]
    return time.perf_counter() - start, np.concatenate(found)


def cached_epochs(codes: NDArray[np.float32], classes: int) -> float:
    """Return the seconds of all epochs of softmax training on codes, decomposition included.

    An epoch computes loss and gradient over all rows and takes a step by the bound on the
    curvature, which always descends. The classes do not matter to the time.
    """
    start = time.perf_counter()
    rows = ArrayMatrix(codes)
    scaled = rows.scaled(fit_scaler("standardize", rows))
    design = make_design(scaled, np.arange(len(codes)) % classes, intercept="free")
    loss = Softmax(np.arange(classes))
    objective = Objective(design, loss, _C, None, None)
    diagonal = objective.diagonal(np.full(classes, loss.curvature_bound, dtype=codes.dtype))
    at = np.zeros(diagonal.shape, dtype=codes.dtype)
    for _ in range(EPOCHS):
        at -= objective(at).gradient / diagonal
    return time.perf_counter() - start


def markdown(profile: FittingProfile = FULL_FITTING) -> str:
    """Return both times, and their ratio with and without the run that fills the cache."""
    with tempfile.TemporaryDirectory() as name:
        write_jpegs(Path(name), profile.images)
        network, codes = network_epoch(sorted(Path(name).rglob("*.jpg")))
    cached = min(cached_epochs(codes, profile.classes) for _ in range(3))
    every = EPOCHS * network
    return "\n".join(
        [
            f"{MODEL} with random weights up to {LAYER}, {profile.images} generated JPEGs of "
            f"500 × 375, decoded and resized as `extract` does it; softmax over {profile.classes} "
            f"classes on its {codes.shape[1]} codes an image. One epoch of the network was "
            f"measured and multiplied by {EPOCHS}; the {EPOCHS} epochs on codes were measured, "
            "the best of 3.",
            "",
            "| what | seconds |",
            "|---|---|",
            f"| one epoch that runs the network | {network:.2f} |",
            f"| {EPOCHS} of them, multiplied | {every:.0f} |",
            f"| {EPOCHS} epochs on cached codes | {cached:.3f} |",
            f"| ratio of {EPOCHS} epochs to {EPOCHS} | {every / cached:.0f} |",
            "| ratio, the epoch that fills the cache counted with those on codes "
            f"| {every / (network + cached):.1f} |",
        ]
    )
