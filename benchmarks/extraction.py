"""ExtractionResult: images a second, truncation, further layers, memory, writing and reading.

Run from the project's root: python benchmarks/extraction.py; with --quick for a try, with --only
for some parts, or some networks of the first part.
"""

import argparse
import dataclasses
from collections.abc import Callable, Sequence

import peak_memory
import rates
import storage
import truncation
from machine import machine
from sizes import FULL_EXTRACTION, QUICK_EXTRACTION, ExtractionSize

# By the name that --only knows.
PARTS: dict[str, tuple[str, Callable[[ExtractionSize], str]]] = {
    "rates": ("Images a second", rates.markdown),
    "truncation": ("Truncation", truncation.truncation),
    "layers": ("Further layers in the same pass", truncation.more_layers),
    "memory": ("Peak resident memory", peak_memory.markdown),
    "writing": ("Writing", storage.writing),
    "reading": ("Reading", storage.reading),
}


def markdown(size: ExtractionSize = FULL_EXTRACTION, only: Sequence[str] = ()) -> str:
    """Every part, in order, or those that are named; a network's name is its row of `rates`."""
    chosen = [name for name in PARTS if not only or name in only]
    networks = tuple(network for network in size.networks if network.model in only)
    if networks:
        size = dataclasses.replace(size, networks=networks)
        chosen = [name for name in PARTS if name in {"rates", *chosen}]
    sections = [f"### {PARTS[name][0]}\n\n{PARTS[name][1](size)}" for name in chosen]
    return "\n\n".join(["Measured by `python benchmarks/extraction.py`.", *sections])


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
