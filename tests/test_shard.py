import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from shard_kit import SPEC, a_shard, sparse, write

from bottleneck.errors import ShardError
from bottleneck.shard import (
    COMPRESSIONS,
    Shard,
    read_blocks,
    read_header,
    read_outcome,
    read_rows,
    read_shard,
    write_shard,
)


@pytest.mark.parametrize("shape", [(7,), (3, 2, 2), ()])
def test_a_shard_comes_back_as_it_was(tmp_path: Path, shape: tuple[int, ...]) -> None:
    shard = a_shard(shape=shape)
    again = read_shard(write(tmp_path / "0.h5", shard))
    np.testing.assert_array_equal(again.codes, shard.codes)
    np.testing.assert_array_equal(again.row, shard.row)
    np.testing.assert_array_equal(again.valid, shard.valid)
    assert (again.path, again.label) == (shard.path, shard.label)
    assert again.reason == shard.reason
    assert again.image_sha256 == shard.image_sha256


def test_header_and_outcome_are_read_without_the_codes(tmp_path: Path) -> None:
    path = write(tmp_path / "0.h5", a_shard(), "float16")
    header, (valid, reason) = read_header(path), read_outcome(path)
    assert (header.spec_digest, header.shape) == (SPEC.digest("layer3"), (5, 7))
    assert header.dtype == "float16"
    assert valid.tolist() == [True, True, False, True, True]
    assert reason[2] == "cannot be decoded: x"


@pytest.mark.parametrize("check", [False, True])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_blocks_together_are_the_codes_in_their_type(
    check: bool, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    n, rows = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 25))
    shape = data.draw(st.sampled_from([(7,), (3, 2, 2), ()]))
    dtype = data.draw(st.sampled_from(["float16", "float32"]))
    codes = np.random.default_rng(n).random((n, *shape), dtype=np.float32)
    blank = [""] * n
    shard = Shard(codes, np.arange(n), blank, blank, np.ones(n, bool), blank, blank)
    path = write(tmp_path_factory.mktemp("shard") / "0.h5", shard, dtype)
    blocks = list(read_blocks(path, rows, check=check))
    assert [len(block) for block in blocks] == [min(rows, n - s) for s in range(0, n, rows)]
    assert {block.dtype.name for block in blocks} == {dtype}
    np.testing.assert_array_equal(np.concatenate(blocks), codes.astype(dtype))


def in_blocks(path: Path) -> list[NDArray[Any]]:
    return list(read_blocks(path, 2, check=True))


def joined_blocks(path: Path) -> NDArray[Any]:
    return np.concatenate(in_blocks(path))


def codes_of(path: Path) -> NDArray[Any]:
    return read_shard(path).codes


def test_a_changed_code_is_found_at_the_end_of_the_blocks(tmp_path: Path) -> None:
    path = write(tmp_path / "0.h5", a_shard(shape=(2, 3)))
    with h5py.File(path, "r+") as file:
        file["codes"][0, 0] += 1e-3
    blocks = read_blocks(path, 2, check=True)
    assert [len(next(blocks)) for _ in range(3)] == [2, 2, 1]
    with pytest.raises(ShardError, match=r"0\.h5: the codes are not those that were written"):
        next(blocks)
    assert len(list(read_blocks(path, 2, check=False))) == 3


@pytest.mark.parametrize("change", ["shape", "type"])
def test_equal_bytes_of_another_shape_or_type_are_other_codes(tmp_path: Path, change: str) -> None:
    path = write(tmp_path / "0.h5", a_shard(shape=(2, 3)))
    with h5py.File(path, "r+") as file:
        codes = file["codes"][...]
        del file["codes"]
        file["codes"] = codes.reshape(5, 3, 2) if change == "shape" else codes.view(np.int32)
    for read in (in_blocks, read_shard):
        with pytest.raises(ShardError, match="codes are not those that were written"):
            read(path)


