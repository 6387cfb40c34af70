import numpy as np
import pytest

from bottleneck.data.splits import (
    find_split,
    heldout_split,
    split_rows,
    train_and_heldout_splits,
    why_none_is_heldout,
)
from bottleneck.errors import LabelsError
from tests.helpers.image_tables import one_line, table


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (["train", "val", "test"], ("train", "test")),
        (["train", "val"], ("train", "val")),
        (["train"], ("train", "")),
        ([""], ("", "")),
        (["", "train"], ("train", "")),
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
    assert one_line(caught)


def test_a_split_of_removed_images_is_no_split() -> None:
    images = table("a", "b", "c", split=["train", "test", "val"], size=[1, -1, 1])
    assert train_and_heldout_splits(images) == ("train", "val")
    assert heldout_split(images) == "val"
    assert heldout_split(table("a", split=["train"])) == ""


def test_a_split_without_labels_judges_nothing() -> None:
    images = table("a", "", "c", split=["train", "test", "val"])
    assert train_and_heldout_splits(images) == ("train", "val")
    secret = table("a", "", split=["train", "test"])
    assert train_and_heldout_splits(secret) == ("train", "")
    assert why_none_is_heldout(secret) == "no image has a label in 'test'"
    more = table("a", "", "b", "", split=["train", "test", "extra", "val"])
    assert why_none_is_heldout(more) == "no image has a label in 'test' or 'val'"
    others = table(*"abc", split=["train", "x", "y"])
    assert "; 'x', 'y' are neither trained on nor judged" in why_none_is_heldout(others)


@pytest.mark.parametrize("splits", [[""], ["train"], ["", "train"]])
def test_images_of_no_other_split_need_no_reason(splits: list[str]) -> None:
    assert why_none_is_heldout(table(*splits, split=splits)) == ""


def test_rows_of_a_split_are_its_usable_ones() -> None:
    images = table(*"abcd", split=["val", "train", "val", "val"])
    usable = np.array([True, True, False, True])
    assert split_rows(images, usable, "val").tolist() == [0, 3]
    assert split_rows(images, usable, "").tolist() == [0, 1, 3]
    assert split_rows(images, usable, "test").tolist() == []


def test_a_split_is_found_by_any_of_its_names_and_first_by_its_own() -> None:
    images = table("a", "b", split=["val", "Training"])
    assert find_split(images, "validation") == "val"
    assert find_split(images, "Training") == "Training"  # as an older cache has it
    assert find_split(images, "holdout") == "holdout"
