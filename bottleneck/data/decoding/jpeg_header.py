"""Read the header of a usual JPEG, in some microseconds.

Pillow decides which files are accepted, with which size, colours and orientation. It reads a
header in a tenth of a millisecond or more, and holds Python's lock, so that no other thread gets
on. A header is usual where all of that is certain without Pillow: nothing but a plain sequence of
segments (ITU-T T.81, annex B), none of which it could refuse, or understand in another way.
"""

import re
import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bottleneck.data.decoding.orientation import read_orientation

# Markers (T.81, table B.1).
_APP0, _APP1, _APP2, _APP13, _APP14 = 0xE0, 0xE1, 0xE2, 0xED, 0xEE
_DHT, _DQT, _DRI, _COM, _SOS = 0xC4, 0xDB, 0xDD, 0xFE, 0xDA
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2  # of the Huffman-coded frames
_FRAMES = (*_SEQUENTIAL, _PROGRESSIVE)
_BEFORE_A_SCAN = frozenset((*_FRAMES, _DHT, _DQT, _DRI, _COM, *range(_APP0, _APP0 + 16)))

_ADOBE_TRANSFORM = 11  # where Adobe's segment says whether colours are coded as YCbCr

_EXIF = b"Exif\0\0"
_XMP, _XMP_ORIENTATION = b"http://ns.adobe.com/xap/1.0/\0", b"tiff:Orientation"
_MORE_PICTURES = b"MPF\0"  # CIPA DC-007; Pillow calls such a file MPO,
_GAIN_MAP = b' hdrgm:Version="'  # unless the other picture makes the first one brighter

# Decoding takes time for each scan. Usual progressive files have about ten of them.
MAX_SCANS = 100
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")  # does not occur within coded pixels

_SEGMENT = struct.Struct(">BBH")  # 0xFF, marker, length from the length on
_FRAME = struct.Struct(">BHHB")  # bits, height, width, components


class JpegHeader(NamedTuple):
    """What the header of a usual JPEG says: three components or one, of 8 bits, Huffman-coded.

    Attributes
    ----------
    width, height : int
    orientation : int
        By EXIF; 0 if there is none.
    one_scan : bool
        Whether all components are coded in one scan, after which no other may come.
    """

    width: int
    height: int
    orientation: int
    one_scan: bool


_Segment = tuple[int, int, int]  # marker, where it starts after its length, and where it ends
_Check = Callable[[bytes, int, int], bool]  # of the file, and where a segment starts and ends


def read_usual_header(data: bytes) -> JpegHeader | None:
    """Return the fields of a header; None if it is unusual.

    Parameters
    ----------
    data : bytes
        A file of any kind.

    Examples
    --------
    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("RGB", (40, 30)).save(file, "JPEG")
    >>> read_usual_header(file.getvalue())
    JpegHeader(width=40, height=30, orientation=0, one_scan=True)
    >>> read_usual_header(b"GIF89a") is None
    True
    """
    segments = _segments(data)
    frames = [segment for segment in segments if segment[0] in _FRAMES]
    if len(frames) != 1 or not all(
        _CHECKS[marker](data, start, end) for marker, start, end in segments if marker in _CHECKS
    ):
        return None
    orientation = _orientation(data, segments)
    if orientation is None or _has_more_pictures(data, segments):
        return None
    (marker, frame, _), (_, scan, _) = frames[0], segments[-1]
    _, height, width, components = _FRAME.unpack_from(data, frame)
    one_scan = marker in _SEQUENTIAL and data[scan] == components
    return JpegHeader(width, height, orientation, one_scan)


def may_be_rgb(data: bytes) -> bool:
    """Return whether the components of a usual JPEG may be red, green and blue, and not YCbCr.

    Parameters
    ----------
    data : bytes
        A file whose header `read_usual_header` returns.

    Examples
    --------
    >>> import io
    >>> from PIL import Image
    >>> for keep_rgb in (False, True):
    ...     file = io.BytesIO()
    ...     Image.new("RGB", (40, 30)).save(file, "JPEG", keep_rgb=keep_rgb)
    ...     print(may_be_rgb(file.getvalue()))
    False
    True
    """
    # What libjpeg goes by, in an order of its own (`default_decompress_parms`).
    for marker, start, end in _segments(data):
        if marker == _APP14 and data.startswith(b"Adobe", start, end):
            if data[start + _ADOBE_TRANSFORM] == 0:
                return True
        elif marker in _FRAMES and data[start + _FRAME.size : end : 3] == b"RGB":
            return True
    return False


