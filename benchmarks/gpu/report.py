"""Measure all that a GPU is used for, in under eight minutes.

Extraction, fitting at ImageNet's size, tuning, and ways to run a network. Each part is a process of
its own, which ends after its share of the time: what fails, or takes too long, loses no other part.
The rows of each appear on standard error while it runs. It runs from a plain checkout, and needs no
network. --quick runs toy sizes, --device cpu needs no GPU; --part measures one.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.gpu import extraction, fitting, forward, tuning
from benchmarks.helpers.machine import machine


@dataclass(frozen=True)
class Part:
    """A part of the report.

    Attributes
    ----------
    module : module
        Has the profiles `FULL` and `QUICK`, and `measure`, which takes one and the device.
    seconds : float
        After which its process is ended. The sum is below eight minutes.
    """

    module: Any
    seconds: float


PARTS = {
    "extraction": Part(extraction, 150),
    "fitting": Part(fitting, 190),
    "tuning": Part(tuning, 50),
    "forward": Part(forward, 80),
}
_NO_DEVICE = "no CUDA device: not measured"


def markdown() -> str:
    """Return all parts of the report; a note where there is no GPU."""
    return "\n\n".join(map(_in_a_process, PARTS)) if torch.cuda.is_available() else _NO_DEVICE


def _in_a_process(name: str, arguments: Sequence[str] = ()) -> str:
    """Return a part that another process measures, or what it said before it failed."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--part", name, *arguments]
    try:
        ended = subprocess.run(
            command, check=False, stdout=subprocess.PIPE, text=True, timeout=PARTS[name].seconds
        )
    except subprocess.TimeoutExpired:
        return f"### {name}\n\nended after {PARTS[name].seconds:.0f} s; its rows are on stderr"
    failed = f"failed with {ended.returncode}" if ended.returncode else ""
    return "\n".join([f"### {name}", "", *filter(None, [ended.stdout.strip(), failed])])


def main(arguments: list[str] | None = None) -> None:
    """Print each part as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="toy sizes, for a try")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--part", choices=[*PARTS], help="this one alone, in this process")
    asked = parser.parse_args(arguments)
    if asked.device.startswith("cuda") and not torch.cuda.is_available():
        print(_NO_DEVICE, flush=True)
        return
    if asked.part:
        module = PARTS[asked.part].module
        print(
            module.measure(module.QUICK if asked.quick else module.FULL, asked.device), flush=True
        )
        return
    print(machine(), flush=True)
    passed = ["--device", asked.device, *(["--quick"] if asked.quick else [])]
    for name in PARTS:
        print(f"\n{_in_a_process(name, passed)}", flush=True)
