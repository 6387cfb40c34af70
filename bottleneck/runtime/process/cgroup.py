"""Limits that a container or a batch system sets for this process: Linux control groups.

Kubernetes, Docker, Slurm and systemd limit processors and memory by them, and neither `os` nor
`psutil` knows it. Both versions are read, of the process's own group and of those around it:
https://docs.kernel.org/admin-guide/cgroup-v2.html and …/cgroup-v1/.
"""

from collections.abc import Iterator
from pathlib import Path

_MEMBERSHIP = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")

# For versions 2 and 1: the files with the CPU quota and its period; the files with the limit and
# the use of memory, and the key of cached files in the statistics.
_CPU = (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
_MEMORY = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def cpu_limit() -> float | None:
    """Return how many processors' time the process may use, or None without a limit.

    Examples
    --------
    >>> (cpu_limit() or 1.0) > 0
    True
    """
    limits = []
    for group in _groups("cpu"):
        for files in _CPU:
            numbers = [number for name in files for number in _numbers(group / name)]
            if len(numbers) == 2 and numbers[0] > 0:  # microseconds in a period; -1: no limit
                limits.append(numbers[0] / numbers[1])
    return min(limits, default=None)


def free_memory() -> int | None:
    """Return how many bytes the process may still take, or None without a limit.

    Cached files that the kernel drops first are free.

    Examples
    --------
    >>> free = free_memory()
    >>> free is None or free >= 0
    True
    """
    free = []
    for group in _groups("memory"):
        for limit, used, cached in _MEMORY:
            most, now = _numbers(group / limit), _numbers(group / used)
            if most and now:
                files = _statistics(group / "memory.stat").get(cached, 0)
                free.append(most[0] - now[0] + files)
    return max(0, min(free)) if free else None


def _groups(controller: str) -> Iterator[Path]:
    """Yield the folders of the process's group and of those around it; some may not be there.

    A container may see its own group as the root, whatever its path outside of it.
    """
    for line in _text(_MEMBERSHIP).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = _MOUNT / controller if controllers else _MOUNT  # without a name: version 2
        parts = Path(path).parts[1:]
        for depth in range(len(parts), -1, -1):
            yield root.joinpath(*parts[:depth])


def _numbers(path: Path) -> list[int]:
    """Return the numbers of a file; none if it is absent or begins with ``max``."""
    words = _text(path).split()
    return [] if "max" in words else [int(word) for word in words]


def _statistics(path: Path) -> dict[str, int]:
    """Parse a file that has a name and a number on each line."""
    words = _text(path).split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=False))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # not Linux, another version, or hidden
        return ""
