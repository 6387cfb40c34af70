"""Images that are arrays of pixels: how they are encoded, what their labels are called."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bottleneck.data.labels import NO_LABEL, SEPARATOR
from bottleneck.data.sources.notes import SourceNotes
from bottleneck.data.sources.parts import locate
from bottleneck.data.sources.random_access import FileStamp
from bottleneck.data.split_names import canonical_split
from bottleneck.data.table.categorical_column import CategoricalColumn
from bottleneck.data.table.image_table import ImageTable, TextColumns, is_storable
from bottleneck.data.table.string_column import StringColumn
from bottleneck.errors import ImagesTableError

_COLUMN_NAMES = {
    "label": ("labels", "label", "targets", "target"),
    "split": ("split", "splits", "set", "subset"),
    "group": ("group", "groups"),
}


class PixelArray(Protocol):
    """Images of one size. Threads may read at the same time.

    Attributes
    ----------
    shape : tuple of int
        (n, height, width) or (n, height, width, channels).
    dtype : numpy.dtype
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self, row: int) -> NDArray[Any]:
        """Return the pixels of one image, of shape ``shape[1:]``.

        Raises
        ------
        ImageError
            They cannot be read.
        OSError
            The storage fails.
        """
        ...


@dataclass(frozen=True)
class ArrayPart:
    """Images of one array, such as a split.

    Attributes
    ----------
    name : str
        What the paths of its images begin with: the file, and the split where a file has several.
    stamp : FileStamp
        The file.
    pixels : PixelArray
    label, split, group : CategoricalColumn
        One value for each image.
    remarks : tuple of str
        Arrays that are not used, and names that were translated.
    """

    name: str
    stamp: FileStamp
    pixels: PixelArray
    label: CategoricalColumn
    split: CategoricalColumn
    group: CategoricalColumn
    remarks: tuple[str, ...] = ()


class ArrayMembers:
    """The images of some arrays, in the order of the arrays and of their rows.

    Parameters
    ----------
    parts : sequence of ArrayPart

    Attributes
    ----------
    table : ImageTable
    notes : SourceNotes
        What was found beside the images.
    """

    def __init__(self, parts: Sequence[ArrayPart]) -> None:
        self._parts = parts
        counts = [part.pixels.shape[0] for part in parts]
        self._ends = np.cumsum(counts, dtype=np.int64)
        columns = TextColumns.empty()
        for part, count in zip(parts, counts, strict=True):
            path = StringColumn(f"{part.name}/{row:05d}" for row in range(count))
            split = map(canonical_split, part.split)
            columns.extend((path, part.label, split, part.group))
        sizes = [_bytes_of_image(part.pixels) for part in parts]
        times = [part.stamp.mtime_ns for part in parts]
        size, time = (np.repeat(np.array(n, dtype=np.int64), counts) for n in (sizes, times))
        self.table = ImageTable(*columns, size, time)
        self.notes = SourceNotes().with_remarks(remark for part in parts for remark in part.remarks)

    def read(self, member: int) -> bytes:
        """Return an image as PPM or PGM; see `bottleneck.data.image_source.ImageReader`."""
        part, row = locate(self._ends, member)
        return encode_pnm(self._parts[part].pixels.read(row))


def encode_pnm(pixels: NDArray[Any]) -> bytes:
    r"""Encode pixels without loss and nearly without cost.

    Parameters
    ----------
    pixels : ndarray of uint8 or uint16, shape (height, width) or (height, width, 1 or 3)

    Returns
    -------
    bytes
        PGM (grey) or PPM (colour) with raw samples; two bytes each, the higher first, if uint16.

    Examples
    --------
    >>> encode_pnm(np.array([[1, 2, 3]], dtype=np.uint8))
    b'P5 3 1 255\n\x01\x02\x03'
    >>> encode_pnm(np.array([[[1, 2, 3]]], dtype=np.uint16))
    b'P6 1 1 65535\n\x00\x01\x00\x02\x00\x03'
    """
    height, width, *channels = pixels.shape
    magic = "P6" if channels == [3] else "P5"
    if pixels.dtype == np.uint8:
        return f"{magic} {width} {height} 255\n".encode() + pixels.tobytes()
    return f"{magic} {width} {height} 65535\n".encode() + pixels.astype(">u2").tobytes()