def has_many_scans(data: bytes) -> bool:
    """Return whether a JPEG has more scans before its end marker than `MAX_SCANS`.

    Most of the work is done without Python's lock.
    """
    values = np.frombuffer(data, dtype=np.uint8)
    scans = values[:-1] == 0xFF
    scans &= values[1:] == _SOS
    # That includes these two bytes in data after the picture, such as a film.
    return bool(np.count_nonzero(scans) > MAX_SCANS and _count_scans(data) > MAX_SCANS)


def _count_scans(data: bytes) -> int:
    count, offset = 0, 2
    while (marker := _MARKER.search(data, offset)) and marker[1] != b"\xd9":
        count += marker[1] == b"\xda"
        offset = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return count


def _segments(data: bytes) -> list[_Segment]:
    """Return all segments up to the first scan's header; none if they are no plain sequence."""
    segments: list[_Segment] = []
    end = 2 if data.startswith(b"\xff\xd8") else len(data)
    while end + _SEGMENT.size <= len(data):
        prefix, marker, length = _SEGMENT.unpack_from(data, end)
        start, end = end + _SEGMENT.size, end + 2 + length
        if prefix != 0xFF or length <= 2 or end > len(data):
            break
        segments.append((marker, start, end))
        if marker == _SOS:
            return segments
        if marker not in _BEFORE_A_SCAN:
            break
    return []


def _is_usual_frame(data: bytes, start: int, end: int) -> bool:
    if end - start < _FRAME.size:
        return False
    bits, height, width, components = _FRAME.unpack_from(data, start)
    size = _FRAME.size + 3 * components
    return bits == 8 and bool(width and height) and components in (1, 3) and end - start == size


def _has_tables_of_bytes(data: bytes, start: int, end: int) -> bool:
    # 64 values each; a higher half-byte before them says 16 bits.
    return (end - start) % 65 == 0 and max(data[start:end:65]) < 16


def _has_complete_resources(data: bytes, start: int, end: int) -> bool:
    # Pillow goes on to a resource's name, even if it would be beyond the segment's end.
    return data[end - 6 : end - 2] != b"8BIM"


def _begins_completely(begin: bytes, least: int) -> _Check:
    """Return a check of an application's segment, of which Pillow always reads `least` bytes."""
    return lambda data, start, end: end - start >= least or not data.startswith(begin, start, end)


# By marker, whether Pillow takes a segment for sure, and it changes nothing that counts here. It
# takes any segment with other markers.
_CHECKS: dict[int, _Check] = {
    **dict.fromkeys(_FRAMES, _is_usual_frame),
    _DQT: _has_tables_of_bytes,
    _APP0: _begins_completely(b"JFIF", 7),
    _APP2: _begins_completely(b"ICC_PROFILE\0", 14),
    _APP13: _has_complete_resources,
    _APP14: _begins_completely(b"Adobe", 7),
}


def _has_more_pictures(data: bytes, segments: list[_Segment]) -> bool:
    """Return whether Pillow may see a file of more pictures than one."""
    indexed = any(
        marker == _APP2 and data.startswith(_MORE_PICTURES, start, end)
        for marker, start, end in segments
    )
    return indexed and not any(
        marker == _APP1 and data.find(_GAIN_MAP, start, end) >= 0 for marker, start, end in segments
    )


def _orientation(data: bytes, segments: list[_Segment]) -> int | None:
    """Return the orientation, 0 if there is none; None if only Pillow knows."""
    places = [(start, end) for marker, start, end in segments if marker == _APP1]
    exif = [data[start + 6 : end] for start, end in places if data.startswith(_EXIF, start, end)]
    if len(exif) > 1:
        return None
    orientation = read_orientation(exif[0]) if exif else 0
    # XMP counts where EXIF says nothing. Searching it takes a while.
    said_elsewhere = orientation == 0 and any(
        data.startswith(_XMP, start, end) and data.find(_XMP_ORIENTATION, start, end) >= 0
        for start, end in places
    )
    return None if said_elsewhere else orientation
