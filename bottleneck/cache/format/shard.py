"""Read and verify one shard of codes, an HDF5 file with an envelope.

`bottleneck.cache.format.shard_writer` writes shards. ``docs/format.md`` describes the file for
other readers.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.format.envelope import EnvelopeFile, FileType, open_envelope
from bottleneck.cache.format.hdf5 import Dataset, UntrustedFile, read_hdf5
from bottleneck.cache.format.manifest import (
    DTYPES,
    FORMAT_VERSION,
    PARSE_ERRORS,
    VERSIONS,
    Manifest,
)
from bottleneck.cache.format.series import Series
from bottleneck.errors import ShardError, format_error

FILE_TYPE = FileType("bottleneck-shard", FORMAT_VERSION, older=VERSIONS[:-1])

STRING_COLUMNS = ("path", "label", "reason", "image_sha256")


@dataclass(frozen=True)
class ShardData:
    """Consecutive rows of one series.

    Attributes
    ----------
    codes : ndarray of float16 or float32, shape (n, ...)
        Zeros where a row is not valid.
    row : ndarray of int64, shape (n,)
        Row numbers in ``images.csv``.
    path : sequence of n str
        Path of each image, as in ``images.csv``; a shard thus describes itself.
    label : sequence of n str
        Labels at the time of extraction, for information; those of ``images.csv`` are used.
    valid : ndarray of bool, shape (n,)
        Whether the image gave codes.
    reason : sequence of n str
        Why an image gave no codes; empty where it is valid.
    image_sha256 : sequence of n str
        Digest of the bytes that were decoded, hexadecimal; empty where none could be read.
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
    """Header of a shard, which is read from its envelope without HDF5.

    Attributes
    ----------
    manifest : Manifest
        Manifest of the cache that the shard belongs to, with the version of the file.
    layer : str
    start : int
        First row.
    shape : tuple of int
        Shape of the codes, rows first.
    dtype : str
        One of `bottleneck.cache.format.manifest.DTYPES`.
    rejected : dict of int to str
        Reason by row, for rows that gave no codes; rows are counted from the start of the shard.
    cost : float or None
        Share of the network's multiply-adds up to the layer; None where it is not known.
    bytes : int
        Length of the file.
    view : int
        Number of the view of each image; 0 is the image itself.
    """

    manifest: Manifest
    layer: str
    start: int
    shape: tuple[int, ...]
    dtype: str
    rejected: dict[int, str]
    cost: float | None
    bytes: int
    view: int = 0

    @property
    def series(self) -> Series:
        """Return the series that the shard belongs to."""
        return Series(self.layer, self.view)

    @property
    def rows(self) -> range:
        """Return the rows of ``images.csv`` that the shard holds."""
        return range(self.start, self.start + self.shape[0])


