import csv
import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.preprocessing import LabelEncoder, MultiLabelBinarizer

from bottleneck.data.images import open_images
from bottleneck.data.labels import (
    SEPARATOR,
    class_names,
    encode_targets,
    heldout_split,
    is_multilabel,
    split_rows,
    train_and_heldout_splits,
    with_labels_from_csv,
)
from bottleneck.data.table import ImageTable
from bottleneck.errors import ImagesTableError, LabelsError


def table(
    *labels: str,
    path: Iterable[str] = (),
    split: Iterable[str] = (),
    group: Iterable[str] = (),
    size: Iterable[int] = (),
) -> ImageTable:
    """Images 0.jpg, 1.jpg, … with these labels."""
    n = len(labels)
    return ImageTable(
        path=list(path) or [f"{i}.jpg" for i in range(n)],
        label=list(labels),
        split=list(split) or [""] * n,
        group=list(group) or [""] * n,
        size=np.array(list(size) or [1] * n, dtype=np.int64),
        mtime_ns=np.arange(n, dtype=np.int64),
    )


def every(images: ImageTable) -> NDArray[np.int64]:
    return np.arange(len(images))


def names_of(*labels: str) -> list[str]:
    images = table(*labels)
    return class_names(images, every(images), split="")


def format_error(error: pytest.ExceptionInfo[Exception]) -> bool:
    return "\n" not in str(error.value)


# Which rows


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (["train", "val", "test"], ("train", "test")),
        (["train", "val"], ("train", "val")),
        (["train"], ("", "")),
        ([""], ("", "")),
        (["", "train"], ("", "")),
        (["train", "extra"], ("train", "")),
        (["", "train", "val"], ("train", "val")),
    ],
)
def test_which_split_trains_and_which_judges(splits: list[str], expected: tuple[str, str]) -> None:
    assert train_and_heldout_splits(table(*splits, split=splits)) == expected


def test_splits_without_train_are_refused_and_said() -> None:
    images = table("a", "b", "c", split=["val", "", "test"])
    with pytest.raises(LabelsError, match="in split 'train'; found test, val: name the") as caught:
        train_and_heldout_splits(images)
    assert format_error(caught)


def test_a_split_of_removed_images_is_no_split() -> None:
    images = table("a", "b", "c", split=["train", "test", "val"], size=[1, -1, 1])
    assert train_and_heldout_splits(images) == ("train", "val")
    assert heldout_split(images) == "val"
    assert heldout_split(table("a", split=["train"])) == ""


def test_rows_of_a_split_are_its_usable_ones() -> None:
    images = table(*"abcd", split=["val", "train", "val", "val"])
    usable = np.array([True, True, False, True])
    assert split_rows(images, usable, "val").tolist() == [0, 3]
    assert split_rows(images, usable, "").tolist() == [0, 1, 3]
    assert split_rows(images, usable, "test").tolist() == []


# One name a label


def test_class_names_are_sorted_and_each_once() -> None:
    assert names_of("dog", "cat", "dog", " dog") == [" dog", "cat", "dog"]  # as they stand


def test_only_the_rows_count() -> None:
    images = table("dog", "cat", "emu|dog", "dog")
    rows = np.array([0, 1, 3])
    assert class_names(images, rows, split="") == ["cat", "dog"]
    assert not is_multilabel(images, rows)
    assert is_multilabel(images, every(images))


@pytest.mark.parametrize(
    ("labels", "split", "message"),
    [
        ((), "", "at least 2 classes, found no labelled image: put each class's images"),
        (("cat", "cat"), "", "at least 2 classes, found 'cat' (2 images): put"),
        (("cat",), "train", "at least 2 classes in split 'train', found 'cat' (1 images): put"),
    ],
)
def test_fewer_than_two_classes_are_refused(
    labels: tuple[str, ...], split: str, message: str
) -> None:
    images = table(*labels)
    with pytest.raises(LabelsError, match=re.escape(message)) as caught:
        class_names(images, every(images), split=split)
    assert format_error(caught)


