"""Leaks are images of other splits with a copy in train; groups join copies and groups."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bottleneck.auditing.leaks import grouped_by, leaked_rows
from tests.helpers.image_tables import table

CASES = st.lists(
    st.tuples(
        st.sampled_from(["", "train", "val", "test"]),
        st.sampled_from(["", "p", "q", "r"]),
        st.integers(0, 4),
    ),
    min_size=1,
    max_size=12,
)


@given(CASES)
def test_a_leak_has_a_copy_in_train(cases: list[tuple[str, str, int]]) -> None:
    split, _, component = zip(*cases, strict=True)
    images = table(*["a"] * len(cases), split=split)
    wanted = [
        i
        for i, (where, what) in enumerate(zip(split, component, strict=True))
        if where in ("val", "test") and ("train", what) in zip(split, component, strict=True)
    ]
    assert leaked_rows(images, np.array(component)).tolist() == wanted


@given(CASES)
def test_groups_join_what_shows_the_same_and_what_was_a_group(
    cases: list[tuple[str, str, int]],
) -> None:
    _, group, component = zip(*cases, strict=True)
    n = len(cases)
    together = [
        {j for j in range(n) if component[i] == component[j] or (group[i] and group[i] == group[j])}
        for i in range(n)
    ]
    for _ in range(n):
        together = [set().union(*(together[j] for j in of)) for of in together]
    found = grouped_by(table(*["a"] * n, group=group), np.array(component)).group[:]
    for i in range(n):
        if together[i] == {i} and not group[i]:
            assert found[i] == ""
        else:
            assert {j for j in range(n) if found[j] == found[i]} == together[i]
