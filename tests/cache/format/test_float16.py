"""Half precision: against NumPy's own conversion."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bottleneck.cache.format.float16 import widen_float16


def test_every_half_there_is() -> None:
    """All 65 536, finite or not, alone among zeros and all together."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    expected = halves.astype(np.float32)
    for finite in (True, False):
        chosen = np.isfinite(halves) == finite
        found = widen_float16(halves[chosen])
        np.testing.assert_array_equal(found.view(np.int32), expected[chosen].view(np.int32))
    np.testing.assert_array_equal(widen_float16(halves), expected)


@given(
    arrays.arrays(
        np.float16,
        arrays.array_shapes(min_dims=1, max_dims=4, min_side=0),
        elements=st.floats(width=16),
    )
)
def test_any_shape(codes: np.ndarray) -> None:
    found = widen_float16(codes)
    assert found.dtype == np.float32
    assert found.shape == codes.shape
    np.testing.assert_array_equal(found, codes.astype(np.float32))


@pytest.mark.parametrize("count", [65_535, 65_536, 65_537, 200_000])
def test_more_than_are_done_at_once(count: int) -> None:
    codes = np.random.default_rng(0).normal(0, 100, count).astype(np.float16)
    codes[-1] = np.inf  # in the last part alone
    np.testing.assert_array_equal(widen_float16(codes), codes.astype(np.float32))


def test_views_of_any_stride() -> None:
    codes = np.random.default_rng(0).normal(0, 1, (6, 8)).astype(np.float16)
    for view in (codes.T, codes[::2], codes[:, ::-1], codes[1:, 3:5]):
        np.testing.assert_array_equal(widen_float16(view), view.astype(np.float32))


def test_float32_stays_as_it_is() -> None:
    codes = np.linspace(0, 1, 7, dtype=np.float32)
    assert np.shares_memory(widen_float16(codes), codes)