def require_images(file: Path, name: str, shape: Sequence[int], dtype: np.dtype[Any]) -> None:
    """Refuse an array that is not one of images.

    Parameters
    ----------
    file, name
        For messages.
    shape : sequence of int
    dtype : numpy.dtype

    Raises
    ------
    ImagesTableError
        Shape or type are others than those of grey or RGB images of 8 or 16 bits.

    Examples
    --------
    >>> require_images(Path("a.npz"), "images", (9, 28, 28, 2), np.dtype("uint8"))
    Traceback (most recent call last):
    bottleneck.errors.ImagesTableError: a.npz: 'images' has the shape (9, 28, 28, 2): ...
    """
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        hint = ""
        if len(shape) == 4 and shape[1] in (1, 3):
            hint = "; its channels are first: save numpy.moveaxis(images, 1, 3)"
        raise ImagesTableError(
            f"{file}: {name!r} has the shape {tuple(shape)}: images must be (n, height, width), or "
            f"(n, height, width, channels) with 1 or 3 channels{hint}"
        )
    if min(shape[1:]) < 1:
        raise ImagesTableError(f"{file}: {name!r} has the shape {tuple(shape)}: no pixels")
    if dtype.kind != "u" or dtype.itemsize > 2:
        raise ImagesTableError(
            f"{file}: {name!r} holds {dtype}: pixels must be uint8 or uint16, whose range is known"
        )


def find_columns(arrays: Collection[str], *, prefix: str = "") -> dict[str, str]:
    """Find the arrays of labels, splits and groups by their usual names.

    Parameters
    ----------
    arrays : collection of str
        Names of a file's arrays.
    prefix : str
        What each name begins with.

    Returns
    -------
    dict of str to str
        The array of each column; empty if there is none.

    Examples
    --------
    >>> find_columns(["images", "targets", "set"])
    {'label': 'targets', 'split': 'set', 'group': ''}
    """
    return {
        column: next((prefix + name for name in names if prefix + name in arrays), "")
        for column, names in _COLUMN_NAMES.items()
    }


def array_labels(file: Path, name: str, labels: NDArray[Any], count: int) -> CategoricalColumn:
    """Return labels as text.

    Parameters
    ----------
    file, name
        For messages.
    labels : ndarray of int or text
        Of shape (n,) or (n, 1): a class for each image. Of shape (n, k), 0 and 1: which of k labels
        an image has; they are called ``0`` to ``k - 1``, and ``none`` where it has none.
    count : int
        Images.

    Raises
    ------
    ImagesTableError
        Shape or values are others.

    Examples
    --------
    >>> array_labels(Path("a.npz"), "labels", np.array([[3], [7]]), 2)[:]
    ['3', '7']
    >>> array_labels(Path("a.npz"), "labels", np.array([[1, 0, 1], [0, 0, 0]]), 2)[:]
    ['0|2', 'none']
    """
    if labels.ndim not in (1, 2) or len(labels) != count:
        raise ImagesTableError(
            f"{file}: {name!r} has the shape {labels.shape}, for {count} images: give one row each"
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2:
        return _several_labels(file, name, labels)
    if labels.dtype.kind in "iu":
        distinct, codes = np.unique(labels, return_inverse=True)
        return CategoricalColumn.from_codes(codes, [str(value) for value in distinct.tolist()])
    if labels.dtype.kind in "SUO":
        return CategoricalColumn(_text(file, name, value) for value in labels.tolist())
    raise ImagesTableError(f"{file}: {name!r} holds {labels.dtype}: give integers or texts")


def _several_labels(file: Path, name: str, labels: NDArray[Any]) -> CategoricalColumn:
    if labels.dtype.kind not in "iub" or (labels.size and not np.isin(labels, (0, 1)).all()):
        raise ImagesTableError(
            f"{file}: {name!r} has the shape {labels.shape} and holds other values than 0 and 1: "
            "give one class for each image, or 0 and 1 for each of several"
        )
    return CategoricalColumn(
        SEPARATOR.join(map(str, np.flatnonzero(row).tolist())) or NO_LABEL for row in labels
    )


def _text(file: Path, name: str, value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if not isinstance(value, str) or not is_storable(value):
        raise ImagesTableError(
            f"{file}: {name!r} holds {str(value)[:40]!r}: give integers or texts"
        )
    return value.strip()


def _bytes_of_image(pixels: PixelArray) -> int:
    return int(np.prod(pixels.shape[1:])) * pixels.dtype.itemsize
