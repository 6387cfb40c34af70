"""Print the figures of docs/benchmarks, in the order of its pages."""

from collections.abc import Callable

from benchmarks import sample_layers, startup
from benchmarks.extraction import beside_another, compression, scale, sources, whole_process
from benchmarks.extraction import report as extraction
from benchmarks.finetuning import epochs as tail_epochs
from benchmarks.finetuning import peak_memory as tuning_memory
from benchmarks.fitting import beside_busy
from benchmarks.fitting import report as fitting
from benchmarks.gpu import report as gpu
from benchmarks.helpers.machine import machine

SECTIONS: dict[str, Callable[[], str]] = {
    "Start-up": startup.markdown,
    "Extraction": extraction.markdown,
    "Whole processes": whole_process.markdown,
    "Scale": scale.markdown,
    "Two extractions beside each other": beside_another.markdown,
    "Sources": sources.markdown,
    "Compression": compression.markdown,
    "Fitting": fitting.markdown,
    "Fitting beside a busy process": beside_busy.markdown,
    "Training the layers behind a cached one": tail_epochs.markdown,
    "Memory of tuning": tuning_memory.markdown,
    "On a GPU": gpu.markdown,
    "The bundled sample, layer by layer": lambda: sample_layers.markdown(sample_layers.all_rows()),
}


if __name__ == "__main__":
    print(machine())
    for title, measure in SECTIONS.items():
        print(f"\n## {title}\n\n{measure()}", flush=True)
