"""Folders that are splits, folders that are classes, and those of which it cannot be told."""

from pathlib import Path

import pytest

from bottleneck.data.images import open_images
from bottleneck.data.summary import summarize_images
from bottleneck.errors import LabelsError
from tests.helpers.image_folders import rows_of, touch
from tests.helpers.image_tables import one_line


def splits_of(root: Path) -> dict[str, str]:
    """The split of each image, by its path."""
    return {path: split for path, _, split in rows_of(root)}


@pytest.mark.parametrize(
    ("train", "other", "split"),
    [
        ("train", "valid", "val"),
        ("train", "validation", "val"),
        ("training", "validation", "val"),
        ("Train", "Test", "test"),
        ("TRAIN", "DEV", "val"),
        ("training", "eval", "test"),
        ("seg_train", "seg_test", "test"),
        ("train_images", "test_images", "test"),
        ("images_train", "images_val", "val"),
        ("train ", "test", "test"),
        ("train", " Testing ", "test"),
        ("train2017", "val2017", "val"),
        ("asl_alphabet_train", "asl_alphabet_test", "test"),
        ("Training Set", "Test Set", "test"),
        ("train", "test1", "test"),
        ("birds-Train", "birds-Valid", "val"),
    ],
)
def test_splits_have_any_usual_name(tmp_path: Path, train: str, other: str, split: str) -> None:
    touch(tmp_path, f"{train}/ants/1.jpg", f"{train}/bees/2.jpg", f"{other}/ants/3.jpg")
    found = {path: (label, where) for path, label, where in rows_of(tmp_path)}
    assert found == {
        f"{train}/ants/1.jpg": ("ants", "train"),
        f"{train}/bees/2.jpg": ("bees", "train"),
        f"{other}/ants/3.jpg": ("ants", split),
    }
    told = summarize_images(tmp_path).remarks()
    assert any(repr(train) in line for line in told) == (train != "train")
    assert any(f"{other!r} is {split}" in line for line in told) == (other != split)


def test_three_splits_of_three_spellings(tmp_path: Path) -> None:
    touch(tmp_path, "Training/a/1.jpg", "valid/a/2.jpg", "TEST/a/3.jpg")
    assert set(splits_of(tmp_path).values()) == {"train", "val", "test"}


def test_split_folders_without_classes_have_usual_names_too(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "test1/2.jpg")
    assert rows_of(tmp_path) == [("test1/2.jpg", "", "test"), ("train/1.jpg", "", "train")]


def test_a_split_folder_that_holds_itself_again_is_one_split(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *["seg_train/seg_train/ants/1.jpg", "seg_train/seg_train/bees/2.jpg"],
        *["seg_test/seg_test/ants/3.jpg", "seg_pred/seg_pred/4.jpg"],
    )
    assert rows_of(tmp_path)[1:] == [
        ("seg_test/seg_test/ants/3.jpg", "ants", "test"),
        ("seg_train/seg_train/ants/1.jpg", "ants", "train"),
        ("seg_train/seg_train/bees/2.jpg", "bees", "train"),
    ]
    assert rows_of(tmp_path)[0][2] == "seg_pred"  # no split that is trained or judged on


def test_a_lone_split_with_a_prefix_is_one_where_it_holds_classes(tmp_path: Path) -> None:
    assert splits_of(touch(tmp_path / "a", "seg_train/ants/1.jpg")) == {
        "seg_train/ants/1.jpg": "train"
    }
    assert rows_of(touch(tmp_path / "b", "test_tube/1.jpg")) == [
        ("test_tube/1.jpg", "test_tube", "")
    ]


@pytest.mark.parametrize(
    "names",
    [
        ["train station", "airport", "harbour"],
        ["train_station", "test_tube", "desk"],
        ["valid", "invalid"],
        ["test", "control"],
        ["trainer", "latest", "device"],
        ["Train", "plane", "ship"],
    ],
)
def test_classes_whose_names_have_a_split_in_them_are_classes(
    tmp_path: Path, names: list[str]
) -> None:
    touch(tmp_path, *(f"{name}/{i}.jpg" for i, name in enumerate(names)))
    assert sorted({(label, split) for _, label, split in rows_of(tmp_path)}) == sorted(
        (name, "") for name in names
    )


