"""Images with the same bytes are counted by their digests, and named across splits and labels."""

import dataclasses
import shutil
from collections import defaultdict
from collections.abc import Sequence
from hashlib import sha256
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottleneck.cache import duplicates
from bottleneck.cache.duplicates import Duplicates, count_copies, find_duplicates
from bottleneck.cache.store import Cache, open_cache
from bottleneck.data.table.image_table import ImageTable
from tests.helpers.fixture_types import Extract
from tests.helpers.image_tables import table
from tests.helpers.shards import a_manifest, a_shard, write


def test_there_are_none_among_different_photographs(cache: Path) -> None:
    found = find_duplicates(open_cache(cache), "layer2")
    assert found == Duplicates()
    assert str(found) == ""


def test_copies_across_splits_and_labels_are_named(photos: Path, extract_tiny: Extract) -> None:
    shutil.copy(photos / "train/ants/ants000.jpg", photos / "val/ants/copy.jpg")
    shutil.copy(photos / "train/ants/ants002.jpg", photos / "train/bees/wrong.jpg")
    shutil.copy(photos / "train/ants/ants004.jpg", photos / "train/ants/again.jpg")
    (photos / "train/ants/link.jpg").symlink_to("ants004.jpg")
    for name in ("train/ants/broken.jpg", "val/bees/broken.jpg"):
        (photos / name).write_bytes(b"no image")  # the same bytes, and no codes
    found = extract_tiny(photos).duplicates
    assert found is not None
    assert (found.images, found.pictures) == (7, 3)
    assert found.split_examples == (("train/ants/ants000.jpg", "val/ants/copy.jpg"),)
    assert found.label_examples == (("train/ants/ants002.jpg", "train/bees/wrong.jpg"),)
    assert str(found) == (
        "7 images have the same bytes as another: 3 pictures, of which 1 is in several splits "
        "(train/ants/ants000.jpg = val/ants/copy.jpg) and 1 has several labels "
        "(train/ants/ants002.jpg = train/bees/wrong.jpg)"
    )
    (photos / "train/ants/ants002.jpg").unlink()
    found = extract_tiny(photos, layers=["layer3"]).duplicates
    assert found is not None
    assert (found.images, found.pictures, found.across_labels) == (5, 2, 0)


def test_a_task_alone_does_not_know_all_images(photos: Path, extract_tiny: Extract) -> None:
    shutil.copy(photos / "train/ants/ants000.jpg", photos / "val/ants/copy.jpg")
    assert extract_tiny(photos, task=(0, 2)).duplicates is None
    last = extract_tiny(photos, task=(1, 2))
    assert last.duplicates is not None
    assert last.duplicates.images == 2
    assert last.to_dict()["duplicates"]["split_examples"] == (
        ("train/ants/ants000.jpg", "val/ants/copy.jpg"),
    )
    assert extract_tiny(photos).duplicates is None  # nothing was encoded


def test_many_pairs_are_counted_and_some_named() -> None:
    pairs = tuple((f"a{i}", f"b\n{i}") for i in range(3))
    text = str(Duplicates(20, 10, 9, 0, pairs))
    assert text.endswith("of which 9 are in several splits (a0 = b\\n0, a1 = b\\n1, a2 = b\\n2, …)")


def a_cache(folder: Path, pictures: Sequence[int], images: ImageTable) -> Cache:
    """A cache of shards of five rows, in which picture number p has the digest of that number."""
    manifest = a_manifest()
    cache = Cache(folder, manifest, images)
    for k in range(cache.shard_count):
        rows = cache.rows(k)
        shard = dataclasses.replace(
            a_shard(len(rows), rows.start),
            valid=np.ones(len(rows), dtype=bool),
            label=[""] * len(rows),
            reason=[""] * len(rows),
            image_sha256=[sha256(bytes([pictures[row]])).hexdigest() for row in rows],
        )
        cache.shard_path("layer3", k).parent.mkdir(parents=True, exist_ok=True)
        write(cache.shard_path("layer3", k), shard)
    return cache


VALUES = st.sampled_from(["", "a", "b", "c"])


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 5), VALUES, VALUES, st.booleans()), min_size=1, max_size=14)
)
def test_counts_are_those_of_comparing_every_pair(
    tmp_path_factory: pytest.TempPathFactory, images: list[tuple[int, str, str, bool]]
) -> None:
    pictures = [picture for picture, _, _, _ in images]
    sizes = [1 if exists else -1 for _, _, _, exists in images]
    rows = table(*(i[1] for i in images), split=[i[2] for i in images], size=sizes)
    found = find_duplicates(a_cache(tmp_path_factory.mktemp("c"), pictures, rows), "layer3")
    same = defaultdict(list)
    for row, (picture, _, _, exists) in enumerate(images):
        if exists:
            same[picture].append(row)
    sets = [rows for rows in same.values() if len(rows) > 1]
    assert (found.images, found.pictures) == (sum(map(len, sets)), len(sets))
    for at, count, examples in (
        (1, found.across_labels, found.label_examples),
        (2, found.across_splits, found.split_examples),
    ):
        crossing = [
            {
                (rows.path[one], rows.path[other])
                for one, other in combinations(members, 2)
                if images[one][at] and images[other][at] and images[one][at] != images[other][at]
            }
            for members in sets
        ]
        crossing = [pairs for pairs in crossing if pairs]
        assert count == len(crossing)
        assert len(examples) == min(count, duplicates._EXAMPLES)
        assert all(any(pair in pairs for pairs in crossing) for pair in examples)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from("abc")), min_size=1, max_size=14))
def test_copies_are_those_of_comparing_each_row_with_each_other(
    tmp_path_factory: pytest.TempPathFactory, images: list[tuple[int, str]]
) -> None:
    pictures, parts = zip(*images, strict=True)
    rows = table(*("" for _ in images))
    cache = a_cache(tmp_path_factory.mktemp("c"), pictures, rows)
    judged, trained = (np.flatnonzero(np.array(parts) == part) for part in "ab")
    expected = sum(pictures[i] in {pictures[k] for k in trained} for i in judged)
    assert count_copies(cache, "layer3", judged, among=trained) == expected
