import csv
import dataclasses
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottleneck.data.label_csv import with_labels_from_csv
from bottleneck.data.labels import class_names
from bottleneck.data.splits import split_rows, train_and_heldout_splits
from bottleneck.data.table.image_table import ImageTable
from bottleneck.errors import ImagesTableError, LabelsError
from tests.helpers.image_tables import one_line, table

OURS = table(
    *["ants", "bees", "", "bees"],
    path=["train/a.jpg", "train/b.jpg", "test/c.jpg", "./d.jpg"],
    split=["train", "train", "test", "val"],
    group=["1", "1", "2", ""],
    size=[1, 2, -1, 3],
)


def write(folder: Path, *lines: str) -> Path:
    path = folder / "labels.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def rows(images: ImageTable) -> list[tuple[str, str, str]]:
    """Label, split and group of every row."""
    return list(zip(images.label, images.split, images.group, strict=True))


def test_label_split_and_group_are_the_csvs_alone(tmp_path: Path) -> None:
    path = write(tmp_path, "group,path,split,label", "7,test/c.jpg,val,wings", ",train/a.jpg,,legs")
    found = with_labels_from_csv(OURS, path).table
    assert rows(found) == [("legs", "", ""), ("", "", ""), ("wings", "val", "7"), ("", "", "")]


def test_rows_and_files_stay_as_they_are(tmp_path: Path) -> None:
    before = dataclasses.replace(OURS).digest
    found = with_labels_from_csv(OURS, write(tmp_path, "path,label", "test/c.jpg,wings")).table
    assert found.path == OURS.path
    np.testing.assert_array_equal(found.size, OURS.size)
    np.testing.assert_array_equal(found.mtime_ns, OURS.mtime_ns)
    assert dataclasses.replace(OURS).digest == before


def test_without_the_columns_split_and_group_stay(tmp_path: Path) -> None:
    found = with_labels_from_csv(
        OURS, write(tmp_path, "path,label", "test/c.jpg,wings", "train/a.jpg,")
    ).table
    assert rows(found) == [("", "train", "1"), ("", "", "1"), ("wings", "test", "2"), ("", "", "")]


def test_the_summary_names_translated_and_unused_columns(tmp_path: Path) -> None:
    lines = ["File,Class,set,camera", "train/a.jpg,legs,Training,2", "train/b.jpg,,Testing,3"]
    found = with_labels_from_csv(OURS, write(tmp_path, *lines)).summary
    assert found is not None
    assert str(found).splitlines() == [
        f"labels from {tmp_path / 'labels.csv'}: path, label, split of 2 images",
        "3 images, 1 class, 2 without a label, train 1, test 1, in no split 1, "
        "1 that does not exist",
        "columns by their usual names: 'File' is path, 'Class' is label, 'set' is split",
        "columns that are not used: 'camera'",
        "splits by their usual names: 'Training' is train, 'Testing' is test",
    ]
    plain = json.loads(json.dumps(found.to_dict()))
    assert (plain["rows"], plain["columns"]) == (2, ["path", "label", "split"])
    assert len(plain["remarks"]) == 3


def test_a_split_of_unnamed_images_judges_nothing(tmp_path: Path) -> None:
    labelled = write(tmp_path, "path,label", "train/a.jpg,x", "train/b.jpg,y")
    found = with_labels_from_csv(OURS, labelled).table
    assert train_and_heldout_splits(found) == ("train", "")
    assert split_rows(found, found.has_label, "train").tolist() == [0, 1]


@pytest.mark.parametrize(
    ("path", "row"),
    [("./train/a.jpg", 0), ("train/a.jpg", 0), ("./d.jpg", 3), ("d.jpg", 3)],
)
def test_a_leading_dot_makes_no_difference(tmp_path: Path, path: str, row: int) -> None:
    found = with_labels_from_csv(OURS, write(tmp_path, "path,label", f"{path},wings")).table
    assert [i for i, label in enumerate(found.label) if label == "wings"] == [row]


@pytest.mark.parametrize("paths", [["./a.jpg", "a.jpg"], ["a.jpg", "./a.jpg"]])
def test_a_cache_with_both_spellings_is_matched_exactly(tmp_path: Path, paths: list[str]) -> None:
    labels = write(tmp_path, "path,label", "./a.jpg,dot", "a.jpg,none")
    found = with_labels_from_csv(table("", "", path=paths), labels).table
    assert dict(zip(paths, found.label, strict=True)) == {"./a.jpg": "dot", "a.jpg": "none"}


def test_several_names_come_through_a_csv(tmp_path: Path) -> None:
    labels = write(tmp_path, "path,label", "train/a.jpg,cat|dog", "train/b.jpg,dog")
    found = with_labels_from_csv(OURS, labels).table
    assert class_names(found, np.array([0, 1]), split="train") == ["cat", "dog"]


