"""Measure size and speed of h5py's compression filters on pooled and unpooled codes.

The codes are float16, of SqueezeNet 1.0 at features.12, chunked as in shards. The images are the
Hymenoptera photographs, with ImageNet weights, where BOTTLENECK_REAL names their folder, and
generated JPEGs with random weights otherwise.
"""

import os
import tempfile
import time
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

_MODEL, _LAYER = "squeezenet1_0", "features.12"
_POOLS = {"avg": "pooled", "none": "unpooled"}

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


def markdown(*, images: int = 398, mebibytes: int = 64, turns: int = 5) -> str:
    """Return a table for each pooling: relative size, seconds and speed of writing and reading.

    Parameters
    ----------
    images : int
        Number of generated images; of photographs, all are used.
    mebibytes : int
        Least amount of codes; rows are repeated, far beyond the window of any filter.
    turns : int
        Runs of each filter.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        what, options = _network_and_images(folder, images)
        tables = [
            _table(pool, _codes(folder, pool, options, mebibytes << 20), folder / "codes.h5", turns)
            for pool in _POOLS
        ]
    return "\n\n".join(
        [
            f"{_MODEL} {_LAYER}, {what}, computed in float32, stored in float16. Files are written "
            f"to and read from the system's cache of the disk; medians of {turns} turns, MB/s of "
            "codes, before compression.",
            *tables,
        ]
    )


def _network_and_images(folder: Path, count: int) -> tuple[str, dict[str, Any]]:
    """Return a description of the data and the arguments of `extract`."""
    real = os.environ.get("BOTTLENECK_REAL")
    if real:
        weights = Path(real) / "weights" / "squeezenet1_0_imagenet.pth"
        images = Path(real) / "data" / "hymenoptera"
        return "photographs, ImageNet weights", {"images": images, "weights": str(weights)}
    write_jpegs(folder / "images", count)
    return "generated JPEGs, random weights", {"images": folder / "images", "weights": "none"}


def _codes(folder: Path, pool: str, options: dict[str, Any], least: int) -> NDArray[np.float16]:
    """Return the codes of one pooling, repeated up to at least `least` bytes."""
    cache = folder / pool
    # Fixed, because codes computed in fewer bits compress better.
    storage, compute = StorageOptions(dtype="float16"), ComputeOptions(precision="float32")
    extract(
        out=cache,
        model=_MODEL,
        layers=[_LAYER],
        pool=pool,
        storage=storage,
        compute=compute,
        **options,
    )
    with h5py.File(cache / "codes.h5", "r", locking=False) as file:
        codes: NDArray[np.float16] = file[_LAYER][...]
    rows = max(len(codes), -(-least // codes[0].nbytes))
    return np.resize(codes, (rows, *codes.shape[1:]))


def _table(pool: str, codes: NDArray[np.float16], path: Path, turns: int) -> str:
    found = interleave(
        {name: partial(_write_and_read, codes, path, options) for name, options in FILTERS.items()},
        turns,
    )
    lines = [
        f"{_POOLS[pool].capitalize()}: {' × '.join(map(str, codes.shape))}, "
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
