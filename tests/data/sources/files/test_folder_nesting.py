"""Folders that stand one level too high or too low."""

from pathlib import Path

import pytest

from bottleneck.data.images import open_images
from bottleneck.data.summary import summarize_images
from bottleneck.errors import LabelsError
from tests.helpers.image_folders import rows_of, touch
from tests.helpers.image_tables import one_line


def both(*splits: str) -> list[str]:
    return [f"{split}/{label}/1.jpg" for split in splits for label in ("cat", "dog")]


@pytest.mark.parametrize("above", ["data", "a/b", "a/b/data"])
def test_splits_below_folders_that_stand_alone_are_refused(tmp_path: Path, above: str) -> None:
    touch(tmp_path / above, *both("train", "test1"))
    with pytest.raises(LabelsError, match=f"give {tmp_path / above} in place of") as caught:
        open_images(tmp_path)
    assert one_line(caught)
    assert {split for _, _, split in rows_of(tmp_path / above)} == {"train", "test"}


def test_a_folder_beside_is_not_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "docs/x.jpg", *both("data/train", "data/test"))
    with pytest.raises(LabelsError, match=r"'data' holds 'test', 'train'.*put the splits above"):
        open_images(tmp_path)


def test_classes_that_may_be_a_level_lower_are_named(tmp_path: Path) -> None:
    touch(tmp_path / "one", *both("archive/photos"))
    (remark,) = summarize_images(tmp_path / "one").remarks()
    inner = tmp_path / "one/archive/photos"
    assert remark.startswith(
        f"the only class is 'archive': if the classes are 'cat', 'dog', give {inner}"
    )
    touch(tmp_path / "two", *both("base", "novel"))
    (remark,) = summarize_images(tmp_path / "two").remarks()
    assert remark.startswith("the classes 'base', 'novel' hold the same folders, 'cat', 'dog'")
    touch(tmp_path / "three", "cat/left/1.jpg", "cat/right/1.jpg", "dog/left/1.jpg", "emu/1.jpg")
    assert not summarize_images(tmp_path / "three").remarks()


def test_folders_that_look_like_splits_of_a_kind_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, *both("train-clean", "test-noisy"))
    with pytest.raises(LabelsError, match="'test-noisy', 'train-clean' look like splits, since"):
        open_images(tmp_path)


def test_a_folder_of_images_in_each_split_is_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, *both("train/images"), "val/Images/1.jpg")
    assert set(rows_of(tmp_path)) == {
        ("train/images/cat/1.jpg", "cat", "train"),
        ("train/images/dog/1.jpg", "dog", "train"),
        ("val/Images/1.jpg", "", "val"),
    }
    (remark,) = summarize_images(tmp_path).remarks()
    assert remark == "folders that are passed over: 'train/images', 'val/Images'"
