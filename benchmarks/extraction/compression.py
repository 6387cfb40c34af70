"""Measure size and speed of h5py's compression filters on averaged codes and on maps.

They are float16, behind a ReLU, chunked as in shards. The images are the Hymenoptera photographs,
with ImageNet weights, where BOTTLENECK_REAL names their folder, and generated JPEGs with random
weights otherwise.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from benchmarks.helpers.interleave import interleave, median
from benchmarks.helpers.synthetic_images import write_jpegs
from bottleneck.cache.format.shard_writer import CHUNK_BYTES
from bottleneck.extraction.extract import extract
from bottleneck.extraction.options import ComputeOptions, StorageOptions


@dataclass(frozen=True)
class Codes:
    """Codes to compress: a network, its file of weights, a layer and its pooling."""

    model: str
    weights: str
    layer: str
    pool: str


_SQUEEZENET, _LITE = "squeezenet1_0_imagenet.pth", "efficientnet_lite0_imagenet.pth"
CODES = (
    Codes("squeezenet1_0", _SQUEEZENET, "features.12", "avg"),
    Codes("squeezenet1_0", _SQUEEZENET, "features.11", "none"),
    Codes("timm:tf_efficientnet_lite0", _LITE, "blocks.4", "none"),
)

_PLAIN: dict[str, dict[str, Any]] = {
    "lzf": {"compression": "lzf"},
    "gzip-1": {"compression": "gzip", "compression_opts": 1},
    "gzip-4": {"compression": "gzip", "compression_opts": 4},
}
FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    **_PLAIN,
    **{f"{name}, shuffled": options | {"shuffle": True} for name, options in _PLAIN.items()},
}


@dataclass(frozen=True)
class Run:
    """One write and read: bytes of the file, and seconds of each."""

    size: int
    write: float
    read: float


def markdown(
    every: Sequence[Codes] = CODES, *, images: int = 398, mebibytes: int = 64, turns: int = 5
) -> str:
    """Return a table for each kind of codes: relative size, seconds and speed both ways.

    Parameters
    ----------
    every : sequence of Codes
    images : int
        Number of generated images; of photographs, all are used.
    mebibytes : int
        Least amount of codes; rows are repeated, far beyond the window of any filter.
    turns : int
        Runs of each filter.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        what, photographs, weights = _images_and_weights(folder, images)
        tables = []
        for number, kind in enumerate(every):
            codes = _extract(kind, photographs, weights, folder / str(number))
            rows = max(len(codes), -(-(mebibytes << 20) // codes[0].nbytes))
            more = np.resize(codes, (rows, *codes.shape[1:]))
            tables.append(_table(kind, more, folder / "codes.h5", turns))
    return "\n\n".join(
        [
            f"{what}, computed in float32, stored in float16. Files are written "
            f"to and read from the system's cache of the disk; medians of {turns} turns, MB/s of "
            "codes, before compression.",
            *tables,
        ]
    )


def _images_and_weights(folder: Path, count: int) -> tuple[str, Path, Path | None]:
    """Return a description of the data, the images, and the folder of weights if there is one."""
    real = os.environ.get("BOTTLENECK_REAL")
    if real:
        images = Path(real) / "data" / "hymenoptera"
        return "Photographs, ImageNet weights", images, Path(real) / "weights"
    write_jpegs(folder / "images", count)
    return "Generated JPEGs, random weights", folder / "images", None


def _extract(kind: Codes, images: Path, weights: Path | None, out: Path) -> NDArray[np.float16]:
    extract(
        images,
        out,
        model=kind.model,
        weights=str(weights / kind.weights) if weights else "none",
        layers=[kind.layer],
        pool=kind.pool,
        storage=StorageOptions(dtype="float16"),
        # Fixed, because codes computed in fewer bits compress better.
        compute=ComputeOptions(precision="float32"),
    )
    with h5py.File(out / "codes.h5", "r", locking=False) as file:
        codes: NDArray[np.float16] = file[kind.layer][...]
    return codes


def _table(kind: Codes, codes: NDArray[np.float16], path: Path, turns: int) -> str:
    found = interleave(
        {name: partial(_write_and_read, codes, path, options) for name, options in FILTERS.items()},
        turns,
    )
    lines = [
        f"{kind.model}, `{kind.layer}`, pool {kind.pool}: {' × '.join(map(str, codes.shape))}, "
        f"{codes.nbytes / 1e6:.0f} MB, {float((codes == 0).mean()):.0%} zeros:",
        "",
        "| filter | size | seconds to write | seconds to read | MB/s written | MB/s read |",
        "|---|---|---|---|---|---|",
    ]
    megabytes = codes.nbytes / 1e6
    for name, measured in found.items():
        share = measured[0].size / found["none"][0].size
        write, read = median([t.write for t in measured]), median([t.read for t in measured])
        lines.append(
            f"| {name} | {share:.3f} | {write:.2f} | {read:.2f} "
            f"| {megabytes / write:.0f} | {megabytes / read:.0f} |"
        )
    return "\n".join(lines)


def _write_and_read(codes: NDArray[np.float16], path: Path, options: dict[str, Any]) -> Run:
    chunks = (min(len(codes), max(1, CHUNK_BYTES // codes[0].nbytes)), *codes.shape[1:])
    start = time.perf_counter()
    with h5py.File(path, "w", locking=False) as file:
        file.create_dataset("codes", data=codes, chunks=chunks, **options)
    written = time.perf_counter()
    with h5py.File(path, "r", locking=False) as file:
        again = file["codes"][...]
    read = time.perf_counter()
    if not np.array_equal(again, codes):
        raise AssertionError(f"{options} gave other codes back")
    return Run(path.stat().st_size, written - start, read - written)


if __name__ == "__main__":
    print(markdown())
