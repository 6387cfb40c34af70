"""Write the derived files of a cache, which other programs can read.

``codes.h5`` shows each layer as one virtual array over its shards. ``rejected.csv`` lists the rows
that gave no codes. This package never reads them; they can be rebuilt from the shards.
"""

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.directory import CacheDirectory, row_validity
from bottleneck.cache.format.envelope import FileType, verify_envelope
from bottleneck.cache.format.hdf5 import create_hdf5, virtual_dataset
from bottleneck.cache.format.shard import ShardHeader
from bottleneck.data import ImageTable, format_rows
from bottleneck.errors import ShardError
from bottleneck.runtime import sha256, write_text_if_changed

FILE_TYPE = FileType("bottleneck-index", 2)


@dataclass(frozen=True)
class IndexedLayer:
    """One layer as the index shows it.

    Attributes
    ----------
    shards : list of (Path, ShardHeader)
        Finished shards, at least one.
    valid : ndarray of bool, shape (rows,)
        Which rows have codes.
    """

    shards: list[tuple[Path, ShardHeader]]
    valid: NDArray[np.bool_]


def write_derived_files(cache: CacheDirectory) -> dict[int, str]:
    """Bring ``rejected.csv`` and ``codes.h5`` up to date with the shards.

    Parameters
    ----------
    cache : CacheDirectory

    Returns
    -------
    dict of int to str
        The rows that gave no codes in any layer, with the reason of each.
    """
    finished = {layer: cache.finished_shards(layer) for layer in cache.layers}
    reasons = _write(cache, finished)
    # If several tasks end together, one may write a state that lacks the last shard of another.
    # Each looks again after it has written, so that the last write is complete.
    while (now := {layer: cache.finished_shards(layer) for layer in cache.layers}) != finished:
        finished = now
        reasons = _write(cache, finished)
    return reasons


def delete_derived_files(cache: CacheDirectory) -> None:
    """Remove ``rejected.csv`` and ``codes.h5`` before the shards change."""
    for name in ("codes.h5", "rejected.csv"):
        (cache.path / name).unlink(missing_ok=True)


def _write(cache: CacheDirectory, finished: dict[str, dict[int, ShardHeader]]) -> dict[int, str]:
    reasons: dict[int, str] = {}
    layers: dict[str, IndexedLayer] = {}
    for layer, headers in finished.items():
        valid, why = row_validity(cache.images, headers)
        reasons.update(why)
        if headers:
            shards = [(cache.shard_path(layer, shard), h) for shard, h in headers.items()]
            layers[layer] = IndexedLayer(shards, valid)
    reasons = dict(sorted(reasons.items()))
    write_rejected(cache.path / "rejected.csv", cache.images, reasons)
    write_index(cache.path / "codes.h5", layers)
    return reasons


def write_index(path: Path, layers: dict[str, IndexedLayer]) -> None:
    """Write an HDF5 file in which each layer is one virtual array over its shards.

    ``file[layer]`` holds the codes, NaN for rows without a shard. ``file[f"{layer}:valid"]`` says
    which rows have codes. An intact index with the same content is not written again.

    Parameters
    ----------
    path : Path
        The index. Shards are named relative to its folder.
    layers : dict of str to IndexedLayer
        By the name of the layer.
    """
    sources = {name: _sources(path, layer) for name, layer in layers.items()}
    flags = [layer.valid.tobytes() for layer in layers.values()]
    says = sha256(json.dumps(sources).encode(), *flags)
    with contextlib.suppress(ShardError):
        if verify_envelope(path, FILE_TYPE).get("says") == says:
            return

    def write() -> None:
        with create_hdf5(path, FILE_TYPE, {"says": says}) as file:
            for name, layer in layers.items():
                shape = (len(layer.valid), *layer.shards[0][1].shape[1:])
                virtual_dataset(file, name, shape, sources[name])
                file[f"{name}:valid"] = layer.valid

    # HDF5 writes through a Python file, and would lose an exception that a signal raises in it.
    # Python runs signal handlers in the main thread alone, so the index is written in another.
    with ThreadPoolExecutor(1, "index") as writer:
        writer.submit(write).result()


def write_rejected(path: Path, images: ImageTable, reasons: dict[int, str]) -> None:
    """Write the CSV of rows that gave no codes, unless it has this content already.

    Parameters
    ----------
    path : Path
    images : ImageTable
    reasons : dict of int to str
        Reason by row, ascending.
    """
    rows, paths = list(map(str, reasons)), [images.path[row] for row in reasons]
    lines = format_rows([rows, paths, list(reasons.values())])
    write_text_if_changed(path, f"row,path,reason\r\n{lines}")


def _sources(path: Path, layer: IndexedLayer) -> list[tuple[str, int, tuple[int, ...], str]]:
    return [
        (shard.relative_to(path.parent).as_posix(), header.start, header.shape, header.dtype)
        for shard, header in layer.shards
    ]
