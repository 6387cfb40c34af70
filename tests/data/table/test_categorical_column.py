import pickle
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottleneck.data.table import categorical_column as module
from bottleneck.data.table.categorical_column import CategoricalColumn

VALUES = st.one_of(st.sampled_from(["", "a", "b"]), st.text(max_size=3))
COLUMNS = st.lists(VALUES, max_size=20)


@pytest.fixture(autouse=True, scope="module")
def small_parts() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_AT_ONCE", 4)
        yield


def require_consistent(column: CategoricalColumn, texts: list[str]) -> None:
    assert list(column) == texts
    assert len(column) == len(texts)
    assert column == texts
    assert column == CategoricalColumn(texts)
    assert set(column.categories) == set(texts)
    assert len(column.categories) == len(set(texts))
    assert column.codes.shape == (len(texts),)
    assert [column.categories[code] for code in column.codes.tolist()] == texts


@given(texts=COLUMNS, more=COLUMNS)
def test_a_column_is_read_as_the_list_that_it_was_made_of(
    texts: list[str], more: list[str]
) -> None:
    column = CategoricalColumn(texts)
    require_consistent(column, texts)
    column.extend(iter(more))
    both = texts + more
    require_consistent(column, both)
    assert [column[row] for row in range(-len(both), len(both))] == both + both
    require_consistent(pickle.loads(pickle.dumps(column)), both)
    assert (column == [*both, ""]) is (column == CategoricalColumn([*both, ""])) is False
    require_consistent(CategoricalColumn(texts).concatenate(CategoricalColumn(more)), both)


@given(data=st.data(), texts=COLUMNS.filter(bool))
def test_rows_are_taken_as_from_a_list(data: st.DataObject, texts: list[str]) -> None:
    rows = data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=9))
    column = CategoricalColumn(texts)
    require_consistent(column.take(np.array(rows, dtype=np.int64)), [texts[row] for row in rows])
    for value in ("", "a", "another"):
        assert column.equals(value).tolist() == [text == value for text in texts]
    assert column.counts() == Counter(texts)


@given(
    texts=COLUMNS,
    start=st.none() | st.integers(-25, 25),
    stop=st.none() | st.integers(-25, 25),
    step=st.sampled_from([None, 1, 2, -1, -3]),
)
def test_slices_are_those_of_a_list(
    texts: list[str], start: int | None, stop: int | None, step: int | None
) -> None:
    assert CategoricalColumn(texts)[start:stop:step] == texts[start:stop:step]


def test_rows_are_named_by_an_array_as_those_of_an_array() -> None:
    texts = list("abacabadab")
    for key in (np.array([7, 2, -1, 2]), np.arange(10) % 3 == 0, np.array([], dtype=np.int64)):
        assert CategoricalColumn(texts)[key] == np.array(texts)[key].tolist()
    for outside in (np.array([10]), np.array([True])):
        with pytest.raises(IndexError):
            CategoricalColumn(texts)[outside]


def test_other_texts_are_not_equal() -> None:
    assert CategoricalColumn("aab") != CategoricalColumn("aba")
    assert CategoricalColumn("aab") != CategoricalColumn("aac")
    assert CategoricalColumn("aab") != ["a", "a", "c"]
    assert CategoricalColumn("ab") == CategoricalColumn.from_codes(np.array([1, 0]), ["b", "a"])
    assert CategoricalColumn(["a"]) != 1


def test_codes_are_as_small_as_they_may_be_and_read_only() -> None:
    for count, dtype in [(1, np.int8), (128, np.int8), (129, np.int16), (40_000, np.int32)]:
        column = CategoricalColumn(map(str, range(count)))
        assert column.codes.dtype == dtype
        assert column.codes.tolist() == list(range(count))
        assert column.take(np.arange(1)).codes.dtype == np.int8
        for codes in (column.codes, column.take(np.arange(1)).codes):
            with pytest.raises(ValueError, match="read-only"):
                codes[0] = 0


def test_there_is_no_row_behind_the_last() -> None:
    for row in (3, -4):
        with pytest.raises(IndexError):
            CategoricalColumn("aba")[row]


def test_a_row_takes_a_byte_or_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 4096)
    tracemalloc.start()
    try:
        column = CategoricalColumn(f"n{row // 200:08d}" for row in range(40_000))
        assert column.codes.dtype == np.int16
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 120_000
