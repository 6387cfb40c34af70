"""Write the derived files of a cache, which other programs can read.

``codes.h5`` shows each layer, and all views of it, as virtual arrays over its shards.
``rejected.csv`` lists the rows that gave no codes. This package never reads them; they can be
rebuilt from the shards.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.directory import CacheDirectory
from bottleneck.cache.format.envelope import FileType, verify_envelope
from bottleneck.cache.format.hdf5 import create_hdf5, virtual_dataset
from bottleneck.cache.format.paths import series_dir
from bottleneck.cache.format.series import Series
from bottleneck.cache.format.shard import ShardHeader
from bottleneck.data import ImageTable, format_rows
from bottleneck.errors import ShardError
from bottleneck.runtime import holds_text, sha256, write_text_atomic

FILE_TYPE = FileType("bottleneck-index", 2)


@dataclass(frozen=True)
class IndexedLayer:
    """One layer as the index shows it.

    Attributes
    ----------
    shards : list of (Path, ShardHeader)
        Finished shards of all views, at least one.
    valid : ndarray of bool, shape (rows, views)
        Which rows have codes in each view.
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
    finished = _finished(cache)
    reasons = _write(cache, finished)
    # If several tasks end together, one may write a state that lacks the last shard of another.
    # Each looks again after it has written, so that the last write is complete.
    while (now := _finished(cache)) != finished:
        finished = now
        reasons = _write(cache, finished)
    return reasons


def delete_derived_files(cache: CacheDirectory) -> None:
    """Remove ``rejected.csv`` and ``codes.h5`` before the shards change."""
    for name in ("codes.h5", "rejected.csv"):
        (cache.path / name).unlink(missing_ok=True)


def _finished(cache: CacheDirectory) -> dict[Series, dict[int, ShardHeader]]:
    return {series: cache.finished_shards(series) for series in cache.series}


def _write(cache: CacheDirectory, finished: dict[Series, dict[int, ShardHeader]]) -> dict[int, str]:
    reasons: dict[int, str] = {}
    layers: dict[str, IndexedLayer] = {}
    for layer, group in groupby(finished, key=lambda series: series.layer):
        shards, valid = [], []
        for series in group:
            flags, why = cache.row_validity(finished[series])
            reasons.update(why)
            valid.append(flags)
            found = finished[series].items()
            shards += [(cache.shard_path(series, shard), header) for shard, header in found]
        if shards:
            layers[layer] = IndexedLayer(shards, np.stack(valid, axis=1))
    reasons = dict(sorted(reasons.items()))
    path, text = cache.path / "rejected.csv", rejected_text(cache.images, reasons)
    if not holds_text(path, text):
        write_text_atomic(path, text)
    write_index(cache.path / "codes.h5", layers)
    return reasons


def write_index(path: Path, layers: dict[str, IndexedLayer]) -> None:
    """Write an HDF5 file in which each layer is one virtual array over its shards.

    ``file[layer]`` holds the codes, NaN for rows without a shard. ``file[f"{layer}:valid"]`` says
    which rows have codes. Where there are several views, ``file[f"{layer}:views"]`` holds the codes
    of all, and ``file[f"{layer}:views:valid"]`` says which there are. A name that is in the way of
    another layer's arrays is encoded as that of its folder: ``block%2F1`` beside ``block``. An
    intact index with the same content is not written again.

    Parameters
    ----------
    path : Path
        The index. Shards are named relative to its folder.
    layers : dict of str to IndexedLayer
        By the name of the layer.
    """
    arrays = {
        name: (sources, valid)
        for layer, content in layers.items()
        for name, sources, valid in _arrays(path.parent, _array_name(layer, layers), content)
        if sources
    }
    says = sha256(
        json.dumps({name: sources for name, (sources, _) in arrays.items()}).encode(),
        *(valid.tobytes() for _, valid in arrays.values()),
    )
    with contextlib.suppress(ShardError, PermissionError):  # it is made anew in place of another's
        if verify_envelope(path, FILE_TYPE).get("says") == says:
            return

    def write() -> None:
        with create_hdf5(path, FILE_TYPE, {"says": says}) as file:
            for name, (sources, valid) in arrays.items():
                virtual_dataset(file, name, (*valid.shape, *sources[0][2][1:]), sources)
                file[f"{name}:valid"] = valid

    # HDF5 writes through a Python file, and would lose an exception that a signal raises in it.
    # Python runs signal handlers in the main thread alone, so the index is written in another.
    with ThreadPoolExecutor(1, "index") as writer:
        writer.submit(write).result()


def rejected_text(images: ImageTable, reasons: dict[int, str]) -> str:
    """Return the content of ``rejected.csv``: the rows that gave no codes.

    Parameters
    ----------
    images : ImageTable
    reasons : dict of int to str
        Reason by row, ascending.
    """
    rows, paths = list(map(str, reasons)), [images.path[row] for row in reasons]
    lines = format_rows([rows, paths, list(reasons.values())])
    return f"row,path,reason\r\n{lines}"


_ENDS = ("", ":valid", ":views", ":views:valid")  # of the names of a layer's arrays


def _array_name(layer: str, layers: Iterable[str]) -> str:
    """Return a layer's name, encoded where another layer's array is in its place or above it.

    HDF5 reads a `/` as a group, and what has the name of an array is no group.
    """
    taken = {_hdf5_path(other + end) for other in layers if other != layer for end in _ENDS}
    parts = _hdf5_path(layer)
    places = {parts[: i + 1] for i in range(len(parts))}
    return series_dir(Path(), layer).name if taken & places or not parts else layer


def _hdf5_path(name: str) -> tuple[str, ...]:
    """Return the groups and the dataset of a name: HDF5 passes over empty ones and dots."""
    return tuple(part for part in name.split("/") if part not in ("", "."))


_Source = tuple[str, tuple[int, ...], tuple[int, ...], str]


def _arrays(
    root: Path, name: str, content: IndexedLayer
) -> Iterator[tuple[str, Sequence[_Source], NDArray[np.bool_]]]:
    """Yield the arrays that show a layer: its plain images, and all views if there are more."""
    views = [
        (path.relative_to(root).as_posix(), (header.start, header.view), header.shape, header.dtype)
        for path, header in content.shards
    ]
    plain = [(path, (row,), shape, dtype) for path, (row, view), shape, dtype in views if not view]
    yield name, plain, content.valid[:, 0]
    if content.valid.shape[1] > 1:
        yield f"{name}:views", views, content.valid
