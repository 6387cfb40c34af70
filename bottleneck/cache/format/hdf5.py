"""Write HDF5 files with an envelope, and read untrusted HDF5 files safely.

Besides `data.sources.arrays.hdf5`, which reads images, only this module imports h5py. An envelope
can be forged, so a file that is read is untrusted: no link is followed out of it, and no dataset
may claim more values than the file's bytes can represent.
"""

import io
import math
import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from bottleneck.cache.format.envelope import FileType, build_envelope, envelope_size
from bottleneck.data import HDF5_READ_ERRORS, exceeds_hdf5_storage, needs_hdf5_plugin
from bottleneck.errors import ShardError, format_error
from bottleneck.runtime import atomic_write

File: TypeAlias = h5py.File
Dataset: TypeAlias = h5py.Dataset

TEXT = h5py.string_dtype("utf-8")


@contextmanager
def create_hdf5(path: Path, file_type: FileType, header: dict[str, Any]) -> Iterator[File]:
    """Write an HDF5 file with an envelope atomically.

    Parameters
    ----------
    path : Path
        The finished file.
    file_type : FileType
    header : dict
        Values for the envelope; the length and the digest of the file are added.

    Yields
    ------
    h5py.File
        To be filled by the caller. Afterwards it is closed, gets its envelope, and is renamed to
        `path`.

    Raises
    ------
    OSError
        The file could not be written.
    """
    with atomic_write(path) as temporary, _DeferredErrorFile(temporary, "r+") as file:
        try:
            userblock = envelope_size(file_type, header)
            with h5py.File(file, "w", userblock_size=userblock) as hdf5:
                yield hdf5
        finally:
            file.raise_error()
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
            lines = build_envelope(content, file_type, header)
        file.seek(0)
        file.write(lines)
        file.raise_error()


