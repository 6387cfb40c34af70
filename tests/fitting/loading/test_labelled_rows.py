"""Training images are known again by their paths, labels and groups, whatever is held out."""

import numpy as np
import pytest

from bottleneck.data import ImageTable
from bottleneck.fitting import label_rows

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
