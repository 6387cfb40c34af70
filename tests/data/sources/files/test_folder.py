import errno
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottleneck.data.decoding.formats import image_suffixes
from bottleneck.data.images import open_images
from bottleneck.data.sources.files.folder import is_image_name
from bottleneck.data.summary import summarize_images
from bottleneck.errors import ImagesNotFoundError
from tests.helpers.image_folders import rows_of, touch

# A directory's layout


def test_class_folders_give_labels(tmp_path: Path) -> None:
    touch(tmp_path, "bees/2.png", "ants/1.jpg", "ants/3.jpg")
    assert rows_of(tmp_path) == [
        ("ants/1.jpg", "ants", ""),
        ("ants/3.jpg", "ants", ""),
        ("bees/2.png", "bees", ""),
    ]


def test_split_folders_give_splits_and_labels(tmp_path: Path) -> None:
    touch(tmp_path, "train/ants/1.jpg", "val/bees/2.jpg", "test/ants/3.jpg")
    assert rows_of(tmp_path) == [
        ("test/ants/3.jpg", "ants", "test"),
        ("train/ants/1.jpg", "ants", "train"),
        ("val/bees/2.jpg", "bees", "val"),
    ]


def test_one_split_folder_alone_is_a_split(tmp_path: Path) -> None:
    touch(tmp_path, "train/ants/1.jpg", "train/bees/2.jpg")
    assert rows_of(tmp_path) == [
        ("train/ants/1.jpg", "ants", "train"),
        ("train/bees/2.jpg", "bees", "train"),
    ]


def test_a_class_called_train_beside_other_classes_is_a_class(tmp_path: Path) -> None:
    touch(tmp_path, "plane/1.jpg", "train/2.jpg", "ship/3.jpg")
    assert rows_of(tmp_path) == [
        ("plane/1.jpg", "plane", ""),
        ("ship/3.jpg", "ship", ""),
        ("train/2.jpg", "train", ""),
    ]


def test_hidden_folders_make_no_split_of_a_class_called_train(tmp_path: Path) -> None:
    touch(tmp_path, "plane/1.jpg", "train/2.jpg", "train/.thumbnails/2.jpg")
    assert rows_of(tmp_path) == [("plane/1.jpg", "plane", ""), ("train/2.jpg", "train", "")]


def test_split_folders_without_classes_give_no_labels(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "val/2.jpg")
    assert rows_of(tmp_path) == [("train/1.jpg", "", "train"), ("val/2.jpg", "", "val")]


def test_a_hidden_folder_beside_splits_without_classes_makes_them_no_classes(
    tmp_path: Path,
) -> None:
    touch(tmp_path, "train/1.jpg", "val/2.jpg", ".cache/3.jpg")
    assert rows_of(tmp_path) == [("train/1.jpg", "", "train"), ("val/2.jpg", "", "val")]


def test_a_split_folder_named_otherwise_beside_train_is_a_split(tmp_path: Path) -> None:
    touch(tmp_path, "train/ants/1.jpg", "val/ants/2.jpg", "holdout/ants/3.jpg")
    assert rows_of(tmp_path) == [
        ("holdout/ants/3.jpg", "ants", "holdout"),
        ("train/ants/1.jpg", "ants", "train"),
        ("val/ants/2.jpg", "ants", "val"),
    ]


def test_a_flat_folder_gives_neither_labels_nor_splits(tmp_path: Path) -> None:
    touch(tmp_path, "2.jpg", "1.png")
    assert rows_of(tmp_path) == [("1.png", "", ""), ("2.jpg", "", "")]


def test_an_image_beside_the_class_folders_has_no_label(tmp_path: Path) -> None:
    touch(tmp_path, "ants/1.jpg", "2.jpg")
    assert rows_of(tmp_path) == [("2.jpg", "", ""), ("ants/1.jpg", "ants", "")]


def test_an_image_beside_the_split_folders_has_neither(tmp_path: Path) -> None:
    touch(tmp_path, "train/ants/1.jpg", "train/2.jpg", "3.jpg")
    assert rows_of(tmp_path) == [
        ("3.jpg", "", ""),
        ("train/2.jpg", "", "train"),
        ("train/ants/1.jpg", "ants", "train"),
    ]


def test_folders_inside_of_a_class_belong_to_it(tmp_path: Path) -> None:
    touch(tmp_path, "ants/red/big/1.jpg", "ants/2.jpg", "bees/wild/3.jpg")
    assert rows_of(tmp_path) == [
        ("ants/2.jpg", "ants", ""),
        ("ants/red/big/1.jpg", "ants", ""),
        ("bees/wild/3.jpg", "bees", ""),
    ]


def test_folders_inside_of_a_splits_class_belong_to_it(tmp_path: Path) -> None:
    touch(tmp_path, "train/ants/red/1.jpg", "val/ants/2.jpg")
    assert rows_of(tmp_path) == [
        ("train/ants/red/1.jpg", "ants", "train"),
        ("val/ants/2.jpg", "ants", "val"),
    ]


