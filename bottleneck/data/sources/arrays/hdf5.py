"""Read images from HDF5 files with a dataset ``images``.

A file is untrusted: no link is followed out of it, no filter is loaded as a plugin, and no dataset
may claim more values than the file's bytes can represent.
"""

import math
import os
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bottleneck.data.hdf5_rules import HDF5_READ_ERRORS, exceeds_hdf5_storage, needs_hdf5_plugin
from bottleneck.data.reading import refusing_damage
from bottleneck.data.sources.arrays.pixel_arrays import (
    ArrayMembers,
    ArrayPart,
    array_labels,
    find_columns,
    require_images,
)
from bottleneck.data.sources.random_access import FileStamp, RandomAccessFile, open_unchanged
from bottleneck.data.sources.unused import note_unused
from bottleneck.data.table.categorical_column import CategoricalColumn
from bottleneck.errors import ContainerError, ImageError, ImagesTableError

_CHUNK_CACHE = 1 << 26  # bytes: a chunk often holds several images, which are read in turn

_KIND = "an HDF5 file"


def open_hdf5(root: Path, names: tuple[str, ...]) -> ArrayMembers:
    r"""Look through HDF5 files.

    Parameters
    ----------
    root : Path
    names : tuple of str
        The files, relative to `root`. Each has a dataset ``images`` and, optionally, ``labels``,
        ``split`` and ``group``.

    Raises
    ------
    ImagesNotFoundError
        A file does not exist.
    ImagesTableError
        A file is malformed, or has no such datasets.
    OSError
        The storage fails.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with h5py.File(f"{folder}/a.h5", "w") as file:
    ...         file["images"] = np.zeros((2, 3, 4), dtype=np.uint16)
    ...         file["labels"] = ["cat", "dog"]
    ...     members = open_hdf5(Path(folder), ("a.h5",))
    ...     members.table.path[1], members.table.label[1], members.read(1)[:13]
    ('a.h5/00001', 'dog', b'P5 4 3 65535\n')
    """
    return ArrayMembers([_part(root, name) for name in names])


def _part(root: Path, name: str) -> ArrayPart:
    path = root / name
    stamp = RandomAccessFile(path).stamp
    with refusing_damage(path, _KIND, HDF5_READ_ERRORS), _open_file(path) as file:
        images = _dataset(path, file, "images")
        require_images(path, "images", images.shape, images.dtype)
        shape, dtype, count = images.shape, images.dtype, len(images)

        named = find_columns(list(file))
        unused = [(name, ()) for name in file if name not in {"images", *named.values()}]
        remarks = note_unused(path, "dataset", unused, has_splits=bool(named["split"]))

        def texts(dataset: str) -> CategoricalColumn:
            if not dataset:
                return CategoricalColumn.blank(count)
            return array_labels(path, dataset, _dataset(path, file, dataset)[...], count)

        columns = {column: texts(dataset) for column, dataset in named.items()}
    return ArrayPart(name, stamp, _Hdf5Pixels(stamp, shape, dtype), **columns, remarks=remarks)


class _Hdf5Pixels:
    """Pixels of a dataset. The file is open in this process; one thread reads at a time."""

    def __init__(self, stamp: FileStamp, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype = shape, dtype
        self._stamp = stamp
        self._lock = threading.Lock()
        self._process = 0
        self._file: RandomAccessFile | None = None
        self._images: Any = None

    def read(self, row: int) -> NDArray[Any]:
        """Return the pixels of one image; see `pixel_arrays.PixelArray`."""
        try:
            with self._lock, refusing_damage(self._stamp.path, _KIND, HDF5_READ_ERRORS):
                if self._process != os.getpid():  # HDF5 does not survive a fork
                    self._file, self._images = self._open()
                    self._process = os.getpid()
                pixels = np.asarray(self._images[row])
                if self._file:
                    self._file.require_unchanged(self._stamp)
                return pixels
        except ImagesTableError as error:
            raise ImageError(f"cannot be read: {error}") from error

    def _open(self) -> tuple[RandomAccessFile, Any]:
        path = self._stamp.path
        file = open_unchanged(self._stamp)
        images = _dataset(path, _open_file(path), "images")
        open_unchanged(self._stamp)  # else HDF5 may have opened another
        if (images.shape, images.dtype) != (self.shape, self.dtype):
            raise ContainerError(f"{path.name} changed while it was in use")
        return file, images


def _open_file(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r", rdcc_nbytes=_CHUNK_CACHE)
    except BlockingIOError as error:  # HDF5 locks a file that it writes
        raise ImagesTableError(
            f"{path} is open for writing in another program: close it there"
        ) from error


def _dataset(path: Path, file: Any, name: str) -> Any:
    """Return one of the file's datasets, provided that the file itself contains its values."""
    link = file.get(name, getlink=True)
    if link is None:
        raise ImagesTableError(
            f"{path} has no dataset {name!r}; it has {', '.join(list(file)[:12]) or 'none'}"
        )
    dataset = file[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise ImagesTableError(f"{path}: {name!r} is not a dataset that lies in this file itself")
    properties = dataset.id.get_create_plist()
    filters = {properties.get_filter(i)[0] for i in range(properties.get_nfilters())}
    if needs_hdf5_plugin(filters):
        raise ImagesTableError(
            f"{path}: {name!r} is compressed by a plugin, which would be loaded code: write it "
            "with gzip or lzf"
        )
    stored = min(dataset.id.get_storage_size(), file.id.get_filesize())
    values = max(math.prod(dataset.shape or ()), math.prod(dataset.chunks or ()))
    claimed = values * dataset.dtype.itemsize if dataset.size != 0 else 0  # no chunk is read
    if exceeds_hdf5_storage(claimed, stored, filtered=bool(filters)):
        raise ImagesTableError(f"{path}: {name!r} claims {claimed} bytes and has {stored}")
    return dataset
