"""One HDF5 shard of codes: written whole or not at all, read, checked.

`docs/format.md` describes it for other readers.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ShardError, one_line
from bottleneck.files import publish, sha256
from bottleneck.hdf5 import open_hdf5
from bottleneck.spec import Spec

FORMAT = "bottleneck-shard"
FORMAT_VERSION = 1

DTYPES = ("float16", "float32")
CHUNK_BYTES = 1 << 20  # fitting reads whole shards in order: few, large chunks
_FLOAT16_MAX = float(np.finfo(np.float16).max)
_TEXT = h5py.string_dtype("utf-8")

# Those that every h5py reads. Level 4 makes sparse codes a tenth smaller than level 1; a byte
# shuffle in front makes them larger, since runs of zeros are what there is to gain.
_FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "lzf": {"compression": "lzf"},
    "gzip": {"compression": "gzip", "compression_opts": 4},
}
COMPRESSIONS = tuple(_FILTERS)

# What h5py raises on a file that lacks a part or whose bytes were damaged.
_READ_ERRORS = (KeyError, AttributeError, OSError, RuntimeError, ValueError, TypeError)


@dataclass(frozen=True)
class Shard:
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
class Header:
    """What a shard says of itself, read without its codes.

    Attributes
    ----------
    spec_digest : str
        The spec's digest at this layer: `bottleneck.spec.Spec.digest`.
    shape : tuple of int
        Of the codes, rows first.
    dtype : str
        ``"float16"`` or ``"float32"``.
    work : float or None
        Share of the network's multiply-adds up to the layer; None where it was not written down.
    """

    spec_digest: str
    shape: tuple[int, ...]
    dtype: str
    work: float | None


def write_shard(
    path: Path,
    shard: Shard,
    *,
    spec: Spec,
    layer: str,
    dtype: str,
    compression: str = "none",
    work: float | None = None,
) -> None:
    """Publish a shard under its name, whole or not at all.

    Parameters
    ----------
    path : Path
        Where it shall stand.
    shard : Shard
        Codes in float32, or in the type that `choose_dtype` says.
    spec : Spec
        What decided the codes.
    layer : str
        The layer's name.
    dtype : str
        ``"float16"`` or ``"float32"``; codes that float16 cannot hold are stored as float32.
    compression : str
        Of the codes, one of `COMPRESSIONS`.
    work : float, optional
        `bottleneck.layers.Layer.work`, for those who compare layers without the network.

    Raises
    ------
    OSError
        The disk refused it.
    """
    codes = np.ascontiguousarray(shard.codes, dtype=choose_dtype(shard.codes, dtype))
    stored = dataclasses.replace(shard, codes=codes)
    rows_a_chunk = max(1, CHUNK_BYTES // max(1, codes[:1].nbytes))
    with publish(path) as temporary, h5py.File(temporary, "w", locking=False) as file:
        file.attrs.update(
            format=FORMAT,
            format_version=FORMAT_VERSION,
            spec=spec.canonical(layer),
            spec_digest=spec.digest(layer),
            codes_sha256=_codes_digest(stored),
            rows_sha256=_rows_digest(stored),
        )
        if work is not None:
            file.attrs["work"] = work
        chunks = (min(len(codes), rows_a_chunk), *codes.shape[1:])
        file.create_dataset("codes", data=codes, chunks=chunks, **_FILTERS[compression])
        file.create_dataset("row", data=shard.row)
        file.create_dataset("valid", data=shard.valid)
        for name in ("path", "label", "reason", "image_sha256"):
            file.create_dataset(name, data=_encoded(getattr(shard, name)), dtype=_TEXT)


def read_header(path: Path) -> Header:
    """Read what a shard says of itself.

    Raises
    ------
    ShardError
        It is absent, cut short, or not a shard.
    """
    with _reading(path) as file:
        codes, digest = file["codes"], str(file.attrs["spec_digest"])
        if sha256(str(file.attrs["spec"]).encode()) != digest:
            raise ShardError(f"{path}: its spec is not that of its digest")
        return Header(digest, tuple(codes.shape), codes.dtype.name, _share(file.attrs.get("work")))


def read_shard(path: Path) -> Shard:
    """Read a whole shard and check it against its own digests.

    Returns
    -------
    Shard
        Codes in the stored type.

    Raises
    ------
    ShardError
        It is absent, cut short, not a shard, or its bytes are not those that were written.
    """
    with _reading(path) as file:
        shard = dataclasses.replace(_rows_of(path, file), codes=file["codes"][...])
        if file.attrs["codes_sha256"] != _codes_digest(shard):
            raise ShardError(f"{path}: the codes are not those that were written (sha256 differs)")
        return shard


def read_blocks(path: Path, rows: int, *, check: bool) -> Iterator[NDArray[Any]]:
    """Read a shard's codes a few rows at a time, so that no whole shard need fit into memory.

    Parameters
    ----------
    path : Path
    rows : int
        Of a block, at most.
    check : bool
        Whether to compare all that was read with the digest of what was written, at the end.

    Yields
    ------
    ndarray
        In the stored type, in order.

    Raises
    ------
    ShardError
        It is absent, cut short, not a shard, or its bytes are not those that were written.
    """
    with _reading(path) as file:
        codes = file["codes"]
        digest = hashlib.sha256(_codes_head(codes))
        for start in range(0, len(codes), rows):
            block = codes[start : start + rows]
            if check:
                digest.update(block.reshape(-1).view(np.uint8).data)
            yield block
            del block  # so that it may be gone before the next one is read
        if check and file.attrs["codes_sha256"] != digest.hexdigest():
            raise ShardError(f"{path}: the codes are not those that were written (sha256 differs)")


def read_rows(path: Path) -> tuple[NDArray[np.int64], Sequence[str]]:
    """Which rows a shard holds, and the paths of their images, checked, without the codes.

    Raises
    ------
    ShardError
        It is absent, cut short, not a shard, or its rows are not those that were written.
    """
    with _reading(path) as file:
        shard = _rows_of(path, file)
        return shard.row, shard.path


def _rows_of(path: Path, file: h5py.File) -> Shard:
    texts = {name: _decoded(file[name]) for name in ("path", "label", "reason", "image_sha256")}
    row, valid = file["row"][...], file["valid"][...].astype(bool)
    shard = Shard(codes=np.empty(0), row=row, valid=valid, **texts)
    if file.attrs["rows_sha256"] != _rows_digest(shard):
        raise ShardError(f"{path}: the rows are not those that were written (sha256 differs)")
    return shard


def read_outcome(path: Path) -> tuple[NDArray[np.bool_], Sequence[str]]:
    """Which rows of a shard are valid, and why the others are not, without the codes.

    Raises
    ------
    ShardError
        It is absent, cut short, or not a shard.
    """
    with _reading(path) as file:
        valid = file["valid"][...].astype(bool)
        return valid, [""] * len(valid) if valid.all() else _decoded(file["reason"])


@contextmanager
def _reading(path: Path) -> Iterator[h5py.File]:
    """An open shard; what is wrong with it becomes a `ShardError` that names it."""
    with open_hdf5(path) as file:
        try:
            _require_format(path, file)
            yield file
        except ShardError:
            raise
        except _READ_ERRORS as error:
            raise ShardError(f"{path} cannot be read: {one_line(error)}") from error


def _require_format(path: Path, file: h5py.File) -> None:
    if file.attrs.get("format") != FORMAT:
        raise ShardError(f"{path} is HDF5, but not a shard of codes")
    version = file.attrs.get("format_version")
    if version != FORMAT_VERSION:
        raise ShardError(
            f"{path} has format version {version}; this program reads version {FORMAT_VERSION}"
        )


def _share(value: object) -> float | None:
    """A share, where the attribute holds one: other writers may mean something else by it."""
    return float(value) if isinstance(value, float | np.floating) and 0 <= value <= 1 else None


def choose_dtype(codes: NDArray[Any], dtype: str) -> str:
    """The type to store codes in: `dtype`, or float32 where they are beyond float16's range."""
    known = codes.size == 0 or codes.dtype.name == dtype
    return dtype if known or max(codes.max(), -codes.min()) <= _FLOAT16_MAX else "float32"


def _codes_digest(shard: Shard) -> str:
    """Over type, shape and bytes, so that equal bytes of other shapes differ."""
    codes = np.ascontiguousarray(shard.codes)
    return sha256(_codes_head(codes), codes.reshape(-1).view(np.uint8).data)


def _codes_head(codes: Any) -> bytes:
    return f"{codes.dtype.name} {'x'.join(map(str, codes.shape))}\n".encode()


def _rows_digest(shard: Shard) -> str:
    """Over everything but the codes, each row a line, so that a second reader can do the same."""
    numbers = (shard.row.tolist(), shard.valid.tolist())
    lines = zip(*numbers, shard.path, shard.label, shard.reason, shard.image_sha256, strict=True)
    return sha256("".join(json.dumps(line) + "\n" for line in lines).encode())


def _encoded(values: Sequence[str]) -> list[bytes]:
    # Labels come from file names, which may hold bytes that are no UTF-8.
    return [value.encode("utf-8", errors="surrogateescape") for value in values]


def _decoded(dataset: h5py.Dataset) -> list[str]:
    return [value.decode("utf-8", errors="surrogateescape") for value in dataset[...]]
