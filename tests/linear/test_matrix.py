from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.preprocessing import Normalizer, StandardScaler

from bottleneck.errors import InvalidOptionError
from bottleneck.linear.matrix import (
    SCALINGS,
    ArrayMatrix,
    Codes,
    FeatureScaler,
    fit_scaler,
    require_scaling,
)
from tests.helpers.problems import Rows

DTYPES = [np.float32, np.float64]


@st.composite
def tables(draw: st.DrawFn) -> NDArray[Any]:
    """Features of every size and spread, constant ones and rows of zeros among them."""
    n, d = draw(st.integers(1, 30)), draw(st.integers(1, 6))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    sizes = st.lists(st.sampled_from([0.0, 0.3, 17.1, -1e4, 1e6]), min_size=d, max_size=d)
    spreads = st.lists(st.sampled_from([0.0, 1e-3, 1.0, 300.0]), min_size=d, max_size=d)
    table = draw(sizes) + np.array(draw(spreads)) * random.normal(size=(n, d))
    table[random.random(n) < draw(st.sampled_from([0.0, 0.3]))] = 0
    return table.astype(draw(st.sampled_from(DTYPES)))


BLOCKS = st.lists(st.integers(1, 9), max_size=4)  # sizes of blocks, in turn; none is one block


def outside(table: NDArray[Any], sizes: list[int]) -> Rows:
    """The same codes as they are outside of memory."""
    return Rows(table, sizes, in_memory=False)


def together(codes: Codes) -> NDArray[Any]:
    return np.concatenate(list(codes.blocks()))


@given(tables(), BLOCKS, st.booleans())
def test_standardize_is_scikit_learns(
    table: NDArray[Any], sizes: list[int], in_memory: bool
) -> None:
    reference = StandardScaler().fit(table.astype(np.float64))
    found = fit_scaler("standardize", Rows(table, sizes, in_memory=in_memory))
    # Both means are sums, whose rounding grows with what is added up.
    rounding = 1e-14 * np.abs(table.astype(np.float64)).max(axis=0)
    assert (np.abs(found.mean - reference.mean_) <= rounding).all()
    np.testing.assert_allclose(found.scale, reference.scale_, rtol=1e-6)
    assert found.mean.dtype == found.scale.dtype == np.float64
    assert found.name == "standardize"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [[], [1], [7, 1, 30]])
def test_a_huge_mean_hides_no_variance(dtype: Any, sizes: list[int]) -> None:
    # In single precision these are multiples of 1/16: the mean is none of them. A mean of
    # squares less the square of the mean would know no digit of the variance.
    random = np.random.default_rng(0)
    table = (1e6 + 0.03 + 0.1 * random.normal(size=(300, 4))).astype(dtype)
    reference = StandardScaler().fit(table.astype(np.float64))
    found = fit_scaler("standardize", outside(table, sizes))
    np.testing.assert_allclose(found.mean, reference.mean_, rtol=1e-14)
    np.testing.assert_allclose(found.scale, reference.scale_, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_constant_features_are_centred_and_not_divided(dtype: Any) -> None:
    # The mean of many 0.1 is not 0.1, and so leaves a variance of rounding.
    table = np.tile(np.array([0.1, 0.0, -1e6, 1 / 3, 1e-20], dtype), (1001, 1))
    found = fit_scaler("standardize", outside(table, [100, 3, 250]))
    np.testing.assert_array_equal(found.scale, np.ones(5))
    np.testing.assert_array_equal(found.scale, StandardScaler().fit(table).scale_)
    np.testing.assert_allclose(found(table), 0, atol=1e-9)


@given(tables(), st.sampled_from(SCALINGS))
def test_prepared_codes_are_scikit_learns_in_their_own_precision(
    table: NDArray[Any], name: str
) -> None:
    preprocessing = fit_scaler(name, ArrayMatrix(table))
    found, exact = preprocessing(table), table.astype(np.float64)
    assert found.dtype == table.dtype
    reference = {"standardize": StandardScaler(), "l2": Normalizer(), "none": None}[name]
    expected = exact if reference is None else reference.fit_transform(exact)
    # Subtracting a mean costs the digits that it shares with the codes.
    digits = 16 * np.finfo(table.dtype).eps
    rounding = np.abs(expected) + np.abs(preprocessing.mean) / preprocessing.scale
    assert (np.abs(found - expected) <= digits * rounding).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_l2_leaves_rows_of_zeros(dtype: Any) -> None:
    table = np.array([[3, -4], [0, 0], [0, 1e-3]], dtype)
    found = fit_scaler("l2", ArrayMatrix(table))(table)
    expected = np.array([[0.6, -0.8], [0, 0], [0, 1]])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(found, Normalizer().fit_transform(table), rtol=1e-6)


@given(tables(), BLOCKS, st.sampled_from(SCALINGS))
def test_in_memory_or_not_the_prepared_rows_are_the_same(
    table: NDArray[Any], sizes: list[int], name: str
) -> None:
    preprocessing = fit_scaler(name, ArrayMatrix(table))
    inside = ArrayMatrix(table).prepared(preprocessing)
    read = outside(table, sizes).prepared(preprocessing)
    assert (inside.in_memory, read.in_memory) == (True, False)
    assert inside.shape == read.shape == table.shape
    assert inside.dtype == read.dtype == table.dtype
    for _ in range(2):  # codes can be read again
        np.testing.assert_array_equal(together(read), together(inside))
        np.testing.assert_array_equal(together(inside), preprocessing(table))
    assert together(read).dtype == table.dtype


@given(tables(), BLOCKS, st.sampled_from(SCALINGS), st.data())
def test_take_and_prepare_may_change_places(
    table: NDArray[Any], sizes: list[int], name: str, data: st.DataObject
) -> None:
    kept = np.flatnonzero(data.draw(st.lists(st.booleans(), min_size=len(table), max_size=99)))
    rows = kept[kept < len(table)]
    if not len(rows):
        rows = np.array([0])
    preprocessing = fit_scaler(name, ArrayMatrix(table))
    whole: list[Codes] = [ArrayMatrix(table), outside(table, sizes)]
    for codes in whole:
        taken = codes.prepared(preprocessing).take(rows)
        assert taken.shape == (len(rows), table.shape[1])
        assert taken.in_memory == codes.in_memory
        np.testing.assert_array_equal(together(taken), preprocessing(table)[rows])
        np.testing.assert_array_equal(together(codes.take(rows)), table[rows])


@given(tables(), BLOCKS)
def test_a_function_meets_every_block_with_what_belongs_to_its_rows(
    table: NDArray[Any], sizes: list[int]
) -> None:
    n, plain = len(table), table.astype(np.float64)
    for codes in (ArrayMatrix(plain), outside(plain, sizes)):
        assert codes.here() is codes
        places, weight = codes.beside(np.arange(n)), np.linspace(1, 2, n)
        found = list(codes.map(lambda *given: given, places, weight))
        for whole, parts in zip((plain, places, weight), zip(*found, strict=True), strict=True):
            np.testing.assert_array_equal(np.concatenate(parts), whole)
        assert all(len({len(part) for part in parts}) == 1 for parts in found)
        total = codes.total(lambda block, s: s @ block, weight)
        np.testing.assert_allclose(total, weight @ plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "reads"), [("standardize", 1), ("l2", 0), ("none", 0)])
