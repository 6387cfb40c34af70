"""Labels are the cache's or a CSV's, and training images are known again by path and label."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from bottleneck.cache import open_cache
from bottleneck.data import ImageTable
from bottleneck.errors import LabelsError
from bottleneck.fitting import label_rows, labelled_images
from tests.helpers.datasets import written_cache

COLUMNS = {
    "path": ["1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg"],
    "label": ["ant", "bee", "ant", "bee", "ant"],
    "split": ["train", "train", "train", "train", "test"],
    "group": ["p", "p", "q", "q", ""],
}


def training_digest(**changes: list[str]) -> str:
    none = np.zeros(5, dtype=np.int64)
    images = ImageTable(**COLUMNS | changes, size=none, mtime_ns=none)
    return label_rows(images, np.ones(5, dtype=bool)).training.digest(images)


@pytest.mark.parametrize(
    ("column", "row", "text", "same"),
    [
        ("path", 1, "other.jpg", False),
        ("label", 1, "ant", False),
        ("group", 1, "q", False),
        ("split", 1, "test", False),
        ("path", 4, "other.jpg", True),
        ("label", 4, "bee", True),
        ("group", 4, "r", True),
    ],
)
def test_other_training_images_have_another_digest(
    column: str, row: int, text: str, same: bool
) -> None:
    changed = COLUMNS[column].copy()
    changed[row] = text
    assert (training_digest(**{column: changed}) == training_digest()) is same


def test_labels_are_the_caches_own_unless_others_are_given(tmp_path: Path) -> None:
    cache = open_cache(written_cache(tmp_path / "c", np.zeros((4, 2)), ["a", "b", "a", "b"]))
    assert labelled_images(cache, None).table is cache.images
    (tmp_path / "labels.csv").write_text("path,label\n000.jpg,q\n")
    found = labelled_images(cache, str(tmp_path / "labels.csv"))
    assert found.table.label[0] == "q"
    assert labelled_images(cache, found) is found
    with pytest.raises(LabelsError, match="other images"):
        labelled_images(dataclasses.replace(cache, images=cache.images.take(np.arange(3))), found)


def test_labelled_images_outside_of_both_splits_are_counted() -> None:
    n = np.zeros(8, dtype=np.int64)
    labels = ["ant", "bee", "ant", "bee", "ant", "", "bee", "ant"]
    splits = ["train", "train", "test", "val", "val", "val", "", "val"]
    images = ImageTable([*"abcdefgh"], labels, splits, [""] * 8, n, n)
    usable = np.array([True] * 7 + [False])
    assert label_rows(images, usable).judged.unused == {"val": 2, "": 1}
    of_both = images.take(np.arange(3))
    assert label_rows(of_both, usable[:3]).judged.unused == {}
