"""Compare the forward pass by OpenVINO with that by PyTorch, for five networks.

Run from the project's root: python -m benchmarks.extraction.runtimes. Needs the extras openvino and
timm. Weights are random, because speed does not depend on them. Both run as `extract` runs them,
by turns; processor time counts, so that other work on the machine changes little.
"""

import time
from functools import partial

import torch
from torch import Tensor

from benchmarks.helpers.interleave import interleave, ratio
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


def markdown() -> str:
    """Measure all networks and format a table."""
    rows = [
        _row(load_backbone(model, "none"), layer, precision)
        for model, layer in NETWORKS.items()
        for precision in ("float32", "bfloat16")
    ]
    return "\n".join(
        [
            f"{machine()}. Images a second of processor time; ratios are of pairs of one turn.",
            "",
            "| network | precision | torch | openvino | ratio | ratio, wall time | conversion, s |",
            "|---|---|---|---|---|---|---|",
            *rows,
        ]
    )


def _row(backbone: Backbone, layer: str, precision: str) -> str:
    """Measure a network in a precision, and format a row."""
    spec = make_spec(backbone, precision=precision, relu=True, pool="avg")
    runners = {}
    for name in ("torch", "openvino"):
        runners[name] = BatchRunner(
            backbone, backbone.select_layers([layer]), spec, [torch.device("cpu")]
        )
        start = time.perf_counter()
        runners[name].choose_runtime(name, images=1)
    conversion = time.perf_counter() - start
    size = runners["torch"].default_batch_size
    side = backbone.transform.crop
    batch = torch.randint(256, (size, side, side, 3), dtype=torch.uint8)
    warm = {name: _seconds_each(runner, batch, 4) for name, runner in runners.items()}
    passes = {name: max(4, round(_SECONDS / wall / size)) for name, (wall, _) in warm.items()}
    found = interleave(
        {name: partial(_seconds_each, each, batch, passes[name]) for name, each in runners.items()},
        _TURNS,
    )
    wall, cpu = (
        {name: [each[i] for each in turns] for name, turns in found.items()} for i in (0, 1)
    )
    rates = (f"{1 / min(cpu[name]):.1f}" for name in runners)
    return (
        f"| {backbone.reference.model} `{layer}` | {precision} | {' | '.join(rates)} "
        f"| **{ratio(cpu['torch'], cpu['openvino']):.2f}** "
        f"| {ratio(wall['torch'], wall['openvino']):.2f} | {conversion:.1f} |"
    )


def _seconds_each(runner: BatchRunner, batch: Tensor, passes: int) -> tuple[float, float]:
    """Return the wall and processor time of an image, over passes of all threads."""
    with runner.threads() as threads:
        list(threads.map(runner.run, [batch] * runner.parallel_batches))
        wall, cpu = time.perf_counter(), time.process_time()
        list(threads.map(runner.run, [batch] * passes))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return wall / passes / len(batch), cpu / passes / len(batch)


if __name__ == "__main__":
    print(markdown())
