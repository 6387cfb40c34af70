from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bottleneck.linear.matrix import ArrayMatrix, CodeMatrix
from bottleneck.linear.scaling import SCALINGS, fit_scaler
from tests.helpers.problems import BLOCK_SIZES, Rows, tables


def outside(table: NDArray[Any], sizes: list[int]) -> Rows:
    """The same codes as they are outside of memory."""
    return Rows(table, sizes, in_memory=False)


def together(codes: CodeMatrix) -> NDArray[Any]:
    return np.concatenate(list(codes.blocks()))


@given(tables(), BLOCK_SIZES, st.sampled_from(SCALINGS))
def test_in_memory_or_not_the_scaled_rows_are_the_same(
    table: NDArray[Any], sizes: list[int], name: str
) -> None:
    scaler = fit_scaler(name, ArrayMatrix(table))
    inside = ArrayMatrix(table).scaled(scaler)
    read = outside(table, sizes).scaled(scaler)
    assert (inside.in_memory, read.in_memory) == (True, False)
    assert inside.shape == read.shape == table.shape
    assert inside.dtype == read.dtype == table.dtype
    for _ in range(2):  # codes can be read again
        np.testing.assert_array_equal(together(read), together(inside))
        np.testing.assert_array_equal(together(inside), scaler(table))
    assert together(read).dtype == table.dtype


@given(tables(), BLOCK_SIZES, st.sampled_from(SCALINGS), st.data())
def test_take_and_scale_commute(
    table: NDArray[Any], sizes: list[int], name: str, data: st.DataObject
) -> None:
    kept = np.flatnonzero(data.draw(st.lists(st.booleans(), min_size=len(table), max_size=99)))
    rows = kept[kept < len(table)]
    if not len(rows):
        rows = np.array([0])
    scaler = fit_scaler(name, ArrayMatrix(table))
    whole: list[CodeMatrix] = [ArrayMatrix(table), outside(table, sizes)]
    for codes in whole:
        taken = codes.scaled(scaler).take(rows)
        assert taken.shape == (len(rows), table.shape[1])
        assert taken.in_memory == codes.in_memory
        np.testing.assert_array_equal(together(taken), scaler(table)[rows])
        np.testing.assert_array_equal(together(codes.take(rows)), table[rows])


def test_means_of_consecutive_rows_are_the_same_in_memory_or_not() -> None:
    table = np.random.default_rng(0).normal(size=(12, 2))
    expected = np.array([rows.mean(axis=0) for rows in np.split(table, 4)])
    for codes in (ArrayMatrix(table), outside(table, [6])):
        means, some = codes.averaged(3), np.array([1, 3])
        assert (means.shape, means.take(some).shape) == ((4, 2), (2, 2))
        np.testing.assert_allclose(together(means), expected, rtol=1e-12)
        np.testing.assert_allclose(together(means.take(some)), expected[some], rtol=1e-12)


@given(tables(), BLOCK_SIZES)
def test_functions_get_every_block_with_the_aligned_rows(
    table: NDArray[Any], sizes: list[int]
) -> None:
    n, plain = len(table), table.astype(np.float64)
    for codes in (ArrayMatrix(plain), outside(plain, sizes)):
        assert codes.to_local() is codes
        places, weight = codes.align(np.arange(n)), np.linspace(1, 2, n)
        found = list(codes.map_blocks(lambda *given: given, places, weight))
        for whole, parts in zip((plain, places, weight), zip(*found, strict=True), strict=True):
            np.testing.assert_array_equal(np.concatenate(parts), whole)
        assert all(len({len(part) for part in parts}) == 1 for parts in found)
        total = codes.sum_blocks(lambda block, s: s @ block, weight)
        np.testing.assert_allclose(total, weight @ plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "reads"), [("standardize", 1), ("l2", 0), ("none", 0)])
def test_codes_outside_of_memory_are_not_read_more_than_promised(name: str, reads: int) -> None:
    codes = outside(np.arange(12.0).reshape(6, 2), [4])
    scaler = fit_scaler(name, codes)
    assert codes.reads == reads
    scaled = codes.scaled(scaler)
    assert codes.reads == reads  # only who asks for its blocks reads it
    blocks = scaled.blocks()
    assert len(next(blocks)) == 4
    assert codes.reads == reads + 1


@pytest.mark.parametrize("name", SCALINGS)
def test_the_given_codes_are_not_changed(name: str) -> None:
    table = np.random.default_rng(0).normal(size=(9, 3))
    before = table.copy()
    ArrayMatrix(table).scaled(fit_scaler(name, ArrayMatrix(table)))
    np.testing.assert_array_equal(table, before)
    table.flags.writeable = False
    ArrayMatrix(table).scaled(fit_scaler(name, ArrayMatrix(table)))
