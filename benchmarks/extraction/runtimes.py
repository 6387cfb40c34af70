"""Compare the forward pass of `extract` by PyTorch, by OpenVINO, and by OpenVINO alone.

Run from the project's root: python -m benchmarks.extraction.runtimes. Needs the extras openvino and
timm. Weights are random, because speed does not depend on them. Both runtimes run as `extract` runs
them. *OpenVINO alone* is what its documentation advises for many images: its throughput mode, with
a queue of requests, on the same truncated network and pixels in memory; the best of three numbers
of images in a request. All take turns.
"""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.extraction.openvino_alone import throughput_mode
from benchmarks.helpers.interleave import interleave, ratio
from benchmarks.helpers.log import log_row
from benchmarks.helpers.machine import machine
from bottleneck.backbones import Backbone, BatchRunner, load_backbone
from bottleneck.extraction import make_spec

NETWORKS = {
    "squeezenet1_0": "features.12",
    "resnet18": "layer4",
    "resnet50": "layer4",
    "mobilenet_v3_small": "features.12",
    "timm:tf_efficientnet_lite0": "global_pool",
}
_SECONDS = 2.0  # of each turn
_TURNS = 7
PRECISIONS = ("float32", "bfloat16")
_REQUEST_SIZES = (1, 4, 16)  # images in a request to OpenVINO alone

# Runs so many images, and returns the wall and processor time of one.
Forward = Callable[[int], tuple[float, float]]


def markdown() -> str:
    """Measure all networks and format a table."""
    rows = [
        log_row(_row(load_backbone(model, "none"), layer, precision))
        for model, layer in NETWORKS.items()
        for precision in PRECISIONS
    ]
    return "\n".join(
        [
            f"{machine()}. Images a second of wall time, the best of {_TURNS} turns; ratios are "
            "medians of pairs, in brackets by processor time.",
            "",
            "| network | precision | torch | openvino | OpenVINO alone | torch / alone "
            "| openvino / alone | openvino / torch | conversion, s |",
            "|---|---|---|---|---|---|---|---|---|",
            *rows,
        ]
    )


def _row(backbone: Backbone, layer: str, precision: str) -> str:
    """Measure a network in a precision, and format a row."""
    spec = make_spec(backbone, precision=precision, relu=True, pool="avg")
    layers = backbone.select_layers([layer])
    runners = {}
    for name in ("torch", "openvino"):
        runners[name] = BatchRunner(backbone, layers, spec, [torch.device("cpu")])
        start = time.perf_counter()
        runners[name].choose_runtime(name, images=1)
    conversion = time.perf_counter() - start
    size = runners["torch"].default_batch_size
    side = backbone.transform.crop
    pixels = torch.randint(256, (size, side, side, 3), dtype=torch.uint8)
    forwards: dict[str, Forward] = {
        name: partial(_by_runner, runner, pixels) for name, runner in runners.items()
    }
    for images in _REQUEST_SIZES:
        forwards[f"alone, {images}"] = throughput_mode(backbone, layer, precision, images)
    counts = {name: round(_SECONDS / run(4 * size)[0]) for name, run in forwards.items()}
    found = interleave({name: partial(run, counts[name]) for name, run in forwards.items()}, _TURNS)
    wall, cpu = (
        {name: [each[i] for each in turns] for name, turns in found.items()} for i in (0, 1)
    )
    alone = min((name for name in wall if name not in runners), key=lambda name: min(wall[name]))
    rates = " | ".join(f"{1 / min(wall[name]):.1f}" for name in (*runners, alone))
    pairs = (("torch", alone), ("openvino", alone), ("openvino", "torch"))
    ratios = " | ".join(
        f"{ratio(wall[slow], wall[fast]):.2f} ({ratio(cpu[slow], cpu[fast]):.2f})"
        for fast, slow in pairs
    )
    name = f"{backbone.reference.model} `{layer}`"
    return f"| {name} | {precision} | {rates} | {ratios} | {conversion:.1f} |"


def _by_runner(runner: BatchRunner, pixels: Tensor, images: int) -> tuple[float, float]:
    passes = max(4, images // len(pixels))
    with runner.threads() as threads:
        list(threads.map(runner.run, [pixels] * runner.parallel_batches))
        wall, cpu = time.perf_counter(), time.process_time()
        list(threads.map(runner.run, [pixels] * passes))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return wall / passes / len(pixels), cpu / passes / len(pixels)


if __name__ == "__main__":
    print(markdown())