@settings(max_examples=40, deadline=None)
@given(at=st.floats(0, 0.999), bit=st.integers(0, 7))
def test_any_changed_bit_of_the_codes_is_found(
    at: float, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write(tmp_path_factory.mktemp("shard") / "0.h5", a_shard())
    with h5py.File(path) as file:
        where = file["codes"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[where.byte_offset + int(at * where.size)] ^= 1 << bit
    path.write_bytes(content)
    for read in (in_blocks, read_shard):
        with pytest.raises(ShardError, match="codes are not those that were written"):
            read(path)


def test_rows_and_paths_are_read_without_the_codes(tmp_path: Path) -> None:
    shard = dataclasses.replace(a_shard(), path=["a", "é", "c\udcff", "d", "e|\n"])
    path = write(tmp_path / "0.h5", shard)
    row, names = read_rows(path)
    assert row.tolist() == [10, 11, 12, 13, 14]
    assert names == shard.path


def test_a_layers_share_of_the_network_comes_back_where_it_is_one(tmp_path: Path) -> None:
    path = tmp_path / "0.h5"
    write_shard(path, a_shard(), spec=SPEC, layer="layer3", dtype="float32", work=0.25)
    assert read_header(path).work == 0.25
    for value in (0.0, 1.0, np.nextafter(1, 2), -0.1, np.nan, 2, "half", np.array([0.1, 0.2])):
        with h5py.File(path, "r+") as file:
            file.attrs["work"] = value
        expected = value if isinstance(value, float) and value in (0.0, 1.0) else None
        assert read_header(path).work == expected
    assert read_header(write(path, a_shard())).work is None


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
    shard = Shard(codes, np.arange(n), blank, blank, np.ones(n, bool), blank, blank)
    with h5py.File(write(tmp_path / "0.h5", shard, "float16")) as file:
        assert file["codes"].chunks == (1024, 512)  # 1 MiB


@pytest.mark.parametrize(
    "dataset", ["codes", "row", "path", "label", "valid", "reason", "image_sha256"]
)
def test_any_changed_value_is_found(tmp_path: Path, dataset: str) -> None:
    path = write(tmp_path / "0.h5", a_shard())
    with h5py.File(path, "r+") as file:
        value: Any = file[dataset][0]
        if dataset == "codes":
            file[dataset][0, 0] = file[dataset][0, 0] + 1e-3
        elif dataset == "valid":
            file[dataset][0] = not value
        elif dataset == "row":
            file[dataset][0] = value + 1
        else:
            file[dataset][0] = "other"
    with pytest.raises(ShardError, match="not those that were written"):
        read_shard(path)
    with pytest.raises(ShardError, match="not those that were written"):
        in_blocks(path) if dataset == "codes" else read_rows(path)


def test_a_column_of_another_length_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "0.h5", a_shard())
    with h5py.File(path, "r+") as file:
        short = file["path"][:-1]
        del file["path"]
        file["path"] = short
    for read in (read_shard, read_rows):
        with pytest.raises(ShardError, match="cannot be read"):
            read(path)


READS: list[Callable[[Path], Any]] = [read_header, read_shard, read_rows, read_outcome, in_blocks]


def test_files_that_are_no_shards_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no HDF5")
    (tmp_path / "empty.h5").touch()
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["codes"] = np.zeros(3)
    whole = write(tmp_path / "whole.h5", a_shard()).read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    for name in ("text", "empty", "other", "cut", "absent"):
        for read in READS:
            with pytest.raises(ShardError, match=rf"{name}\.h5") as caught:
                read(tmp_path / f"{name}.h5")
            assert "\n" not in str(caught.value)


def test_a_later_format_is_refused_by_its_number(tmp_path: Path) -> None:
    path = write(tmp_path / "0.h5", a_shard())
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 2
    for read in READS:
        with pytest.raises(ShardError, match="version 2; this program reads version 1"):
            read(path)


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
    assert read_header(path) == read_header(plain)
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


def test_blocks_across_compressed_chunks_are_the_codes(tmp_path: Path) -> None:
    n = 300  # chunks of 64 rows
    blank = [""] * n
    codes = np.random.default_rng(0).random((n, 4096), dtype=np.float32)
    codes[codes < 0.7] = 0
    shard = Shard(codes, np.arange(n), blank, blank, np.ones(n, bool), blank, blank)
    path = write(tmp_path / "0.h5", shard, compression="gzip")
    for rows in (1, 50, 64, 100, 1000):
        blocks = list(read_blocks(path, rows, check=True))
        np.testing.assert_array_equal(np.concatenate(blocks), codes)


def chunk_of(path: Path) -> slice:
    """Where the first chunk of the codes lies in the file."""
    with h5py.File(path) as file:
        where = file["codes"].id.get_chunk_info(0)
    return slice(where.byte_offset, where.byte_offset + where.size)


@pytest.mark.parametrize("damage", ["zeros", "ones", "half", "reversed"])
@pytest.mark.parametrize("compression", ["lzf", "gzip"])
def test_a_damaged_compressed_chunk_is_found(tmp_path: Path, compression: str, damage: str) -> None:
    path = write(tmp_path / "0.h5", sparse(), compression=compression)
    content, chunk = bytearray(path.read_bytes()), chunk_of(path)
    whole = bytes(content[chunk])
    content[chunk] = {
        "zeros": bytes(len(whole)),
        "ones": b"\xff" * len(whole),
        "half": whole[: len(whole) // 2].ljust(len(whole), b"\0"),
        "reversed": whole[::-1],
    }[damage]
    path.write_bytes(content)
    for read in (in_blocks, read_shard):
        with pytest.raises(
            ShardError, match=r"0\.h5(: the codes are not| cannot be read)"
        ) as caught:
            read(path)
        assert "\n" not in str(caught.value)
    assert read_header(path).shape == (5, 8, 5, 5)


@pytest.mark.parametrize("compression", ["lzf", "gzip"])
@settings(max_examples=40, deadline=None)
@given(at=st.floats(0, 0.999), bit=st.integers(0, 7))
def test_a_changed_bit_of_a_compressed_chunk_gives_no_other_codes(
    compression: str, at: float, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shard = sparse()
    path = write(tmp_path_factory.mktemp("shard") / "0.h5", shard, compression=compression)
    content, chunk = bytearray(path.read_bytes()), chunk_of(path)
    content[chunk.start + int(at * (chunk.stop - chunk.start))] ^= 1 << bit
    path.write_bytes(content)
    for read in (joined_blocks, codes_of):
        try:
            codes = read(path)
        except ShardError:
            continue
        # A bit that only fills up a byte, or another way to the same zeros.
        np.testing.assert_array_equal(codes, shard.codes)