@given(st.lists(st.text("abé|日", min_size=1), min_size=1))
def test_single_targets_are_what_scikit_learn_encodes(labels: list[str]) -> None:
    images = table(*labels)
    encoder = LabelEncoder().fit(labels)
    targets = encode_targets(images, every(images), list(encoder.classes_), multilabel=False)
    assert targets.dtype == np.int64
    np.testing.assert_array_equal(targets, encoder.transform(labels))


@pytest.mark.parametrize("multilabel", [False, True])
def test_targets_of_no_rows_have_a_shape(multilabel: bool) -> None:
    images = table("cat", "dog")
    rows = np.array([], dtype=np.int64)
    found = encode_targets(images, rows, ["cat", "dog"], multilabel=multilabel)
    assert found.shape == ((0, 2) if multilabel else (0,))
    assert found.dtype == (np.bool_ if multilabel else np.int64)


# Several names a label


def test_a_separator_in_any_label_makes_every_label_a_list_of_names() -> None:
    images = table("dog", " cat | dog", "cat\t", "emu|emu")
    assert is_multilabel(images, every(images))
    assert class_names(images, every(images), split="") == ["cat", "dog", "emu"]
    targets = encode_targets(images, every(images), ["cat", "dog", "emu"], multilabel=True)
    assert targets.dtype == np.bool_
    assert targets.tolist() == [
        [False, True, False],
        [True, True, False],
        [True, False, False],
        [False, False, True],
    ]


def test_a_head_for_several_names_takes_labels_of_one() -> None:
    images = table("dog", "cat ")
    targets = encode_targets(images, every(images), ["cat", "dog", "emu"], multilabel=True)
    assert targets.tolist() == [[False, True, False], [True, False, False]]


def test_targets_follow_the_order_of_rows_and_names() -> None:
    images = table("a|b", "b", "c")
    targets = encode_targets(images, np.array([2, 0]), ["c", "b", "a"], multilabel=True)
    assert targets.tolist() == [[True, False, False], [False, True, True]]


@pytest.mark.parametrize("above", [".", "train"])
def test_the_name_of_a_folder_is_one_name(tmp_path: Path, above: str) -> None:
    for folder in ("cat|dog", "dog"):
        (tmp_path / above / folder).mkdir(parents=True)
        (tmp_path / above / folder / "1.jpg").write_bytes(b"x")
    open_images(tmp_path).table.write_csv(tmp_path / "images.csv")
    for images in (open_images(tmp_path).table, ImageTable.read_csv(tmp_path / "images.csv")):
        assert not is_multilabel(images, every(images))
        assert class_names(images, every(images), split="") == ["cat|dog", "dog"]
        targets = encode_targets(images, every(images), ["cat|dog", "dog"], multilabel=False)
        assert targets.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("label", "path"),
    [
        ("cat|dog", "cat|dog.jpg"),
        ("cat|dog", "cat/dog/1.jpg"),
        ("cat | dog", "cat|dog/1.jpg"),
        ("dog|cat", "cat|dog/1.jpg"),
        ("dog|cat", "a/b|c/dog|cat"),
    ],
)
def test_a_label_that_is_no_folder_of_its_image_may_be_several_names(label: str, path: str) -> None:
    images = table("dog", "cat|dog", label, path=["1.jpg", "cat|dog/2.jpg", path])
    assert not is_multilabel(images, np.array([0, 1]))
    assert is_multilabel(images, every(images))
    assert class_names(images, every(images), split="") == ["cat", "dog"]


NAMES = st.one_of(
    st.sampled_from(["cat", "dog", "emu"]),
    st.text(min_size=1, max_size=4),
    st.binary(min_size=1, max_size=4).map(lambda name: name.decode("utf-8", "surrogateescape")),
).filter(lambda name: SEPARATOR not in name and name == name.strip())

