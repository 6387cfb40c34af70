"""``codes.h5``: each layer as one virtual array over its shards, for those who have h5py alone.

Nobody here reads it; it can be made again from the shards at any time.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ShardError
from bottleneck.files import publish, sha256
from bottleneck.hdf5 import open_hdf5
from bottleneck.shard import Header


@dataclass(frozen=True)
class IndexedLayer:
    """One layer as the index shows it.

    Attributes
    ----------
    shards : list of (Path, int, Header)
        Finished shards with the row that each begins at, at least one.
    valid : ndarray of bool, shape (rows,)
        Which rows may be used.
    """

    shards: list[tuple[Path, int, Header]]
    valid: NDArray[np.bool_]


def write_index(path: Path, layers: dict[str, IndexedLayer]) -> None:
    """Publish an HDF5 file in which each layer is one virtual array over its shards.

    ``file[layer]`` holds the codes, NaN where there is no shard yet, and
    ``file[f"{layer}:valid"]`` which rows may be used. An index that says the same already is left
    alone.

    Parameters
    ----------
    path : Path
        The index; shards are named relative to its folder.
    layers : dict of str to IndexedLayer
        By the layer's name.
    """
    digest = _index_digest(path, layers)
    if _indexed_digest(path) == digest:
        return
    with publish(path) as temporary, h5py.File(temporary, "w", locking=False) as file:
        file.attrs["index_sha256"] = digest
        for name, layer in layers.items():
            headers = [header for _, _, header in layer.shards]
            # HDF5 converts as it reads, so one float32 shard makes the whole array float32.
            dtype = np.result_type(*(header.dtype for header in headers))
            virtual = h5py.VirtualLayout((len(layer.valid), *headers[0].shape[1:]), dtype)
            for shard, start, header in layer.shards:
                # HDF5 reads a single % in a source's name as the start of a pattern.
                source = shard.relative_to(path.parent).as_posix().replace("%", "%%")
                virtual[start : start + header.shape[0]] = h5py.VirtualSource(
                    source, "codes", header.shape, dtype=header.dtype
                )
            file.create_virtual_dataset(name, virtual, fillvalue=np.nan)
            file[f"{name}:valid"] = layer.valid


def _index_digest(path: Path, layers: dict[str, IndexedLayer]) -> str:
    """Over all that an index says: names, places, shapes, types, and which rows are valid."""
    parts: list[bytes] = []
    for name, layer in layers.items():
        places = [
            (shard.relative_to(path.parent).as_posix(), start, header.shape, header.dtype)
            for shard, start, header in layer.shards
        ]
        parts += [json.dumps([name, places]).encode(), layer.valid.tobytes()]
    return sha256(*parts)


def _indexed_digest(path: Path) -> str:
    """What the index at `path` was made of; empty where there is none that can be read."""
    try:
        with open_hdf5(path) as file:
            return str(file.attrs.get("index_sha256", ""))
    except ShardError:
        return ""
