"""Write one shard of codes atomically."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.format.hdf5 import TEXT, create_hdf5, encode_strings
from bottleneck.cache.format.manifest import Manifest
from bottleneck.cache.format.series import Series, SeriesLike
from bottleneck.cache.format.shard import FILE_TYPE, STRING_COLUMNS, ShardData
from bottleneck.runtime import sha256

CHUNK_BYTES = 1 << 20  # fitting reads entire shards in order: few, large chunks
_FLOAT16_MAX = float(np.finfo(np.float16).max)

# Those that every h5py reads. Level 4 makes sparse codes a tenth smaller than level 1; a byte
# shuffle in front makes them larger, since most of the gain comes from runs of zeros.
_FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "lzf": {"compression": "lzf"},
    "gzip": {"compression": "gzip", "compression_opts": 4},
}


def write_shard(
    path: Path,
    shard: ShardData,
    *,
    manifest: Manifest,
    series: SeriesLike,
    cost: float | None = None,
    runtime: str = "torch",
) -> None:
    """Write a shard atomically.

    Parameters
    ----------
    path : Path
        The finished file.
    shard : ShardData
        At least one row. Codes in float32, or in the type that `choose_dtype` returns.
    manifest : Manifest
        Manifest of the cache. The shard has its version. Its layout sets the stored type and
        compression; codes beyond the range of float16 are stored as float32.
    series : str or Series
        The layer, or the view of each image at a layer. The manifest has the recipe of views.
    cost : float, optional
        Share of the network's multiply-adds up to the layer.
    runtime : str
        What ran the network, for information.

    Raises
    ------
    OSError
        The file could not be written.
    """
    series, layout = Series.of(series), manifest.layout
    codes = np.ascontiguousarray(shard.codes, dtype=choose_dtype(shard.codes, layout.dtype))
    rows_per_chunk = max(1, CHUNK_BYTES // max(1, codes[:1].nbytes))
    chunks = (min(len(codes), rows_per_chunk), *codes.shape[1:])
    header = _header(dataclasses.replace(shard, codes=codes), manifest, series, cost)
    if runtime != "torch":
        header["runtime"] = runtime
    text = manifest.canonical_json(series)
    file_type = dataclasses.replace(FILE_TYPE, version=manifest.version)
    with create_hdf5(path, file_type, header) as file:
        file.attrs.update(
            format=file_type.name,
            format_version=file_type.version,
            spec=text,
            spec_digest=sha256(text.encode()),
        )
        if manifest.version < 3:
            # Version 3 has no digests of the content beside that of the file: they were not read.
            file.attrs.update(codes_sha256=_codes_digest(codes), rows_sha256=_rows_digest(shard))
        file.create_dataset("codes", data=codes, chunks=chunks, **_FILTERS[layout.compression])
        file.create_dataset("row", data=shard.row)
        file.create_dataset("valid", data=shard.valid)
        for name in STRING_COLUMNS:
            file.create_dataset(name, data=encode_strings(getattr(shard, name)), dtype=TEXT)


def choose_dtype(codes: NDArray[Any], dtype: str) -> str:
    """Return the type to store codes in.

    Parameters
    ----------
    codes : ndarray of float
    dtype : str
        The preferred type, ``"float16"`` or ``"float32"``.

    Returns
    -------
    str
        `dtype`, or ``"float32"`` where a code exceeds the range of float16.

    Examples
    --------
    >>> choose_dtype(np.array([1.0, 7e4], np.float32), "float16")
    'float32'
    """
    known = codes.size == 0 or codes.dtype.name == dtype
    return dtype if known or max(codes.max(), -codes.min()) <= _FLOAT16_MAX else "float32"


def _header(
    shard: ShardData, manifest: Manifest, series: Series, cost: float | None
) -> dict[str, Any]:
    values = {
        "layer": series.layer,
        "start": int(shard.row[0]),
        "shape": shard.codes.shape,
        "dtype": shard.codes.dtype.name,
        "rejected": {str(i): shard.reason[i] for i in np.flatnonzero(~shard.valid).tolist()},
        "work": cost,
        "manifest": manifest.to_json(),
    }
    return values if manifest.version < 3 else {**values, "view": series.view}


def _codes_digest(codes: NDArray[Any]) -> str:
    """Digest type, shape and bytes, so that equal bytes of other shapes differ."""
    head = f"{codes.dtype.name} {'x'.join(map(str, codes.shape))}\n"
    return sha256(head.encode(), codes.reshape(-1).view(np.uint8).data)


def _rows_digest(shard: ShardData) -> str:
    """Digest all columns but the codes, one line for each row, as another reader can."""
    numbers = (shard.row.tolist(), shard.valid.tolist())
    lines = zip(*numbers, *(getattr(shard, name) for name in STRING_COLUMNS), strict=True)
    return sha256("".join(json.dumps(line) + "\n" for line in lines).encode())
