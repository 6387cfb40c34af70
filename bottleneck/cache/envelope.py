"""Sealed files: two lines in front say what a file is and what all of its bytes must be.

HDF5 leaves whoever writes a file some room before its own beginning (the *user block*), and every
HDF5 reader skips it. There stand

* the file's kind and version, and the digest of the second line;
* a header in JSON, among it the length of the file and the digest of all that follows.

So a few hundred bytes tell whether a file is whole, and of what; one pass over it finds any byte
that is not as it was written, before HDF5 looks at a single one.
"""

import hashlib
import json
import mmap
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from bottleneck.errors import ShardError, format_error
from bottleneck.runtime.files import sha256

_SMALLEST_ROOM = 512  # bytes, as HDF5 wants it; larger ones are powers of two
_LONGEST_LINE = 1 << 26  # of a header: a shard in which every image was rejected, with reasons
_AT_ONCE = 1 << 18
_FIRST_LINE = re.compile(rb"([a-z-]{1,32}) (\d{1,9}) ([0-9a-f]{64})\n")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_NO_DIGEST = "0" * 64


@dataclass(frozen=True)
class FileType:
    """What a sealed file is: a name of small letters and dashes, and the version of its format."""

    name: str
    version: int


def envelope_size(file_type: FileType, header: dict[str, Any]) -> int:
    """Bytes to leave free at the beginning of a file for its seal."""
    needed = len(_lines(file_type, {**header, "bytes": 1 << 62, "sha256": _NO_DIGEST}))
    return max(_SMALLEST_ROOM, 1 << (needed - 1).bit_length())


def build_envelope(
    content: mmap.mmap | bytearray, file_type: FileType, header: dict[str, Any]
) -> bytes:
    """The seal of a file: what is to be written at its beginning.

    Parameters
    ----------
    content : mmap or bytearray
        The whole file, whose first `envelope_size` bytes are zeros.
    file_type : FileType
    header : dict
        What can be written as JSON; ``bytes`` and ``sha256`` are added.
    """
    # The digest has the same length whatever it is, so the header's end is known before it.
    end = len(_lines(file_type, {**header, "bytes": len(content), "sha256": _NO_DIGEST}))
    with memoryview(content) as view, view[end:] as rest:
        digest = sha256(rest)
    return _lines(file_type, {**header, "bytes": len(content), "sha256": digest})


def read_envelope(path: Path, file_type: FileType) -> dict[str, Any]:
    """What a sealed file says of itself; of the rest, only that its length is right is checked.

    Raises
    ------
    ShardError
        It is absent, of another kind or version, cut short, or its first lines were changed.
    """
    with _opened(path) as file:
        return _read_header(path, file, file_type)


def verify_envelope(path: Path, file_type: FileType) -> dict[str, Any]:
    """What a sealed file says of itself, after every byte of it was compared with its digest.

    Raises
    ------
    ShardError
        As by `read_envelope`, or some byte is not as it was written.
    """
    with _opened(path) as file:
        header = _read_header(path, file, file_type)
        try:
            found = _digest(file)
        except OSError as error:
            raise ShardError(f"{path} cannot be read: {format_error(error)}") from error
    if found != header["sha256"]:
        raise ShardError(f"{path}: its bytes are not those that were written (sha256 differs)")
    return header


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise ShardError(f"{path} cannot be opened: {format_error(error)}") from error


def _read_header(path: Path, file: BinaryIO, file_type: FileType) -> dict[str, Any]:
    try:
        first, second = file.readline(128), file.readline(_LONGEST_LINE)
        length = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise ShardError(f"{path} cannot be read: {format_error(error)}") from error
    found = _FIRST_LINE.fullmatch(first)
    if found is None:
        what = "an HDF5 file without a seal" if first.startswith(_HDF5[:6]) else "something else"
        raise ShardError(f"{path} is no {file_type.name}, it is {what}")
    name, version, digest = found[1].decode(), int(found[2]), found[3].decode()
    if name != file_type.name:
        raise ShardError(f"{path} is no {file_type.name}, it is a {name}")
    if version != file_type.version:
        raise ShardError(
            f"{path} has format version {version}; this program reads version {file_type.version}"
        )
    if sha256(second) != digest:
        raise ShardError(f"{path}: its header is not that which was written (sha256 differs)")
    header = _parsed(path, second)
    if header["bytes"] != length:
        raise ShardError(f"{path} has {length} bytes in place of {header['bytes']}")
    return header


def _parsed(path: Path, line: bytes) -> dict[str, Any]:
    try:
        header = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ShardError(f"{path}: its header cannot be read: {format_error(error)}") from error
    if not (isinstance(header, dict) and {"bytes", "sha256"} <= header.keys()):
        raise ShardError(f"{path}: its header is none")
    return header


def _lines(file_type: FileType, header: dict[str, Any]) -> bytes:
    line = json.dumps(header).encode() + b"\n"
    return f"{file_type.name} {file_type.version} {sha256(line)}\n".encode() + line


def _digest(file: BinaryIO) -> str:
    """Of all from here to the end."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_AT_ONCE))
    while count := file.readinto(buffer):  # type: ignore[attr-defined]
        digest.update(buffer[:count])
    return digest.hexdigest()
