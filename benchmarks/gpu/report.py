"""Measure all that a GPU is used for, in under eight minutes.

Extraction, fitting at ImageNet's size, and tuning. The rows of each appear on standard error while
it runs, so that a run that is cut off keeps them. It runs from a plain checkout, and needs no
network. --quick runs toy sizes, --device cpu needs no GPU.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace

import torch

from benchmarks.gpu import extraction, fitting, tuning
from benchmarks.helpers.machine import machine


def sections(
    *, device: str = "cuda", quick: bool = False, limit: float = fitting.FULL.limit
) -> Iterator[str]:
    """Yield each part as soon as it is known; a note where there is no such device.

    Parameters
    ----------
    device : str
    quick : bool
        Whether at toy sizes.
    limit : float
        Seconds after which a path over C asks for no further one.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        yield "no CUDA device: not measured"
        return
    images = extraction.QUICK if quick else extraction.FULL
    rows = replace(fitting.QUICK if quick else fitting.FULL, limit=limit)
    maps = tuning.QUICK if quick else tuning.FULL
    yield f"### Extraction\n\n{extraction.measure(images, device)}"
    yield f"### Fitting\n\n{fitting.measure(rows, device)}"
    yield f"### Tuning\n\n{tuning.measure(maps, device)}"


def markdown() -> str:
    """Return all parts of the report."""
    return "\n\n".join(sections())


def main(arguments: list[str] | None = None) -> None:
    """Print each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="toy sizes, for a try")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--limit", type=float, default=fitting.FULL.limit, help="seconds of a path")
    asked = parser.parse_args(arguments)
    print(machine(), flush=True)
    for section in sections(device=asked.device, quick=asked.quick, limit=asked.limit):
        print(f"\n{section}", flush=True)