def test_a_directory_gives_no_groups(tmp_path: Path) -> None:
    table = open_images(touch(tmp_path, "ants/1.jpg", "bees/2.jpg")).table
    assert table.group == ["", ""]


# What counts as an image


@pytest.mark.parametrize(
    "name", [".1.jpg", "ants/._1.jpg", ".git/1.jpg", "ants/.thumbnails/1.jpg", ".a/b/1.jpg"]
)
def test_hidden_files_and_folders_are_ignored(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name, "ants/seen.jpg")
    assert rows_of(tmp_path) == [("ants/seen.jpg", "ants", "")]


def test_the_source_itself_may_be_hidden(tmp_path: Path) -> None:
    touch(tmp_path, ".photos/ants/1.jpg")
    assert rows_of(tmp_path / ".photos") == [("ants/1.jpg", "ants", "")]


@pytest.mark.parametrize("suffix", sorted(image_suffixes()))
def test_every_suffix_is_an_images_in_any_case(suffix: str) -> None:
    assert [is_image_name(f"a{suffix}"), is_image_name(f"a{suffix.upper()}")] == [True, True]


def test_the_formats_that_are_decoded_are_found_by_their_usual_names(tmp_path: Path) -> None:
    names = [
        "a.jpg",
        "a.jpeg",
        "a.png",
        "a.webp",
        "a.gif",
        "a.bmp",
        "a.tif",
        "a.tiff",
        "a.ppm",
        "a.pgm",
        "a.pbm",
    ]
    assert [path for path, _, _ in rows_of(touch(tmp_path, *names))] == sorted(names)


@pytest.mark.parametrize(
    "name", ["a.txt", "jpg", "a.jpg.txt", "a.jpg~", "a.jpgx", "a", "Thumbs.db", "a.svg", "a.csv"]
)
def test_other_names_are_ignored(tmp_path: Path, name: str) -> None:
    touch(tmp_path, f"ants/{name}", "ants/seen.JPG")
    assert rows_of(tmp_path) == [("ants/seen.JPG", "ants", "")]


def test_equal_stems_are_two_rows(tmp_path: Path) -> None:
    touch(tmp_path, "ants/1.jpg", "ants/1.png", "bees/1.jpg")
    assert [path for path, _, _ in rows_of(tmp_path)] == ["ants/1.jpg", "ants/1.png", "bees/1.jpg"]


def test_a_folder_named_like_an_image_is_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "x.jpg/1.png")
    (tmp_path / "empty.jpg").mkdir()
    assert rows_of(tmp_path) == [("x.jpg/1.png", "x.jpg", "")]