BLANKS = st.sampled_from(["", " ", "\t", "  "])


@settings(deadline=None)
@given(st.data(), st.lists(st.sets(NAMES, min_size=1, max_size=4), min_size=1, max_size=6))
def test_names_survive_the_way_into_labels_and_back(
    data: st.DataObject, images_names: list[set[str]]
) -> None:
    labels = []
    for names in images_names:
        repeated = data.draw(st.permutations(sorted(names))) + data.draw(
            st.lists(st.sampled_from(sorted(names)), max_size=2)
        )
        parts = [data.draw(BLANKS) + name + data.draw(BLANKS) for name in repeated]
        labels.append(SEPARATOR.join(parts))
    images = table(*labels)
    assume(is_multilabel(images, every(images)))
    binarizer = MultiLabelBinarizer().fit(images_names)
    if all(names == images_names[0] for names in images_names):
        with pytest.raises(LabelsError, match="have the same labels"):
            class_names(images, every(images), split="")
        return
    found = class_names(images, every(images), split="")
    assert found == list(binarizer.classes_)
    targets = encode_targets(images, every(images), found, multilabel=True)
    assert targets.dtype == np.bool_
    np.testing.assert_array_equal(targets, binarizer.transform(images_names))


@pytest.mark.parametrize("label", ["cat||dog", "cat|", "|cat", "|", "cat| |dog", " |cat", "\t|"])
def test_an_empty_name_is_refused_with_its_image(label: str) -> None:
    images = table("dog", label)
    said = re.escape(f"image '1.jpg' has the label {label!r}, where a name is empty: write 'cat'")
    with pytest.raises(LabelsError, match=said) as caught:
        class_names(images, every(images), split="")
    assert format_error(caught)
    with pytest.raises(LabelsError, match=said):
        encode_targets(images, every(images), ["cat", "dog"], multilabel=True)


@pytest.mark.parametrize("label", ["", " "])
def test_a_blank_label_among_several_names_is_an_empty_name(label: str) -> None:
    images = table("cat|dog", label)
    with pytest.raises(LabelsError, match=f"image '1.jpg' has the label {label!r}"):
        class_names(images, every(images), split="")


def test_a_name_that_every_image_has_is_kept() -> None:
    assert names_of("animal|cat", "animal|dog") == ["animal", "cat", "dog"]
    assert names_of("animal|cat", "animal") == ["animal", "cat"]


@pytest.mark.parametrize(
    ("labels", "split", "message"),
    [
        (("cat|dog", "dog|cat"), "", "all 2 images have the same labels 'cat|dog': a classifier"),
        (("cat|dog",), "train", "all 1 images in split 'train' have the same labels 'cat|dog'"),
        (("cat", "cat|cat"), "", "all 2 images have the same labels 'cat'"),
    ],
)
def test_names_that_tell_no_images_apart_are_refused(
    labels: tuple[str, ...], split: str, message: str
) -> None:
    images = table(*labels)
    with pytest.raises(LabelsError, match=re.escape(message)) as caught:
        class_names(images, every(images), split=split)
    assert format_error(caught)


@pytest.mark.parametrize(
    ("labels", "multilabel", "message"),
    [
        (["cat", "dgo", "emu", "dgo"], False, "3 images have .*, for example 'dgo' (2 images)"),
        (["cat|dog", "cat", "dog"], False, "1 images have .*, for example 'cat|dog' (1 images)"),
        (["cat|dgo", "dog|emu|dgo", "cat"], True, "2 images have .*, for example 'dgo' (2 images)"),
    ],
)
def test_names_unknown_to_the_head_are_counted(
    labels: list[str], multilabel: bool, message: str
) -> None:
    images = table(*labels)
    said = re.escape(message).replace(r"\.\*", ".*") + "; it knows cat, dog$"
    with pytest.raises(LabelsError, match=said) as caught:
        encode_targets(images, every(images), ["cat", "dog"], multilabel=multilabel)
    assert format_error(caught)