def test_codes_outside_of_memory_are_not_read_more_than_promised(name: str, reads: int) -> None:
    codes = outside(np.arange(12.0).reshape(6, 2), [4])
    preprocessing = fit_scaler(name, codes)
    assert codes.reads == reads
    prepared = codes.prepared(preprocessing)
    assert codes.reads == reads  # only who asks for its blocks reads it
    blocks = prepared.blocks()
    assert len(next(blocks)) == 4
    assert codes.reads == reads + 1


@pytest.mark.parametrize("name", SCALINGS)
def test_the_codes_that_were_given_stay_as_they_were(name: str) -> None:
    table = np.random.default_rng(0).normal(size=(9, 3))
    before = table.copy()
    ArrayMatrix(table).prepared(fit_scaler(name, ArrayMatrix(table)))
    np.testing.assert_array_equal(table, before)
    table.flags.writeable = False
    ArrayMatrix(table).prepared(fit_scaler(name, ArrayMatrix(table)))


def test_what_was_learnt_from_training_rows_serves_others() -> None:
    random = np.random.default_rng(0)
    train, other = random.normal(3, 2, (50, 4)), random.normal(1, 5, (20, 4))
    found = fit_scaler("standardize", ArrayMatrix(train))
    expected = StandardScaler().fit(train).transform(other)
    np.testing.assert_allclose(found(other), expected)
    np.testing.assert_allclose(together(ArrayMatrix(other).prepared(found)), expected)


@pytest.mark.parametrize("name", ["l2", "none"])
def test_only_standardize_has_a_mean_and_a_scale(name: str) -> None:
    found = fit_scaler(name, ArrayMatrix(np.ones((3, 2), np.float32)))
    np.testing.assert_array_equal(found.mean, [0, 0])
    np.testing.assert_array_equal(found.scale, [1, 1])
    assert found.mean.dtype == found.scale.dtype == np.float64


def test_none_costs_nothing() -> None:
    table = np.ones((3, 2), np.float32)
    assert FeatureScaler("none", np.zeros(2), np.ones(2))(table) is table


@pytest.mark.parametrize("name", ["standardise", "auto", ""])
def test_unknown_preprocessing_is_refused(name: str) -> None:
    message = f"--preprocess '{name}': must be one of standardize, l2, none"
    with pytest.raises(InvalidOptionError, match=message):
        fit_scaler(name, ArrayMatrix(np.ones((3, 2))))
    with pytest.raises(InvalidOptionError, match=message):
        require_scaling(name)


@pytest.mark.parametrize("name", SCALINGS)
def test_known_preprocessing_is_not_refused(name: str) -> None:
    require_scaling(name)
