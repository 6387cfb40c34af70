"""A command in a process of its own: how long it took and how much memory it had at most."""

import json
import subprocess
import sys
from collections.abc import Sequence

# Started by a small process in between: Linux counts into a child's peak what the process that
# started it had at its peak, and benchmarks have had much.
_STARTER = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
seconds = time.perf_counter() - start
peak = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps([done.returncode, done.stderr[-2000:], seconds, peak]))
"""


def run_alone(command: Sequence[str]) -> tuple[float, int]:
    """Seconds and peak resident bytes of a command, which must succeed."""
    starter = [sys.executable, "-c", _STARTER, *command]
    found = subprocess.run(starter, check=True, capture_output=True, text=True)
    status, errors, seconds, peak = json.loads(found.stdout)
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with status {status}: {errors}")
    return seconds, peak