def test_a_class_called_train_is_said_to_be_one(tmp_path: Path) -> None:
    touch(tmp_path, "plane/1.jpg", "train/2.jpg")
    assert summarize_images(tmp_path).remarks() == ["the folder 'train' is a class, not a split"]


def test_more_folders_beside_splits_are_splits_or_hold_nothing(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *["train/ants/1.jpg", "val/ants/2.jpg", "holdout/ants/3.jpg", "unlabelled/4.jpg"],
        *["annotations/1.xml", "__MACOSX/train/ants/._1.jpg"],
    )
    assert splits_of(tmp_path) == {
        "holdout/ants/3.jpg": "holdout",
        "train/ants/1.jpg": "train",
        "unlabelled/4.jpg": "unlabelled",
        "val/ants/2.jpg": "val",
    }


@pytest.mark.parametrize(
    ("names", "seen"),
    [
        (["train/a/1.jpg", "training/a/2.jpg", "test/a/3.jpg"], ["'train'", "'training'"]),
        (["Train/a/1.jpg", "train/a/2.jpg"], ["'Train'", "'train'"]),
        (["train/a/1.jpg", "val/a/2.jpg", "dev/a/3.jpg"], ["'dev'", "'val'", "split 'val'"]),
        (["train1/a/1.jpg", "train2/a/2.jpg", "test/a/3.jpg"], ["'train1'", "'train2'"]),
        (["train/1.jpg", "test/2.jpg", "ants/3.jpg"], ["'test', 'train'", "'ants'", "class"]),
        (["train/ants/1.jpg", "test/ants/2.jpg", "ants/3.jpg"], ["'train'", "'ants'", "class"]),
        (["train/steam/1.jpg", "plane/2.jpg", "ship/3.jpg"], ["'train'", "'plane', 'ship'"]),
        (["train/steam/1.jpg", "plane/jet/2.jpg"], ["'train' looks like a split", "'plane'"]),
        (["train/a/1.jpg", "test/a/2.jpg", "old_test/a/3.jpg"], ["'old_test'", "'test'"]),
        (["a_train/x/1.jpg", "a_test/x/2.jpg", "b_train/x/3.jpg", "b_test/x/4.jpg"], ["'a_test'"]),
        (["ants/train/1.jpg", "ants/test/2.jpg", "bees/train/3.jpg"], ["'ants'", "train/ants"]),
        (["archive/train/ants/1.jpg", "archive/test/ants/2.jpg"], ["/archive in place of"]),
        (["fold1/ants/1.jpg", "fold2/ants/2.jpg", "fold10/ants/3.jpg"], ["'fold1'", "folds"]),
    ],
    ids=" ".join,
)
def test_ambiguous_layouts_are_refused_with_the_names_found(
    tmp_path: Path, names: list[str], seen: list[str]
) -> None:
    touch(tmp_path, *names)
    with pytest.raises(LabelsError) as caught:
        open_images(tmp_path)
    assert one_line(caught)
    for part in (str(tmp_path), *seen):
        assert part in str(caught.value)
    assert any(remedy in str(caught.value) for remedy in ("CSV", "in place of"))


def test_where_labels_do_not_matter_nothing_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.jpg", "training/a/2.jpg")
    table = open_images(tmp_path, labels=False).table
    assert list(zip(table.path, table.label, table.split, strict=True)) == [
        ("train/a/1.jpg", "", ""),
        ("training/a/2.jpg", "", ""),
    ]


def test_subfolders_of_a_class_may_be_called_train(tmp_path: Path) -> None:
    touch(tmp_path, "vehicles/train/1.jpg", "vehicles/car/2.jpg", "animals/3.jpg")
    assert {label for _, label, _ in rows_of(tmp_path)} == {"vehicles", "animals"}
