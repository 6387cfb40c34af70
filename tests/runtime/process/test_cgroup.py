"""Limits of processors and memory by control groups, as files of both versions tell them."""

from pathlib import Path

import pytest

import bottleneck.runtime.process.cgroup as module
from bottleneck.runtime.process.cgroup import cpu_limit, free_memory

POD = "/kubepods/pod1/box"
UNLIMITED = 9223372036854771712  # what version 1 has in place of none


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A process without control groups: neither membership nor files."""
    monkeypatch.setattr(module, "_MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(module, "_MOUNT", tmp_path / "mount")
    return tmp_path / "mount"


def put(mount: Path, membership: str, files: dict[str, str]) -> None:
    (mount.parent / "membership").write_text(membership)
    for name, text in files.items():
        path = mount / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


@pytest.mark.usefixtures("mount")
def test_without_control_groups_there_is_no_limit() -> None:
    assert cpu_limit() is free_memory() is None


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "250000 100000"}, 2.5),
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        (f"0::{POD}\n", {f"{POD[1:]}/cpu.max": "max 100000", "kubepods/cpu.max": "4 1"}, 4),
        (f"0::{POD}\n", {f"{POD[1:]}/cpu.max": "2 1", "kubepods/cpu.max": "4 1"}, 2),
        (f"0::{POD}\n", {"cpu.max": "3 1"}, 3),  # a container that sees its group as the root
        ("0::/../..\n", {"cpu.max": "3 1"}, 3),
        ("4:memory:/a\n3:cpuset:/\n1:cpu,cpuacct:/a\n0::/\n", {}, None),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "150000"}, None),
        (
            "2:cpuacct,cpu:/a/b\n0::/\n",
            {"cpu/a/cpu.cfs_quota_us": "150000", "cpu/a/cpu.cfs_period_us": "100000"},
            1.5,
        ),
    ],
)
def test_the_least_quota_of_processors(
    membership: str, files: dict[str, str], expected: float | None, mount: Path
) -> None:
    put(mount, membership, files)
    assert cpu_limit() == expected


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/job\n", {"job/memory.max": "max", "job/memory.current": "9"}, None),
        ("0::/job\n", {"job/memory.max": "1000", "job/memory.current": "300"}, 700),
        ("0::/job\n", {"job/memory.max": "1000", "job/memory.current": "1003"}, 0),
        (
            "0::/job\n",
            {
                "job/memory.max": "1000",
                "job/memory.current": "900",
                "job/memory.stat": "anon 5\ninactive_file 400\nactive_file 30",
            },
            500,
        ),
        (  # that of Slurm's job, around that of its step
            "0::/job_7/step_0\n",
            {
                "job_7/step_0/memory.max": "5000",
                "job_7/step_0/memory.current": "100",
                "job_7/memory.max": "2000",
                "job_7/memory.current": "600",
            },
            1400,
        ),
        (
            "9:name=systemd:/\n4:memory:/job\n",
            {
                "memory/memory.limit_in_bytes": f"{UNLIMITED}",
                "memory/memory.usage_in_bytes": "7",
                "memory/job/memory.limit_in_bytes": "1000",
                "memory/job/memory.usage_in_bytes": "800",
                "memory/job/memory.stat": "inactive_file 1\ntotal_inactive_file 50",
            },
            250,
        ),
    ],
)
def test_the_least_memory_that_is_left(
    membership: str, files: dict[str, str], expected: int | None, mount: Path
) -> None:
    put(mount, membership, files)
    assert free_memory() == expected
