"""Images in Parquet files: columns, classes, names, splits, damage."""

import os
import pickle
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bottleneck.data.images import open_images
from bottleneck.data.sources.files.file_source import FileSource
from bottleneck.data.sources.tables import parquet
from bottleneck.data.summary import summarize_images
from bottleneck.errors import (
    ContainerError,
    ImageError,
    ImagesNotFoundError,
    ImagesTableError,
    MissingPackageError,
)
from tests.helpers.archives import IMAGE, class_label, huggingface, image_values, png, write_parquet
from tests.helpers.image_tables import one_line


def test_a_table_of_hugging_face_gives_images_and_class_names(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "train-00000-of-00001.parquet",
        {"image": image_values(range(10)), "label": [0, 1, -1, 0, 1, 0, 1, 0, 1, None]},
        metadata=huggingface(image={"_type": "Image"}, label=class_label("cat", "dog")),
    )
    source = open_images(path)
    table = source.table
    assert table.path[:2] == [
        "train-00000-of-00001.parquet/000.png",
        "train-00000-of-00001.parquet/001.png",
    ]
    assert table.label[:] == ["cat", "dog", "", "cat", "dog", "cat", "dog", "cat", "dog", ""]
    assert table.split.categories == ["train"]
    assert table.size.tolist() == [0] * 10
    assert set(table.mtime_ns.tolist()) == {path.stat().st_mtime_ns}
    assert [source.read(row) for row in range(10)] == [png(i) for i in range(10)]
    assert [source.read(row) for row in (9, 0, 5)] == [png(9), png(0), png(5)]
    assert source.path(3) == str(path / "003.png")


def test_a_folder_of_tables_has_the_splits_of_their_names(tmp_path: Path) -> None:
    for i, name in enumerate(["train-00000-of-00002", "train-00001-of-00002", "validation-0"]):
        columns = {"image": image_values(range(3 * i, 3 * i + 3), path=None), "label": [0, 1, 2]}
        write_parquet(tmp_path / "data" / f"{name}.parquet", columns, group=2)
    source = open_images(tmp_path)
    table = source.table
    assert table.path[3] == "data/train-00001-of-00002.parquet/000000"
    assert table.split[:] == ["train"] * 6 + ["val"] * 3
    assert table.label[:] == ["0", "1", "2"] * 3
    assert [source.read(row) for row in range(9)] == [png(i) for i in range(9)]
    pattern = open_images(tmp_path / "data" / "train-{00000..00001}-of-00002.parquet")
    assert pattern.read(4) == png(4)


@pytest.mark.parametrize("second", ["x.png", "/x.png", "", None, "x\0.png"])
def test_rows_have_numbers_where_stored_names_do_not_tell_them_apart(
    tmp_path: Path, second: str | None
) -> None:
    values = [{"bytes": png(i), "path": name} for i, name in enumerate(["x.png", second])]
    path = write_parquet(tmp_path / "a.parquet", {"image": values})
    assert open_images(path).table.path[:] == ["a.parquet/000000", "a.parquet/000001"]


@pytest.mark.parametrize(
    ("types", "names"),
    [
        ({"picture": pa.binary()}, "picture"),
        ({"data": pa.large_binary()}, "data"),
        ({"image": pa.binary(), "mask": pa.binary()}, "image"),
    ],
)
def test_columns_of_bytes_are_images(tmp_path: Path, types: dict[str, Any], names: str) -> None:
    columns: dict[str, list[bytes]] = {name: [b"other"] * 3 for name in types}
    columns[names] = [png(i) for i in range(3)]
    source = open_images(write_parquet(tmp_path / "a.parquet", columns, types=types))
    assert [source.read(row) for row in range(3)] == [png(i) for i in range(3)]


def test_paths_in_a_table_are_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "data" / "images").mkdir(parents=True)
    for i in range(2):
        (tmp_path / "data" / "images" / f"{i}.png").write_bytes(png(i))
    columns = {"path": ["images/1.png", "images\\0.png"], "label": ["b", "a"]}
    write_parquet(tmp_path / "data" / "a.parquet", columns, types={"label": pa.string()})
    source = open_images(tmp_path / "data" / "a.parquet")
    assert isinstance(source, FileSource)
    assert source.table.path[:] == ["images/1.png", "images/0.png"]
    assert source.table.label[:] == ["b", "a"]
    assert source.table.size.tolist() == [len(png(1)), len(png(0))]
    assert [source.read(0), source.read(1)] == [png(1), png(0)]


