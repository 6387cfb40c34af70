"""Time of comparing every image with all others, and what that is for a million.

    python -m benchmarks.auditing.neighbours [IMAGES ...]

Generated codes of 512 values, in memory. CPU seconds, since other programs may run: the products
alone, and with the selection of 64 neighbours. Time grows with the square of the images.
"""

import sys
import time

import numpy as np

from bottleneck.auditing.near_duplicates import NEIGHBOURS, find_near_pairs
from bottleneck.auditing.neighbours import find_neighbours
from bottleneck.linear import ArrayMatrix

_VALUES = 512
_COPIES = 100


def main() -> None:
    """Print a line for each number of images."""
    for count in map(int, sys.argv[1:] or ["10000", "20000"]):
        rng = np.random.default_rng(0)
        inner = rng.standard_normal((count, 24)).astype(np.float32)
        codes = np.maximum(inner @ rng.standard_normal((24, _VALUES)).astype(np.float32), 0)
        copies = codes[:_COPIES] + 0.01 * rng.standard_normal((_COPIES, _VALUES))
        codes[-_COPIES:] = copies
        codes /= np.linalg.norm(codes, axis=1, keepdims=True)
        cpu, wall = time.process_time(), time.monotonic()
        found = find_neighbours(ArrayMatrix(codes), NEIGHBOURS, memory=1 << 30)
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
        pairs = find_near_pairs(found)
        right = (pairs.second - pairs.first == count - _COPIES).sum()
        million = cpu * (1_000_000 / count) ** 2 / 3600
        print(
            f"{count} × {_VALUES}: {cpu:.0f} CPU s ({wall:.0f} s), a million {million:.1f} CPU h; "
            f"{len(pairs.first)} pairs, {right} of {_COPIES} planted",
            flush=True,
        )


if __name__ == "__main__":
    main()