@pytest.mark.skipif(sys.platform != "linux", reason="file names are any bytes on Linux")
def test_a_name_that_is_not_unicode_is_found(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    Path(os.fsdecode(folder + b"/\xff.jpg")).write_bytes(b"x")
    table = open_images(tmp_path).table
    assert [os.fsencode(name) for name in table.path] == [b"\xff.jpg"]
    assert table.size.tolist() == [1]


# Links


def test_a_linked_folder_is_followed(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "1.jpg", "red/2.jpg")
    root = touch(tmp_path / "photos", "bees/3.jpg")
    (root / "ants").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert rows_of(root) == [
        ("ants/1.jpg", "ants", ""),
        ("ants/red/2.jpg", "ants", ""),
        ("bees/3.jpg", "bees", ""),
    ]


def test_a_linked_split_folder_is_a_split(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "ants/1.jpg")
    root = touch(tmp_path / "photos", "val/ants/2.jpg")
    (root / "train").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert [split for _, _, split in rows_of(root)] == ["train", "val"]


def test_a_linked_image_is_a_row_of_its_targets_size(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.bin").write_bytes(b"12345")
    root = touch(tmp_path / "photos", "ants/1.jpg")
    (root / "ants/2.jpg").symlink_to(tmp_path / "elsewhere.bin")
    table = open_images(root).table
    assert (list(table.path), table.size.tolist()) == (["ants/1.jpg", "ants/2.jpg"], [1, 5])


@pytest.mark.timeout(20)
def test_a_loop_of_links_ends_and_repeats_no_image(tmp_path: Path) -> None:
    touch(tmp_path, "ants/1.jpg", "bees/2.jpg")
    (tmp_path / "ants/up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "bees/self").symlink_to(tmp_path / "bees", target_is_directory=True)
    assert rows_of(tmp_path) == [("ants/1.jpg", "ants", ""), ("bees/2.jpg", "bees", "")]


def test_a_broken_link_is_a_row_without_a_file(tmp_path: Path) -> None:
    touch(tmp_path, "ants/1.jpg")
    (tmp_path / "ants/2.jpg").symlink_to("gone.jpg")
    table = open_images(tmp_path).table
    assert table.path == ["ants/1.jpg", "ants/2.jpg"]
    assert table.size.tolist() == [1, -1]
    assert table.mtime_ns[1] == -1
    assert table.exists.tolist() == [True, False]


def test_a_link_to_itself_is_a_row_without_a_file(tmp_path: Path) -> None:
    touch(tmp_path, "ants/1.jpg")
    (tmp_path / "ants/2.jpg").symlink_to("2.jpg")
    table = open_images(tmp_path).table
    assert (list(table.path), table.size.tolist()) == (["ants/1.jpg", "ants/2.jpg"], [1, -1])


# Where there is nothing to be had


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A folder of classes, one of which may not be read."""
    touch(tmp_path, "ants/1.jpg", "bees/locked/2.jpg")
    folder = tmp_path / "bees/locked"
    folder.chmod(0)
    yield tmp_path
    folder.chmod(0o700)


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="root may read every folder"
)
def test_an_unreadable_folder_is_an_error(locked: Path) -> None:
    with pytest.raises(PermissionError, match="locked"):
        open_images(locked)


def test_a_folder_that_cannot_be_listed_is_an_error(
    locked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path).name == "locked":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="locked"):
        open_images(locked)


def test_caches_are_passed_over_and_named(tmp_path: Path) -> None:
    touch(tmp_path, "train/ants/1.jpg", "test/ants/2.jpg")
    for cache in ("a.cache", "train/b.cache"):
        touch(tmp_path / cache, "spec.json", "images.csv", "codes.h5", "confusion.png")
    source = open_images(tmp_path)
    assert source.table.path[:] == ["test/ants/2.jpg", "train/ants/1.jpg"]
    summary = summarize_images(tmp_path)
    assert summary.remarks() == ["caches that are passed over: 'a.cache', 'train/b.cache'"]
    assert (summary.notes.passed_over, summary.notes.without_images) == ({}, {})
    with pytest.raises(ImagesNotFoundError, match=r"a\.cache is a cache: name the images"):
        open_images(tmp_path / "a.cache")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImagesNotFoundError, match=re.escape(str(tmp_path / "gone"))) as caught:
        open_images(tmp_path / "gone")
    assert isinstance(caught.value, FileNotFoundError)


def test_a_folder_without_images_says_what_was_looked_for(tmp_path: Path) -> None:
    touch(tmp_path, "ants/notes.txt")
    with pytest.raises(ImagesNotFoundError, match=r"no images in .*\.jpg .*\.png"):
        open_images(tmp_path)


def test_an_empty_folder_has_no_images(tmp_path: Path) -> None:
    with pytest.raises(ImagesNotFoundError, match=re.escape(f"no images in {tmp_path}")):
        open_images(tmp_path)


@pytest.mark.parametrize("name", ["one.jpg", "list.txt", "csv"])
def test_a_file_that_is_no_csv_is_refused(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name)
    with pytest.raises(ImagesNotFoundError, match=r"neither a directory nor a \.csv"):
        open_images(tmp_path / name)


# Paths, order, size and time


def test_the_root_is_the_folder_that_was_given(tmp_path: Path) -> None:
    source = open_images(touch(tmp_path / "photos", "ants/1.jpg"))
    assert source.path(0) == str(tmp_path / "photos" / "ants" / "1.jpg")
    assert source.read(0) == b"x"


def test_the_working_directory_is_a_root_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(touch(tmp_path, "ants/1.jpg", "2.jpg"))
    assert rows_of(Path()) == rows_of(tmp_path) == [("2.jpg", "", ""), ("ants/1.jpg", "ants", "")]


def test_rows_are_sorted_by_path(tmp_path: Path) -> None:
    names = ["z.jpg", "a/2.jpg", "a/10.jpg", "a-b/1.jpg", "B/1.jpg", "a/b/1.jpg", "a.jpg", "é.jpg"]
    touch(tmp_path, *names)
    assert [path for path, _, _ in rows_of(tmp_path)] == sorted(names)


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(12)))
def test_the_order_does_not_depend_on_the_order_of_creation(
    tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    root = touch(tmp_path_factory.mktemp("order"), *(f"{i % 3}/{i:02d}.jpg" for i in order))
    expected = sorted(f"{i % 3}/{i:02d}.jpg" for i in range(12))
    assert [path for path, _, _ in rows_of(root)] == expected


def test_size_and_time_are_the_files(tmp_path: Path) -> None:
    for i, name in enumerate(["a.jpg", "b.jpg"], start=1):
        (tmp_path / name).write_bytes(b"x" * (10 * i))
        os.utime(tmp_path / name, ns=(0, 1_600_000_000_000_000_000 + i * 1_000))
    table = open_images(tmp_path).table
    assert table.size.tolist() == [10, 20]
    assert table.mtime_ns.tolist() == [1_600_000_000_000_001_000, 1_600_000_000_000_002_000]
    assert table.size.dtype == table.mtime_ns.dtype == np.int64


def test_an_empty_file_exists(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    table = open_images(tmp_path).table
    assert (table.size.tolist(), table.exists.tolist()) == ([0], [True])
