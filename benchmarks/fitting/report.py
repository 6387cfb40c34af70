"""Report on fitting: scikit-learn, the search over C, epochs on codes, and out-of-core training.

Run from the project's root: python -m benchmarks.fitting.report; --quick runs toy sizes.
"""

import argparse
from collections.abc import Callable

from benchmarks.fitting import epochs, out_of_core, search, vs_sklearn
from benchmarks.helpers.machine import machine
from benchmarks.profiles import FULL_FITTING, QUICK_FITTING, FittingProfile

PARTS: dict[str, Callable[[FittingProfile], str]] = {
    "Against scikit-learn": vs_sklearn.markdown,
    "The whole search over C": search.markdown,
    "100 epochs on cached codes": epochs.markdown,
    "Out of core": out_of_core.at_size,
}


def markdown(profile: FittingProfile = FULL_FITTING) -> str:
    """Measure all parts, in order."""
    command = "python -m benchmarks.fitting.report" + (
        "" if profile == FULL_FITTING else " --quick"
    )
    parts = [f"### {title}\n\n{measure(profile)}" for title, measure in PARTS.items()]
    return "\n\n".join([f"Measured by `{command}`.", *parts])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="toy sizes, for a try")
    quick = parser.parse_args().quick
    print(f"{machine()}\n\n{markdown(QUICK_FITTING if quick else FULL_FITTING)}")
