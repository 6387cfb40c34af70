import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bottleneck.cache.merge import ImageChanges, merge_images
from bottleneck.data.table import ImageTable


def table(names: dict[str, int]) -> ImageTable:
    paths = sorted(names)
    sizes = np.array([names[path] for path in paths], dtype=np.int64)
    blank = [""] * len(paths)
    return ImageTable(paths, list(blank), list(blank), list(blank), sizes, sizes + 1)


FILES = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 3), min_size=1)


@given(old=FILES, new=FILES)
def test_merging_keeps_rows_adds_at_the_end_and_finds_every_change(
    old: dict[str, int], new: dict[str, int]
) -> None:
    before, now = table(old), table(new)
    merged, stale, changes = merge_images(before, now)
    assert merged.path[: len(before)] == before.path
    assert merged.path[len(before) :] == [path for path in now.path if path not in old]
    assert {merged.path[row] for row in stale} == {p for p in old.keys() & new if old[p] != new[p]}
    present = {path for path, here in zip(merged.path, merged.exists, strict=True) if here}
    assert present == set(new)
    for path, size in zip(merged.path, merged.size.tolist(), strict=True):
        assert size == new.get(path, -1)
    assert changes == ImageChanges(len(new.keys() - old), len(stale), len(old.keys() - new))
    again, stale_again, none = merge_images(merged, now)
    assert (again.path, stale_again, bool(none)) == (merged.path, [], False)
