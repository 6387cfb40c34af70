"""Measure all that a GPU is used for, in under eight minutes: `python -m benchmarks.gpu`.

Extraction, fitting at ImageNet's size, and tuning, each printed as soon as it is known; the rows of
each appear on standard error while it runs, so that a run that is cut off keeps them. It runs from
a plain checkout, and needs no network. --quick runs toy sizes, --device cpu needs no GPU.
"""

import argparse
import dataclasses
from collections.abc import Callable

import torch

from benchmarks.gpu import extraction, fitting, tuning
from benchmarks.helpers.machine import machine


def sections(*, device: str, quick: bool, limit: float) -> dict[str, Callable[[], str]]:
    """Return what measures each part, by its title.

    Parameters
    ----------
    device : str
    quick : bool
        Whether at toy sizes.
    limit : float
        Seconds after which a path over C asks for no further one.
    """
    images = extraction.QUICK if quick else extraction.FULL
    rows = dataclasses.replace(fitting.QUICK if quick else fitting.FULL, limit=limit)
    maps = tuning.QUICK if quick else tuning.FULL
    return {
        "Extraction": lambda: extraction.measure(images, device),
        "Fitting": lambda: fitting.measure(rows, device),
        "Tuning": lambda: tuning.measure(maps, device),
    }


def main(arguments: list[str] | None = None) -> None:
    """Print each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="toy sizes, for a try")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--limit", type=float, default=fitting.FULL.limit, help="seconds of a path")
    asked = parser.parse_args(arguments)
    if asked.device.startswith("cuda") and not torch.cuda.is_available():
        print("no CUDA device: not measured")
        return
    print(machine(), flush=True)
    parts = sections(device=asked.device, quick=asked.quick, limit=asked.limit)
    for title, measure in parts.items():
        print(f"\n## {title}\n\n{measure()}", flush=True)


if __name__ == "__main__":
    main()
