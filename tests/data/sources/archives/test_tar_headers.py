"""Headers of archives are read as Python's own module reads them, or refused."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottleneck.data.sources.archives.tar_headers import TarEntry, TarReader
from bottleneck.data.sources.random_access import RandomAccessFile
from bottleneck.errors import ImagesTableError
from tests.helpers.archives import write_tar
from tests.helpers.image_tables import one_line

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def entries(path: Path) -> list[TarEntry]:
    return list(TarReader(RandomAccessFile(path)).entries())


def contents(path: Path) -> dict[str, bytes]:
    reader = TarReader(RandomAccessFile(path))
    found = list(reader.entries())
    return {entry.name: reader.read(entry.offset, entry.size) for entry in found}


@pytest.mark.parametrize("form", FORMATS)
def test_members_are_those_that_were_written(tmp_path: Path, form: str) -> None:
    members = {
        "a.jpg": b"x",
        "empty.jpg": b"",
        "exactly.jpg": b"y" * 512,
        "large.jpg": bytes(range(256)) * 3000,
        "folder/" * 12 + "b.jpg": b"z",  # more than 100 characters: in two parts in ustar
    }
    if form != "ustar":
        members["d" * 120 + "/" + "n" * 300 + ".jpg"] = b"long"
        members["é/日本.jpg"] = b"names"
    path = write_tar(tmp_path / "a.tar", members, format=FORMATS[form])
    assert contents(path) == members


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
        .map(lambda name: name.strip("/"))
        .filter(bool),
        st.binary(max_size=1200),
        max_size=12,
    ),
    st.sampled_from(["gnu", "pax"]),
)
def test_any_names_and_sizes_are_read_as_by_tarfile(
    tmp_path_factory: pytest.TempPathFactory, members: dict[str, bytes], form: str
) -> None:
    path = write_tar(tmp_path_factory.mktemp("tar") / "a.tar", members, format=FORMATS[form])
    with tarfile.open(path) as archive:
        expected = [(m.name, m.offset_data, m.size) for m in archive.getmembers()]
    assert [(e.name, e.offset, e.size) for e in entries(path)] == expected


def test_a_name_that_is_not_unicode_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    info = tarfile.TarInfo("\udcff.jpg")
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + bytes(1024))
    assert [entry.name for entry in entries(path)] == ["\udcff.jpg"]


def test_links_folders_and_holes_are_distinguished(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    kinds = {
        "file": tarfile.REGTYPE,
        "old file": tarfile.AREGTYPE,
        "hard": tarfile.LNKTYPE,
        "soft": tarfile.SYMTYPE,
        "folder": tarfile.DIRTYPE,
        "pipe": tarfile.FIFOTYPE,
        "holes": tarfile.GNUTYPE_SPARSE,
    }
    with path.open("wb") as file:
        for name, kind in kinds.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "file" if kind in b"12" else ""
            file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.write(bytes(1024))
    found = {entry.name.rstrip("/"): (entry.kind, entry.target) for entry in entries(path)}
    assert found == {
        "file": ("file", ""),
        "old file": ("file", ""),
        "hard": ("hard link", "file"),
        "soft": ("link", "file"),
        "folder": ("other", ""),
        "pipe": ("other", ""),
        "holes": ("sparse", ""),
    }


def test_a_sparse_file_of_pax_is_one_with_holes(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    info = tarfile.TarInfo("GNUSparseFile.0/a.jpg")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.name": "a.jpg"}
    path.write_bytes(info.tobuf(tarfile.PAX_FORMAT) + bytes(1024))
    assert [(entry.name, entry.kind) for entry in entries(path)] == [("a.jpg", "sparse")]


def test_comments_for_the_whole_archive_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write_tar(path, {"a.jpg": b"x"}, format=tarfile.PAX_FORMAT, pax_headers={"comment": "é"})
    assert [entry.name for entry in entries(path)] == ["a.jpg"]


def test_archives_that_were_written_one_after_the_other_are_one(tmp_path: Path) -> None:
    first = write_tar(tmp_path / "1.tar", {"1.jpg": b"1"}).read_bytes()
    second = write_tar(tmp_path / "2.tar", {"2.jpg": b"2"}).read_bytes()
    path = tmp_path / "a.tar"
    path.write_bytes(first + second)
    assert contents(path) == {"1.jpg": b"1", "2.jpg": b"2"}


def test_bytes_after_the_end_of_an_archive_are_ignored(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"1"})
    path.write_bytes(path.read_bytes() + b"signature" * 100)
    assert [entry.name for entry in entries(path)] == ["1.jpg"]


def test_an_archive_without_blocks_at_its_end_is_whole(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"1", "2.jpg": b"2" * 512})
    path.write_bytes(path.read_bytes()[: 4 * 512])
    assert [entry.name for entry in entries(path)] == ["1.jpg", "2.jpg"]


def test_sizes_of_more_than_eight_gibibytes_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    info = tarfile.TarInfo("1.jpg")
    info.size = 9 << 30
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT))
    assert [entry.size for entry in entries(path)] == [9 << 30]  # and it ends before


def damaged(name: str = "2.jpg", **header: object) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        info = tarfile.TarInfo(name)
        block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        for field, value in header.items():
            start, count = {"size": (124, 12), "kind": (156, 1)}[field]
            assert isinstance(value, bytes)
            block[start : start + count] = value.ljust(count, b"\0")
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        return data[:1024] + bytes(block) + bytes(1024)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: b"no archive" * 100, "no member was found"),
        (lambda data: data[:700] + b"\xff" + data[701:1024] + b"junk" * 200, "after|before"),
        (lambda data: data[:1024] + data[:300], "cut off at byte 1024; 1 member was found"),
        (damaged(size=b"\xff" * 12), "impossible size"),
        (damaged(size=b"\x80" + b"\xff" * 11), "impossible size"),
        (damaged(size=b"zzz"), "without numbers"),
        (damaged(kind=b"x", size=b"77777777777"), "claims 8589934591 bytes"),
        (damaged(kind=b"L", size=b"77777777777"), "claims 8589934591 bytes"),
        (damaged(kind=b"x", size=b"3777777"), "extended header that is cut off"),
        (damaged(kind=b"L", size=b"10"), "before a member whose name it has"),
    ],
)
def test_a_damaged_archive_says_where_and_behind_how_many_members(
    tmp_path: Path, change: Callable[[bytes], bytes], said: str
) -> None:
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"1"})
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ImagesTableError, match=said) as caught:
        entries(path)
    assert one_line(caught)
    assert str(path) in str(caught.value)


def test_any_changed_byte_of_a_header_is_noticed(tmp_path: Path) -> None:
    path = write_tar(
        tmp_path / "a.tar", {"1.jpg": b"1", "2.jpg": b"2"}, format=tarfile.USTAR_FORMAT
    )
    whole = path.read_bytes()
    for at in (0, 60, 125, 156, 345, 511):  # of the name to the end, in the second header
        changed = bytearray(whole)
        changed[1024 + at] ^= 1
        path.write_bytes(changed)
        with pytest.raises(ImagesTableError, match="wrong checksum, at byte 1024; 1 member was"):
            entries(path)


@pytest.mark.parametrize(
    "record", [b"9999 path=x\n", b"-1 path=x\n", b"0 path=x\n", b"x path=x\n", b"11 path=xyz", b"5"]
)
def test_records_of_a_wrong_length_are_refused(tmp_path: Path, record: bytes) -> None:
    path = tmp_path / "a.tar"
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, len(record)
    whole = info.tobuf(tarfile.USTAR_FORMAT) + record.ljust(512, b"\0")
    path.write_bytes(whole + tarfile.TarInfo("1.jpg").tobuf() + bytes(1024))
    with pytest.raises(ImagesTableError, match="extended header whose records"):
        entries(path)


@pytest.mark.parametrize("size", [b"-5", b"9" * 5000, b"1e3", b"\xff"])
def test_a_size_of_pax_that_is_none_is_refused(tmp_path: Path, size: bytes) -> None:
    path = tmp_path / "a.tar"
    record = b"size=" + size + b"\n"
    record = b"%d %s" % (len(record) + 1 + len(str(len(record) + 3)), record)
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, len(record)
    padded = record.ljust(-(-len(record) // 512) * 512, b"\0")
    path.write_bytes(info.tobuf() + padded + tarfile.TarInfo("1.jpg").tobuf() + bytes(1024))
    with pytest.raises(ImagesTableError, match="size"):
        entries(path)


def test_a_name_of_pax_with_a_nul_is_refused(tmp_path: Path) -> None:
    member = tarfile.TarInfo("1.jpg")
    member.pax_headers = {"path": "a\0b.jpg"}
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(member)
    with pytest.raises(ImagesTableError, match="a name with a NUL at byte 1024") as caught:
        entries(tmp_path / "a.tar")
    assert one_line(caught)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_compressed_archive_is_refused_with_the_reason(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, f"w:{kind}") as archive:  # type: ignore[call-overload]
        archive.addfile(tarfile.TarInfo("1.jpg"), io.BytesIO())
    with pytest.raises(ImagesTableError, match=r"is compressed .*unpack it to a \.tar once"):
        entries(path)


def test_an_empty_file_has_no_members(tmp_path: Path) -> None:
    (tmp_path / "a.tar").touch()
    assert entries(tmp_path / "a.tar") == []
