"""Paths with backslashes, blanks and without a suffix find their files."""

import os
import sys
from pathlib import Path

import pytest

from bottleneck.data.images import open_images
from bottleneck.data.sources.files import csv_paths
from bottleneck.data.sources.files.file_source import FileSource
from bottleneck.data.sources.notes import SourceNotes
from bottleneck.data.summary import summarize_images
from bottleneck.errors import ImagesTableError
from tests.helpers.image_folders import touch, write_csv


def found(folder: Path, *lines: str) -> dict[str, bool]:
    """Each path of a CSV, and whether its file exists."""
    table = open_images(write_csv(folder, "\n".join(["path", *lines, ""]))).table
    return dict(zip(table.path, table.exists.tolist(), strict=True))


def remarks(folder: Path) -> tuple[str, ...]:
    return summarize_images(folder / "images.csv").notes.remarks


def test_backslashes_are_slashes_where_there_is_no_file_of_that_name(tmp_path: Path) -> None:
    touch(tmp_path, "ants/1.jpg")
    assert found(tmp_path, "ants\\1.jpg", "gone\\2.jpg") == {
        "ants/1.jpg": True,
        "gone/2.jpg": False,
    }
    assert remarks(tmp_path) == ("1 path found with / in place of \\ or without blanks around",)


@pytest.mark.skipif(sys.platform == "win32", reason="a backslash is no part of a name")
def test_a_file_with_a_backslash_in_its_name_is_that_file(tmp_path: Path) -> None:
    touch(tmp_path, "ants\\1.jpg")
    assert found(tmp_path, "ants\\1.jpg") == {"ants\\1.jpg": True}


def test_blanks_around_a_path_are_no_part_of_it_unless_they_are(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", " 2.jpg")
    assert found(tmp_path, " 1.jpg ", " 2.jpg") == {"1.jpg": True, " 2.jpg": True}


def test_names_without_a_suffix_find_their_files(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "a/2.JPG", "a/3.tiff", "a/4.jpg", "a/v1.2.jpg", "a/whole")
    lines = ["a/1", "a/2", "a\\3 ", "a/4", "a/v1.2", "a/whole", "a/gone", "a/5.jpg"]
    assert found(tmp_path, *lines) == {
        **dict.fromkeys(["a/1.png", "a/2.JPG", "a/3.tiff", "a/4.jpg", "a/v1.2.jpg"], True),
        "a/whole": True,
        "a/gone": False,
        "a/5.jpg": False,
    }
    assert set(remarks(tmp_path)) == {
        "1 path found with the suffix .png",
        "1 path found with the suffix .JPG",
        "2 paths found with the suffix .jpg",
        "1 path found with / in place of \\ or without blanks around, and with the suffix .tiff",
    }


def test_size_and_time_are_those_of_the_file_that_was_found(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"12345")
    os.utime(tmp_path / "a.jpg", ns=(0, 987_000))
    source = open_images(write_csv(tmp_path, "path,label\na,ants\n"))
    assert (source.table.size.tolist(), source.table.mtime_ns.tolist()) == ([5], [987_000])
    assert source.read(0) == b"12345"
    assert source.table.label == ["ants"]


def test_the_last_found_suffix_is_tried_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, *(f"{i}.png" for i in range(10)))
    looked: list[str] = []
    stat = FileSource.stat

    def note(source: FileSource, name: str) -> tuple[int, int]:
        looked.append(name)
        return stat(source, name)

    monkeypatch.setattr(FileSource, "stat", note)
    assert all(found(tmp_path, *(str(i) for i in range(10))).values())
    assert len(looked) < 20  # the suffix of the one is tried first for the next
    looked.clear()
    monkeypatch.setattr(csv_paths, "_MAX_FAILED_SEARCHES", 2)
    found(tmp_path, *(f"gone{i}" for i in range(10)))
    assert {name.partition(".")[0] for name in looked} == {"gone0", "gone1"}


def test_usual_paths_that_do_not_exist_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_paths, "_Search", None)
    assert found(tmp_path, "gone/1.jpg", "gone/2.png") == {"gone/1.jpg": False, "gone/2.png": False}
    assert summarize_images(tmp_path / "images.csv").notes == SourceNotes()


@pytest.mark.parametrize(
    "other", ["./a/1.jpg", "a/./1.jpg", "a//1.jpg", "b/../a/1.jpg", "a\\1.jpg", "a/1.jpg ", "a/1"]
)
def test_another_spelling_of_a_path_is_the_same_image(tmp_path: Path, other: str) -> None:
    touch(tmp_path, "a/1.jpg", "b/2.jpg")
    with pytest.raises(ImagesTableError, match=r"on lines 2 and 4.*; an image is one row"):
        found(tmp_path, "a/1.jpg", "b/2.jpg", other)


def test_an_absolute_path_is_the_same_image_as_a_relative_one(tmp_path: Path) -> None:
    touch(tmp_path, "real/a/1.jpg", "real/b/2.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    for folder in ("real", "link"):
        for absolute in (tmp_path / folder / "a/1.jpg", tmp_path / "real/./a/1.jpg"):
            with pytest.raises(ImagesTableError, match=r"on lines 2 and 4.*; an image is one row"):
                found(tmp_path / folder, "a/1.jpg", "b/2.jpg", str(absolute))
    assert all(found(tmp_path / "real", "a/1.jpg", str(tmp_path / "real/b/2.jpg")).values())


def test_a_spelling_of_its_own_is_kept(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg")
    assert found(tmp_path, "./a/1.jpg") == {"./a/1.jpg": True}


def test_behind_a_link_the_folder_above_is_another(tmp_path: Path) -> None:
    touch(tmp_path, "far/away/x.jpg", "far/1.jpg", "1.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away", target_is_directory=True)
    assert found(tmp_path, "link/../1.jpg", "1.jpg") == {"link/../1.jpg": True, "1.jpg": True}
