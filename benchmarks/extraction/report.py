"""Report on extraction: throughput, truncation, further layers, memory, writing and reading.

Run from the project's root: python -m benchmarks.extraction.report. --quick runs toy sizes, --only
runs some parts, or some networks of the first part.
"""

import argparse
import dataclasses
from collections.abc import Callable, Sequence

from benchmarks.extraction import peak_memory, storage, throughput, truncation
from benchmarks.helpers.machine import machine
from benchmarks.profiles import FULL_EXTRACTION, QUICK_EXTRACTION, ExtractionProfile

# By the name that --only knows.
PARTS: dict[str, tuple[str, Callable[[ExtractionProfile], str]]] = {
    "throughput": ("Images a second", throughput.markdown),
    "truncation": ("Truncation", truncation.truncation),
    "layers": ("Further layers in the same pass", truncation.more_layers),
    "memory": ("Peak resident memory", peak_memory.markdown),
    "writing": ("Writing", storage.writing),
    "reading": ("Reading", storage.reading),
}


def markdown(profile: ExtractionProfile = FULL_EXTRACTION, only: Sequence[str] = ()) -> str:
    """Measure all parts, or the named ones; a network's name is its rows of ``throughput``."""
    chosen = [name for name in PARTS if not only or name in only]
    networks = tuple(network for network in profile.networks if network.model in only)
    if networks:
        profile = dataclasses.replace(profile, networks=networks)
        chosen = [name for name in PARTS if name in {"throughput", *chosen}]
    sections = [f"### {PARTS[name][0]}\n\n{PARTS[name][1](profile)}" for name in chosen]
    return "\n\n".join(["Measured by `python -m benchmarks.extraction.report`.", *sections])


if __name__ == "__main__":
    known = [*PARTS, *(network.model for network in FULL_EXTRACTION.networks)]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="toy sizes, for a try")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=known,
        metavar="NAME",
        help=f"one of {', '.join(known)}; may be given several times",
    )
    asked = parser.parse_args()
    print(machine(), end="\n\n")
    print(markdown(QUICK_EXTRACTION if asked.quick else FULL_EXTRACTION, asked.only))
