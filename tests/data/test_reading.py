import errno
import os
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from bottleneck.data.images import open_images
from bottleneck.data.reading import mtime_ns, read_image_bytes
from bottleneck.data.table.image_table import ImageTable
from bottleneck.errors import ImageError
from tests.helpers.archives import write_tar
from tests.helpers.fixture_types import Extract
from tests.helpers.image_files import (
    FILES,
)
from tests.helpers.shards import missing_shards


def test_a_files_bytes_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(FILES["png"])
    (tmp_path / "link.png").symlink_to("a.png")
    assert (
        read_image_bytes(tmp_path / "a.png")
        == read_image_bytes(tmp_path / "link.png")
        == FILES["png"]
    )


def test_a_time_beyond_64_bits_is_the_last_or_first_of_them() -> None:
    found = [mtime_ns(Mock(st_mtime_ns=time)) for time in (-(1 << 64), -5, 5, 1 << 64)]
    assert found == [-(1 << 63), -5, 5, (1 << 63) - 1]


def test_no_file_has_the_time_that_says_in_a_table_that_there_is_none() -> None:
    assert [mtime_ns(Mock(st_mtime_ns=time)) for time in (-2, -1, 0)] == [-2, -2, 0]


def test_an_image_of_such_a_time_is_kept_in_a_table(tmp_path: Path) -> None:
    time = 13 * 10**18  # in the year 2381
    (tmp_path / "ants").mkdir()
    (tmp_path / "ants" / "1.png").write_bytes(FILES["png"])
    write_tar(tmp_path / "a.tar", {"1.png": FILES["png"]})
    for file in (tmp_path / "ants" / "1.png", tmp_path / "a.tar"):
        os.utime(file, ns=(time, time))
        if file.stat().st_mtime_ns != time:
            pytest.skip("this file system has no such times")
    for source in (open_images(tmp_path), open_images(tmp_path / "a.tar")):
        source.table.write_csv(tmp_path / "images.csv")
        again = ImageTable.read_csv(tmp_path / "images.csv")
        assert again == source.table
        assert again.mtime_ns.tolist() == [(1 << 63) - 1]
        assert source.read(0) == FILES["png"]


def test_a_missing_file_is_an_image_error(tmp_path: Path) -> None:
    (tmp_path / "link.jpg").symlink_to("gone.jpg")
    for name in ["gone.jpg", "link.jpg", "gone/a.jpg"]:
        with pytest.raises(ImageError, match="cannot be read: No such file"):
            read_image_bytes(tmp_path / name)


def test_a_name_that_no_file_can_have_is_an_image_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        read_image_bytes(tmp_path / ("x" * 300 + ".jpg"))


def test_a_directory_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").mkdir()
    with pytest.raises(ImageError, match="not a regular file"):
        read_image_bytes(tmp_path / "a.jpg")


@pytest.mark.timeout(10)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes among this system's files")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="not a regular file"):
        read_image_bytes(tmp_path / "a.jpg")


@pytest.mark.timeout(10)
@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device")
def test_a_file_without_end_is_not_read() -> None:
    with pytest.raises(ImageError, match="not a regular file"):
        read_image_bytes(Path("/dev/zero"))


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOENT, errno.EIO])
def test_a_file_that_the_system_refuses_is_an_image_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(path: str, *_: object, **__: object) -> Any:
        raise OSError(number, os.strerror(number), path)

    (tmp_path / "a.jpg").write_bytes(FILES["jpeg"])
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ImageError) as caught:
        read_image_bytes(tmp_path / "a.jpg")
    assert str(caught.value) == f"cannot be read: {os.strerror(number)}"


@pytest.mark.parametrize("number", [errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE])
def test_a_disk_that_is_out_of_reach_is_no_image_error(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "open", Mock(side_effect=OSError(number, os.strerror(number))))
    with pytest.raises(OSError, match=os.strerror(number)):
        read_image_bytes(Path("a.jpg"))


def test_a_disk_that_is_out_of_reach_is_no_fault_of_the_images(
    photos: Path, extract_tiny: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, number = os.open, errno.ESTALE
    count = iter(range(1000))

    def fail(path: Any, flags: int, *mode: int) -> int:
        if "photos" in str(path) and next(count) == 20:
            raise OSError(number, os.strerror(number), path)
        return reading(path, flags, *mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        with pytest.raises(OSError, match=os.strerror(number)):
            extract_tiny(photos)
    done = extract_tiny(photos)
    assert (done.rejected, missing_shards(done.cache, "layer2")) == ({}, [])


@pytest.mark.parametrize("change", ["longer", "shorter", "same length"])
def test_a_file_that_changes_while_it_is_read_is_an_image_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    path, data = tmp_path / "a.jpg", FILES["jpeg"]
    path.write_bytes(data)
    fstat = os.fstat

    def write_then_stat(handle: int) -> os.stat_result:
        monkeypatch.setattr(os, "fstat", fstat)  # only between the first look and the reading
        status = fstat(handle)
        new = {"longer": data + b"x", "shorter": data[:-1], "same length": data[::-1]}[change]
        path.write_bytes(new)
        os.utime(path, ns=(status.st_mtime_ns + 1, status.st_mtime_ns + 1))
        return status

    monkeypatch.setattr(os, "fstat", write_then_stat)
    with pytest.raises(ImageError, match="changed while it was being read"):
        read_image_bytes(path)
    read_image_bytes(path)


def test_a_file_that_the_system_returns_in_parts_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(FILES["jpeg"])
    reading = os.read
    monkeypatch.setattr(os, "read", lambda handle, most: reading(handle, min(most, 100)))
    assert read_image_bytes(tmp_path / "a.jpg") == FILES["jpeg"]


def test_a_file_larger_than_any_image_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    with pytest.raises(ImageError, match="cannot be read: 1099511627776 bytes, more than"):
        read_image_bytes(tmp_path / "a.jpg")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read all")
def test_a_file_that_may_not_be_read_is_an_image_error(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(FILES["jpeg"])
    (tmp_path / "a.jpg").chmod(0)
    with pytest.raises(ImageError, match="cannot be read: Permission denied"):
        read_image_bytes(tmp_path / "a.jpg")


def test_a_name_that_the_locale_cannot_write_is_the_files_own_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(path: Path, _flags: int) -> int:
        path.name.encode("ascii")
        raise AssertionError

    monkeypatch.setattr(os, "open", opened)
    with pytest.raises(ImageError, match="names are in ascii here"):
        read_image_bytes(tmp_path / "\u00fc.png")
