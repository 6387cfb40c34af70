"""One shard of codes, a sealed HDF5 file: written whole or not at all, read, checked.

`docs/format.md` describes it for other readers.
"""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.envelope import FileType, read_envelope, verify_envelope
from bottleneck.cache.hdf5 import (
    TEXT,
    File,
    create_hdf5,
    dataset,
    encode_strings,
    open_hdf5,
    read_flags,
    read_strings,
)
from bottleneck.cache.manifest import DTYPES, PARSE_ERRORS, Manifest
from bottleneck.errors import ShardError, format_error
from bottleneck.runtime.files import sha256

FILE_TYPE = FileType("bottleneck-shard", 2)

CHUNK_BYTES = 1 << 20  # fitting reads whole shards in order: few, large chunks
_FLOAT16_MAX = float(np.finfo(np.float16).max)
_TEXTS = ("path", "label", "reason", "image_sha256")

# Those that every h5py reads. Level 4 makes sparse codes a tenth smaller than level 1; a byte
# shuffle in front makes them larger, since runs of zeros are what there is to gain.
_FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "lzf": {"compression": "lzf"},
    "gzip": {"compression": "gzip", "compression_opts": 4},
}


@dataclass(frozen=True)
class ShardData:
    """Consecutive rows of one layer.

    Attributes
    ----------
    codes : ndarray of float16 or float32, shape (n, ...)
        Zeros where a row is not valid.
    row : ndarray of int64, shape (n,)
        Row numbers in ``images.csv``.
    path : sequence of n str
        The image's path in ``images.csv``, so that a shard says by itself what it holds.
    label : sequence of n str
        As they were at extraction, for people; ``images.csv`` has the labels that hold.
    valid : ndarray of bool, shape (n,)
        Whether the image gave codes.
    reason : sequence of n str
        Why not, where it is not valid; else empty.
    image_sha256 : sequence of n str
        Of the bytes that were decoded, hexadecimal; empty where none could be read.
    """

    codes: NDArray[Any]
    row: NDArray[np.int64]
    path: Sequence[str]
    label: Sequence[str]
    valid: NDArray[np.bool_]
    reason: Sequence[str]
    image_sha256: Sequence[str]


@dataclass(frozen=True)
class ShardHeader:
    """What a shard says of itself in its seal, read without HDF5.

    Attributes
    ----------
    manifest : Manifest
        Of its cache.
    layer : str
    start : int
        Its first row.
    shape : tuple of int
        Of the codes, rows first.
    dtype : str
        One of `bottleneck.cache.manifest.DTYPES`.
    rejected : dict of int to str
        The rows that gave no codes, counted from the shard's first, and why.
    cost : float or None
        Share of the network's multiply-adds up to the layer; None where it was not written down.
    bytes : int
        Of the whole file.
    """

    manifest: Manifest
    layer: str
    start: int
    shape: tuple[int, ...]
    dtype: str
    rejected: dict[int, str]
    cost: float | None
    bytes: int

    @property
    def rows(self) -> range:
        """Which rows of ``images.csv`` the shard holds."""
        return range(self.start, self.start + self.shape[0])


