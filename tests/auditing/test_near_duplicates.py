"""Near duplicates are the planted ones, and chance makes few where there are none."""

import numpy as np
import pytest
from numpy.typing import NDArray

from bottleneck.auditing.near_duplicates import NearPairs, find_near_pairs, neighbour_count
from bottleneck.auditing.neighbours import Neighbours, find_neighbours
from bottleneck.linear.matrix import ArrayMatrix


def pairs_of(codes: NDArray[np.float64]) -> NearPairs:
    unit = (codes / np.linalg.norm(codes, axis=1, keepdims=True)).astype(np.float32)
    count = neighbour_count(len(codes))
    return find_near_pairs(find_neighbours(ArrayMatrix(unit), count, memory=1))


def clusters(seed: int, n: int, dimension: int) -> NDArray[np.float64]:
    """Codes in classes of different width, on a curved sheet in 40 dimensions."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 4, n)
    inner = rng.normal(size=(4, dimension))[kind] * 2
    inner += rng.normal(size=(n, dimension)) * np.array([0.3, 0.6, 1.0, 1.5])[kind][:, None]
    return np.asarray(np.tanh(inner @ rng.normal(size=(dimension, 40)) / 3))


def test_few_sets_without_copies_have_any_pair() -> None:
    with_any = sum(len(pairs_of(clusters(seed, 300, 8)).first) > 0 for seed in range(40))
    assert with_any <= 4  # eight of forty are allowed; that images are not spread evenly adds room


@pytest.mark.parametrize("dimension", [4, 8, 16])
def test_the_planted_copies_are_found(dimension: int) -> None:
    codes, rng = clusters(0, 400, dimension), np.random.default_rng(1)
    source, copy = np.arange(0, 60), np.arange(340, 400)
    codes[copy] = codes[source] + 0.003 * rng.normal(size=(60, 40))
    found = pairs_of(codes)
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    planted = set(zip(source.tolist(), copy.tolist(), strict=True))
    assert len(planted & pairs) >= 57
    assert len(pairs - planted) <= 30  # a fifth of the images is allowed, give or take
    assert found.chance <= 0.2 * len({*found.first.tolist(), *found.second.tolist()})


@pytest.mark.parametrize(("dimension", "lowest"), [(2, 1.8), (6, 5.1), (12, 9.0)])
def test_the_dimension_is_that_of_a_sphere(dimension: int, lowest: float) -> None:
    codes = np.random.default_rng(0).normal(size=(1500, dimension + 1))
    # Where neighbours are far, it is too low: that finds fewer pairs, and none by chance.
    assert lowest < pairs_of(codes).dimension < 1.1 * dimension


def test_more_copies_than_neighbours_are_copies_still() -> None:
    codes = np.random.default_rng(0).normal(size=(300, 8)) + 5 * np.eye(8)[0]
    codes[:100] = -np.eye(8)[0]
    found = pairs_of(codes)
    images = set(found.first.tolist()) | set(found.second.tolist())
    assert images >= set(range(100))
    assert len(images) <= 130  # a fifth by chance, give or take
    assert np.isfinite(found.dimension)


def test_all_codes_equal() -> None:
    found = pairs_of(np.ones((40, 3)))
    assert set(found.first.tolist()) | set(found.second.tolist()) == set(range(40))
    assert found.chance == 0


def test_of_few_images_nothing_is_said() -> None:
    codes = np.ones((15, 3))
    found = pairs_of(codes)
    assert len(found.first) == 0
    assert np.isnan(found.dimension)


@pytest.mark.parametrize(("nearest", "found"), [(0.8, 1), (0.02, 0)])
def test_a_pair_is_near_only_if_it_is_for_both(nearest: float, found: int) -> None:
    k = neighbour_count(40)
    distance = np.tile(np.linspace(0.8, 1.0, k), (40, 1)).astype(np.float32)
    index = (np.arange(40)[:, None] + np.arange(1, k + 1)).astype(np.int32) % 40
    distance[0, 0] = 0.02  # of image 1, which has all its neighbours nearer in the second case
    distance[1] *= nearest / distance[1, 0]
    pairs = find_near_pairs(Neighbours(index, distance))
    assert ((pairs.first == 0) & (pairs.second == 1)).sum() == found


def test_each_pair_is_there_once_with_the_smaller_number_first() -> None:
    codes = clusters(0, 100, 4)
    codes[90:] = codes[:10] + 1e-4
    found = pairs_of(codes)
    assert (found.first < found.second).all()
    assert len(set(zip(found.first.tolist(), found.second.tolist(), strict=True))) == len(
        found.first
    )
