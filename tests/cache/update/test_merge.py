import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottleneck.cache.update.merge import ImageChanges, merge_images
from bottleneck.data.table.image_table import ImageTable


def table(names: dict[str, int]) -> ImageTable:
    paths = list(names)
    sizes = np.array([names[path] for path in paths], dtype=np.int64)
    blank = [""] * len(paths)
    return ImageTable(paths, list(blank), list(blank), list(blank), sizes, sizes + 1)


FILES = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 3), min_size=1)


@given(old=FILES, new=FILES)
def test_merging_keeps_rows_adds_at_the_end_and_finds_every_difference(
    old: dict[str, int], new: dict[str, int]
) -> None:
    before, now = table(old), table(new)
    found = merge_images(before, now)
    merged = found.table
    assert merged.path[: len(before)] == before.path
    assert merged.path[len(before) :] == [path for path in now.path if path not in old]
    both = old.keys() & new.keys()
    assert [merged.path[row] for row in found.kept] == [path for path in old if path in both]
    differing = [path for path in old if path in both and old[path] != new[path]]
    assert [merged.path[row] for row in found.differing] == differing
    present = {path for path, here in zip(merged.path, merged.exists, strict=True) if here}
    assert present == set(new)
    for path, size in zip(merged.path, merged.size.tolist(), strict=True):
        assert size == new.get(path, -1)
    assert found.added == len(new.keys() - old.keys())
    assert [merged.path[row] for row in found.removed_rows] == [
        path for path in old if path not in new
    ]
    assert found.removed == len(found.removed_rows)
    again = merge_images(merged, now)
    assert (again.table.path, len(again.differing)) == (merged.path, 0)
    assert (again.added, again.removed) == (0, 0)


def test_a_new_time_alone_is_a_difference() -> None:
    before = table({"a": 1, "b": 1})
    now = table({"a": 1, "b": 1})
    now.mtime_ns[1] += 1
    assert merge_images(before, now).differing.tolist() == [1]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (ImageChanges(), False),
        (ImageChanges(added=1), True),
        (ImageChanges(changed=1), True),
        (ImageChanges(removed=1), True),
        (ImageChanges(touched=1), False),
    ],
)
def test_images_of_other_times_alone_have_not_changed(
    changes: ImageChanges, expected: bool
) -> None:
    assert bool(changes) is expected
