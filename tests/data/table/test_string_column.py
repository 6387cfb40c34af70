import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottleneck.data.table import string_column as module
from bottleneck.data.table.string_column import StringColumn

NAMES = st.binary(max_size=6).map(lambda name: name.decode("utf-8", "surrogateescape"))
COLUMNS = st.lists(st.one_of(NAMES, st.text(max_size=6), st.just("")), max_size=20)


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK_ROWS", 4)
        yield


@given(column=COLUMNS, more=COLUMNS)
def test_a_column_is_read_as_the_list_that_it_was_made_of(
    column: list[str], more: list[str]
) -> None:
    packed = StringColumn(column)
    packed.extend(iter(more))
    whole = column + more
    assert (list(packed), len(packed)) == (whole, len(whole))
    assert [packed[row] for row in range(-len(whole), len(whole))] == whole + whole
    assert packed == whole
    assert packed == StringColumn(whole)
    assert pickle.loads(pickle.dumps(packed)) == whole
    assert (packed == [*whole, ""]) is (packed == StringColumn([*whole, ""])) is False


@given(
    column=COLUMNS,
    start=st.none() | st.integers(-25, 25),
    stop=st.none() | st.integers(-25, 25),
    step=st.sampled_from([None, 1, 2, -1, -3]),
)
def test_slices_are_those_of_a_list(
    column: list[str], start: int | None, stop: int | None, step: int | None
) -> None:
    assert StringColumn(column)[start:stop:step] == column[start:stop:step]


def test_rows_are_named_by_an_array_as_those_of_an_array() -> None:
    column = [f"{row}.jpg" for row in range(10)]
    for key in (np.array([7, 2, -1, 2]), np.arange(10) % 3 == 0, np.array([], dtype=np.int64)):
        assert StringColumn(column)[key] == np.array(column)[key].tolist()
    for outside in (np.array([10]), np.array([True])):
        with pytest.raises(IndexError):
            StringColumn(column)[outside]


def test_other_texts_are_not_equal() -> None:
    column = list("abcdefghij")
    for row in (0, 5, 9):
        other = [*column[:row], "x", *column[row + 1 :]]
        assert StringColumn(column) != StringColumn(other)
        assert StringColumn(column) != other
    assert StringColumn(["a"]) != 1


def test_there_is_no_row_behind_the_last() -> None:
    column = StringColumn("abcde")
    for row in (5, -6, 100):
        with pytest.raises(IndexError):
            column[row]


def test_threads_read_rows_side_by_side() -> None:
    column = [str(row) for row in range(1000)]
    packed = StringColumn(column)
    rows = [row * 7 % 1000 for row in range(5000)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(packed.__getitem__, rows)) == [column[row] for row in rows]


def test_paths_take_a_tenth_of_what_a_list_of_them_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK_ROWS", 256)
    tracemalloc.start()
    try:
        packed = StringColumn(
            f"train/n{row // 500:08d}/n{row // 500:08d}_{row}.JPEG" for row in range(20_000)
        )
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(packed) == 20_000
    assert size < 180_000


@given(column=COLUMNS, data=st.data())
def test_rows_are_read_in_any_order(column: list[str], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.sampled_from(range(len(column))))) if column else []
    packed = StringColumn(column)
    assert list(packed.iter_rows(np.array(rows, np.int64))) == [column[row] for row in rows]


def test_a_block_is_decompressed_once_for_rows_in_any_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    column = StringColumn(map(str, range(1000)))
    decompress = Mock(wraps=module._decompress)
    monkeypatch.setattr(module, "_decompress", decompress)
    rows = np.random.default_rng(0).permutation(1000)
    assert list(column.iter_rows(rows)) == list(map(str, rows))
    assert decompress.call_count == 250
