import pickle
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import bottleneck
from bottleneck.cache.format.manifest import Manifest, StorageLayout
from bottleneck.cache.format.shard import ShardData
from bottleneck.cache.format.shard_writer import write_shard
from bottleneck.cache.store import Cache
from bottleneck.data.table.image_table import ImageTable
from bottleneck.errors import ShardError
from bottleneck.fitting.loading.features import Features
from bottleneck.fitting.loading.sharded_matrix import ShardedMatrix, open_matrix
from bottleneck.input_transform import InputTransform
from bottleneck.linear.matrix import ArrayMatrix, CodeMatrix
from bottleneck.linear.solver.eigenbasis import make_design
from bottleneck.model_reference import ModelReference
from bottleneck.spec import Spec
from tests.helpers.counting import Compared
from tests.helpers.fixture_types import Extract

SPEC = Spec("net", "ab" * 32, InputTransform(decoder="pillow-1"), "float32", True, "none")
LAYER = "layer1"
ONE = Features((LAYER,))


def a_cache(
    path: Path, codes: NDArray[np.float32], *, shard_size: int, dtype: str = "float32"
) -> Cache:
    """A finished cache of these codes, all of them usable."""
    n = len(codes)
    names, blank = [f"{row}.png" for row in range(n)], [""] * n
    images = ImageTable(names, blank, blank, blank, np.ones(n, np.int64), np.ones(n, np.int64))
    layout = StorageLayout(dtype, shard_size, "none")
    cache = Cache(path, Manifest(SPEC, layout, ModelReference("net", "DEFAULT"), "00"), images)
    for k in range(cache.shard_count):
        rows = cache.rows(k)
        here, none = slice(rows.start, rows.stop), [""] * len(rows)
        valid = np.ones(len(rows), dtype=bool)
        shard = ShardData(codes[here], np.array(rows), names[here], none, valid, none, none)
        write_shard(cache.shard_path(LAYER, k), shard, manifest=cache.manifest, series=LAYER)
    return cache


def random_codes(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def of_shards(cache: Cache, rows: NDArray[np.int64], *, block: int) -> ShardedMatrix:
    size = int(np.prod(cache.code_shape(LAYER)))
    return ShardedMatrix(cache, ONE, rows, size, block)


def together(codes: CodeMatrix) -> NDArray[np.float32]:
    blocks: list[NDArray[np.float32]] = list(codes.blocks())
    return np.concatenate(blocks)


def begin(codes: ShardedMatrix) -> Generator[NDArray[np.float32], None, None]:
    """Blocks that can be closed."""
    blocks = codes.blocks()
    assert isinstance(blocks, Generator)
    return blocks


@pytest.fixture
def ten(tmp_path: Path) -> Cache:
    """Ten rows of three numbers in shards of four."""
    return a_cache(tmp_path / "ten", random_codes(10, 3), shard_size=4)


# What is read


@given(data=st.data())
def test_blocks_are_the_rows_whatever_the_rows_the_block_and_the_shards(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    n, shard_size = data.draw(st.integers(1, 24)), data.draw(st.integers(1, 26))
    shape = data.draw(st.sampled_from([(1,), (5,), (2, 3, 2), ()]))
    dtype = data.draw(st.sampled_from(["float16", "float32"]))
    codes = random_codes(n, *shape)
    codes[data.draw(st.integers(0, n - 1))] *= data.draw(st.sampled_from([1, 1e6]))
    cache = a_cache(tmp_path_factory.mktemp("cache"), codes, shard_size=shard_size, dtype=dtype)
    expected = codes.reshape(n, -1)
    for start in range(0, n, shard_size):  # a shard that float16 cannot hold is float32
        part = expected[start : start + shard_size]
        if dtype == "float16" and np.abs(part).max() <= 65504:
            part[:] = part.astype(np.float16)

    chosen = st.lists(st.integers(0, n - 1), unique=True, min_size=1).map(sorted)
    rows = np.array(data.draw(chosen))
    block = data.draw(st.integers(1, 26))
    found = of_shards(cache, rows, block=block)
    assert found.shape == (len(rows), expected.shape[1])
    assert found.dtype == np.float32
    assert not found.in_memory
    for _ in range(2):  # the second time without digests
        blocks = list(found.blocks())
        assert {one.dtype for one in blocks} == {np.dtype(np.float32)}
        assert all(0 < len(one) <= block for one in blocks)
        np.testing.assert_array_equal(np.concatenate(blocks), expected[rows])
    np.testing.assert_array_equal(cache.read_codes(LAYER, rows), expected[rows])

    places = st.lists(st.integers(0, len(rows) - 1), unique=True, min_size=1).map(sorted)
    first = np.array(data.draw(places))
    kept = st.lists(st.booleans(), min_size=len(first), max_size=len(first))
    second = np.flatnonzero(data.draw(kept))
    again = found.take(first).take(second)
    assert again.shape == (len(second), expected.shape[1])
    taken = [np.empty((0, expected.shape[1]), np.float32), *again.blocks()]
    np.testing.assert_array_equal(np.concatenate(taken), expected[rows[first][second]])


@pytest.mark.parametrize("memory", [0, None])
def test_unpooled_codes_of_a_real_extraction_come_flattened(
    memory: int | None, photos: Path, extract_tiny: Extract
) -> None:
    cache = extract_tiny(photos, pool="none", dtype="float16").cache
    rows = np.array([0, 7, 8, 9, 35])
    with h5py.File(cache.path / "codes.h5") as index:
        expected = index["layer2"][...].astype(np.float32)
    assert expected.shape == (36, 8, 8, 8)
    codes = open_matrix(cache, Features(("layer2",)), rows, memory=memory)
    assert codes.in_memory == (memory is None)
    assert codes.shape == (5, 512)
    assert codes.dtype == np.float32
    np.testing.assert_array_equal(together(codes), expected[rows].reshape(5, -1))


def test_blocks_can_be_read_by_two_at_once(ten: Cache) -> None:
    codes = of_shards(ten, np.arange(10), block=2)
    for one, other in zip(codes.blocks(), codes.blocks(), strict=True):
        np.testing.assert_array_equal(one, other)


# Where they are kept


def test_codes_are_in_memory_where_four_copies_fit(ten: Cache) -> None:
    rows, need = np.arange(1, 10), 9 * 3 * 4 * 4
    fits = open_matrix(ten, ONE, rows, memory=need)
    assert isinstance(fits, ArrayMatrix)
    np.testing.assert_array_equal(fits.array, random_codes(10, 3)[1:])
    too_large = open_matrix(ten, ONE, rows, memory=need - 1)
    assert isinstance(too_large, ShardedMatrix)
    np.testing.assert_array_equal(together(too_large), fits.array)


def test_half_of_the_free_memory_is_the_budget_unless_one_is_given(
    ten: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    need = 10 * 3 * 4 * 4
    for free, in_memory in [(2 * need, True), (2 * need - 2, False)]:
        now = SimpleNamespace(available=free)
        monkeypatch.setattr("psutil.virtual_memory", lambda now=now: now)
        assert open_matrix(ten, ONE, np.arange(10), memory=None).in_memory == in_memory


@pytest.mark.parametrize("shard_size", [64, 1024])
def test_reading_stays_within_the_budget(tmp_path: Path, shard_size: int) -> None:
    codes = random_codes(1024, 1024)
    cache = a_cache(tmp_path, codes, shard_size=shard_size)
    budget = codes.nbytes // 8
    found = open_matrix(cache, ONE, np.arange(1024), memory=budget)
    sizes = []
    tracemalloc.start()
    try:
        for block in found.blocks():
            sizes.append(block.nbytes)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < budget
    assert max(sizes) == budget // 16  # no smaller than it must be
    assert sum(sizes) == codes.nbytes


def test_a_block_is_a_row_at_least_and_64_mib_at_most(tmp_path: Path) -> None:
    codes = random_codes(100, 3)
    cache = a_cache(tmp_path, codes, shard_size=100)
    tiny = open_matrix(cache, ONE, np.arange(100), memory=0)
    assert [len(block) for block in tiny.blocks()] == [1] * 100
    wide = a_cache(tmp_path / "wide", np.zeros((1, 1 << 18), np.float32), shard_size=1)  # 1 MiB
    large = open_matrix(wide, ONE, np.zeros(1000, np.int64), memory=2 << 30)
    assert isinstance(large, ShardedMatrix)
    assert large.block == 64


# Damage


def _change(path: Path, name: str) -> None:
    with h5py.File(path, "r+") as file:
        value = file[name][-1]
        if name == "codes":
            file[name][-1] = value + 1
        elif name == "valid":
            file[name][-1] = not value
        else:
            file[name][-1] = "other"


def _damage(cache: Cache, kind: str) -> None:
    """Harm the second of three shards."""
    path, other = cache.shard_path(LAYER, 1), cache.shard_path(LAYER, 0)
    whole = path.read_bytes()
    if kind == "absent":
        path.unlink()
    elif kind == "cut":
        path.write_bytes(whole[: len(whole) - 8])
    elif kind == "swapped":
        path.write_bytes(other.read_bytes())
        other.write_bytes(whole)
    elif kind == "table sorted":
        object.__setattr__(cache.images, "path", cache.images.path[::-1])
    elif kind == "later format":
        with h5py.File(path, "r+") as file:
            file.attrs["format_version"] = 4
    else:
        _change(path, kind)


_COLUMNS = ["label", "valid", "reason", "image_sha256"]


@pytest.mark.parametrize(
    "kind",
    ["absent", "cut", "swapped", "table sorted", "later format", "codes", "path", *_COLUMNS],
)
@pytest.mark.parametrize("way", ["memory", "blocks", "one row", "prefix of a shard"])
def test_a_damaged_shard_is_refused_whichever_way_it_is_read(
    ten: Cache, kind: str, way: str
) -> None:
    rows = {"one row": np.array([5]), "prefix of a shard": np.arange(5)}.get(way, np.arange(10))
    memory = 1 << 20 if way == "memory" else 0
    found = None
    if way != "memory":
        found = open_matrix(ten, ONE, rows, memory=memory)  # before the damage
    _damage(ten, kind)
    for _ in range(2):  # what failed once fails again
        with pytest.raises(ShardError, match=r"0000[01]\.h5"):
            together(found or open_matrix(ten, ONE, rows, memory=memory))


def test_shards_without_wanted_rows_are_not_read(ten: Cache) -> None:
    codes = of_shards(ten, np.array([0, 3, 8, 9]), block=2)
    _damage(ten, "absent")
    np.testing.assert_array_equal(together(codes), random_codes(10, 3)[[0, 3, 8, 9]])


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Which shards were begun, and whether to be checked."""
    begun: list[tuple[str, bool]] = []

    read_blocks = Cache.read_blocks

    def noted(
        cache: Cache, layer: str, shard: int, rows: int, *, verify: bool, view: int
    ) -> Iterator[NDArray[Any]]:
        begun.append((f"{shard:05d}", verify))
        return read_blocks(cache, layer, shard, rows, verify=verify, view=view)

    monkeypatch.setattr(Cache, "read_blocks", noted)
    return begun


def test_a_shard_is_checked_before_it_is_read_for_the_first_time(
    ten: Cache, checks: list[tuple[str, bool]]
) -> None:
    codes = of_shards(ten, np.arange(10), block=1)
    blocks = begin(codes)
    for _ in range(5):
        next(blocks)
    blocks.close()  # in the second shard
    assert checks == [("00000", True), ("00001", True)]
    checks.clear()
    together(codes.take(np.array([0, 5])))  # reads all of the second for one row of it
    assert checks == [("00000", False), ("00001", False)]
    checks.clear()
    together(codes)
    assert checks == [("00000", False), ("00001", False), ("00002", True)]
    checks.clear()
    together(open_matrix(ten, ONE, np.arange(10), memory=0))  # who opens anew checks anew
    assert checks == [("00000", True), ("00001", True), ("00002", True)]


# The thread that reads ahead


class Reader:
    """In place of `Cache.read_blocks`: notes which rows which thread read, and waits at some."""

    def __init__(self, *, rows: int, wait_at: int = -1) -> None:
        self.threads: list[int] = []
        self.read = [threading.Event() for _ in range(rows)]
        self.go_on = threading.Event()
        self.wait_at = wait_at

    def __call__(self, *_arguments: object, **_options: object) -> Iterator[NDArray[Any]]:
        for row, read in enumerate(self.read):
            self.threads.append(threading.get_ident())
            read.set()
            if row == self.wait_at:
                self.go_on.wait(20)
            yield np.full((1, 3), row, np.float32)


def test_one_block_is_read_while_another_is_used(
    ten: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(rows=4)
    monkeypatch.setattr(Cache, "read_blocks", reader)
    blocks = of_shards(ten, np.arange(4), block=1).blocks()
    next(blocks)
    assert reader.read[1].wait(10)  # nobody has asked for it
    assert not reader.read[2].wait(0.05)  # and no more than it
    assert threading.get_ident() not in reader.threads
    assert [int(block[0, 0]) for block in blocks] == [1, 2, 3]


def test_closing_the_iterator_does_not_wait_for_the_next_block(
    ten: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The garbage collector may close an iteration while its thread has h5py's lock, which the
    # reading thread is waiting for.
    reader = Reader(rows=4, wait_at=1)
    monkeypatch.setattr(Cache, "read_blocks", reader)
    threads = threading.active_count()
    blocks = begin(of_shards(ten, np.arange(4), block=1))
    next(blocks)
    assert reader.read[1].wait(10)
    release = threading.Timer(5, reader.go_on.set)
    release.start()
    try:
        blocks.close()
        assert not reader.go_on.is_set()
    finally:
        release.cancel()
        reader.go_on.set()
    _settled(threads)


def _open_files() -> int:
    return int(h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE))


def _settled(threads: int, files: int | None = None) -> None:
    """Wait until there are no more threads and open files than that."""
    end = time.monotonic() + 10
    while threading.active_count() > threads or (files is not None and _open_files() > files):
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.mark.parametrize("end", ["close", "break", "raise", "damage", "forget"])
def test_an_iteration_that_ends_early_leaves_no_thread_and_no_file(ten: Cache, end: str) -> None:
    threads, files = threading.active_count(), _open_files()
    codes = of_shards(ten, np.arange(10), block=1)
    if end == "damage":
        _damage(ten, "codes")
        with pytest.raises(ShardError):
            together(codes)
    elif end == "raise":
        with pytest.raises(ZeroDivisionError):
            _fails_in_the_middle(codes)
    elif end == "break":
        for _ in codes.blocks():
            break
    else:
        blocks = begin(codes)
        next(blocks)
        assert threading.active_count() == threads + 1
        if end == "close":
            blocks.close()
        del blocks
    _settled(threads, files)


def _fails_in_the_middle(codes: ShardedMatrix) -> None:
    for i, _ in enumerate(codes.blocks()):
        1 / (3 - i)


FORGETFUL = """
import gc, pickle, sys

with open(sys.argv[1], "rb") as file:
    codes = pickle.load(file)


class Cycle:
    def __init__(self):
        self.me = self
        self.blocks = codes.blocks()
        next(self.blocks)


gc.set_threshold(3, 1, 1)
for _ in range(300):
    Cycle()
gc.set_threshold(700, 10, 10)
kept = codes.blocks()
next(kept)
"""


def test_the_garbage_collector_may_end_an_iteration_anywhere_and_python_at_its_exit(
    ten: Cache, tmp_path: Path
) -> None:
    # It runs in the middle of whatever makes objects, such as an executor that has a lock.
    (tmp_path / "codes").write_bytes(pickle.dumps(of_shards(ten, np.arange(10), block=1)))
    done = subprocess.run(
        [sys.executable, "-c", FORGETFUL, str(tmp_path / "codes")],
        cwd=Path(bottleneck.__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_blocks_that_nobody_asks_for_start_nothing(ten: Cache) -> None:
    threads = threading.active_count()
    blocks = of_shards(ten, np.arange(10), block=1).blocks()
    assert threading.active_count() == threads
    assert len(next(iter(blocks))) == 1


# How much is read


def test_finding_the_rows_of_a_shard_does_not_look_at_all_rows(tmp_path: Path) -> None:
    cache = a_cache(tmp_path, random_codes(160, 2), shard_size=2)
    codes = of_shards(cache, np.arange(160).view(Compared), block=1)
    Compared.count = 0
    np.testing.assert_array_equal(together(codes), random_codes(160, 2))
    assert Compared.count < 20 * 160  # comparing all rows for each of 80 shards: 80 · 160


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How many rows were read of each shard."""
    rows: Counter[int] = Counter()
    read_blocks = Cache.read_blocks

    def counted(
        cache: Cache, layer: str, shard: int, block: int, *, verify: bool, view: int
    ) -> Iterator[NDArray[Any]]:
        for codes in read_blocks(cache, layer, shard, block, verify=verify, view=view):
            rows[shard] += len(codes)
            yield codes

    monkeypatch.setattr(Cache, "read_blocks", counted)
    return rows


def test_rows_are_local_where_two_copies_fit(ten: Cache, reads: Counter[int]) -> None:
    rows, need = np.arange(1, 10), 9 * 3 * 4 * 2
    codes = open_matrix(ten, ONE, rows, memory=need)
    assert isinstance(codes, ShardedMatrix)
    local = codes.to_local()
    assert isinstance(local, ArrayMatrix)
    np.testing.assert_array_equal(local.array, random_codes(10, 3)[1:])
    assert reads == {0: 4, 1: 4, 2: 2}
    small = open_matrix(ten, ONE, rows, memory=need - 1)
    assert small.to_local() is small
    assert isinstance(codes.take(np.arange(4)).scaled(np.negative).to_local(), ArrayMatrix)


@pytest.mark.parametrize(("copies", "passes"), [(2, 1), (0.5, 20)])
def test_fewer_rows_than_features_are_read_once_or_a_few_times(
    tmp_path: Path, reads: Counter[int], copies: float, passes: int
) -> None:
    X = random_codes(32, 64)
    cache = a_cache(tmp_path, X, shard_size=1)
    codes = open_matrix(cache, ONE, np.arange(32), memory=round(copies * X.nbytes))
    assert isinstance(codes, ShardedMatrix)
    design = make_design(codes, np.arange(32) % 2, intercept="free")
    expected = make_design(ArrayMatrix(X), np.arange(32) % 2, intercept="free")
    np.testing.assert_allclose(design.spectrum, expected.spectrum, rtol=1e-6)
    # In 32 blocks: one pass for the left rows, half of 32 for the right ones, one for the mean.
    assert sum(reads.values()) <= passes * 32
