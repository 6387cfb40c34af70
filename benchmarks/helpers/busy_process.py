"""A process that keeps cores busy beside the one that is measured."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# What it does, by name; it says that it has begun.
BUSY = {
    "spins on one core": "print('begun', flush=True)\nwhile True: pass",
    "multiplies matrices with all": (
        "import numpy as np\na = np.random.default_rng(0).random((1500, 1500))\n"
        "a @ a\nprint('begun', flush=True)\nwhile True: a @ a"
    ),
}


@contextmanager
def beside(name: str) -> Iterator[None]:
    """Run the process `name` of `BUSY` until the block ends; none if the name is empty."""
    if not name:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", BUSY[name]], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.communicate()
