"""HDF5, of which only a sealed file is written and, when it was checked, read.

The only module that imports h5py. Files are untrusted, for a seal can be forged: what is read from
one follows no link out of it, and takes no more memory than its bytes can stand for.
"""

import io
import math
import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from bottleneck.cache.envelope import FileType, build_envelope, envelope_size
from bottleneck.errors import ShardError, format_error
from bottleneck.runtime.files import atomic_write

File: TypeAlias = h5py.File
Dataset: TypeAlias = h5py.Dataset

TEXT = h5py.string_dtype("utf-8")

# deflate, shuffle, fletcher32 and LZF: part of HDF5 or of h5py. Any other is a plugin, which is
# code that HDF5 would look for and load.
_FILTERS = (1, 2, 3, 32000)
_MOST_COMPRESSED = 1032  # deflate makes of one byte at most so many
_SMALL = 1 << 20

# What h5py raises on a file that lacks a part or whose bytes were damaged.
_READ_ERRORS = (KeyError, AttributeError, OSError, RuntimeError, ValueError, TypeError, MemoryError)


@contextmanager
def create_hdf5(path: Path, file_type: FileType, header: dict[str, Any]) -> Iterator[File]:
    """Publish a sealed HDF5 file, whole or not at all.

    Parameters
    ----------
    path : Path
        Where it shall stand.
    file_type : FileType
    header : dict
        What the seal says beside the file's length and digest.

    Yields
    ------
    h5py.File
        To be filled; closed, sealed and published afterwards.

    Raises
    ------
    OSError
        The disk refused it.
    """
    with atomic_write(path) as temporary, _DeferredErrorFile(temporary, "r+") as disk:
        try:
            with h5py.File(disk, "w", userblock_size=envelope_size(file_type, header)) as file:
                yield file
        finally:
            if disk.refusal:
                raise disk.refusal
        with mmap.mmap(disk.fileno(), 0, prot=mmap.PROT_READ) as content:
            lines = build_envelope(content, file_type, header)
        disk.seek(0)
        disk.write(lines)
        if disk.refusal:
            raise disk.refusal


class _DeferredErrorFile(io.FileIO):
    """A file that keeps the disk's first refusal for later.

    HDF5 cannot close a file that it cannot write, and says so in pages. So it is told that all is
    well, and whoever has closed it looks here.
    """

    refusal: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of it, or keep the refusal."""
        view = memoryview(data).cast("B")
        try:
            done = 0
            while self.refusal is None and done < len(view):
                done += os.write(self.fileno(), view[done:])
        except OSError as error:
            self.refusal = OSError(error.errno, error.strerror, str(self.name))
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """End here, or keep the refusal."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.refusal = OSError(error.errno, error.strerror, str(self.name))
            return self.tell() if size is None else size


@contextmanager
def open_hdf5(path: Path) -> Iterator[File]:
    """An open file; what is wrong with it becomes a `ShardError` that names it.

    Raises
    ------
    ShardError
        It is absent, no HDF5, or whoever reads in it meets what cannot be read.
    """
    with _open(path) as file:
        try:
            yield file
        except ShardError:
            raise
        except _READ_ERRORS as error:
            raise ShardError(f"{path} cannot be read: {format_error(error)}") from error


def _open(path: Path) -> File:
    try:
        try:
            # Files never change once they have their name: there is nothing to lock, which network
            # file systems often cannot. Chunks are read once: no cache, no second copy.
            return h5py.File(path, "r", locking=False, rdcc_nbytes=0)
        except OSError as error:
            if "locking flag" not in str(error):
                raise
            # HDF5 wants every opening of a file in one process to be alike, and a notebook may
            # hold codes.h5 open, which opens the shards behind it with the default.
            return h5py.File(path, "r")
    except OSError as error:
        raise ShardError(f"{path} cannot be opened: {format_error(error)}") from error


def dataset(file: File, name: str) -> Dataset:
    """One of a file's datasets, if it lies in the file and is no larger than that warrants.

    Raises
    ------
    ShardError
        It is absent, a link, virtual, in another file, under a filter that is a plugin, or claims
        more values than the file can hold.
    """
    link = file.get(name, getlink=True)
    found = file[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(found, h5py.Dataset):
        raise ShardError(f"{file.filename} has no dataset {name!r} of its own")
    if found.is_virtual or found.external:
        raise ShardError(f"{file.filename}: dataset {name!r} lies in another file")
    filters = _filters(found)
    if not set(filters) <= set(_FILTERS):
        raise ShardError(f"{file.filename}: dataset {name!r} has filters {filters}")
    _require_size(file, found, _MOST_COMPRESSED if filters else 1)
    return found


def _filters(found: Dataset) -> list[int]:
    properties = found.id.get_create_plist()
    return [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]


def _require_size(file: File, found: Dataset, ratio: int) -> None:
    stored = min(found.id.get_storage_size(), os.stat(file.filename).st_size)  # noqa: PTH116
    values = max(math.prod(found.shape), math.prod(found.chunks or ()))
    claimed = values * found.dtype.itemsize
    if claimed > ratio * stored and (claimed > _SMALL or stored == 0 < claimed):
        raise ShardError(
            f"{file.filename}: dataset {found.name!r} claims {claimed} bytes and has {stored}"
        )


def virtual_dataset(
    file: File,
    name: str,
    shape: tuple[int, ...],
    sources: Iterable[tuple[str, int, tuple[int, ...], DTypeLike]],
) -> None:
    """Make one array of many: each source's ``codes`` at its place, NaN where there is none.

    Parameters
    ----------
    file : h5py.File
        New.
    name : str
        Of the array.
    shape : tuple of int
    sources : iterable of (str, int, tuple of int, dtype)
        A file relative to this one, the first row that it has, its shape and type.
    """
    sources = list(sources)
    # HDF5 converts as it reads, so one float32 source makes the whole array float32.
    layout = h5py.VirtualLayout(shape, np.result_type(*(dtype for *_, dtype in sources)))
    for source, start, extent, dtype in sources:
        # HDF5 reads a single % in a source's name as the start of a pattern.
        layout[start : start + extent[0]] = h5py.VirtualSource(
            source.replace("%", "%%"), "codes", extent, dtype=dtype
        )
    file.create_virtual_dataset(name, layout, fillvalue=np.nan)


def encode_strings(values: Iterable[str]) -> list[bytes]:
    """Strings as HDF5 stores them; file names may hold bytes that are no UTF-8."""
    return [value.encode("utf-8", errors="surrogateescape") for value in values]


def read_strings(found: Dataset) -> list[str]:
    """The inverse of `encode_strings`."""
    return [value.decode("utf-8", errors="surrogateescape") for value in found[...]]


def read_flags(found: Dataset) -> NDArray[np.bool_]:
    """A dataset of booleans, whichever integers they are stored as."""
    return np.asarray(found[...]).astype(bool)