class _DeferredErrorFile(io.FileIO):
    """File that reports success to HDF5 and keeps the first write error.

    If a write fails, HDF5 cannot close the file, and prints pages of messages. This wrapper
    reports success to HDF5 and stores the first OSError in `error`; call `raise_error` after HDF5
    has closed the file. HDF5 reads back what it has written, such as the references to strings, and
    follows it: what was not written is read as zeros.
    """

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all bytes, or store the error."""
        view = memoryview(data).cast("B")
        try:
            written = 0
            while self.error is None and written < len(view):
                written += os.write(self.fileno(), view[written:])
        except OSError as error:
            self.error = OSError(error.errno, error.strerror, str(self.name))
        return len(view)

    def readinto(self, buffer: Any) -> int:
        """Read as many bytes as the buffer has, zeros beyond the end of the file."""
        view = memoryview(buffer).cast("B")
        read = super().readinto(view) or 0
        view[read:] = bytes(len(view) - read)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the length of the file, or store the error."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = OSError(error.errno, error.strerror, str(self.name))
            return self.tell() if size is None else size

    def raise_error(self) -> None:
        """Raise the first error, if there was one."""
        if self.error:
            raise self.error


@dataclass(frozen=True)
class UntrustedFile:
    """HDF5 file that is open for reading and was possibly made with bad intent.

    Attributes
    ----------
    path : Path
        For messages.
    hdf5 : h5py.File
    """

    path: Path
    hdf5: File

    def dataset(self, name: str) -> Dataset:
        """Return one of the file's datasets, provided that the file itself contains its values.

        Parameters
        ----------
        name : str

        Raises
        ------
        ShardError
            The dataset is absent, a link, virtual, or stored in another file; it uses a filter
            that is a plugin; or it claims more values than the file can contain.
        """
        # HDF5 itself is asked, here and below: what h5py makes of its answers takes most of the
        # time in which small shards are read.
        links, key = self.hdf5.id.links, name.encode()
        own = links.exists(key) and links.get_info(key).type == h5py.h5l.TYPE_HARD
        identifier = h5py.h5o.open(self.hdf5.id, key) if own else None
        if not isinstance(identifier, h5py.h5d.DatasetID):
            raise ShardError(f"{self.path} has no dataset {name!r} of its own")
        dataset = h5py.Dataset(identifier, readonly=True)
        properties = dataset.id.get_create_plist()
        if properties.get_layout() == h5py.h5d.VIRTUAL or properties.get_external_count():
            raise ShardError(f"{self.path}: dataset {name!r} lies in another file")
        filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
        if needs_hdf5_plugin(filters):
            raise ShardError(f"{self.path}: dataset {name!r} has filters {filters}")
        stored = min(dataset.id.get_storage_size(), self.hdf5.id.get_filesize())
        values = max(math.prod(dataset.shape), math.prod(dataset.chunks or ()))
        claimed = values * dataset.id.get_type().get_size()
        if exceeds_hdf5_storage(claimed, stored, filtered=bool(filters)):
            raise ShardError(
                f"{self.path}: dataset {dataset.name!r} claims {claimed} bytes and has {stored}"
            )
        return dataset

    def strings(self, name: str) -> list[str]:
        """Read a dataset of strings that `encode_strings` made."""
        dataset = self.dataset(name)
        values = np.empty(dataset.shape, dtype=TEXT)
        dataset.id.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
        return [value.decode("utf-8", errors="surrogateescape") for value in values]

    def flags(self, name: str) -> NDArray[np.bool_]:
        """Read a dataset of booleans, whichever integer type it is stored as."""
        return np.asarray(self.dataset(name)[...]).astype(bool)


@contextmanager
def read_hdf5(path: Path, file: BinaryIO) -> Iterator[UntrustedFile]:
    """Read an HDF5 file through a handle that is open already.

    Parameters
    ----------
    path : Path
        For messages.
    file : binary file
        Stays open.

    Yields
    ------
    UntrustedFile

    Raises
    ------
    ShardError
        The file is not HDF5, or the caller meets something that cannot be read.
    """
    try:
        # Chunks are read once: no chunk cache, no second copy. The handle takes no lock, which
        # network file systems often lack; a finished file never changes.
        with h5py.File(file, "r", rdcc_nbytes=0) as hdf5:
            yield UntrustedFile(path, hdf5)
    except ShardError:
        raise
    except HDF5_READ_ERRORS as error:
        raise ShardError(f"{path} cannot be read: {format_error(error)}") from error


def virtual_dataset(
    file: File,
    name: str,
    shape: tuple[int, ...],
    sources: Iterable[tuple[str, tuple[int, ...], tuple[int, ...], DTypeLike]],
) -> None:
    """Create one virtual dataset over the ``codes`` of several files.

    Rows that no source has are NaN.

    Parameters
    ----------
    file : h5py.File
        Open for writing.
    name : str
        Name of the dataset.
    shape : tuple of int
        Shape of the dataset, rows first.
    sources : iterable of (str, tuple of int, tuple of int, dtype)
        For each source: its path relative to `file`, its first row, followed by its index on the
        second axis if that is of views, and the shape and type of its codes.
    """
    sources = list(sources)
    # HDF5 converts as it reads, so one float32 source makes the entire dataset float32.
    layout = h5py.VirtualLayout(shape, np.result_type(*(dtype for *_, dtype in sources)))
    for source, (start, *view), extent, dtype in sources:
        # HDF5 reads a single % in a source's name as the start of a pattern.
        layout[slice(start, start + extent[0]), *view] = h5py.VirtualSource(
            source.replace("%", "%%"), "codes", extent, dtype=dtype
        )
    file.create_virtual_dataset(name, layout, fillvalue=np.nan)


def encode_strings(values: Iterable[str]) -> list[bytes]:
    r"""Encode strings for HDF5; file names may contain bytes that are not UTF-8.

    Examples
    --------
    >>> encode_strings(["bee", "\udcff"])
    [b'bee', b'\xff']
    """
    return [value.encode("utf-8", errors="surrogateescape") for value in values]
