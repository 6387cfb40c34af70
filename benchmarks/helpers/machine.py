"""Describe the machine that figures are measured on."""

import os
import platform
from datetime import date

import torch


def machine() -> str:
    """Return the date, the processor and the version of the libraries, on one line."""
    simd = torch.backends.cpu.get_cpu_capability()
    return (
        f"{date.today()}, {os.cpu_count()} cores, {platform.machine()}, {simd}, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )
