"""What is derived from a cache's shards, for those who have other programs.

``codes.h5`` is each layer as one virtual array over its shards, ``rejected.csv`` the rows that gave
no codes. Nobody here reads them; they can be made again from the shards at any time.
"""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.envelope import FileType, verify_envelope
from bottleneck.cache.hdf5 import create_hdf5, virtual_dataset
from bottleneck.cache.shard import ShardHeader
from bottleneck.data.csv_chunks import format_rows
from bottleneck.data.table import ImageTable
from bottleneck.errors import ShardError
from bottleneck.runtime.files import sha256, write_text_if_changed

FILE_TYPE = FileType("bottleneck-index", 2)
REMOVED = "removed: the file is not there any more"


@dataclass(frozen=True)
class IndexedLayer:
    """One layer as the index shows it.

    Attributes
    ----------
    shards : list of (Path, ShardHeader)
        Finished shards, at least one.
    valid : ndarray of bool, shape (rows,)
        Which rows may be used.
    """

    shards: list[tuple[Path, ShardHeader]]
    valid: NDArray[np.bool_]


def row_validity(
    images: ImageTable, done: dict[int, ShardHeader]
) -> tuple[NDArray[np.bool_], dict[int, str]]:
    """What became of the images of finished shards.

    Parameters
    ----------
    images : ImageTable
    done : dict of int to ShardHeader
        A layer's, ascending.

    Returns
    -------
    valid : ndarray of bool, shape (rows,)
        Which rows may be used; none of shards that are not finished.
    why : dict of int to str
        Why others of their rows may not.
    """
    exists = images.exists
    valid = np.zeros(len(images), dtype=bool)
    why: dict[int, str] = {}
    for header in done.values():
        rows = header.rows
        here = valid[rows.start : rows.stop]
        here[:] = exists[rows.start : rows.stop]
        here[list(header.rejected)] = False
        for place in np.flatnonzero(~here).tolist():
            why[rows.start + place] = header.rejected.get(place, REMOVED)
    return valid, why


def write_index(path: Path, layers: dict[str, IndexedLayer]) -> None:
    """Publish an HDF5 file in which each layer is one virtual array over its shards.

    ``file[layer]`` holds the codes, NaN where there is no shard yet, and
    ``file[f"{layer}:valid"]`` which rows may be used. An index that is whole and says the same
    already is left alone.

    Parameters
    ----------
    path : Path
        The index; shards are named relative to its folder.
    layers : dict of str to IndexedLayer
        By the layer's name.
    """
    sources = {name: _sources(path, layer) for name, layer in layers.items()}
    flags = [layer.valid.tobytes() for layer in layers.values()]
    says = sha256(json.dumps(sources).encode(), *flags)
    with contextlib.suppress(ShardError):
        if verify_envelope(path, FILE_TYPE).get("says") == says:
            return
    with create_hdf5(path, FILE_TYPE, {"says": says}) as file:
        for name, layer in layers.items():
            shape = (len(layer.valid), *layer.shards[0][1].shape[1:])
            virtual_dataset(file, name, shape, sources[name])
            file[f"{name}:valid"] = layer.valid


def _sources(path: Path, layer: IndexedLayer) -> list[tuple[str, int, tuple[int, ...], str]]:
    return [
        (shard.relative_to(path.parent).as_posix(), header.start, header.shape, header.dtype)
        for shard, header in layer.shards
    ]


def write_rejected(path: Path, images: ImageTable, reasons: dict[int, str]) -> None:
    """Publish the rows that gave no codes, ascending, each with its path and the reason why."""
    rows, paths = list(map(str, reasons)), [images.path[row] for row in reasons]
    lines = format_rows([rows, paths, list(reasons.values())])
    write_text_if_changed(path, f"row,path,reason\r\n{lines}")
