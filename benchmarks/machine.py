"""What a figure was measured on."""

import os
import platform
from datetime import date

import torch


def machine() -> str:
    """The date, the processor and the library that did the arithmetic."""
    simd = torch.backends.cpu.get_cpu_capability()
    return (
        f"{date.today()}, {os.cpu_count()} cores, {platform.machine()}, {simd}, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )
