import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bottleneck.cache.format.series import Series
from bottleneck.cache.store import Cache
from bottleneck.data.resizing.view_recipe import ViewRecipe
from bottleneck.errors import ShardError
from bottleneck.finetuning.loading.batches import Batches
from bottleneck.finetuning.loading.maps import MapsInMemory, MapsInShards, open_maps
from bottleneck.fitting.loading.features import Features
from tests.helpers.tails import SHAPE, map_cache

N = 40
ONE, TWO = Features(("layer",)), Features(("layer",), 2, ViewRecipe())
ROW_BYTES = 4 * int(np.prod(SHAPE))
LITTLE = 16 * ROW_BYTES  # a buffer of 8 maps


def numbered(view: int = 0, n: int = N) -> NDArray[np.float32]:
    """Maps whose values are their row, and a half more for each view."""
    rows = np.arange(n, dtype=np.float32).reshape(-1, 1, 1, 1) + view / 2
    return np.broadcast_to(rows, (n, *SHAPE)).copy()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Maps in two views."""
    return map_cache(tmp_path_factory.mktemp("maps"), numbered(), views=[numbered(1)])


def read(batches: Any) -> tuple[list[float], list[int], list[int]]:
    """The value of each map, its index, and the sizes of the batches."""
    values, index, sizes = [], [], []
    for maps, numbers in batches:
        assert maps.dtype in (torch.float16, torch.float32)
        flat = maps.reshape(len(maps), -1)
        assert (flat == flat[:, :1]).all()
        values += flat[:, 0].tolist()
        index += numbers.tolist()
        sizes.append(len(maps))
    return values, index, sizes


@pytest.mark.parametrize(
    ("features", "memory", "text"),
    [
        (ONE, 1 << 30, "maps of 4×5×5 of 40 images in memory (16 kB)"),
        (TWO, 1 << 30, "maps of 4×5×5 of 40 images, 2 views each, in memory (32 kB)"),
        (
            TWO,
            LITTLE,
            "maps of 4×5×5 of 40 images, 2 views each, from the cache, through a shuffle buffer of "
            "8 (3.2 kB)",
        ),
    ],
)
def test_str_describes_the_maps_and_their_place(
    stored: Cache, features: Features, memory: int, text: str
) -> None:
    assert str(open_maps(stored, features, np.arange(N), memory=memory)) == text


@given(memory=st.sampled_from([1 << 30, LITTLE, 1]), data=st.data())
def test_an_epoch_has_every_row_once(stored: Cache, memory: int, data: st.DataObject) -> None:
    every = data.draw(st.sets(st.integers(0, N - 1), min_size=1))
    rows = np.array(sorted(data.draw(st.sets(st.sampled_from(sorted(every)), min_size=1))))
    epoch, size = data.draw(st.integers(0, 3)), data.draw(st.integers(1, 9))
    batches = open_maps(stored, TWO, np.array(sorted(every)), memory=memory)
    values, index, sizes = read(batches.shuffled(rows, seed=5, epoch=epoch, batch_size=size))
    assert sorted(index) == list(range(len(rows)))
    assert values == [rows[i] + (epoch % 2) / 2 for i in index]
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("memory", [1 << 30, LITTLE, 1])
def test_images_are_judged_in_order_with_all_their_views(stored: Cache, memory: int) -> None:
    rows = np.array([3, 4, 11, 30])
    batches = open_maps(stored, TWO, np.arange(N), memory=memory)
    values, index, _ = read(batches.ordered(rows, batch_size=5))
    assert values == [3, 3.5, 4, 4.5, 11, 11.5, 30, 30.5]
    assert index == [0, 0, 1, 1, 2, 2, 3, 3]
    assert batches.views == 2


def order_of(batches: Batches, *, seed: int = 0, epoch: int = 0) -> list[int]:
    return read(batches.shuffled(np.arange(N), seed=seed, epoch=epoch, batch_size=4))[1]


@pytest.mark.parametrize("memory", [1 << 30, LITTLE])
def test_the_order_is_decided_by_seed_and_epoch(stored: Cache, memory: int) -> None:
    orders = [
        order_of(open_maps(stored, ONE, np.arange(N), memory=memory), seed=seed, epoch=epoch)
        for seed, epoch in [(0, 0), (0, 0), (0, 1), (1, 0)]
    ]
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) == 3


def test_a_little_more_memory_is_the_same_order(stored: Cache) -> None:
    kinds = [open_maps(stored, ONE, np.arange(N), memory=LITTLE + more) for more in (0, ROW_BYTES)]
    assert all(isinstance(kind, MapsInShards) for kind in kinds)
    assert order_of(kinds[0]) == order_of(kinds[1])


def test_a_small_buffer_mixes_the_rows_of_all_shards(stored: Cache) -> None:
    batches = open_maps(stored, ONE, np.arange(N), memory=LITTLE)
    assert isinstance(batches, MapsInShards)
    assert batches.buffer == 8
    firsts = np.array([order_of(batches, epoch=epoch)[:10] for epoch in range(40)])
    # Rows of a sorted table stand for its classes: an epoch's first ten are not of one of them.
    assert abs(firsts.mean() - (N - 1) / 2) < 2
    assert np.ptp(firsts, axis=1).mean() > N / 2


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_maps_that_fit_are_kept_in_their_type(tmp_path: Path, dtype: str) -> None:
    cache = map_cache(tmp_path, numbered(), dtype=dtype)
    size = N * ROW_BYTES * np.dtype(dtype).itemsize // 4
    batches = open_maps(cache, ONE, np.arange(N), memory=size)
    assert isinstance(batches, MapsInMemory)
    assert batches.maps[0].dtype == dtype
    assert np.array_equal(batches.maps[0], numbered())
    assert isinstance(open_maps(cache, ONE, np.arange(N), memory=size - 1), MapsInShards)
    assert order_of(batches) != list(range(N))


def test_memory_is_bounded_for_maps_larger_than_it(tmp_path: Path) -> None:
    side, n, memory = 64, 96, 1 << 20  # 16 KiB a map: 1.5 MiB of them
    maps = np.random.default_rng(0).random((n, 1, side, side), dtype=np.float32)
    cache = map_cache(tmp_path, maps, shard_size=40)
    batches = open_maps(cache, ONE, np.arange(n), memory=memory)
    assert isinstance(batches, MapsInShards)
    rows = np.arange(n)
    for _ in batches.shuffled(rows, seed=0, epoch=0, batch_size=4):
        pass  # shards are verified, and modules loaded
    tracemalloc.start()
    for reading in (
        batches.shuffled(rows, seed=0, epoch=1, batch_size=4),
        batches.ordered(rows, batch_size=1000),
    ):
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        for _ in reading:
            pass
        assert tracemalloc.get_traced_memory()[1] - before <= memory
    tracemalloc.stop()


@pytest.mark.parametrize("memory", [1 << 30, 1])
def test_a_damaged_shard_is_found(tmp_path: Path, memory: int) -> None:
    cache = map_cache(tmp_path, numbered())
    path = cache.shard_path(Series("layer"), 2)
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ShardError, match="00002"):
        order_of(open_maps(cache, ONE, np.arange(N), memory=memory))
