import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.preprocessing import Normalizer, StandardScaler

from bottleneck.errors import InvalidOptionError
from bottleneck.linear.matrix import ArrayMatrix
from bottleneck.linear.scaling import SCALINGS, FeatureScaler, fit_scaler, require_scaling
from tests.helpers.problems import BLOCK_SIZES, Rows, tables

DTYPES = [np.float32, np.float64]


def streamed(table: NDArray[Any], sizes: list[int]) -> Rows:
    """The same codes as they are streamed of memory."""
    return Rows(table, sizes, in_memory=False)


@given(tables(), BLOCK_SIZES, st.booleans())
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
    found = fit_scaler("standardize", streamed(table, sizes))
    np.testing.assert_allclose(found.mean, reference.mean_, rtol=1e-14)
    np.testing.assert_allclose(found.scale, reference.scale_, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_constant_features_are_centred_and_not_divided(dtype: Any) -> None:
    # The mean of many 0.1 is not 0.1, and so leaves a variance of rounding.
    table = np.tile(np.array([0.1, 0.0, -1e6, 1 / 3, 1e-20], dtype), (1001, 1))
    found = fit_scaler("standardize", streamed(table, [100, 3, 250]))
    np.testing.assert_array_equal(found.scale, np.ones(5))
    np.testing.assert_array_equal(found.scale, StandardScaler().fit(table).scale_)
    np.testing.assert_allclose(found(table), 0, atol=1e-9)


def test_a_deviation_that_rounds_to_zero_divides_nothing() -> None:
    table = np.zeros((60, 1), np.float32)
    table[7] = 1e-45  # the smallest of float32; the deviation is an eighth of it
    assert np.isfinite(fit_scaler("standardize", ArrayMatrix(table))(table)).all()


@given(tables(), st.sampled_from(SCALINGS))
def test_scaled_codes_are_scikit_learns_in_their_own_precision(
    table: NDArray[Any], name: str
) -> None:
    scaler = fit_scaler(name, ArrayMatrix(table))
    found, exact = scaler(table), table.astype(np.float64)
    assert found.dtype == table.dtype
    if name == "sqrt":  # roots are rounded to the precision of the codes, and may then be equal
        exact = (np.sign(table) * np.sqrt(np.abs(table))).astype(np.float64)
    standard = StandardScaler()
    reference = {"standardize": standard, "sqrt": standard, "l2": Normalizer()}.get(name)
    expected = exact if reference is None else reference.fit_transform(exact)
    # Subtracting a mean costs the digits that it shares with the codes.
    digits = 16 * np.finfo(table.dtype).eps
    rounding = digits * (np.abs(expected) + np.abs(scaler.mean) / scaler.scale)
    if reference is standard:  # the error of a sum of n is at most n roundings of what is added up
        of_a_mean = len(exact) * np.finfo(np.float64).eps * np.abs(exact).mean(axis=0)
        rounding = rounding + 2 * of_a_mean / scaler.scale
    assert (np.abs(found - expected) <= rounding).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_l2_leaves_rows_of_zeros(dtype: Any) -> None:
    table = np.array([[3, -4], [0, 0], [0, 1e-3]], dtype)
    found = fit_scaler("l2", ArrayMatrix(table))(table)
    expected = np.array([[0.6, -0.8], [0, 0], [0, 1]])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(found, Normalizer().fit_transform(table), rtol=1e-6)


def test_a_scaler_of_training_rows_scales_other_rows() -> None:
    random = np.random.default_rng(0)
    train, other = random.normal(3, 2, (50, 4)), random.normal(1, 5, (20, 4))
    found = fit_scaler("standardize", ArrayMatrix(train))
    expected = StandardScaler().fit(train).transform(other)
    np.testing.assert_allclose(found(other), expected)
    np.testing.assert_allclose(ArrayMatrix(other).scaled(found).array, expected)


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_the_squares_of_float32_codes_may_be_beyond_float32(factor: float) -> None:
    table = (np.array([[3, 4, 0], [1, 2, 2]]) * factor).astype(np.float32)
    found = fit_scaler("l2", ArrayMatrix(table), [2, 1])(table)
    expected = [[0.6, 0.8, 0], [1 / 5**0.5, 2 / 5**0.5, 1]]
    np.testing.assert_allclose(found, np.array(expected) / 2**0.5, rtol=1e-6)


@pytest.mark.parametrize("name", ["l2", "none"])
def test_only_standardize_has_a_mean_and_a_scale(name: str) -> None:
    found = fit_scaler(name, ArrayMatrix(np.ones((3, 2), np.float32)))
    np.testing.assert_array_equal(found.mean, [0, 0])
    np.testing.assert_array_equal(found.scale, [1, 1])
    assert found.mean.dtype == found.scale.dtype == np.float64


def test_none_copies_nothing() -> None:
    table = np.ones((3, 2), np.float32)
    assert FeatureScaler("none", (2,), np.zeros(2), np.ones(2))(table) is table


@pytest.mark.parametrize("name", ["standardise", "auto", ""])
def test_unknown_scalings_are_refused(name: str) -> None:
    message = f"`scaling='{name}'`: must be one of {', '.join(SCALINGS)}"
    with pytest.raises(InvalidOptionError, match=message):
        fit_scaler(name, ArrayMatrix(np.ones((3, 2))))
    with pytest.raises(InvalidOptionError, match=message):
        require_scaling(name)


@pytest.mark.parametrize("name", SCALINGS)
def test_known_scalings_are_not_refused(name: str) -> None:
    require_scaling(name)


def test_a_small_deviation_beside_a_large_mean_does_not_depend_on_the_order_of_a_sum() -> None:
    random = np.random.default_rng(0)
    codes = 1e6 + 1e-3 * random.normal(size=(8, 200))
    columns, rows = (np.array(codes, order=order) for order in ("F", "C"))
    exact = [math.fsum(column) / 8 for column in codes.T]
    for table in (columns, rows):
        mean = fit_scaler("standardize", ArrayMatrix(table)).mean
        np.testing.assert_allclose(mean, exact, rtol=1.2e-16, atol=0)


@given(tables(), BLOCK_SIZES, st.sampled_from(SCALINGS), st.data())
def test_layers_are_scaled_by_themselves_and_divided_by_the_root_of_their_number(
    table: NDArray[Any], sizes: list[int], name: str, data: st.DataObject
) -> None:
    table = np.hstack([table, 3 * table[:, :1]])
    cut = data.draw(st.integers(1, table.shape[1] - 1))
    blocks = [np.ascontiguousarray(block) for block in np.split(table, [cut], axis=1)]
    alone = [fit_scaler(name, streamed(block, sizes))(block) for block in blocks]
    widths = (cut, table.shape[1] - cut)
    found = fit_scaler(name, streamed(table, sizes), widths)(table)
    assert found.dtype == table.dtype
    # Sums in another order, divided by a deviation far below the mean.
    digits = 1e-5 if table.dtype == np.float32 else 1e-10
    np.testing.assert_allclose(found, np.hstack(alone) / np.sqrt(2), rtol=digits, atol=digits)
