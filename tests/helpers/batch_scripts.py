"""Batch scripts, run by a real bash in place of Slurm."""

import os
import subprocess
from pathlib import Path

RECORD = """#!/bin/bash
printf '%s\\0' "$@" > "$0.call$(ls "$0".call* 2>/dev/null | wc -l)"
"""


def tool(folder: Path, name: str, text: str = RECORD) -> Path:
    """A program of a test's own."""
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return path


def calls(program: Path) -> list[list[str]]:
    """The words of each call of a `tool` that records."""
    texts = [path.read_bytes() for path in sorted(program.parent.glob(f"{program.name}.call*"))]
    return [[os.fsdecode(word) for word in text.split(b"\0")[:-1]] for text in texts]


def bash(script: str, folder: Path, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    """Run a script as Slurm would run task 3 of an array."""
    return subprocess.run(
        started(script, folder), env=job_environment(folder, **environment), timeout=60, check=False
    )


def started(script: str, folder: Path) -> list[str]:
    """The command line of a script, from a file, as Slurm keeps it in one."""
    path = folder / "slurm_script"
    path.write_bytes(os.fsencode(script))
    return ["bash", str(path)]


def job_environment(folder: Path, **more: str) -> dict[str, str]:
    """What Slurm tells task 3 of an array."""
    return {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "SLURM_ARRAY_JOB_ID": "7",
        "SLURM_ARRAY_TASK_ID": "3",
        "SLURM_CPUS_ON_NODE": "5",
        **more,
    }


def directives(script: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if "#SBATCH" in line]