def test_a_column_whose_name_has_a_dot_is_used_by_itself(tmp_path: Path) -> None:
    columns = {"image.bytes": [png(1), png(2)], "image.height": [8, 8], "label": [0, 1]}
    source = open_images(write_parquet(tmp_path / "a.parquet", columns))
    assert [source.read(row) for row in (0, 1)] == [png(1), png(2)]
    remarks = summarize_images(source).remarks()
    assert remarks == ["columns that are not used: 'image.height'"]


@pytest.mark.parametrize("again", ["images/1.png", "./images//1.png", "images\\1.png"])
def test_a_path_in_two_rows_is_refused(tmp_path: Path, again: str) -> None:
    write_parquet(tmp_path / "a.parquet", {"path": ["images/1.png", "images/2.png"]})
    write_parquet(tmp_path / "b.parquet", {"path": ["images/3.png", again]})
    with pytest.raises(
        ImagesTableError, match=r"images/1\.png: images 1 and 4 have this name"
    ) as e:
        open_images(tmp_path)
    assert one_line(e)


def test_a_row_without_bytes_is_the_file_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(png(1))
    paths = ["1.png", "2.png", "1\0.png"]
    values = [*({"bytes": None, "path": path} for path in paths), None]
    source = open_images(write_parquet(tmp_path / "tables" / "a.parquet", {"image": values}))
    with pytest.raises(ImageError, match="No such file"):
        source.read(0)
    (tmp_path / "tables" / "1.png").write_bytes(png(1))
    assert source.read(0) == png(1)
    for row in (2, 3):
        with pytest.raises(ImageError, match="the row has no image"):
            source.read(row)


@pytest.mark.parametrize("tells", [True, False])
def test_a_row_without_bytes_has_the_size_and_time_of_its_file(tmp_path: Path, tells: bool) -> None:
    path, written = tmp_path / "a.parquet", {}
    for i, seconds in ((0, 300), (2, 300), (3, 100)):
        written[i] = (tmp_path / f"{i}.png").write_bytes(png(i))
        os.utime(tmp_path / f"{i}.png", (seconds, seconds))
    rows = [
        *image_values([0, 1], path="{}.png"),
        *({"bytes": None, "path": name} for name in ("2.png", "3.png", "4.png", "5\0.png", None)),
    ]
    table = pa.table({"image": pa.array(rows, IMAGE)})
    pq.write_table(table, path, row_group_size=2, write_statistics=tells)
    os.utime(path, (200, 200))
    found = open_images(path).table
    first = (
        (0, 200) if tells else (written[0], 300)
    )  # it has bytes, and the file counts for nothing
    expected = [first, (0, 200), (written[2], 300), (written[3], 200), *[(0, 200)] * 3]
    assert [*zip(found.size, found.mtime_ns // 10**9, strict=True)] == expected


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["cat ", None], pa.string(), ["cat", ""]),
        ([3, None], pa.int8(), ["3", ""]),
        ([3.0, float("nan")], pa.float64(), ["3", ""]),
        ([3.0, None], pa.float64(), ["3", ""]),
        ([[0, 2], []], pa.list_(pa.int64()), ["0|2", ""]),
        ([[0, None], [None, None]], pa.list_(pa.int64()), ["0", ""]),
        ([b"cat", b"dog"], pa.binary(), ["cat", "dog"]),
        ([0.5, 1], pa.float32(), None),
        (["a\0b", "c"], pa.string(), None),
    ],
)
def test_labels_are_texts_or_integers(
    tmp_path: Path, values: list[Any], kind: Any, expected: list[str] | None
) -> None:
    columns = {"image": image_values(range(2)), "Label": values}
    metadata = huggingface(image={"_type": "Image"})
    path = write_parquet(tmp_path / "a.parquet", columns, types={"Label": kind}, metadata=metadata)
    if expected is None:
        with pytest.raises(ImagesTableError, match="of column 'Label' is") as caught:
            open_images(path)
        assert one_line(caught)
    else:
        assert open_images(path).table.label[:] == expected


