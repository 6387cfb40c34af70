"""Measure all that a GPU is used for, in under eight minutes.

Extraction, decoding on the card, fitting at ImageNet's size, tuning, and ways to run a network.
Each part is a process of its own, which ends after its share of the time: what fails, or takes too
long, loses no other part. Each row is printed as soon as it is known, below the head of its table:
what is cut off has all that was measured. It runs from a plain checkout, and needs no network.
--quick runs toy sizes, --device cpu needs no GPU; --part measures one.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.gpu import decoding, extraction, fitting, forward, tuning
from benchmarks.helpers.machine import machine


@dataclass(frozen=True)
class Part:
    """A part of the report.

    Attributes
    ----------
    module : module
        Has the profiles `FULL` and `QUICK`, and `measure`, which takes one and the device, and
        yields lines as soon as they are known.
    seconds : float
        After which its process is ended. The sum is below eight minutes.
    """

    module: Any
    seconds: float


PARTS = {
    "extraction": Part(extraction, 130),
    "decoding": Part(decoding, 40),
    "fitting": Part(fitting, 165),
    "tuning": Part(tuning, 45),
    "forward": Part(forward, 95),
}
_NO_DEVICE = "no CUDA device: not measured"
_MODULE = ("-m", "benchmarks.gpu")


def markdown() -> str:
    """Return all parts of the report; a note where there is no GPU."""
    if not torch.cuda.is_available():
        return _NO_DEVICE
    command = [sys.executable, *_MODULE]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def _in_a_process(name: str, arguments: Sequence[str]) -> None:
    """Let another process print a part, and say how it ended unless that was well."""
    print(f"\n### {name}\n", flush=True)
    command, most = [sys.executable, *_MODULE, "--part", name, *arguments], PARTS[name].seconds
    try:
        status = subprocess.run(command, check=False, timeout=most).returncode
    except subprocess.TimeoutExpired:
        print(f"\nended after {most:.0f} s", flush=True)
        return
    if status:
        print(f"\nfailed with {status}", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Print each part, line by line."""
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
        for line in module.measure(module.QUICK if asked.quick else module.FULL, asked.device):
            print(line, flush=True)
        return
    print(machine(), flush=True)
    passed = ["--device", asked.device, *(["--quick"] if asked.quick else [])]
    for name in PARTS:
        _in_a_process(name, passed)
