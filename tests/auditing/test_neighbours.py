"""Neighbours are those that scikit-learn finds, whatever the blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from bottleneck.auditing import neighbours
from bottleneck.auditing.neighbours import find_neighbours
from bottleneck.linear.matrix import ArrayMatrix, CodeMatrix
from bottleneck.runtime import Progress
from tests.helpers.problems import Rows


def unit(n: int, d: int, seed: int = 0) -> NDArray[np.float32]:
    codes = np.random.default_rng(seed).normal(size=(n, d))
    return np.asarray(codes / np.linalg.norm(codes, axis=1, keepdims=True), dtype=np.float32)


def expected(codes: NDArray[np.float32], k: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(codes.astype(np.float64))
    distance, index = search.kneighbors()  # without the rows themselves
    return distance, index


@given(n=st.integers(3, 40), k=st.integers(1, 8), tile=st.integers(1, 50), block=st.integers(1, 50))
def test_they_are_those_of_scikit_learn(n: int, k: int, tile: int, block: int) -> None:
    codes = unit(n, 5, seed=n)
    k = min(k, n - 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_TILE", tile)
        matrix: CodeMatrix
        for matrix in (ArrayMatrix(codes), Rows(codes, (block,), in_memory=False)):
            found = find_neighbours(matrix, k, memory=1)
            distance, index = expected(codes, k)
            np.testing.assert_allclose(found.distance, distance, atol=1e-3)
            np.testing.assert_array_equal(found.index, index)


@pytest.mark.parametrize(("images", "passes"), [(40, 1), (20, 2), (1, 10)])
def test_codes_outside_of_memory_are_read_as_rarely_as_memory_allows(
    images: int, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "_TILE", 4)
    matrix = Rows(unit(40, 6), (7,), in_memory=False)
    told: list[Progress] = []
    find_neighbours(
        matrix,
        3,
        memory=images * (4 * 6 + 8 * 3),
        on_progress=told.append,
    )
    assert matrix.reads == passes
    done = [progress.done for progress in told]
    assert done == sorted(done)
    assert (done[0], str(told[-1])) == (0, "40 of 40 images compared")


def test_an_image_alone_has_no_neighbours() -> None:
    assert find_neighbours(ArrayMatrix(unit(1, 4)), 5, memory=1).index.shape == (1, 0)
    assert find_neighbours(ArrayMatrix(unit(3, 4)), 5, memory=1).index.shape == (3, 2)


def test_of_equal_codes_each_is_the_others_neighbour() -> None:
    codes = unit(6, 4)
    codes[4] = codes[1]
    found = find_neighbours(ArrayMatrix(codes), 2, memory=1)
    assert (found.index[4, 0], found.index[1, 0]) == (1, 4)
    assert found.distance[4, 0] == pytest.approx(0, abs=1e-3)
