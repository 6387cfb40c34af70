"""Fitting: against scikit-learn, the whole search over C, and epochs on codes.

Run from the project's root: python benchmarks/fitting.py, or with --quick for a try.
"""

import argparse
from collections.abc import Callable

import epochs
import out_of_core
import search
import versus
from machine import machine
from sizes import FULL, QUICK, Size

PARTS: dict[str, Callable[[Size], str]] = {
    "Against scikit-learn": versus.markdown,
    "The whole search over C": search.markdown,
    "100 epochs on cached codes": epochs.markdown,
    "Out of core": out_of_core.at_size,
}


def markdown(size: Size = FULL) -> str:
    """Every part, in order."""
    command = "python benchmarks/fitting.py" + ("" if size == FULL else " --quick")
    parts = [f"### {title}\n\n{measure(size)}" for title, measure in PARTS.items()]
    return "\n\n".join([f"Measured by `{command}`.", *parts])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="toy sizes, for a try")
    quick = parser.parse_args().quick
    print(f"{machine()}\n\n{markdown(QUICK if quick else FULL)}")
