"""Every figure of docs/benchmarks.md, in the order in which it stands there."""

import os
import platform
from collections.abc import Callable
from datetime import date

import extraction
import sample_layers
import startup
import torch

SECTIONS: dict[str, Callable[[], str]] = {
    "Start-up": startup.markdown,
    "Extraction": extraction.markdown,
    "The bundled sample, layer by layer": lambda: sample_layers.markdown(sample_layers.all_rows()),
}


def machine() -> str:
    """The date, the processor and the library that did the arithmetic."""
    simd = torch.backends.cpu.get_cpu_capability()
    return (
        f"{date.today()}, {os.cpu_count()} cores, {platform.machine()}, {simd}, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )


if __name__ == "__main__":
    print(machine())
    for title, measure in SECTIONS.items():
        print(f"\n## {title}\n\n{measure()}", flush=True)
