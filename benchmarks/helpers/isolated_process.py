"""Run a command in its own process, and measure its time and its peak memory."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]  # modules of this package are found from it

# A small process starts the command: Linux counts the peak of the parent into that of the child,
# and a benchmark's own peak is high.
_STARTER = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
seconds = time.perf_counter() - start
peak = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps([done.returncode, done.stderr[-2000:], seconds, peak]))
"""


def run_isolated(command: Sequence[str]) -> tuple[float, int]:
    """Run a command, which must succeed; return its seconds and its peak resident bytes."""
    starter = [sys.executable, "-c", _STARTER, *command]
    run = subprocess.run(starter, check=True, capture_output=True, text=True, cwd=ROOT)
    status, errors, seconds, peak = json.loads(run.stdout)
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with status {status}: {errors}")
    return seconds, peak
