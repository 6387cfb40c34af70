"""Groups of images that links hold together."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bottleneck.auditing.duplicates import Links, image_groups
from tests.helpers.image_tables import table


def links(*pairs: tuple[int, int, float]) -> Links:
    first, second, distance = zip(*pairs, strict=True) if pairs else ((), (), ())
    return Links(
        np.array(first, dtype=np.int64), np.array(second, dtype=np.int64), np.array(distance)
    )


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_components_are_what_can_be_reached(pairs: list[tuple[int, int]]) -> None:
    reached = [{i} for i in range(10)]
    for _ in range(10):
        for a, b in pairs:
            reached[a] |= reached[b]
            reached[b] |= reached[a]
    component = links(*((a, b, 0.0) for a, b in pairs)).components(10)
    for i in range(10):
        assert set(np.flatnonzero(component == component[i]).tolist()) == reached[i]


def test_groups_across_splits_come_first_with_the_nearest_pair_that_shows_it() -> None:
    images = table(
        *("cat", "cat", "cat", "dog", "dog", "cat", "cat"),
        split=["train", "train", "test", "train", "train", "test", "test"],
        group=["a", "a", "b", "", "", "", ""],
    )
    groups = image_groups(images, links((0, 1, 0.1), (1, 2, 0.3), (0, 2, 0.2), (3, 4, 0.0)))
    assert [group.paths for group in groups] == [("0.jpg", "1.jpg", "2.jpg"), ("3.jpg", "4.jpg")]
    assert groups[0].pair == ("0.jpg", "2.jpg")
    assert groups[0].distance == 0.2
    assert groups[0].splits == ("train", "train", "test")
    assert (groups[0].across_splits, groups[0].across_labels) == (True, False)
    assert groups[0].across_groups
    assert not groups[1].across_splits | groups[1].across_groups
    assert groups[1].to_dict()["labels"] == ("dog", "dog")


def test_two_labels_are_across_labels_and_no_label_is_none() -> None:
    (group,) = image_groups(table("cat", "dog", ""), links((0, 1, 0.0), (1, 2, 0.0)))
    assert group.across_labels
    assert group.pair == ("0.jpg", "1.jpg")
    (group,) = image_groups(table("cat", ""), links((0, 1, 0.0)))
    assert not group.across_labels


def test_without_links_there_are_no_groups() -> None:
    assert image_groups(table("cat", "dog"), links()) == []