@pytest.mark.parametrize("listed", [lambda f: [f], lambda f: {"_type": "List", "feature": f}])
def test_lists_of_classes_are_several_labels(tmp_path: Path, listed: Any) -> None:
    columns = {"image": image_values(range(3)), "objects": [[1, 0], [1, -1, -1], []]}
    metadata = huggingface(objects=listed(class_label("cat", "dog")))
    types = {"objects": pa.list_(pa.int64())}
    path = write_parquet(tmp_path / "a.parquet", columns, types=types, metadata=metadata)
    assert open_images(path).table.label[:] == ["dog|cat", "dog", ""]


def test_splits_and_groups_are_columns(tmp_path: Path) -> None:
    columns = {"image": image_values(range(2)), "split": ["test", "train"], "group": [7, 8]}
    table = open_images(write_parquet(tmp_path / "train.parquet", columns)).table
    assert (table.split[:], table.group[:]) == (["test", "train"], ["7", "8"])


@pytest.mark.parametrize(
    ("columns", "metadata", "said"),
    [
        ({"label": [1, 2]}, None, r"no column of images: .*it has label \(int64\)"),
        ({"a": [b"x"], "b": [b"x"]}, None, "2 columns of images, a, b"),
        (
            {"image": [{"bytes": b"x", "path": "1"}], "fine": [0], "coarse": [0]},
            huggingface(fine=class_label("a", "b"), coarse=class_label("c", "d")),
            "2 columns of labels, fine, coarse: call the one that is meant 'label'",
        ),
        (
            {"image": [{"bytes": b"x", "path": "1"}], "label": [5]},
            huggingface(label=class_label("a", "b")),
            "row 1 of column 'label' is '5': there are 2 classes",
        ),
        (
            {"image": [{"bytes": b"x", "path": "1"}], "label": [0]},
            huggingface(label=class_label("a|b", "b")),
            r"has a class 'a\|b'",
        ),
        (
            {"image": [{"bytes": b"x", "path": "1"}], "label": [0]},
            huggingface(label=class_label("a\ud83d", "b")),
            "row 1 of column 'label' is '0': its text has a NUL, or half of a surrogate pair",
        ),
        (
            {"image": [{"bytes": b"x", "path": "1"}], "category": [{"id": 5}]},
            None,
            "row 1 of column 'category' is .*'id': 5.*: neither a text nor an integer",
        ),
    ],
)
def test_tables_that_cannot_be_understood_are_refused_with_what_was_seen(
    tmp_path: Path,
    columns: Mapping[str, list[Any]],
    metadata: dict[bytes, bytes] | None,
    said: str,
) -> None:
    path = write_parquet(tmp_path / "a.parquet", columns, metadata=metadata)
    with pytest.raises(ImagesTableError, match=said) as caught:
        open_images(path)
    assert one_line(caught)


@pytest.mark.parametrize("metadata", [{b"huggingface": b"{"}, {b"huggingface": b"[1]"}])
def test_metadata_that_is_none_is_passed_over(tmp_path: Path, metadata: dict[bytes, bytes]) -> None:
    columns = {"image": image_values(range(2)), "label": [4, 5]}
    path = write_parquet(tmp_path / "a.parquet", columns, metadata=metadata)
    assert open_images(path).table.label[:] == ["4", "5"]


def test_images_and_paths_are_not_mixed(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", {"image": image_values([1])})
    write_parquet(tmp_path / "b.parquet", {"path": ["1.png"]})
    with pytest.raises(ImagesTableError, match=r"a\.parquet holds images, and .*b\.parquet their"):
        open_images(tmp_path)


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"PAR1", b"junk" * 100, b"PAR1" + bytes(100) + b"\xff\xff\xff\x7fPAR1"):
        (tmp_path / "a.parquet").write_bytes(content)
        with pytest.raises(
            ImagesTableError, match="not a Parquet file, or a damaged one"
        ) as caught:
            open_images(tmp_path / "a.parquet")
        assert one_line(caught)
    with pytest.raises(ImagesNotFoundError, match="no such"):
        open_images(tmp_path / "absent.parquet")


