"""Every figure of docs/benchmarks.md, in the order in which it stands there."""

from collections.abc import Callable

import compression
import extraction
import fitting
import gpu
import gpu_extraction
import sample_layers
import scale
import startup
from machine import machine

SECTIONS: dict[str, Callable[[], str]] = {
    "Start-up": startup.markdown,
    "ExtractionResult": extraction.markdown,
    "Scale": scale.markdown,
    "Compression": compression.markdown,
    "Fitting": fitting.markdown,
    "ExtractionResult on a GPU": gpu_extraction.markdown,
    "Fitting on a GPU": gpu.markdown,
    "The bundled sample, layer by layer": lambda: sample_layers.markdown(sample_layers.all_rows()),
}


if __name__ == "__main__":
    print(machine())
    for title, measure in SECTIONS.items():
        print(f"\n## {title}\n\n{measure()}", flush=True)
