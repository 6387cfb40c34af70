"""Read the headers of a tar archive: what lies where, without reading the members themselves.

The formats are POSIX ustar and pax (IEEE Std 1003.1, "pax", section "Extended Description"), GNU
tar and the older v7. An archive is untrusted: every number is checked, nothing is read beyond the
file's end, and names are only names.
"""

from collections.abc import Iterator
from typing import NamedTuple
from zlib import adler32

from bottleneck.data.sources.random_access import RandomAccessFile
from bottleneck.errors import ImagesTableError
from bottleneck.runtime import format_count

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_MOST_ZEROS = 2048  # blocks between two archives that were written one after the other
_MOST_BYTES = 1 << 60  # of a member
_MOST_EXTENDED = 1 << 20  # bytes of a member's extended header, which is a few hundred

_PAGE = 4096  # read where members are far apart, as those of photographs are
_MOST_AT_ONCE = 1 << 18  # read where they are close together

_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
}


class TarEntry(NamedTuple):
    """A member of an archive.

    Attributes
    ----------
    name : str
        As it is written in the archive; bytes that are not UTF-8 are escaped.
    kind : str
        ``"file"``, ``"sparse"`` (a file with holes), ``"hard link"``, ``"link"`` or ``"other"``.
    offset, size : int
        Where its bytes lie. They may claim to go on behind the end of the archive.
    target : str
        The name that a link leads to.
    """

    name: str
    kind: str
    offset: int
    size: int
    target: str


class _BadHeaderError(Exception):
    """What is wrong with a header."""


class TarReader:
    r"""Go through the members of an archive.

    Parameters
    ----------
    file : RandomAccessFile

    Attributes
    ----------
    count : int
        Members that were found so far.
    has_end_marker : bool
        Whether blocks of zeros, the end-of-archive marker, follow the last member that was found.

    Raises
    ------
    ImagesTableError
        The archive is compressed.

    Examples
    --------
    >>> import io, tarfile, tempfile
    >>> from pathlib import Path
    >>> with tempfile.NamedTemporaryFile(suffix=".tar") as name:
    ...     with tarfile.open(name.name, "w") as archive:
    ...         archive.add("data/digits/test/5/0015.png", "5/0015.png")
    ...     reader = TarReader(RandomAccessFile(Path(name.name)))
    ...     (entry,) = reader.entries()
    ...     entry.name, entry.kind, reader.read(entry.offset, 4)
    ('5/0015.png', 'file', b'\x89PNG')
    """

    def __init__(self, file: RandomAccessFile) -> None:
        self.count, self.has_end_marker = 0, False
        self._file = file
        self._data, self._start, self._at_once = b"", 0, _PAGE
        first = self.read(0, 6)
        for magic, name in _MAGIC.items():
            if first.startswith(magic):
                raise ImagesTableError(
                    f"{file.stamp.path} is compressed ({name}), so that no member can be read "
                    "without all that are before it: unpack it to a .tar once; images are "
                    "compressed already"
                )

    def entries(self) -> Iterator[TarEntry]:
        """Yield the members in their order.

        The last one may be cut off: then its bytes go on behind the end of the archive.

        Raises
        ------
        ImagesTableError
            A header is malformed or cut off. The message says where, and behind how many members.
        OSError
            The storage fails.
        """
        offset, zeros, end = 0, 0, self._file.stamp.size
        extended: dict[str, bytes] = {}
        while offset < end and zeros < _MOST_ZEROS:
            block = self.read(offset, _BLOCK)
            if block == _ZEROS[: len(block)]:
                offset, zeros, self.has_end_marker = offset + _BLOCK, zeros + 1, True
                continue
            try:
                kind, size, entry = _parse_header(block, offset, extended)
                if kind in b"xXLK":
                    extended |= self._extended(kind, offset + _BLOCK, size)
                    offset += _BLOCK + _padded(size)
                    continue
                if kind == b"S":
                    entry = entry._replace(offset=self._behind_sparse_map(block, offset))
            except _BadHeaderError as error:
                if zeros > 1 and self.count:
                    return  # not part of the archive, which two blocks of zeros end
                raise self.damage(f"{error} at byte {offset}") from error
            zeros, self.has_end_marker, offset = 0, False, entry.offset + _padded(size)
            if kind != b"g":  # a header for the whole archive, such as a comment
                extended = {}
                self.count += 1
                yield entry
        if extended:
            raise self.damage(f"it ends at byte {end}, before a member whose name it has")

    def read(self, offset: int, count: int) -> bytes:
        """Return bytes of the archive; fewer than `count` if it ends before.

        Parts that are close together are read from the disk at once.
        """
        begin = offset - self._start
        if not 0 <= begin <= len(self._data) - count:
            near = 0 <= begin <= len(self._data) + _PAGE
            self._at_once = min(2 * self._at_once, _MOST_AT_ONCE) if near else _PAGE
            self._data = self._file.read(offset, max(count, self._at_once))
            self._start, begin = offset, 0
        return self._data[begin : begin + count]

    def damage(self, what: str) -> ImagesTableError:
        """Return the error that says what is wrong with the archive, and how far it is sound."""
        found = format_count(self.count, "member was", "members were")
        found = f"{found} found before" if self.count else "no member was found"
        return ImagesTableError(
            f"{self._file.stamp.path} is not a tar archive, or a damaged one: {what}; {found}: "
            "copy or make it again"
        )

    def _extended(self, kind: bytes, offset: int, size: int) -> dict[str, bytes]:
        if size > _MOST_EXTENDED:
            raise _BadHeaderError(f"an extended header that claims {size} bytes")
        data = self.read(offset, size)
        if len(data) < size:
            raise _BadHeaderError("an extended header that is cut off")
        if kind in b"xX":
            return _parse_pax(data)
        return {"path" if kind == b"L" else "linkpath": data.split(b"\0", 1)[0]}

    def _behind_sparse_map(self, block: bytes, offset: int) -> int:
        # GNU tar's own format goes on in further blocks, each of which says whether one follows.
        more = block[482]
        while more:
            offset += _BLOCK
            block = self.read(offset, _BLOCK)
            if len(block) < _BLOCK:
                raise _BadHeaderError("a map of holes that is cut off")
            more = block[504]
        return offset + _BLOCK


