"""Read images from ``.npz`` files in the layout of MedMNIST: ``train_images``, ``train_labels``, ….

Arrays that are stored as they are are read in place, one image at a time. Compressed ones can only
be read as a whole: they are loaded when their first image is read.
"""

import dataclasses
import math
import struct
import threading
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from bottleneck.data.reading import refusing_damage, rejecting_unreadable
from bottleneck.data.sources.arrays.pixel_arrays import (
    ArrayMembers,
    ArrayPart,
    array_labels,
    find_columns,
    require_images,
)
from bottleneck.data.sources.random_access import (
    FileStamp,
    PartReader,
    RandomAccessFile,
    open_unchanged,
)
from bottleneck.data.sources.unused import note_unused
from bottleneck.data.table.categorical_column import CategoricalColumn
from bottleneck.errors import ImageError, ImagesTableError, format_error

_MOST_LOADED = 4 << 30  # bytes of a compressed array
_MOST_LABELS = 1 << 30  # bytes

_LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a member of a zip: its magic, and two lengths

# What zipfile and NumPy raise on malformed files.
_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    OverflowError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
)


def open_npz(root: Path, names: tuple[str, ...]) -> ArrayMembers:
    """Look through ``.npz`` files.

    Parameters
    ----------
    root : Path
    names : tuple of str
        The files, relative to `root`. Each has arrays ``S_images`` and, optionally, ``S_labels``
        for some splits S, or ``images`` and ``labels``, ``split`` and ``group``.

    Raises
    ------
    ImagesNotFoundError
        A file does not exist.
    ImagesTableError
        A file is malformed, or has no such arrays.
    OSError
        The storage fails.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pixels = np.zeros((2, 3, 4, 3), dtype=np.uint8)
    ...     np.savez(f"{folder}/a.npz", test_images=pixels, test_labels=[[0, 1], [1, 1]])
    ...     table = open_npz(Path(folder), ("a.npz",)).table
    >>> table.path[0], table.split[0], table.label[:]
    ('a.npz/test/00000', 'test', ['1', '0|1'])
    """
    return ArrayMembers([part for name in names for part in _parts(root, name)])


def _parts(root: Path, name: str) -> list[ArrayPart]:
    path = root / name
    stamp = RandomAccessFile(path).stamp
    errors = (*_ERRORS, OSError)
    with refusing_damage(path, "an .npz file", errors), zipfile.ZipFile(path) as archive:
        arrays = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        found = [array for array in arrays if array == "images" or array.endswith("_images")]
        if not found:
            raise ImagesTableError(
                f"{path} has no array train_images, val_images, test_images or images; it has "
                f"{', '.join(list(arrays)[:12]) or 'none'}"
            )
        columns = {array: _columns(arrays, array) for array in found}
        used = {*found, *(name for named in columns.values() for name in named.values())}
        others = [(array, ()) for array in arrays if array not in used]
        has_splits = "images" not in found or bool(columns["images"]["split"])
        unused = note_unused(path, "array", others, has_splits=has_splits)
        parts = [
            _part(archive, stamp, name, array, arrays, columns=named)
            for array, named in columns.items()
        ]
        return [dataclasses.replace(part, remarks=unused) for part in parts]


def _columns(arrays: Collection[str], array: str) -> dict[str, str]:
    """Return the arrays of labels, splits and groups of an array of images; see `find_columns`."""
    prefix = array.removesuffix("images")
    columns = find_columns(arrays, prefix=prefix)
    return columns | {"split": ""} if prefix else columns  # the prefix tells the split


def _part(
    archive: zipfile.ZipFile,
    stamp: FileStamp,
    name: str,
    array: str,
    arrays: dict[str, zipfile.ZipInfo],
    *,
    columns: dict[str, str],
) -> ArrayPart:
    split = array.removesuffix("images").removesuffix("_")
    pixels = _open_pixels(archive, stamp, array, arrays[array])
    count = pixels.shape[0]

    def texts(column: str, default: str = "") -> CategoricalColumn:
        if not columns[column]:
            return CategoricalColumn([default] * count)
        values = _read_labels(archive, arrays[columns[column]])
        return array_labels(stamp.path, columns[column], values, count)

    return ArrayPart(
        name=f"{name}/{split}" if split else name,
        stamp=stamp,
        pixels=pixels,
        label=texts("label"),
        split=texts("split", default=split),
        group=texts("group"),
    )


