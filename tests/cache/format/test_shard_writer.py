from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bottleneck.cache.format.manifest import COMPRESSIONS
from bottleneck.cache.format.shard import (
    ShardData,
    read_header,
)
from tests.helpers.shards import a_shard, codes_of, joined_blocks, read_shard, sparse, write


def test_codes_beyond_float16_are_stored_as_float32(tmp_path: Path) -> None:
    large = a_shard(scale=1e6)
    path = write(tmp_path / "0.h5", large, "float16")
    assert read_header(path).dtype == "float32"
    np.testing.assert_array_equal(read_shard(path).codes, large.codes)


def test_the_largest_float16_is_still_float16(tmp_path: Path) -> None:
    shard = a_shard()
    shard.codes[0, 0] = 65504
    assert read_header(write(tmp_path / "0.h5", shard, "float16")).dtype == "float16"


def test_the_same_shard_is_the_same_bytes(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.h5", a_shard()), write(tmp_path / "b.h5", a_shard())
    assert a.read_bytes() == b.read_bytes()


def test_chunks_hold_many_rows(tmp_path: Path) -> None:
    n = 3000
    blank = [""] * n
    codes = np.zeros((n, 512), np.float32)
    shard = ShardData(codes, np.arange(n), blank, blank, np.ones(n, bool), blank, blank)
    with h5py.File(write(tmp_path / "0.h5", shard, "float16")) as file:
        assert file["codes"].chunks == (1024, 512)  # 1 MiB


def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: Any, **_kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(h5py.Group, "create_dataset", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "0.h5", a_shard())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("compression", ["lzf", "gzip"])
def test_a_compressed_shard_is_smaller_and_the_same_to_every_reader(
    tmp_path: Path, compression: str, dtype: str
) -> None:
    plain = write(tmp_path / "plain.h5", sparse(), dtype)
    path = write(tmp_path / "0.h5", sparse(), dtype, compression=compression)
    with h5py.File(plain) as expected, h5py.File(path) as file:
        assert file["codes"].compression == compression
        assert file["codes"].id.get_storage_size() < 0.6 * expected["codes"].id.get_storage_size()
        assert dict(file.attrs) == dict(expected.attrs)  # the digests too
        np.testing.assert_array_equal(file["codes"][...], expected["codes"][...])
    assert read_header(path).shape == read_header(plain).shape
    for read in (joined_blocks, codes_of):
        np.testing.assert_array_equal(read(path), read(plain))


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("shape", [(7,), (3, 2, 2), ()])
def test_codes_that_no_filter_makes_smaller_come_back_too(
    tmp_path: Path, shape: tuple[int, ...], compression: str
) -> None:
    shard = a_shard(shape=shape)
    path = write(tmp_path / "0.h5", shard, compression=compression)
    for read in (joined_blocks, codes_of):
        np.testing.assert_array_equal(read(path), shard.codes)
