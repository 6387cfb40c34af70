import csv
import errno
import os
import re
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bottleneck.data.images import open_images
from bottleneck.data.sources.folder import SUFFIXES, is_image_name
from bottleneck.data.sources.image_csv import read_image_csv
from bottleneck.data.table import ImageTable
from bottleneck.errors import ImagesNotFoundError, ImagesTableError

HEADER = "path,label,split,group,size,mtime_ns"


def touch(root: Path, *names: str) -> Path:
    """Files of one byte; finding images does not look inside of them."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def found(source: Path) -> list[tuple[str, str, str]]:
    """Path, label and split of every row."""
    table = open_images(source).table
    return list(zip(table.path, table.label, table.split, strict=True))


def write_csv(folder: Path, text: str | bytes, name: str = "images.csv") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# A directory's layout


def test_class_folders_give_labels(tmp_path: Path) -> None:
    touch(tmp_path, "bees/2.png", "ants/1.jpg", "ants/3.jpg")
    assert found(tmp_path) == [
        ("ants/1.jpg", "ants", ""),
        ("ants/3.jpg", "ants", ""),
        ("bees/2.png", "bees", ""),
    ]


def test_split_folders_give_splits_and_labels(tmp_path: Path) -> None:
    touch(tmp_path, "train/ants/1.jpg", "val/bees/2.jpg", "test/ants/3.jpg")
    assert found(tmp_path) == [
        ("test/ants/3.jpg", "ants", "test"),
        ("train/ants/1.jpg", "ants", "train"),
        ("val/bees/2.jpg", "bees", "val"),
    ]


def test_one_split_folder_alone_is_a_split(tmp_path: Path) -> None:
    touch(tmp_path, "train/ants/1.jpg", "train/bees/2.jpg")
    assert found(tmp_path) == [
        ("train/ants/1.jpg", "ants", "train"),
        ("train/bees/2.jpg", "bees", "train"),
    ]


def test_a_class_called_train_beside_other_classes_is_a_class(tmp_path: Path) -> None:
    touch(tmp_path, "plane/1.jpg", "train/2.jpg", "ship/3.jpg")
    assert found(tmp_path) == [
        ("plane/1.jpg", "plane", ""),
        ("ship/3.jpg", "ship", ""),
        ("train/2.jpg", "train", ""),
    ]


def test_hidden_folders_make_no_split_of_a_class_called_train(tmp_path: Path) -> None:
    touch(tmp_path, "plane/1.jpg", "train/2.jpg", "train/.thumbnails/2.jpg")
    assert found(tmp_path) == [("plane/1.jpg", "plane", ""), ("train/2.jpg", "train", "")]


def test_split_folders_without_classes_give_no_labels(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "val/2.jpg")
    assert found(tmp_path) == [("train/1.jpg", "", "train"), ("val/2.jpg", "", "val")]


def test_a_hidden_folder_beside_splits_without_classes_makes_them_no_classes(
    tmp_path: Path,
) -> None:
    touch(tmp_path, "train/1.jpg", "val/2.jpg", ".cache/3.jpg")
    assert found(tmp_path) == [("train/1.jpg", "", "train"), ("val/2.jpg", "", "val")]


def test_a_split_folder_named_otherwise_beside_train_is_a_split(tmp_path: Path) -> None:
    touch(tmp_path, "train/ants/1.jpg", "val/ants/2.jpg", "holdout/ants/3.jpg")
    assert found(tmp_path) == [
        ("holdout/ants/3.jpg", "ants", "holdout"),
        ("train/ants/1.jpg", "ants", "train"),
        ("val/ants/2.jpg", "ants", "val"),
    ]


def test_a_flat_folder_gives_neither_labels_nor_splits(tmp_path: Path) -> None:
    touch(tmp_path, "2.jpg", "1.png")
    assert found(tmp_path) == [("1.png", "", ""), ("2.jpg", "", "")]


def test_an_image_beside_the_class_folders_has_no_label(tmp_path: Path) -> None:
    touch(tmp_path, "ants/1.jpg", "2.jpg")
    assert found(tmp_path) == [("2.jpg", "", ""), ("ants/1.jpg", "ants", "")]


def test_an_image_beside_the_split_folders_has_neither(tmp_path: Path) -> None:
    touch(tmp_path, "train/ants/1.jpg", "train/2.jpg", "3.jpg")
    assert found(tmp_path) == [
        ("3.jpg", "", ""),
        ("train/2.jpg", "", "train"),
        ("train/ants/1.jpg", "ants", "train"),
    ]


def test_folders_inside_of_a_class_belong_to_it(tmp_path: Path) -> None:
    touch(tmp_path, "ants/red/big/1.jpg", "ants/2.jpg", "bees/wild/3.jpg")
    assert found(tmp_path) == [
        ("ants/2.jpg", "ants", ""),
        ("ants/red/big/1.jpg", "ants", ""),
        ("bees/wild/3.jpg", "bees", ""),
    ]


def test_folders_inside_of_a_splits_class_belong_to_it(tmp_path: Path) -> None:
    touch(tmp_path, "train/ants/red/1.jpg", "val/ants/2.jpg")
    assert found(tmp_path) == [
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
    assert found(tmp_path) == [("ants/seen.jpg", "ants", "")]


def test_the_source_itself_may_be_hidden(tmp_path: Path) -> None:
    touch(tmp_path, ".photos/ants/1.jpg")
    assert found(tmp_path / ".photos") == [("ants/1.jpg", "ants", "")]


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
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
    assert [path for path, _, _ in found(touch(tmp_path, *names))] == sorted(names)


@pytest.mark.parametrize(
    "name", ["a.txt", "jpg", "a.jpg.txt", "a.jpg~", "a.jpgx", "a", "Thumbs.db", "a.svg", "a.csv"]
)
def test_other_names_are_ignored(tmp_path: Path, name: str) -> None:
    touch(tmp_path, f"ants/{name}", "ants/seen.JPG")
    assert found(tmp_path) == [("ants/seen.JPG", "ants", "")]


def test_equal_stems_are_two_rows(tmp_path: Path) -> None:
    touch(tmp_path, "ants/1.jpg", "ants/1.png", "bees/1.jpg")
    assert [path for path, _, _ in found(tmp_path)] == ["ants/1.jpg", "ants/1.png", "bees/1.jpg"]


def test_a_folder_named_like_an_image_is_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "x.jpg/1.png")
    (tmp_path / "empty.jpg").mkdir()
    assert found(tmp_path) == [("x.jpg/1.png", "x.jpg", "")]


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
    assert found(root) == [
        ("ants/1.jpg", "ants", ""),
        ("ants/red/2.jpg", "ants", ""),
        ("bees/3.jpg", "bees", ""),
    ]


def test_a_linked_split_folder_is_a_split(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "ants/1.jpg")
    root = touch(tmp_path / "photos", "val/ants/2.jpg")
    (root / "train").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert [split for _, _, split in found(root)] == ["train", "val"]


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
    assert found(tmp_path) == [("ants/1.jpg", "ants", ""), ("bees/2.jpg", "bees", "")]


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
    assert found(Path()) == found(tmp_path) == [("2.jpg", "", ""), ("ants/1.jpg", "ants", "")]


def test_rows_are_sorted_by_path(tmp_path: Path) -> None:
    names = ["z.jpg", "a/2.jpg", "a/10.jpg", "a-b/1.jpg", "B/1.jpg", "a/b/1.jpg", "a.jpg", "é.jpg"]
    touch(tmp_path, *names)
    assert [path for path, _, _ in found(tmp_path)] == sorted(names)


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(12)))
def test_the_order_does_not_depend_on_the_order_of_creation(
    tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    root = touch(tmp_path_factory.mktemp("order"), *(f"{i % 3}/{i:02d}.jpg" for i in order))
    expected = sorted(f"{i % 3}/{i:02d}.jpg" for i in range(12))
    assert [path for path, _, _ in found(root)] == expected


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


# A CSV of images


def test_a_csv_gives_label_split_and_group(tmp_path: Path) -> None:
    text = "path,label,split,group\nb.jpg,bees,val,hive 1\na.jpg,ants,train,hill 2\n"
    table = open_images(write_csv(tmp_path, text)).table
    assert table.path == ["b.jpg", "a.jpg"]  # the file's order
    assert table.label == ["bees", "ants"]
    assert table.split == ["val", "train"]
    assert table.group == ["hive 1", "hill 2"]


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("path\na.jpg\n", ("a.jpg", "", "", "")),
        ("path,label\na.jpg,ants\n", ("a.jpg", "ants", "", "")),
        ("path,group\na.jpg,hill\n", ("a.jpg", "", "", "hill")),
        ("group,split,label,path\nhill,val,ants,a.jpg\n", ("a.jpg", "ants", "val", "hill")),
        ("id,path,camera\n7,a.jpg,left\n", ("a.jpg", "", "", "")),
        ("path,label\r\na.jpg,ants\r\n", ("a.jpg", "ants", "", "")),
        ("path,label\na.jpg,ants", ("a.jpg", "ants", "", "")),
        ("path,label\n\na.jpg,ants\n\n", ("a.jpg", "ants", "", "")),
    ],
)
def test_columns_but_the_path_are_optional_and_in_any_order(
    tmp_path: Path, text: str, row: tuple[str, ...]
) -> None:
    table = open_images(write_csv(tmp_path, text)).table
    assert list(zip(table.path, table.label, table.split, table.group, strict=True)) == [row]


def test_the_rows_of_a_csv_need_no_images_and_come_with_its_columns(tmp_path: Path) -> None:
    source = write_csv(tmp_path, "group,path,camera\nhill,gone.jpg,left\n", "list.txt")
    names, columns = read_image_csv(source)
    assert names == ["group", "path", "camera"]
    assert [list(column) for column in columns] == [["gone.jpg"], [""], [""], ["hill"]]
    names, columns = read_image_csv(write_csv(tmp_path, "path,label\n"))
    assert (names, [len(column) for column in columns]) == (["path", "label"], [0] * 4)


def test_a_short_row_has_empty_cells(tmp_path: Path) -> None:
    table = open_images(write_csv(tmp_path, "path,label,split\na.jpg,ants,val\nb.jpg\n")).table
    columns = [list(column) for column in (table.path, table.label, table.split)]
    assert columns == [["a.jpg", "b.jpg"], ["ants", ""], ["val", ""]]


def test_a_byte_order_mark_is_no_part_of_the_column(tmp_path: Path) -> None:
    text = "\ufeffpath,label\na.jpg,ants\n"
    assert found(write_csv(tmp_path, text)) == [("a.jpg", "ants", "")]


def test_a_csvs_suffix_may_be_upper_case(tmp_path: Path) -> None:
    assert found(write_csv(tmp_path, "path\na.jpg\n", "LIST.CSV")) == [("a.jpg", "", "")]


def test_a_folder_named_like_a_csv_is_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "list.csv/ants/1.jpg")
    assert found(tmp_path / "list.csv") == [("ants/1.jpg", "ants", "")]


def test_paths_in_a_csv_are_relative_to_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "lists", "ants/1.jpg")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    source = open_images(write_csv(tmp_path / "lists", "path\nants/1.jpg\n"))
    assert source.path(0) == str(tmp_path / "lists" / "ants" / "1.jpg")
    assert source.table.size.tolist() == [1]


def test_a_csv_may_name_files_anywhere(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "ants/2.jpg")
    text = f"path\n../1.jpg\n{(tmp_path / 'ants/2.jpg').as_posix()}\n"
    table = open_images(write_csv(tmp_path / "lists", text)).table
    assert table.size.tolist() == [1, 1]


def test_size_and_time_in_a_csv_are_the_files(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg")
    os.utime(tmp_path / "1.jpg", ns=(0, 123_456_789_000))
    table = open_images(write_csv(tmp_path, "path\n1.jpg\n")).table
    assert (table.size.tolist(), table.mtime_ns.tolist()) == ([1], [123_456_789_000])


@pytest.mark.parametrize(
    "name",
    ["gone.jpg", "gone/1.jpg", "1.jpg/2.jpg", "x" * 300 + ".jpg"],
    ids=["file", "folder", "folder is a file", "name too long"],
)
def test_a_missing_file_in_a_csv_is_a_row_without_a_file(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "1.jpg")
    table = open_images(write_csv(tmp_path, f"path,label\n{name},ants\n1.jpg,bees\n")).table
    assert table.path == [name, "1.jpg"]
    assert table.label == ["ants", "bees"]
    assert table.size.tolist() == [-1, 1]
    assert table.mtime_ns[0] == -1
    assert table.exists.tolist() == [False, True]


def test_a_path_that_stands_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    source = write_csv(tmp_path, "path,label\na.jpg,ants\nb.jpg,bees\nc.jpg,ants\nb.jpg,ants\n")
    with pytest.raises(ImagesTableError, match=r"'b\.jpg' .*lines 3 and 5") as caught:
        open_images(source)
    assert str(source) in str(caught.value)


@pytest.mark.parametrize("text", ["file,label\na.jpg,ants\n", "", "a.jpg\nb.jpg\n", "path;label\n"])
def test_a_csv_without_a_path_column_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ImagesTableError, match="no column 'path'") as caught:
        open_images(write_csv(tmp_path, text))
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("header", "line"),
    [("path,label", ",ants"), ("label,path", "ants"), ("path", "nul\0.jpg"), ("path", '""')],
)
def test_a_row_that_names_no_file_is_refused_with_its_line(
    tmp_path: Path, header: str, line: str
) -> None:
    source = write_csv(tmp_path, f"{header}\na.jpg,b.jpg\n{line}\n")
    with pytest.raises(ImagesTableError, match="line 3") as caught:
        open_images(source)
    assert str(source) in str(caught.value)


def test_a_csv_without_rows_has_no_images(tmp_path: Path) -> None:
    with pytest.raises(ImagesNotFoundError, match="no images"):
        open_images(write_csv(tmp_path, "path,label\n"))


@pytest.mark.parametrize("start", ['path\n"a.jpg\n', '"path\n'], ids=["row", "header"])
def test_a_quote_that_never_closes_is_refused(tmp_path: Path, start: str) -> None:
    text = start + "b.jpg\n" * 30_000  # longer than the csv module lets a field be
    with pytest.raises(ImagesTableError, match=r"images\.csv: line \d+: field larger"):
        open_images(write_csv(tmp_path, text))


def test_any_name_that_the_csv_module_writes_is_read(tmp_path: Path) -> None:
    rows = [["a,b.jpg", 'the "big" one'], ["c\nd.jpg", "é, ü"], [" e .jpg", "''"], ["f.jpg", "\t"]]
    with (tmp_path / "list.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "label"], *rows])
    assert [[path, label] for path, label, _ in found(tmp_path / "list.csv")] == rows


def test_a_csv_that_is_not_unicode_names_the_file_of_these_bytes(tmp_path: Path) -> None:
    (path, label, _), *_ = found(write_csv(tmp_path, b"path,label\n\xe9.jpg,\xe9t\xe9\n"))
    assert path.encode("utf-8", "surrogateescape") == b"\xe9.jpg"
    assert label.encode("utf-8", "surrogateescape") == b"\xe9t\xe9"


# The table, there and back

SPECIAL = st.text(",\"\n\r\t;\\' aé\u2028日\ufeff\udcff\x00", max_size=8)
FILE_NAMES = st.binary(max_size=8).map(lambda name: name.decode("utf-8", "surrogateescape"))
CELLS = st.one_of(SPECIAL, FILE_NAMES, st.text(max_size=8))
ROWS = st.lists(
    st.tuples(
        CELLS, CELLS, CELLS, CELLS, st.integers(-1, 2**63 - 1), st.integers(-(2**63), 2**63 - 1)
    ),
    max_size=6,
)


def table_of(rows: list[tuple[str, str, str, str, int, int]]) -> ImageTable:
    path, label, split, group, size, mtime = ([row[i] for row in rows] for i in range(6))
    return ImageTable(
        path=[str(cell) for cell in path],
        label=[str(cell) for cell in label],
        split=[str(cell) for cell in split],
        group=[str(cell) for cell in group],
        size=np.array(size, dtype=np.int64),
        mtime_ns=np.array(mtime, dtype=np.int64),
    )


def write_table(table: ImageTable, path: Path) -> None:
    path.unlink(missing_ok=True)
    table.write_csv(path)


def same(a: ImageTable, b: ImageTable) -> bool:
    texts = (a.path, a.label, a.split, a.group) == (b.path, b.label, b.split, b.group)
    return bool(texts and (a.size == b.size).all() and (a.mtime_ns == b.mtime_ns).all())


@settings(deadline=None)
@given(ROWS)
@example([("a\rb.jpg", "", "", "", 1, 1)])
@example([("\udcff.jpg", 'a,"b"', "c\nd", "e\r\nf", -1, -1), ("", "", "", "", 0, 0)])
def test_any_table_survives_the_way_there_and_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str, str, int, int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "there_and_back.csv"
    table = table_of(rows)
    write_table(table, path)
    again = ImageTable.read_csv(path)
    assert same(again, table)
    assert again.size.dtype == again.mtime_ns.dtype == np.int64
    assert len(again) == len(rows)


@settings(deadline=None)
@given(ROWS)
def test_a_table_is_what_the_csv_module_reads(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str, str, int, int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "plain.csv"
    write_table(table_of(rows), path)
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        header, *lines = list(csv.reader(file))
    assert ",".join(header[:-1]) == HEADER
    assert header[-1] == "sha256:" + sha256(path.read_bytes().split(b"\r\n", 1)[1]).hexdigest()
    assert lines == [[*(str(cell) for cell in row), ""] for row in rows]


def test_what_was_found_survives_the_way_there_and_back(tmp_path: Path) -> None:
    touch(tmp_path / "photos", "train/ants, red/1.jpg", "val/bees/2.png")
    (tmp_path / "photos/val/bees/gone.jpg").symlink_to("nowhere")
    table = open_images(tmp_path / "photos").table
    write_table(table, tmp_path / "images.csv")
    assert same(ImageTable.read_csv(tmp_path / "images.csv"), table)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "path,label\na.jpg,ants\n",
        "label,path,split,group,size,mtime_ns\n",
        "path,label,split,group,size,mtime_ns,more\n",
        "path,label,split,group,size,mtime_ns\n",
        f"path,label,split,group,size,mtime_ns,sha256:{'A' * 64}\n",
        f"path,label,split,group,size,mtime_ns,sha256:{'a' * 63}\n",
        f"path,label,split,group,size,mtime_ns,sha256:{'a' * 64},\n",
        "a.jpg,ants,,,1,1\n",
        '"path',
    ],
)
def test_a_table_with_another_header_is_refused(tmp_path: Path, text: str) -> None:
    path = write_csv(tmp_path, text)
    with pytest.raises(
        ImagesTableError, match="first line must be path,label,split,group"
    ) as caught:
        ImageTable.read_csv(path)
    assert str(path) in str(caught.value)


def digested(text: str) -> str:
    """A table of these rows, with the digest that somebody who forged it would give it."""
    return f"{HEADER},sha256:{sha256(text.encode()).hexdigest()}\n{text}"


def test_a_table_that_was_edited_is_refused(tmp_path: Path) -> None:
    table = table_of([("a.jpg", "ants", "", "", 1, 1), ("b.jpg", "bees", "", "", 1, 1)])
    write_table(table, tmp_path / "images.csv")
    whole = (tmp_path / "images.csv").read_bytes()
    for old, new in ((b"ants", b"bees"), (b"a.jpg", b"c.jpg"), (b"\r\n", b"\n"), (b",1,", b",2,")):
        first, end, rows = whole.partition(b"\r\n")
        (tmp_path / "images.csv").write_bytes(first + end + rows.replace(old, new))
        with pytest.raises(ImagesTableError, match="its lines are not those that were written"):
            ImageTable.read_csv(tmp_path / "images.csv")


@pytest.mark.parametrize(
    "line",
    [
        "b.jpg,ants,,,1",
        "b.jpg,ants,,,1,1",
        "b.jpg",
        "",
        "b.jpg,ants,,,1,1,1,",
        "b.jpg,ants,,,large,1,",
        "b.jpg,ants,,,1,late,",
        "b.jpg,ants,,,1.5,1,",
        "b.jpg,ants,,,,1,",
        "b.jpg,ants,,,99999999999999999999,1,",
        '"b.jpg,ants,,,1,1,',
        '"' + "b" * 140_000,  # longer than the csv module lets a field be
    ],
    ids=lambda line: line[:24] or "blank",
)
def test_a_table_with_a_damaged_row_is_refused(tmp_path: Path, line: str) -> None:
    path = write_csv(tmp_path, digested(f"a.jpg,ants,,,1,1,\n{line}\n"))
    with pytest.raises(ImagesTableError) as caught:
        ImageTable.read_csv(path)
    assert f"{path}: line 3" in str(caught.value)


def test_a_damaged_number_is_named_by_its_own_line(tmp_path: Path) -> None:
    rows = ["a.jpg,ants,,,1,1,", "b.jpg,ants,,,large,1,", "c.jpg,ants,,,1,1,", "d.jpg,,,,1,1,"]
    path = write_csv(tmp_path, digested("\n".join(rows) + "\n"))
    with pytest.raises(ImagesTableError, match="line 3"):
        ImageTable.read_csv(path)


def test_the_table_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ImageTable.read_csv(tmp_path / "images.csv")