def _open_pixels(
    archive: zipfile.ZipFile, stamp: FileStamp, array: str, info: zipfile.ZipInfo
) -> "_StoredPixels | _CompressedPixels":
    with archive.open(info) as file:
        shape, fortran, dtype = _read_header(file)
        start = file.tell()
    require_images(stamp.path, array, shape, dtype)
    size = math.prod(shape) * dtype.itemsize
    if start + size != info.file_size:
        has = info.file_size - start
        raise ImagesTableError(
            f"{stamp.path}: {array!r} claims {size} bytes of pixels and has {has}"
        )
    if fortran:
        raise ImagesTableError(
            f"{stamp.path}: {array!r} is in Fortran's order, in which no image lies together: save "
            "numpy.ascontiguousarray of it"
        )
    if info.compress_type == zipfile.ZIP_STORED:
        offset = _offset_in_file(stamp, info) + start
        if offset + size > stamp.size:
            raise ImagesTableError(f"{stamp.path} ends in the midst of {array!r}")
        return _StoredPixels(stamp, offset, shape, dtype)
    if size > _MOST_LOADED:
        raise ImagesTableError(
            f"{stamp.path}: {array!r} is compressed and takes {size} bytes, more than "
            f"{_MOST_LOADED} that are loaded: save it by numpy.savez, without compression, and it "
            "is read in place"
        )
    return _CompressedPixels(stamp, info.filename, shape, dtype)


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = npy.read_array_header_1_0(file)
    else:
        shape, fortran, dtype = npy.read_array_header_2_0(file)
    if any(not isinstance(n, int) or n < 0 for n in shape):
        raise ValueError(f"an array of shape {shape}")
    return shape, fortran, dtype


def _offset_in_file(stamp: FileStamp, info: zipfile.ZipInfo) -> int:
    """Return where a member's bytes begin: its header there has lengths of its own."""
    header = RandomAccessFile(stamp.path).read(info.header_offset, _LOCAL_HEADER.size)
    magic, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    if magic != b"PK\3\4" or info.flag_bits & 1:
        raise ValueError(f"no member of a zip at byte {info.header_offset}")
    return info.header_offset + _LOCAL_HEADER.size + int(name_length) + int(extra_length)


def _read_labels(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(info) as file:
        shape, fortran, dtype = _read_header(file)
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject:
            name = info.filename.removesuffix(".npy")
            raise ImagesTableError(
                f"{archive.filename}: {name!r} holds Python objects, which would be executed code: "
                f"save {name}.astype(str)"
            )
        if size > _MOST_LABELS or size > info.file_size:
            raise ValueError(f"labels claim {size} bytes")
        data = file.read(size)
    values = np.frombuffer(data, dtype=dtype, count=math.prod(shape))
    return values.reshape(shape, order="F" if fortran else "C")


class _StoredPixels:
    """Pixels that lie in a file as they are."""

    def __init__(
        self, stamp: FileStamp, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self.shape, self.dtype = shape, dtype
        self._offset = offset
        self._size = math.prod(shape[1:]) * dtype.itemsize
        self._parts = PartReader([stamp])

    def read(self, row: int) -> NDArray[Any]:
        """Return the pixels of one image; see `pixel_arrays.PixelArray`."""
        data = self._parts.read(0, self._offset + row * self._size, self._size)
        return np.frombuffer(data, dtype=self.dtype).reshape(self.shape[1:])


class _CompressedPixels:
    """Pixels that are compressed as a whole, and loaded when the first image is read."""

    def __init__(
        self, stamp: FileStamp, member: str, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self.shape, self.dtype = shape, dtype
        self._stamp, self._member = stamp, member
        self._lock = threading.Lock()
        self._pixels: NDArray[Any] | ImageError | None = None

    def read(self, row: int) -> NDArray[Any]:
        """Return the pixels of one image; see `pixel_arrays.PixelArray`."""
        with self._lock:
            if self._pixels is None:
                self._pixels = self._load_or_error()
        if isinstance(self._pixels, ImageError):
            raise type(self._pixels)(*self._pixels.args)
        return np.asarray(self._pixels[row])

    def _load_or_error(self) -> NDArray[Any] | ImageError:
        # An array that cannot be loaded is not tried again for each of its images.
        try:
            with rejecting_unreadable():
                return self._load()
        except ImageError as error:
            return error
        except _ERRORS as error:
            name = self._stamp.path.name
            return ImageError(f"cannot be read: {name}: {format_error(error)}")

    def _load(self) -> NDArray[Any]:
        path = self._stamp.path
        open_unchanged(self._stamp)
        pixels = np.empty(self.shape, dtype=self.dtype)
        buffer = memoryview(pixels.reshape(-1).view(np.uint8).data)
        with zipfile.ZipFile(path) as archive:
            filled = _fill(buffer, archive, self._member)
        if filled < len(buffer):
            raise ImageError(f"cannot be read: {path.name} ends in the midst of {self._member}")
        open_unchanged(self._stamp)
        return pixels


def _fill(buffer: memoryview, archive: zipfile.ZipFile, member: str) -> int:
    """Read the pixels of an array into a buffer; return how many bytes there were."""
    filled = 0
    with archive.open(member) as file:
        _read_header(file)
        while filled < len(buffer) and (data := file.read(min(1 << 20, len(buffer) - filled))):
            buffer[filled : filled + len(data)] = data
            filled += len(data)
    return filled