_KINDS = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"1": "hard link",
    b"2": "link",
    b"S": "sparse",
}
_WITHOUT_DATA = b"123456"  # links, devices, folders, pipes: their size is of something else


def _parse_header(
    block: bytes, offset: int, extended: dict[str, bytes]
) -> tuple[bytes, int, TarEntry]:
    """Return a header's type, the bytes behind it, and the member that it describes."""
    if len(block) < _BLOCK:
        raise _BadHeaderError("a header that is cut off")
    checksum = _parse_number(block[148:156])
    # The checksum is the sum of all bytes, with its own taken as blanks. The lower half of Adler-32
    # is one more than a sum of bytes, modulo 65521, and ten times as fast as `sum`.
    total = checksum - 8 * 32 + sum(block[148:156])
    if (total + 1) % 65521 != adler32(block) & 0xFFFF:
        raise _BadHeaderError("no header, or one of a wrong checksum,")
    kind = block[156:157]
    size = _parse_size(extended["size"]) if "size" in extended else _parse_number(block[124:136])
    if not 0 <= size <= _MOST_BYTES:
        raise _BadHeaderError("a member of an impossible size")
    name = extended.get("path") or _short_name(block)
    described = _KINDS.get(kind, "other")
    if kind in b"0\x007" and any(key.startswith("GNU.sparse") for key in extended):
        described, name = "sparse", extended.get("GNU.sparse.name", name)
    if b"\0" in name:
        raise _BadHeaderError("a name with a NUL")
    if described == "file" and name.endswith(b"/"):
        described = "other"  # v7 has no type for folders
    target = extended.get("linkpath") or block[157:257].split(b"\0", 1)[0]
    if kind in _WITHOUT_DATA:
        size = 0
    entry = TarEntry(_text(name), described, offset + _BLOCK, size, _text(target))
    return kind, size, entry


def _short_name(block: bytes) -> bytes:
    name = block[:100].split(b"\0", 1)[0]
    prefix = block[345:500].split(b"\0", 1)[0]
    # GNU tar has other things there.
    return prefix + b"/" + name if prefix and block[257:263] == b"ustar\0" else name


def _parse_number(field: bytes) -> int:
    """Parse an octal number, or one of base 256 as GNU tar writes those that are too large."""
    if field[0] in (0x80, 0xFF):
        return int.from_bytes(field[1:], "big", signed=field[0] == 0xFF)
    try:
        return int(field.split(b"\0", 1)[0].strip() or b"0", 8)
    except ValueError as error:
        raise _BadHeaderError("a header without numbers") from error


def _parse_size(text: bytes) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise _BadHeaderError("an extended header whose size is no number") from error


def _parse_pax(data: bytes) -> dict[str, bytes]:
    """Parse records of the form ``length keyword=value`` and a line break."""
    records: dict[str, bytes] = {}
    at = 0
    while at < len(data) and data[at]:
        blank = data.find(b" ", at, at + 20)
        try:
            end = at + int(data[at:blank])
        except ValueError as error:
            raise _BadHeaderError("an extended header whose records have no length") from error
        if not at < blank < end <= len(data) or data[end - 1] != 10:
            raise _BadHeaderError("an extended header whose records have a wrong length")
        keyword, _, value = data[blank + 1 : end - 1].partition(b"=")
        records[_text(keyword)] = value
        at = end
    return records


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