def test_a_damaged_row_group_rejects_its_images_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    columns = {"image": image_values(range(8)), "label": [0] * 8}
    write_parquet(path, columns, group=4)
    group = pq.ParquetFile(path).metadata.row_group(1)
    chunk = next(c for c in map(group.column, range(3)) if c.path_in_schema == "image.bytes")
    data = bytearray(path.read_bytes())
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(data)
    source = open_images(path)
    assert source.read(3) == png(3)
    with pytest.raises(ImageError, match="cannot be read: row group 1: ") as caught:
        source.read(5)
    assert one_line(caught)


def test_a_row_group_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"image": image_values(range(4))})
    monkeypatch.setattr(parquet, "_MOST_GROUP", 1000)
    with pytest.raises(ImagesTableError, match=r"row group 0 holds .* write row groups of at most"):
        open_images(path)


def test_threads_read_each_row_group_once_and_keep_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"image": image_values(range(24))}, group=4)
    source = open_images(path)
    monkeypatch.setattr(parquet, "_KEPT_BYTES", 1)
    loaded: list[int] = []
    load = parquet._Opened.read_group

    def count(self: Any, group: int, column: str) -> Any:
        loaded.append(group)
        return load(self, group, column)

    monkeypatch.setattr(parquet._Opened, "read_group", count)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(source.read, range(24))) == [png(i) for i in range(24)]
    assert sorted(set(loaded)) == list(range(6))
    assert len(loaded) < 12  # a thread may come late to a group that was dropped
    assert len(source._scan.members._groups._kept) == 2  # type: ignore[attr-defined]


def test_a_table_that_is_written_anew_is_not_read_by_its_old_places(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"image": image_values(range(8))})
    source = open_images(path)
    assert source.read(0) == png(0)
    write_parquet(path, {"image": image_values(range(1, 9))})
    os.utime(path, ns=(0, 1))
    with pytest.raises(ContainerError, match=r"a\.parquet changed while it was in use"):
        source.read(7)


def test_a_table_that_is_written_anew_while_it_is_read_gives_no_other_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"image": image_values(range(8))})
    source = open_images(path)
    read_group = parquet._Opened.read_group

    def rewriting(*arguments: Any) -> Any:
        write_parquet(path, {"image": image_values(range(1, 9))})
        os.utime(path, ns=(0, 1))
        return read_group(parquet._Opened(path), *arguments[1:])

    monkeypatch.setattr(parquet._Opened, "read_group", rewriting)
    with pytest.raises(ContainerError, match=r"a\.parquet changed while it was in use"):
        source.read(7)


def test_a_pickled_source_reads_the_same_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(tmp_path / "a.parquet", {"image": image_values(range(6))})
    monkeypatch.chdir(tmp_path)
    source = open_images("a.parquet")
    pickled = pickle.dumps(source.with_table(source.table.take(np.array([4]))))
    monkeypatch.chdir("/")
    again = pickle.loads(pickled)
    assert again.read(0) == png(4)
    assert again.with_table(source.table).read(5) == png(5)


def test_without_pyarrow_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"image": image_values([1])})
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'bottleneck-features\[parquet\]'"):
        open_images(path)


def test_a_worker_without_pyarrow_rejects_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = pickle.dumps(
        open_images(write_parquet(tmp_path / "a.parquet", {"image": image_values([1])}))
    )
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(
        MissingPackageError, match=r"a\.parquet needs pyarrow\.parquet, which is not"
    ):
        pickle.loads(sent).read(0)


def test_columns_that_are_not_used_are_named_and_splits_among_them_refused(tmp_path: Path) -> None:
    def table(**columns: list[Any]) -> Path:
        columns = {"image": image_values(range(4)), "label": [0, 1, 0, 1], **columns}
        return write_parquet(tmp_path / "a.parquet", columns, group=2)

    assert summarize_images(table(camera=["x"] * 4)).remarks() == [
        "columns that are not used: 'camera'"
    ]
    with pytest.raises(ImagesTableError, match="the column 'is_test' looks like a split"):
        open_images(table(is_test=[True, False] * 2))
    with pytest.raises(ImagesTableError, match="'stage' holds 'test', 'train', which look") as e:
        open_images(table(stage=["train", "train", "test", "test"]))
    assert one_line(e)
    both = table(stage=["train", "test"] * 2, split=["test", "train"] * 2)
    assert open_images(both).table.split[:2] == ["test", "train"]
