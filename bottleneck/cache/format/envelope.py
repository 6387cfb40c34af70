"""Write and verify the text envelope at the beginning of each HDF5 file of a cache.

HDF5 allows free space at the beginning of a file (the *user block*), which every HDF5 reader
skips. The envelope is two lines in that space:

* the type and version of the file, and the digest of the second line;
* a header in JSON, which includes the length of the file and the digest of all bytes after it.

A few hundred bytes therefore say what a file holds and whether it has its full length. One pass
over the file detects any changed byte before HDF5 parses anything.
"""

import hashlib
import json
import mmap
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from bottleneck.data import is_storage_error
from bottleneck.errors import ShardError, format_error
from bottleneck.runtime import NO_DIGEST, sha256

_MIN_SIZE = 512  # bytes: HDF5 requires 512 or a larger power of two
_MAX_HEADER = 1 << 26  # bytes: enough for a shard in which every image was rejected
_FIRST_LINE = re.compile(rb"([a-z-]{1,32}) (\d{1,9}) ([0-9a-f]{64})\n")
_HDF5 = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class FileType:
    """Type of a file with an envelope.

    Attributes
    ----------
    name : str
        Small letters and dashes.
    version : int
        Version of the format.
    older : tuple of int
        Earlier versions that can be read as well.
    """

    name: str
    version: int
    older: tuple[int, ...] = ()

    @property
    def versions(self) -> tuple[int, ...]:
        """All versions that can be read."""
        return (*self.older, self.version)


@dataclass(frozen=True)
class EnvelopeFile:
    """An open file whose envelope was read.

    Attributes
    ----------
    path : Path
    file : BufferedReader
        Open for reading.
    header : dict
        The header, with ``bytes`` and ``sha256``.
    version : int
        Version of the file's format.
    """

    path: Path
    file: BufferedReader
    header: dict[str, Any]
    version: int
    _content_start: int

    def verify(self) -> None:
        """Compare every byte after the envelope with the digest in the header.

        Raises
        ------
        ShardError
            A byte differs, or a part of the file cannot be read.
        OSError
            The storage fails.
        """
        with _as_damage(self.path, "read"):
            self.file.seek(self._content_start)
            digest = hashlib.file_digest(self.file, "sha256").hexdigest()
        if digest != self.header["sha256"]:
            raise ShardError(
                f"{self.path}: its bytes are not those that were written (sha256 differs)"
            )


def envelope_size(file_type: FileType, header: dict[str, Any]) -> int:
    """Return how many bytes to leave free for the envelope at the beginning of a file.

    Examples
    --------
    >>> envelope_size(FileType("example", 1), {"layer": "conv1"})
    512
    """
    needed = len(_lines(file_type, {**header, "bytes": 1 << 62, "sha256": NO_DIGEST}))
    return max(_MIN_SIZE, 1 << (needed - 1).bit_length())


def build_envelope(
    content: mmap.mmap | bytearray, file_type: FileType, header: dict[str, Any]
) -> bytes:
    r"""Return the envelope of a file, to be written at its beginning.

    Parameters
    ----------
    content : mmap or bytearray
        All bytes of the file. The first `envelope_size` bytes must be zeros.
    file_type : FileType
    header : dict
        Values that JSON can store. The keys ``bytes`` and ``sha256`` are added.

    Examples
    --------
    >>> lines = build_envelope(bytearray(600), FileType("example", 1), {"layer": "conv1"})
    >>> lines.count(b"\n"), lines.startswith(b"example 1 ")
    (2, True)
    """
    # A digest always has the same length, so the end of the header is known before the digest.
    end = len(_lines(file_type, {**header, "bytes": len(content), "sha256": NO_DIGEST}))
    with memoryview(content) as view, view[end:] as rest:
        digest = sha256(rest)
    return _lines(file_type, {**header, "bytes": len(content), "sha256": digest})


@contextmanager
def open_envelope(path: Path, file_type: FileType) -> Iterator[EnvelopeFile]:
    """Open a file and read its envelope.

    Only the envelope and the length of the file are checked; `EnvelopeFile.verify` checks the
    remaining bytes on the same file handle.

    Parameters
    ----------
    path : Path
    file_type : FileType
        The type that the file must have, and its versions.

    Yields
    ------
    EnvelopeFile

    Raises
    ------
    ShardError
        The file is absent, of another type or version, or cut short, or its envelope was changed.
    OSError
        The file must not be read, or the storage fails.
    """
    with _as_damage(path, "opened"):
        file = path.open("rb")
    with file:
        yield _read_header(path, file, file_type)


def verify_envelope(path: Path, file_type: FileType) -> dict[str, Any]:
    """Compare every byte of a file with its digest and return its header.

    Parameters
    ----------
    path : Path
    file_type : FileType
        The type that the file must have, and its versions.

    Raises
    ------
    ShardError
        The file is absent, of another type or version, or cut short, or any byte was changed.
    OSError
        The file must not be read, or the storage fails.
    """
    with open_envelope(path, file_type) as opened:
        opened.verify()
        return opened.header


@contextmanager
def _as_damage(path: Path, how: str) -> Iterator[None]:
    """Turn an error of one file into `ShardError`; those of the storage and of rights remain.

    A file that another user may read, or that can be read tomorrow, is not to be made again.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, PermissionError) or is_storage_error(error):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise ShardError(f"{path} cannot be {how}: {format_error(error)}") from error


def _read_header(path: Path, file: BufferedReader, file_type: FileType) -> EnvelopeFile:
    with _as_damage(path, "read"):
        first, second = file.readline(128), file.readline(_MAX_HEADER)
        length = os.fstat(file.fileno()).st_size
    match = _FIRST_LINE.fullmatch(first)
    if match is None:
        what = (
            "an HDF5 file without an envelope"
            if first.startswith(_HDF5[:6])
            else "some other kind of file"
        )
        raise ShardError(f"{path} is no {file_type.name}, it is {what}")
    name, version, digest = match[1].decode(), int(match[2]), match[3].decode()
    if name != file_type.name:
        raise ShardError(f"{path} is no {file_type.name}, it is a {name}")
    if version not in file_type.versions:
        known = " and ".join(map(str, file_type.versions))
        raise ShardError(f"{path} has format version {version}; this program reads version {known}")
    if sha256(second) != digest:
        raise ShardError(f"{path}: its header is not that which was written (sha256 differs)")
    header = _parse_header(path, second)
    if header["bytes"] != length:
        raise ShardError(f"{path} has {length} bytes in place of {header['bytes']}")
    return EnvelopeFile(path, file, header, version, len(first) + len(second))


def _parse_header(path: Path, line: bytes) -> dict[str, Any]:
    try:
        header = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ShardError(f"{path}: its header cannot be read: {format_error(error)}") from error
    if not (isinstance(header, dict) and {"bytes", "sha256"} <= header.keys()):
        raise ShardError(f"{path}: its header lacks bytes or sha256")
    return header


def _lines(file_type: FileType, header: dict[str, Any]) -> bytes:
    line = json.dumps(header).encode() + b"\n"
    return f"{file_type.name} {file_type.version} {sha256(line)}\n".encode() + line
