"""Compare `extract` by OpenVINO with what OpenVINO alone and decoding alone allow.

Run from the project's root: python -m benchmarks.extraction.openvino_end_to_end. Needs the extras
openvino and timm. Into a new cache, with loading and converting the network. Together the stages
allow 1 / (seconds of a forward pass + seconds of decoding) images a second, each with all cores.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.extraction.openvino_alone import throughput_mode
from benchmarks.extraction.runtimes import NETWORKS, PRECISIONS
from benchmarks.extraction.stages import Job, decode_alone, end_to_end, read_some
from benchmarks.helpers.interleave import interleave, median, ratio
from benchmarks.helpers.log import log_row
from benchmarks.helpers.machine import machine
from benchmarks.helpers.synthetic_images import repeat, write_jpegs
from bottleneck.backbones import load_backbone

_RUN = 20.0  # seconds of forward passes in a run
_SECONDS = 2.0  # for which a stage alone is measured
_TURNS = 3
_REQUEST = 4  # images


def markdown() -> str:
    """Measure all networks and format a table."""
    with tempfile.TemporaryDirectory() as place:
        drawn = write_jpegs(Path(place) / "drawn", 1000)
        rows = [
            log_row(_row(Job(model, (layer,), precision, runtime="openvino"), drawn, Path(place)))
            for model, layer in NETWORKS.items()
            for precision in PRECISIONS
        ]
    return "\n".join(
        [
            f"{machine()}. Images a second, medians of {_TURNS} turns.",
            "",
            "| network | precision | images | end to end | OpenVINO alone | decoding "
            "| of what they allow |",
            "|---|---|---|---|---|---|---|",
            *rows,
        ]
    )


def _row(job: Job, drawn: list[Path], place: Path) -> str:
    """Measure a network in a precision, and format a row."""
    backbone = load_backbone(job.model, "none")
    alone = throughput_mode(backbone, job.layers[0], job.precision, _REQUEST)
    rate = 1 / max(alone(16) for _ in range(2))[0]
    count = max(100, round(_RUN * rate, -2))
    folder = place / f"{count}"
    if not folder.exists():
        repeat(drawn, folder, int(count))
    things: dict[str, Callable[[], float]] = {
        "alone": lambda: alone(round(_SECONDS * rate))[0],
        "decode": partial(decode_alone, read_some(drawn), backbone.transform, at_least=_SECONDS),
        "whole": lambda: 1 / end_to_end(job, folder).rate,
    }
    found = interleave(things, _TURNS)
    allowed = [a + b for a, b in zip(found["alone"], found["decode"], strict=True)]
    rates = " | ".join(f"{1 / median(found[name]):.1f}" for name in ("whole", "alone", "decode"))
    share = ratio(allowed, found["whole"])
    name = f"{backbone.reference.model} `{job.layers[0]}`"
    return f"| {name} | {job.precision} | {count:.0f} | {rates} | **{share:.2f}** |"


if __name__ == "__main__":
    print(markdown())