@pytest.mark.parametrize(
    ("lines", "kind", "message"),
    [
        (
            ["path,label", "a.jpg,x", "train/a.jpg,x"],
            LabelsError,
            "1 of 2 paths are not in the cache: 'a.jpg'; paths must be as in its images.csv, for "
            "example 'train/a.jpg'",
        ),
        (
            ["path,label", "/1.jpg,x", "2.jpg,x", "train/./a.jpg,x", "4.jpg,x"],
            LabelsError,
            "4 of 4 paths are not in the cache: '/1.jpg', '2.jpg', 'train/./a.jpg', …; paths must",
        ),
        (
            ["path,label", "train/B.JPG,x"],
            LabelsError,
            "1 of 1 paths are not in the cache: 'train/B.JPG'; paths must be as in its images.csv, "
            "for example 'train/a.jpg'; 'train/B.JPG' is 'train/b.jpg' but for case, blanks or "
            "Unicode form",
        ),
        (["path,label", "././train/a.jpg,x"], LabelsError, "1 of 1 paths are not in the cache"),
        (
            ["path,label", "train/b.jpg,x", "train/a.jpg,x", "./train/a.jpg,x"],
            LabelsError,
            "'train/a.jpg' and './train/a.jpg' are the same image; an image is one row",
        ),
        (
            ["path,label", "train/a.jpg,x", "train/b.jpg,x", "train/a.jpg,x"],
            ImagesTableError,
            "'train/a.jpg' is on lines 2 and 4; an image is one row",
        ),
        (
            ["path,split", "train/a.jpg,x"],
            LabelsError,
            "no column 'label' in its first line; a CSV of labels has path,label[,split][,group]",
        ),
        (["label", "x"], ImagesTableError, "no column 'path' in its first line"),
        (["path,label", ",x"], ImagesTableError, "line 2 has no path"),
    ],
)
def test_a_csv_that_does_not_fit_the_cache_is_refused(
    tmp_path: Path, lines: list[str], kind: type[Exception], message: str
) -> None:
    path = write(tmp_path, *lines)
    with pytest.raises(kind, match=re.escape(f"{path}: {message}")) as caught:
        with_labels_from_csv(OURS, path)
    assert one_line(caught)


@pytest.mark.parametrize("name", ["gone.csv", "."])
def test_a_csv_must_be_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        LabelsError, match=r"no such CSV of labels: .* columns path,label\["
    ) as caught:
        with_labels_from_csv(OURS, tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_a_pipe_is_no_csv() -> None:
    reader, writer = os.pipe()
    try:
        os.write(writer, b"path,label\n")
        with pytest.raises(
            LabelsError, match=f"no such CSV of labels: /dev/fd/{reader}: give a file"
        ):
            with_labels_from_csv(OURS, Path(f"/dev/fd/{reader}"))
    finally:
        os.close(reader)
        os.close(writer)


TEXTS = st.text("a|, ;\"'\n\ré日\udcff", max_size=3)
CELLS = st.tuples(TEXTS, TEXTS, TEXTS)
Cells = tuple[str, str, str]  # label, split, group


@settings(deadline=None)
@given(
    st.dictionaries(
        TEXTS.filter(bool), st.tuples(CELLS, st.none() | CELLS), min_size=1, max_size=6
    ),
    st.booleans(),
    st.booleans(),
)
def test_any_csv_is_what_a_dictionary_would_look_up(
    tmp_path_factory: pytest.TempPathFactory,
    images: dict[str, tuple[Cells, Cells | None]],
    has_split: bool,
    has_group: bool,
) -> None:
    lines, expected = [], {}
    for path, ((_, split, group), new) in images.items():
        if new is None:
            expected[path] = ("", "", "" if has_group else group)
            continue
        label, new_split, new_group = (text.strip() for text in new)  # blanks around are no part
        expected[path] = (
            label,
            new_split if has_split else split,
            new_group if has_group else group,
        )
        lines.append([path, new[0], *[new[1]] * has_split, *[new[2]] * has_group])
    header = ["path", "label", *["split"] * has_split, *["group"] * has_group]
    file = tmp_path_factory.getbasetemp() / "any.csv"
    with file.open("w", newline="", encoding="utf-8", errors="surrogateescape") as out:
        csv.writer(out).writerows([header, *reversed(lines)])
    own = [cells for cells, _ in images.values()]
    ours = table(
        *(cells[0] for cells in own),
        path=images,
        split=(cells[1] for cells in own),
        group=(cells[2] for cells in own),
    )
    found = with_labels_from_csv(ours, file).table
    assert dict(zip(found.path, rows(found), strict=True)) == expected


def test_a_csv_of_labels_is_understood_as_one_of_images_is(tmp_path: Path) -> None:
    path = write(
        tmp_path, "File Name;Class;set", "train\\a.jpg; wings;Training", "d.jpg;legs;valid"
    )
    found = with_labels_from_csv(OURS, path).table
    assert rows(found)[0] == ("wings", "train", "1")
    assert rows(found)[3] == ("legs", "val", "")