@dataclass(frozen=True)
class OpenShard:
    """Shard that is open for reading: header, digest and codes through one file handle.

    Attributes
    ----------
    path : Path
    header : ShardHeader
    """

    path: Path
    header: ShardHeader
    _envelope: EnvelopeFile

    @property
    def digest(self) -> str:
        """Return the SHA-256 that the header gives for the bytes after it."""
        return str(self._envelope.header["sha256"])

    def verify(self) -> None:
        """Compare every byte of the shard with its digest.

        Raises
        ------
        ShardError
            A byte differs.
        """
        self._envelope.verify()

    def metadata(self) -> ShardData:
        """Read all columns but the codes, in place of which the data have shape (n, 0).

        Raises
        ------
        ShardError
            A column is absent or has another length, or the codes are not those of the header.
        """
        with read_hdf5(self.path, self._envelope.file) as file:
            self._codes(file)
            return self._metadata(file)

    def image_digests(self) -> list[str]:
        """Read the digests of the images' bytes alone; empty where none could be read.

        Raises
        ------
        ShardError
            The column is absent or has another length.
        """
        with read_hdf5(self.path, self._envelope.file) as file:
            digests = file.strings("image_sha256")
        if len(digests) != self.header.shape[0]:
            raise ShardError(f"{self.path}: its columns do not belong together")
        return digests

    def require_images(self, rows: range, paths: Sequence[str]) -> None:
        """Require that the shard holds these rows and images.

        No other column is read: `metadata` has them all.

        Parameters
        ----------
        rows : range
        paths : sequence of str
            Path of each image, as in ``images.csv``.

        Raises
        ------
        ShardError
            It holds others.
        """
        with read_hdf5(self.path, self._envelope.file) as file:
            found, images = file.dataset("row")[...], file.strings("path")
        if not np.array_equal(found, rows):
            raise ShardError(f"{self.path} holds other rows than {rows.start} to {rows.stop - 1}")
        if images != paths:
            raise ShardError(f"{self.path} holds other images than images.csv has in its rows")

    def read_codes(self) -> NDArray[Any]:
        """Read the codes in the stored type, shape (n, ...).

        Raises
        ------
        ShardError
            The codes are absent or not those of the header.
        """
        with self.codes() as codes:
            stored: NDArray[Any] = codes[...]
        return stored

    @contextmanager
    def codes(self) -> Iterator[Dataset]:
        """Open the stored codes, of which the caller reads some rows.

        Yields
        ------
        h5py.Dataset

        Raises
        ------
        ShardError
            The codes are absent or not those of the header.
        """
        with read_hdf5(self.path, self._envelope.file) as file:
            yield self._codes(file)

    def blocks(self, rows: int) -> Iterator[NDArray[Any]]:
        """Read the codes block by block.

        Parameters
        ----------
        rows : int
            Maximum rows of a block.

        Yields
        ------
        ndarray of shape (at most `rows`, ...)
            In order, in the stored type.

        Raises
        ------
        ShardError
            The codes are absent or not those of the header.
        """
        with self.codes() as codes:
            for start in range(0, len(codes), rows):
                block = codes[start : start + rows]
                yield block
                del block  # free it before the next one is read

    def _codes(self, file: UntrustedFile) -> Dataset:
        header, codes = self.header, file.dataset("codes")
        if (codes.shape, codes.dtype.name) != (header.shape, header.dtype):
            raise ShardError(
                f"{self.path} holds {codes.dtype} codes of shape {codes.shape}, its header says "
                f"{header.dtype} of {header.shape}"
            )
        return codes

    def _metadata(self, file: UntrustedFile) -> ShardData:
        columns = {name: file.strings(name) for name in STRING_COLUMNS}
        row, valid = file.dataset("row")[...], file.flags("valid")
        lengths = {len(column) for column in (row, valid, *columns.values())}
        count = self.header.shape[0]
        if lengths != {count} or row.dtype != np.int64:
            raise ShardError(f"{self.path}: its columns do not belong together")
        return ShardData(codes=np.empty((count, 0)), row=row, valid=valid, **columns)


@contextmanager
def open_shard(path: Path) -> Iterator[OpenShard]:
    """Open a shard and read its header.

    Of its content, only the length is checked; `OpenShard.verify` checks every byte.

    Parameters
    ----------
    path : Path

    Yields
    ------
    OpenShard

    Raises
    ------
    ShardError
        The file is absent, cut short, or not a shard.
    """
    with open_envelope(path, FILE_TYPE) as envelope:
        yield OpenShard(path, _parse_header(path, envelope), envelope)


def read_header(path: Path) -> ShardHeader:
    """Read the header of a shard: a few hundred bytes. The length of the file is checked.

    Parameters
    ----------
    path : Path

    Raises
    ------
    ShardError
        The file is absent, cut short, or not a shard.

    Examples
    --------
    >>> read_header(Path("tests/data/before/cache/codes/layer1/00001.h5")).rows
    range(8, 16)
    """
    with open_shard(path) as shard:
        return shard.header


def _parse_header(path: Path, envelope: EnvelopeFile) -> ShardHeader:
    values, version = envelope.header, envelope.version
    try:
        header = ShardHeader(
            manifest=_manifest(json.dumps(values["manifest"]), version),
            layer=str(values["layer"]),
            start=int(values["start"]),
            shape=tuple(int(size) for size in values["shape"]),
            dtype=str(values["dtype"]),
            rejected={int(row): str(why) for row, why in values["rejected"].items()},
            cost=None if values["work"] is None else float(values["work"]),
            bytes=int(values["bytes"]),
            view=int(values["view"]) if version >= 3 else 0,
        )
    except PARSE_ERRORS as error:
        raise ShardError(f"{path}: its header is damaged: {format_error(error)}") from error
    consistent = (
        header.dtype in DTYPES
        and len(header.shape) >= 1
        and min(header.shape) >= 1
        and min(header.start, header.view) >= 0
        and all(0 <= row < header.shape[0] for row in header.rejected)
        and (header.cost is None or 0 <= header.cost <= 1)
    )
    if not consistent:
        raise ShardError(f"{path}: its header makes no sense")
    return header


@lru_cache(maxsize=16)
def _manifest(text: str, version: int) -> Manifest:
    """Parse a manifest once for all shards of a cache, which repeat it."""
    return Manifest.from_json(json.loads(text), version)
