import csv
import os
from pathlib import Path

import pytest

from bottleneck.data.images import open_images
from bottleneck.data.sources.files.image_csv import read_image_csv
from bottleneck.errors import ImagesNotFoundError, ImagesTableError
from tests.helpers.image_folders import rows_of, touch, write_csv


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
        ("path,label\na.jpg, ants\t\n", ("a.jpg", "ants", "", "")),
        ("path,label\na.jpg,ants\u00a0\n", ("a.jpg", "ants", "", "")),
        ("path,label\na.jpg,\u3000ants\n", ("a.jpg", "ants", "", "")),
    ],
)
def test_columns_but_the_path_are_optional_and_in_any_order(
    tmp_path: Path, text: str, row: tuple[str, ...]
) -> None:
    table = open_images(write_csv(tmp_path, text)).table
    assert list(zip(table.path, table.label, table.split, table.group, strict=True)) == [row]


def test_the_rows_of_a_csv_need_no_images_and_come_with_its_columns(tmp_path: Path) -> None:
    source = write_csv(tmp_path, "group,path,camera\nhill,gone.jpg,left\n", "list.txt")
    found = read_image_csv(source)
    assert found.header.fields == ("group", "path", "camera")
    assert [list(column) for column in found.columns] == [["gone.jpg"], [""], [""], ["hill"]]
    found = read_image_csv(write_csv(tmp_path, "path,label\n"))
    assert [len(column) for column in found.columns] == [0] * 4
    assert [found.has(name) for name in ("path", "label", "split")] == [True, True, False]


def test_a_short_row_has_empty_cells(tmp_path: Path) -> None:
    table = open_images(write_csv(tmp_path, "path,label,split\na.jpg,ants,val\nb.jpg\n")).table
    columns = [list(column) for column in (table.path, table.label, table.split)]
    assert columns == [["a.jpg", "b.jpg"], ["ants", ""], ["val", ""]]


def test_a_byte_order_mark_is_no_part_of_the_column(tmp_path: Path) -> None:
    text = "\ufeffpath,label\na.jpg,ants\n"
    assert rows_of(write_csv(tmp_path, text)) == [("a.jpg", "ants", "")]


def test_a_csvs_suffix_may_be_upper_case(tmp_path: Path) -> None:
    assert rows_of(write_csv(tmp_path, "path\na.jpg\n", "LIST.CSV")) == [("a.jpg", "", "")]


def test_a_folder_named_like_a_csv_is_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "list.csv/ants/1.jpg")
    assert rows_of(tmp_path / "list.csv") == [("ants/1.jpg", "ants", "")]


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


def test_a_repeated_path_is_refused_with_both_lines(tmp_path: Path) -> None:
    source = write_csv(tmp_path, "path,label\na.jpg,ants\nb.jpg,bees\nc.jpg,ants\nb.jpg,ants\n")
    with pytest.raises(ImagesTableError, match=r"'b\.jpg' .*lines 3 and 5") as caught:
        open_images(source)
    assert str(source) in str(caught.value)


@pytest.mark.parametrize("text", ["url,label\na.jpg,ants\n", "", "a.jpg\nb.jpg\n", "path|label\n"])
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


def test_the_lines_of_a_large_csv_are_counted_over_all_its_parts(tmp_path: Path) -> None:
    rows = [f"{i:06d}.jpg,ants" for i in range(20_000)]  # three parts
    source = write_csv(tmp_path, "\n".join(["path,label", *rows, ",bees"]))
    with pytest.raises(ImagesTableError, match="line 20002 has no path"):
        read_image_csv(source)


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
    found = [[path, label] for path, label, _ in rows_of(tmp_path / "list.csv")]
    # Blanks around a label are no part of it; a path is stripped if its file is found without them.
    assert found == [[path.strip(), label.strip()] for path, label in rows]


def test_a_csv_that_is_not_unicode_names_the_file_of_these_bytes(tmp_path: Path) -> None:
    (path, label, _), *_ = rows_of(write_csv(tmp_path, b"path,label\n\xe9.jpg,\xe9t\xe9\n"))
    assert path.encode("utf-8", "surrogateescape") == b"\xe9.jpg"
    assert label.encode("utf-8", "surrogateescape") == b"\xe9t\xe9"
