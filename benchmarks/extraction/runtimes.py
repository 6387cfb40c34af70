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
from typing import Any

import torch
from torch import Tensor

from benchmarks.helpers.interleave import interleave, ratio
from benchmarks.helpers.machine import machine
from bottleneck.backbones import Backbone, BatchRunner, load_backbone
from bottleneck.backbones.inference.openvino_replica import PRECISIONS, to_openvino_model
from bottleneck.backbones.inference.truncated import TruncatedNetwork
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


_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_REQUEST_SIZES = (1, 4, 16)  # images in a request to OpenVINO alone

# The wall and processor time of an image, over so many passes.
Forward = Callable[[int], tuple[float, float]]


def markdown() -> str:
    """Measure all networks and format a table."""
    rows = [
        _row(load_backbone(model, "none"), layer, precision)
        for model, layer in NETWORKS.items()
        for precision in _DTYPES
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
    pixels = torch.randint(256, (max(size, *_REQUEST_SIZES), side, side, 3), dtype=torch.uint8)
    forwards: dict[str, Forward] = {
        name: partial(_by_runner, runner, pixels[:size]) for name, runner in runners.items()
    }
    truncated = TruncatedNetwork(backbone.network, layers, relu=True, pool="avg")
    for images in _REQUEST_SIZES:
        queue = _throughput_queue(truncated, backbone, precision, images)
        forwards[f"alone, {images}"] = partial(_by_queue, queue, pixels[:images].numpy(), size)
    passes = {name: max(4, round(_SECONDS / run(4)[0] / size)) for name, run in forwards.items()}
    found = interleave({name: partial(run, passes[name]) for name, run in forwards.items()}, _TURNS)
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


def _by_runner(runner: BatchRunner, batch: Tensor, passes: int) -> tuple[float, float]:
    with runner.threads() as threads:
        list(threads.map(runner.run, [batch] * runner.parallel_batches))
        wall, cpu = time.perf_counter(), time.process_time()
        list(threads.map(runner.run, [batch] * passes))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return wall / passes / len(batch), cpu / passes / len(batch)


def _throughput_queue(
    truncated: TruncatedNetwork, backbone: Backbone, precision: str, images: int
) -> Any:
    import openvino

    model = to_openvino_model(truncated, backbone.transform, images=images)
    options = {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_PRECISION_HINT": PRECISIONS[_DTYPES[precision]],
    }
    return openvino.AsyncInferQueue(openvino.Core().compile_model(model, "CPU", options))


def _by_queue(queue: Any, pixels: Any, batch_size: int, passes: int) -> tuple[float, float]:
    requests = max(len(queue), passes * batch_size // len(pixels))
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(requests):
        queue.start_async([pixels])
    queue.wait_all()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return wall / requests / len(pixels), cpu / requests / len(pixels)


if __name__ == "__main__":
    print(markdown())
