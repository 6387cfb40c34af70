"""TIFF files by the specification (TIFF 6.0), for what Pillow does not write."""

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SHORT, _LONG = 3, 4


def tiff(
    values: NDArray[Any],
    order: str = "<",
    *,
    photometric: int = 1,
    extra: int | None = None,
    deflate: bool = False,
    predictor: int = 1,
    rows: int | None = None,
    tile: int | None = None,
    orientation: int | None = None,
) -> bytes:
    """A TIFF of samples that lie beside each other.

    Parameters
    ----------
    values : ndarray of shape (height, width, samples)
        uint8, uint16 or float32.
    order : str
        Of bytes: ``"<"`` or ``">"``.
    photometric : int
        1 is grey, 2 is RGB.
    extra : int, optional
        What the samples beyond those of the colour are: 0 nothing in particular, 2 opacity.
    deflate : bool
        Whether strips and tiles are compressed.
    predictor : int
        2: differences between neighbours are stored.
    rows : int, optional
        Rows of a strip; all unless given.
    tile : int, optional
        Side of square tiles, in place of strips.
    orientation : int, optional
        As in EXIF.
    """
    height, width, samples = values.shape
    blocks = _tiles(values, tile) if tile else _strips(values, rows or height)
    parts = [_coded(block, order, deflate=deflate, predictor=predictor) for block in blocks]
    body = b""
    places = []
    for part in parts:
        places.append(8 + len(body))
        body += part + bytes(len(part) % 2)
    bits = values.dtype.itemsize * 8
    colours = 1 if photometric == 1 else 3
    entries: list[tuple[int, int, list[int]]] = [
        (256, _LONG, [width]),
        (257, _LONG, [height]),
        (258, _SHORT, [bits] * samples),
        (259, _SHORT, [8 if deflate else 1]),
        (262, _SHORT, [photometric]),
        (277, _SHORT, [samples]),
        (317, _SHORT, [predictor]),
        (339, _SHORT, [3 if values.dtype.kind == "f" else 1] * samples),
    ]
    if tile:
        entries += [(322, _LONG, [tile]), (323, _LONG, [tile]), (324, _LONG, places)]
        entries.append((325, _LONG, [len(part) for part in parts]))
    else:
        entries += [(273, _LONG, places), (278, _LONG, [rows or height])]
        entries.append((279, _LONG, [len(part) for part in parts]))
    if extra is not None:
        entries.append((338, _SHORT, [extra] * (samples - colours)))
    if orientation is not None:
        entries.append((274, _SHORT, [orientation]))
    return _file(body, sorted(entries), order)


def _strips(values: NDArray[Any], rows: int) -> list[NDArray[Any]]:
    return [values[start : start + rows] for start in range(0, len(values), rows)]


def _tiles(values: NDArray[Any], side: int) -> list[NDArray[Any]]:
    height, width, samples = values.shape
    blocks = []
    for top in range(0, height, side):
        for left in range(0, width, side):
            block = np.zeros((side, side, samples), dtype=values.dtype)
            part = values[top : top + side, left : left + side]
            block[: part.shape[0], : part.shape[1]] = part
            blocks.append(block)
    return blocks


def _coded(block: NDArray[Any], order: str, *, deflate: bool, predictor: int) -> bytes:
    if predictor == 2:
        first = np.zeros_like(block[:, :1])
        block = np.diff(block, axis=1, prepend=first)  # modulo 2^bits, as unsigned integers do
    data = block.astype(f"{order}{block.dtype.str[1:]}").tobytes()
    return zlib.compress(data) if deflate else data


def _file(body: bytes, entries: list[tuple[int, int, list[int]]], order: str) -> bytes:
    name: Any = "little" if order == "<" else "big"
    start = 8 + len(body)
    after = start + 2 + 12 * len(entries) + 4
    directory, lists = len(entries).to_bytes(2, name), b""
    for tag, kind, numbers in entries:
        size = 2 if kind == _SHORT else 4
        value = b"".join(number.to_bytes(size, name) for number in numbers)
        if len(value) > 4:
            place = (after + len(lists)).to_bytes(4, name)
            lists += value + bytes(len(value) % 2)
            value = place
        directory += tag.to_bytes(2, name) + kind.to_bytes(2, name)
        directory += len(numbers).to_bytes(4, name) + value.ljust(4, b"\0")
    mark = b"II" if order == "<" else b"MM"
    head = mark + (42).to_bytes(2, name) + start.to_bytes(4, name)
    return head + body + directory + bytes(4) + lists