# Other labels for the same images

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
    found = with_labels_from_csv(OURS, path)
    assert rows(found) == [("legs", "", ""), ("", "", ""), ("wings", "val", "7"), ("", "", "")]


def test_rows_and_files_stay_as_they_are(tmp_path: Path) -> None:
    before = dataclasses.replace(OURS).digest
    found = with_labels_from_csv(OURS, write(tmp_path, "path,label", "test/c.jpg,wings"))
    assert found.path == OURS.path
    np.testing.assert_array_equal(found.size, OURS.size)
    np.testing.assert_array_equal(found.mtime_ns, OURS.mtime_ns)
    assert dataclasses.replace(OURS).digest == before


def test_without_the_columns_split_and_group_stay(tmp_path: Path) -> None:
    found = with_labels_from_csv(
        OURS, write(tmp_path, "path,label", "test/c.jpg,wings", "train/a.jpg,")
    )
    assert rows(found) == [("", "train", "1"), ("", "", "1"), ("wings", "test", "2"), ("", "", "")]


def test_a_split_of_unnamed_images_judges_nothing(tmp_path: Path) -> None:
    labelled = write(tmp_path, "path,label", "train/a.jpg,x", "train/b.jpg,y")
    found = with_labels_from_csv(OURS, labelled)
    assert train_and_heldout_splits(found) == ("", "")
    assert split_rows(found, found.has_label, "").tolist() == [0, 1]


@pytest.mark.parametrize(
    ("path", "row"),
    [("./train/a.jpg", 0), ("train/a.jpg", 0), ("./d.jpg", 3), ("d.jpg", 3)],
)
def test_a_leading_dot_makes_no_difference(tmp_path: Path, path: str, row: int) -> None:
    found = with_labels_from_csv(OURS, write(tmp_path, "path,label", f"{path},wings"))
    assert [i for i, label in enumerate(found.label) if label == "wings"] == [row]


@pytest.mark.parametrize("paths", [["./a.jpg", "a.jpg"], ["a.jpg", "./a.jpg"]])
def test_a_cache_that_has_both_spellings_is_taken_at_its_word(
    tmp_path: Path, paths: list[str]
) -> None:
    labels = write(tmp_path, "path,label", "./a.jpg,dot", "a.jpg,none")
    found = with_labels_from_csv(table("", "", path=paths), labels)
    assert dict(zip(paths, found.label, strict=True)) == {"./a.jpg": "dot", "a.jpg": "none"}


def test_several_names_come_through_a_csv(tmp_path: Path) -> None:
    labels = write(tmp_path, "path,label", "train/a.jpg,cat|dog", "train/b.jpg,dog")
    found = with_labels_from_csv(OURS, labels)
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
        (["path,label", "././train/a.jpg,x"], LabelsError, "1 of 1 paths are not in the cache"),
        (
            ["path,label", "train/b.jpg,x", "train/a.jpg,x", "./train/a.jpg,x"],
            LabelsError,
            "'train/a.jpg' and './train/a.jpg' are the same image; an image is one row",
        ),
        (
            ["path,label", "train/a.jpg,x", "train/b.jpg,x", "train/a.jpg,x"],
            ImagesTableError,
            "'train/a.jpg' stands on lines 2 and 4; an image is one row",
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
    assert format_error(caught)


@pytest.mark.parametrize("name", ["gone.csv", "."])
def test_a_csv_must_be_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        LabelsError, match=r"no such CSV of labels: .* columns path,label\["
    ) as caught:
        with_labels_from_csv(OURS, tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


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
        expected[path] = (new[0], new[1] if has_split else split, new[2] if has_group else group)
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
    found = with_labels_from_csv(ours, file)
    assert dict(zip(found.path, rows(found), strict=True)) == expected
