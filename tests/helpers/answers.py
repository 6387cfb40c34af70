"""True labels and answers, drawn by hypothesis."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn
from numpy.typing import NDArray

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


def columns(pairs: list[tuple[int, int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    true, predicted = np.array(pairs, np.int64).T
    return true, predicted


@st.composite
def labelled(draw: st.DrawFn) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """True labels and margins, of few different values so that many are equal."""
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 4)))
    true = draw(stn.arrays(np.bool_, shape))
    return true, draw(stn.arrays(np.float64, shape, elements=st.sampled_from([-2.0, -0.5, 0, 1])))
