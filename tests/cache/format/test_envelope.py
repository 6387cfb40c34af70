import errno
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottleneck.cache.format.envelope import (
    FileType,
    build_envelope,
    envelope_size,
    open_envelope,
    verify_envelope,
)
from bottleneck.errors import ShardError

FILE_TYPE = FileType("test-kind", 7)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def read_envelope(path: Path, file_type: FileType) -> dict[str, Any]:
    """Return the header of a file, whose content is not verified."""
    with open_envelope(path, file_type) as opened:
        return opened.header


def with_envelope(path: Path, header: dict[str, Any], body: bytes = b"some bytes") -> Path:
    content = bytearray(envelope_size(FILE_TYPE, header)) + body
    lines = build_envelope(content, FILE_TYPE, header)
    path.write_bytes(lines + content[len(lines) :])
    return path


@given(header=st.dictionaries(st.text(), VALUES, max_size=4), body=st.binary(max_size=3000))
def test_a_header_and_a_file_are_read_as_they_were_written(
    header: dict[str, Any], body: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "envelope"
    with_envelope(path, header, body)
    found = verify_envelope(path, FILE_TYPE)
    assert found == read_envelope(path, FILE_TYPE)
    assert {key: found[key] for key in header if key not in ("bytes", "sha256")} == {
        key: value for key, value in header.items() if key not in ("bytes", "sha256")
    }
    # By hand: two lines, each with the digest of what is behind it.
    content = path.read_bytes()
    assert content.endswith(body)
    first, second, rest = content.split(b"\n", 2)
    name, version, digest = first.split()
    assert (name, version) == (b"test-kind", b"7")
    assert digest.decode() == hashlib.sha256(second + b"\n").hexdigest()
    assert json.loads(second)["sha256"] == hashlib.sha256(rest).hexdigest()
    assert json.loads(second)["bytes"] == len(content)


@pytest.mark.parametrize("length", [0, 1, 300, 301, 302, 303, 304, 305, 306, 5000])
def test_the_size_is_allowed_by_hdf5_and_holds_the_header(tmp_path: Path, length: int) -> None:
    header = {"text": "x" * length}
    room = envelope_size(FILE_TYPE, header)
    assert room >= 512
    assert room & (room - 1) == 0
    path = with_envelope(tmp_path / "file", header, b"body")
    assert path.read_bytes()[room:] == b"body"


def write_at(file: io.FileIO, offset: int, byte: int) -> None:
    file.seek(offset)
    file.write(bytes([byte]))


def test_any_changed_byte_is_found(tmp_path: Path) -> None:
    whole = with_envelope(tmp_path / "file", {"a": 1.5, "b": "text"}).read_bytes()
    path = tmp_path / "file"
    with path.open("r+b", buffering=0) as file:  # writing the file anew each time takes longer
        for offset in range(len(whole)):
            for bit in range(8):
                write_at(file, offset, whole[offset] ^ 1 << bit)
                with pytest.raises(ShardError):
                    verify_envelope(path, FILE_TYPE)
            write_at(file, offset, whole[offset])
    assert verify_envelope(path, FILE_TYPE)["a"] == 1.5


def test_a_changed_header_is_found_without_reading_the_rest(tmp_path: Path) -> None:
    path = with_envelope(tmp_path / "file", {"rows": 3})
    path.write_bytes(path.read_bytes().replace(b'"rows": 3', b'"rows": 4'))
    with pytest.raises(ShardError, match="its header is not that which was written"):
        read_envelope(path, FILE_TYPE)


@pytest.mark.parametrize("by", [-1, -9, 1, 1000])
def test_a_file_of_another_length_is_found_without_reading_it(tmp_path: Path, by: int) -> None:
    path = with_envelope(tmp_path / "file", {})
    whole = path.read_bytes()
    path.write_bytes(whole[:by] if by < 0 else whole + bytes(by))
    with pytest.raises(ShardError, match=rf"has {len(whole) + by} bytes in place of {len(whole)}"):
        read_envelope(path, FILE_TYPE)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is some other kind of file"),
        (b"text\n", "it is some other kind of file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(600), "it is an HDF5 file without an envelope"),
        (b"test-kind 7 " + b"0" * 63 + b"\n{}\n", "it is some other kind of file"),
        (b"test-kind 7 " + b"A" * 64 + b"\n{}\n", "it is some other kind of file"),
        (b"test-kind 7 " + b"0" * 64 + b"\n{}\n", "its header is not that which was written"),
    ],
)
def test_a_file_without_an_envelope_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ShardError, match=why):
        read_envelope(path, FILE_TYPE)


@pytest.mark.parametrize(
    "line", [b"", b"[]", b"{}", b'{"bytes": 5}', b"[" * 100_000, b"\xff", b"{"]
)
def test_a_malformed_header_is_refused_even_with_a_right_digest(
    tmp_path: Path, line: bytes
) -> None:
    path = tmp_path / "file"
    digest = hashlib.sha256(line + b"\n").hexdigest()
    path.write_bytes(f"test-kind 7 {digest}\n".encode() + line + b"\n")
    with pytest.raises(ShardError, match="its header"):
        read_envelope(path, FILE_TYPE)


def test_another_file_type_or_version_is_reported(tmp_path: Path) -> None:
    path = with_envelope(tmp_path / "file", {})
    with pytest.raises(ShardError, match="is no other, it is a test-kind"):
        read_envelope(path, FileType("other", 7))
    with pytest.raises(ShardError, match="version 7; this program reads version 8"):
        read_envelope(path, FileType("test-kind", 8))


def test_folders_and_absent_files_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ShardError, match="cannot be opened"):
            read_envelope(path, FILE_TYPE)


@pytest.mark.parametrize("number", [errno.EACCES, errno.ESTALE, errno.EMFILE])
def test_a_file_that_cannot_be_read_now_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = with_envelope(tmp_path / "file", {})

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with open_envelope(path, FILE_TYPE) as opened:
        monkeypatch.setattr(hashlib, "file_digest", refuse)
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            opened.verify()
    assert not isinstance(caught.value, ShardError)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        read_envelope(path, FILE_TYPE)
    assert not isinstance(caught.value, ShardError)
    assert caught.value.filename == str(path)
