"""What a source has and does not use: named, or refused where it tells the splits."""

from pathlib import Path

import pytest

from bottleneck.data.sources.unused import note_unused
from bottleneck.errors import ImagesTableError

FILE = Path("a.csv")


def test_the_index_of_a_data_frame_is_not_named() -> None:
    names = ["", " ", "_", "Unnamed: 0", "unnamed_0", "Unnamed: 0.1", "unnamed", "unnamed 7 b"]
    (remark,) = note_unused(FILE, "column", [(name, ()) for name in names], has_splits=False)
    assert remark == "columns that are not used: 'unnamed', 'unnamed 7 b'"
    assert note_unused(FILE, "column", [("Unnamed: 0", "01")], has_splits=False) == ()


def test_of_columns_of_one_name_each_is_looked_at() -> None:
    twice = [("stage", {"train", "test"}), ("stage", {"1", "2"})]
    for unused in (twice, twice[::-1]):
        with pytest.raises(ImagesTableError, match="'stage' holds 'test', 'train', which look"):
            note_unused(FILE, "column", unused, has_splits=False)
        assert note_unused(FILE, "column", unused, has_splits=True) == (
            "columns that are not used: 'stage', 'stage'",
        )
