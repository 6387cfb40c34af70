"""Files that are passed over are counted by suffix, and class folders without an image named."""

from pathlib import Path

import pytest

from bottleneck.data.images import open_images
from bottleneck.data.sources.container_names import SUFFIXES
from bottleneck.data.sources.notes import PassedOver, SourceNotes
from bottleneck.data.summary import summarize_images
from bottleneck.errors import ImagesNotFoundError
from tests.helpers.image_folders import touch


def notes_of(root: Path) -> SourceNotes:
    return summarize_images(root).notes


def test_files_that_are_not_read_are_counted_by_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "ants/1.jpg", "ants/2.CR2", "bees/3.cr2", "bees/4.jpg", "list.txt", "a.svg")
    found = notes_of(tmp_path)
    assert found.passed_over == {".cr2": 2, ".txt": 1, ".svg": 1}
    assert found.unread_images == 3
    assert found.without_images == {}
    assert found.passed_over_text() == (
        "4 files of kinds that are not read: 2 .cr2, 1 .svg, 1 .txt"
    )


@pytest.mark.parametrize(
    "name", [".hidden.cr2", "ants/.DS_Store", "ants/Thumbs.db", "Desktop.ini", ".git/a.cr2"]
)
def test_files_of_the_operating_system_are_not_counted(tmp_path: Path, name: str) -> None:
    found = notes_of(touch(tmp_path, "ants/1.jpg", name))
    assert (found.passed_over, found.lost_images) == ({}, False)


@pytest.mark.parametrize("name", ["a.txt", "a.CSV", "README", "license.md", "labels.xml", "x.py"])
def test_documents_are_no_images(tmp_path: Path, name: str) -> None:
    found = notes_of(touch(tmp_path, "ants/1.jpg", f"ants/{name}"))
    assert (sum(found.passed_over.values()), found.lost_images) == (1, False)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".tar.xz", ".tar.zst"])
def test_files_that_hold_many_images_are_no_images(suffix: str) -> None:
    found = PassedOver()
    found.add(f"a{suffix}", "")
    assert (sum(found.notes(()).passed_over.values()), found.notes(()).lost_images) == (1, False)


@pytest.mark.parametrize("name", ["a.cr2", "a.CR2", "a.jxl", "IMG_0001", "a.jpg~", "a.840.113"])
def test_files_of_unknown_kinds_may_be_images(tmp_path: Path, name: str) -> None:
    found = notes_of(touch(tmp_path, "ants/1.jpg", f"ants/{name}"))
    assert (found.unread_images, found.lost_images) == (1, True)


def test_numbers_and_long_words_are_no_kinds(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", *(f"1.2.840.{i}" for i in range(30)), "Dr. Smith and her ants")
    assert notes_of(tmp_path).passed_over == {"": 31}


def test_many_kinds_are_not_all_named(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", *(f"a.x{chr(97 + i)}" for i in range(9)))
    text = notes_of(tmp_path).passed_over_text()
    named = "1 .xa, 1 .xb, 1 .xc, 1 .xd, 1 .xe, 1 .xf"
    assert text == f"9 files of kinds that are not read: {named}, 3 others"


def test_class_folders_that_lost_all_files_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "ants/1.jpg", "flies/1.cr2", "flies/old/2.cr2", "notes/a.txt")
    (tmp_path / "wasps").mkdir()
    assert notes_of(tmp_path).without_images == {"flies": 2, "notes": 1, "wasps": 0}
    assert summarize_images(tmp_path).remarks() == [
        "class folders without an image: flies (2 files), notes (1 file), wasps"
    ]


def test_a_class_may_be_lost_in_one_split_alone(tmp_path: Path) -> None:
    touch(tmp_path, "train/ants/1.jpg", "train/bees/1.cr2", "test/ants/2.jpg", "test/bees/3.jpg")
    assert notes_of(tmp_path).without_images == {"train/bees": 1}


def test_a_folder_of_nothing_but_unread_kinds_says_so(tmp_path: Path) -> None:
    touch(tmp_path, "ants/1.cr2", "ants/2.cr2")
    with pytest.raises(
        ImagesNotFoundError, match=r"no images in .*; 2 files of kinds that are not"
    ):
        open_images(tmp_path)


def test_notes_of_several_sources_are_added() -> None:
    one = SourceNotes({".cr2": 1, ".txt": 2}, 1, {"a": 1}, ("twice", "once"))
    both = SourceNotes.merge([one, SourceNotes({".cr2": 4}, 4, {"b": 4}, ("twice",))])
    assert both == SourceNotes({".cr2": 5, ".txt": 2}, 5, {"a": 1, "b": 4}, ("twice", "once"))
    assert SourceNotes.merge([]) == SourceNotes()