def write_shard(
    path: Path, shard: ShardData, *, manifest: Manifest, layer: str, cost: float | None = None
) -> None:
    """Publish a shard under its name, whole or not at all.

    Parameters
    ----------
    path : Path
        Where it shall stand.
    shard : ShardData
        At least one row. Codes in float32, or in the type that `choose_dtype` says.
    manifest : Manifest
        Of its cache, whose layout says how codes are stored; those that float16 cannot hold become
        float32.
    layer : str
        The layer's name.
    cost : float, optional
        `bottleneck.backbones.layers.Layer.cost`, for those who compare layers without the network.

    Raises
    ------
    OSError
        The disk refused it.
    """
    spec, layout = manifest.spec, manifest.layout
    codes = np.ascontiguousarray(shard.codes, dtype=choose_dtype(shard.codes, layout.dtype))
    rows_a_chunk = max(1, CHUNK_BYTES // max(1, codes[:1].nbytes))
    chunks = (min(len(codes), rows_a_chunk), *codes.shape[1:])
    header = _header(dataclasses.replace(shard, codes=codes), manifest, layer, cost)
    with create_hdf5(path, FILE_TYPE, header) as file:
        file.attrs.update(
            format=FILE_TYPE.name,
            format_version=FILE_TYPE.version,
            spec=spec.canonical_json(layer),
            spec_digest=spec.digest(layer),
            codes_sha256=_codes_digest(codes),
            rows_sha256=_rows_digest(shard),
        )
        file.create_dataset("codes", data=codes, chunks=chunks, **_FILTERS[layout.compression])
        file.create_dataset("row", data=shard.row)
        file.create_dataset("valid", data=shard.valid)
        for name in _TEXTS:
            file.create_dataset(name, data=encode_strings(getattr(shard, name)), dtype=TEXT)


def read_header(path: Path) -> ShardHeader:
    """Read what a shard says of itself. A few hundred bytes are read; its length is checked.

    Raises
    ------
    ShardError
        It is absent, cut short, or not a shard.
    """
    return _parsed(path, read_envelope(path, FILE_TYPE))


def verify_shard(path: Path) -> ShardHeader:
    """Compare every byte of a shard with what was written.

    Raises
    ------
    ShardError
        It is absent, not a shard, or some byte differs.
    """
    return _parsed(path, verify_envelope(path, FILE_TYPE))


def read_shard(path: Path) -> ShardData:
    """Check a shard and read all of it.

    Returns
    -------
    ShardData
        Codes in the stored type.

    Raises
    ------
    ShardError
        It is absent, not a shard, or its bytes are not those that were written.
    """
    header = verify_shard(path)
    with open_hdf5(path) as file:
        return dataclasses.replace(_rows_of(file, header), codes=_codes_of(file, header)[...])


def iter_code_blocks(path: Path, rows: int) -> Iterator[NDArray[Any]]:
    """Read a shard's codes a few rows at a time, so that no whole shard need fit into memory.

    Whether they are those that were written, `verify_shard` says.

    Parameters
    ----------
    path : Path
    rows : int
        Of a block, at most.

    Yields
    ------
    ndarray
        In the stored type, in order.

    Raises
    ------
    ShardError
        It is absent, cut short, or not a shard.
    """
    header = read_header(path)
    with open_hdf5(path) as file:
        codes = _codes_of(file, header)
        for start in range(0, len(codes), rows):
            block = codes[start : start + rows]
            yield block
            del block  # so that it may be gone before the next one is read


def read_shard_metadata(path: Path) -> ShardData:
    """A shard without its codes, in place of which it has none of any row's.

    Raises
    ------
    ShardError
        It is absent, cut short, or not a shard.
    """
    header = read_header(path)
    with open_hdf5(path) as file:
        return _rows_of(file, header)


def choose_dtype(codes: NDArray[Any], dtype: str) -> str:
    """The type to store codes in: `dtype`, or float32 where they are beyond float16's range."""
    known = codes.size == 0 or codes.dtype.name == dtype
    return dtype if known or max(codes.max(), -codes.min()) <= _FLOAT16_MAX else "float32"


def _header(shard: ShardData, manifest: Manifest, layer: str, cost: float | None) -> dict[str, Any]:
    return {
        "layer": layer,
        "start": int(shard.row[0]),
        "shape": shard.codes.shape,
        "dtype": shard.codes.dtype.name,
        "rejected": {str(i): shard.reason[i] for i in np.flatnonzero(~shard.valid).tolist()},
        "work": cost,
        "manifest": manifest.to_json(),
    }


def _parsed(path: Path, values: dict[str, Any]) -> ShardHeader:
    try:
        header = ShardHeader(
            manifest=_manifest(json.dumps(values["manifest"])),
            layer=str(values["layer"]),
            start=int(values["start"]),
            shape=tuple(int(size) for size in values["shape"]),
            dtype=str(values["dtype"]),
            rejected={int(row): str(why) for row, why in values["rejected"].items()},
            cost=None if values["work"] is None else float(values["work"]),
            bytes=int(values["bytes"]),
        )
    except PARSE_ERRORS as error:
        raise ShardError(f"{path}: its header is damaged: {format_error(error)}") from error
    sensible = (
        header.dtype in DTYPES
        and len(header.shape) >= 1
        and min(header.shape) >= 1
        and header.start >= 0
        and all(0 <= row < header.shape[0] for row in header.rejected)
        and (header.cost is None or 0 <= header.cost <= 1)
    )
    if not sensible:
        raise ShardError(f"{path}: its header makes no sense")
    return header


@lru_cache(maxsize=16)
def _manifest(text: str) -> Manifest:
    """All shards of a cache hold the same one: it is looked at, and held, once."""
    return Manifest.from_json(json.loads(text))


def _codes_of(file: File, header: ShardHeader) -> Any:
    codes = dataset(file, "codes")
    if (codes.shape, codes.dtype.name) != (header.shape, header.dtype):
        raise ShardError(
            f"{file.filename} holds {codes.dtype} codes of shape {codes.shape}, its header says "
            f"{header.dtype} of {header.shape}"
        )
    return codes


def _rows_of(file: File, header: ShardHeader) -> ShardData:
    columns = {name: read_strings(dataset(file, name)) for name in _TEXTS}
    row, valid = dataset(file, "row")[...], read_flags(dataset(file, "valid"))
    lengths = {len(column) for column in (row, valid, *columns.values())}
    if lengths != {header.shape[0]} or row.dtype != np.int64:
        raise ShardError(f"{file.filename}: its columns do not belong together")
    return ShardData(codes=np.empty((header.shape[0], 0)), row=row, valid=valid, **columns)


def _codes_digest(codes: NDArray[Any]) -> str:
    """Over type, shape and bytes, so that equal bytes of other shapes differ."""
    head = f"{codes.dtype.name} {'x'.join(map(str, codes.shape))}\n"
    return sha256(head.encode(), codes.reshape(-1).view(np.uint8).data)


def _rows_digest(shard: ShardData) -> str:
    """Over everything but the codes, each row a line, so that a second reader can do the same."""
    numbers = (shard.row.tolist(), shard.valid.tolist())
    lines = zip(*numbers, *(getattr(shard, name) for name in _TEXTS), strict=True)
    return sha256("".join(json.dumps(line) + "\n" for line in lines).encode())
