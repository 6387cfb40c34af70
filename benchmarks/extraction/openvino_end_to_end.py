"""Compare `extract` by OpenVINO with what OpenVINO alone and decoding alone allow.

Run from the project's root: python -m benchmarks.extraction.openvino_end_to_end. Needs the extras
openvino and timm. Together the stages allow 1 / (seconds of a forward pass + seconds of decoding)
images a second, each with all cores. A run into a new cache is halted every other second for the
stages alone, since a machine shared with others is faster or slower in each. The last column is
derived: what is left of that share with the set-up, in a run of 20 seconds of forward passes.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.extraction.openvino_alone import throughput_mode
from benchmarks.extraction.runtimes import NETWORKS, PRECISIONS
from benchmarks.extraction.stages import decode_alone, read_some
from benchmarks.helpers.interleave import median, ratio
from benchmarks.helpers.log import log_row
from benchmarks.helpers.machine import machine
from benchmarks.helpers.synthetic_images import repeat, write_jpegs
from bottleneck.backbones import load_backbone
from bottleneck.extraction.extract import extract
from bottleneck.extraction.options import ComputeOptions, RunOptions
from bottleneck.runtime import Progress

_SLICES = 12  # about so many
_SLICE, _ALONE = 1.5, 0.7  # seconds of the run, and of each stage alone
_AHEAD = 8  # batches after a halt that are not measured: some were made before and during it
_UNTIL_IDLE = 0.5  # seconds in which the batches ahead are finished
_REQUEST = 4  # images
_RUN = 20.0  # seconds of forward passes over which the set-up is spread


@dataclass
class HaltedRun:
    """Halts a run again and again, to measure its stages alone: an `on_progress`.

    Attributes
    ----------
    alone, decode : callable
        Return seconds an image.
    start : float
        When the run begins: by default now.
    setup : float
        Seconds before the first image.
    seconds : dict of str to list of float
        Seconds an image of the run and of each stage, by slice.
    """

    alone: Callable[[], float]
    decode: Callable[[], float]
    start: float = field(default_factory=time.perf_counter)
    setup: float = 0.0
    seconds: dict[str, list[float]] = field(
        default_factory=lambda: {"run": [], "alone": [], "decode": []}
    )
    _batches: int = field(default=0, init=False)
    _begin: tuple[float, int] = field(default=(0.0, 0), init=False)

    def __call__(self, progress: Progress) -> None:
        """Note a batch, and halt the run where a slice has ended."""
        now = time.perf_counter()
        if not progress.done:
            self.setup = now - self.start
            return
        self._batches += 1
        if self._batches == _AHEAD:
            self._begin = now, progress.done
        elif self._batches > _AHEAD and now - self._begin[0] >= _SLICE:
            before, done = self._begin
            self.seconds["run"].append((now - before) / (progress.done - done))
            time.sleep(_UNTIL_IDLE)
            self.seconds["alone"].append(self.alone())
            self.seconds["decode"].append(self.decode())
            self._batches = 0


def markdown() -> str:
    """Measure all networks and format a table."""
    with tempfile.TemporaryDirectory() as place:
        drawn = write_jpegs(Path(place) / "drawn", 1000)
        rows = [
            log_row(_row(model, layer, precision, drawn, Path(place)))
            for model, layer in NETWORKS.items()
            for precision in PRECISIONS
        ]
    return "\n".join(
        [
            f"{machine()}. Images a second, medians of slices of {_SLICE} s.",
            "",
            "| network | precision | set-up, s | slices | end to end | OpenVINO alone | decoding "
            "| of what they allow | with the set-up |",
            "|---|---|---|---|---|---|---|---|---|",
            *rows,
        ]
    )


def _row(model: str, layer: str, precision: str, drawn: list[Path], place: Path) -> str:
    """Measure a network in a precision, and format a row."""
    backbone = load_backbone(model, "none")
    alone = throughput_mode(backbone, layer, precision, _REQUEST)
    rate = 1 / max(alone(16) for _ in range(2))[0]
    decode = partial(decode_alone, read_some(drawn), backbone.transform, at_least=_ALONE)
    count = round(_SLICES * _SLICE * rate)
    with tempfile.TemporaryDirectory(dir=place) as folder:
        repeat(drawn, Path(folder) / "images", count)
        halted = HaltedRun(lambda: alone(round(_ALONE * rate))[0], decode)
        extract(
            Path(folder) / "images",
            Path(folder) / "cache",
            model=model,
            weights="none",
            layers=[layer],
            compute=ComputeOptions(precision=precision, device="cpu", runtime="openvino"),
            run=RunOptions(on_progress=halted),
        )
    found = halted.seconds
    allowed = [a + b for a, b in zip(found["alone"], found["decode"], strict=True)]
    rates = " | ".join(f"{1 / median(found[name]):.1f}" for name in ("run", "alone", "decode"))
    name = f"{backbone.reference.model} `{layer}`"
    share = ratio(allowed, found["run"])
    run = _RUN / median(found["alone"]) * median(found["run"])
    return (
        f"| {name} | {precision} | {halted.setup:.1f} | {len(allowed)} | {rates} "
        f"| **{share:.2f}** | {share * run / (run + halted.setup):.2f} |"
    )


if __name__ == "__main__":
    print(markdown())
