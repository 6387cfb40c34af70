import dataclasses
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottleneck.cache.format.manifest import COMPRESSIONS
from bottleneck.cache.format.shard import (
    ShardData,
    read_header,
)
from bottleneck.cache.format.shard_writer import write_shard
from bottleneck.errors import ShardError
from tests.helpers.shards import (
    a_manifest,
    a_shard,
    forge,
    in_blocks,
    read_image_digests,
    read_shard,
    read_shard_metadata,
    sparse,
    verify_shard,
    write,
)


@pytest.mark.parametrize("shape", [(7,), (3, 2, 2), ()])
def test_a_shard_is_read_as_it_was_written(tmp_path: Path, shape: tuple[int, ...]) -> None:
    shard = a_shard(shape=shape)
    again = read_shard(write(tmp_path / "0.h5", shard))
    np.testing.assert_array_equal(again.codes, shard.codes)
    np.testing.assert_array_equal(again.row, shard.row)
    np.testing.assert_array_equal(again.valid, shard.valid)
    assert (again.path, again.label) == (shard.path, shard.label)
    assert again.reason == shard.reason
    assert again.image_sha256 == shard.image_sha256


def test_a_header_says_what_the_shard_holds_without_hdf5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "0.h5", a_shard(), "float16")
    monkeypatch.setattr(h5py, "File", None)
    header = read_header(path)
    assert (header.manifest, header.layer) == (a_manifest("float16"), "layer3")
    assert (header.rows, header.shape, header.dtype) == (range(10, 15), (5, 7), "float16")
    assert header.rejected == {2: "cannot be decoded: x"}
    assert header.cost is None


def test_a_shard_in_which_every_image_was_rejected_says_why(tmp_path: Path) -> None:
    reasons = [f"cannot be decoded: {'x' * i} \udcff\n" for i in range(300)]
    blank = [""] * 300
    codes, valid = np.zeros((300, 2), np.float32), np.zeros(300, bool)
    shard = ShardData(codes, np.arange(300), blank, blank, valid, reasons, blank)
    path = write(tmp_path / "0.h5", shard)
    assert list(read_header(path).rejected.values()) == reasons
    assert read_shard(path).reason == reasons  # HDF5 begins behind 64 KiB of header


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_blocks_together_are_the_codes_in_their_type(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    n, rows = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 25))
    shape = data.draw(st.sampled_from([(7,), (3, 2, 2), ()]))
    dtype = data.draw(st.sampled_from(["float16", "float32"]))
    codes = np.random.default_rng(n).random((n, *shape), dtype=np.float32)
    blank = [""] * n
    shard = ShardData(codes, np.arange(n), blank, blank, np.ones(n, bool), blank, blank)
    path = write(tmp_path_factory.mktemp("shard") / "0.h5", shard, dtype)
    blocks = in_blocks(path, rows)
    assert [len(block) for block in blocks] == [min(rows, n - s) for s in range(0, n, rows)]
    assert {block.dtype.name for block in blocks} == {dtype}
    np.testing.assert_array_equal(np.concatenate(blocks), codes.astype(dtype))


@cache
def whole_shard(compression: str, folder: Path) -> bytes:
    return write(folder / "whole.h5", sparse(), compression=compression).read_bytes()


@pytest.mark.parametrize("compression", COMPRESSIONS)
@settings(max_examples=200, deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_changed_bit_of_the_file_is_found(
    compression: str, at: float, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    content = whole_shard(compression, folder)
    assert_a_changed_bit_is_found(folder, content, 8 * int(at * len(content)) + bit)


def test_any_changed_bit_of_the_first_line_is_found(tmp_path: Path) -> None:
    """Version 3 may become 2, which is read as well; the line's digest is of the second line."""
    content = whole_shard("none", tmp_path)
    for bit in range(8 * (content.index(b"\n") + 1)):
        assert_a_changed_bit_is_found(tmp_path, content, bit)


def assert_a_changed_bit_is_found(folder: Path, content: bytes, bit: int) -> None:
    path, changed = folder / "changed0.h5", bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    path.write_bytes(changed)
    for read in (in_blocks, read_shard, verify_shard):
        with pytest.raises(ShardError, match=r"0\.h5") as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", ["shape", "type"])
def test_codes_of_another_shape_or_type_than_the_headers_are_refused(
    tmp_path: Path, change: str
) -> None:
    def other(file: Any) -> None:
        codes = file["codes"][...]
        del file["codes"]
        file["codes"] = codes.reshape(5, 3, 2) if change == "shape" else codes.view(np.int32)

    path = forge(write(tmp_path / "0.h5", a_shard(shape=(2, 3))), hdf5=other)
    for read in (in_blocks, read_shard, read_shard_metadata):
        with pytest.raises(ShardError, match="its header says float32 of \\(5, 2, 3\\)"):
            read(path)


@pytest.mark.parametrize("shape", [[], [0, 7], [5, 0]], ids=str)
def test_a_header_without_rows_or_codes_is_refused(tmp_path: Path, shape: list[int]) -> None:
    def other(header: dict[str, Any]) -> None:
        header["shape"], header["rejected"] = shape, {}

    with pytest.raises(ShardError, match="its header makes no sense"):
        read_header(forge(write(tmp_path / "0.h5", a_shard()), header=other))


def test_rows_and_paths_are_read_without_the_codes(tmp_path: Path) -> None:
    shard = dataclasses.replace(a_shard(), path=["a", "é", "c\udcff", "d", "e|\n"])
    path = write(tmp_path / "0.h5", shard)
    rows = read_shard_metadata(path)
    assert rows.row.tolist() == [10, 11, 12, 13, 14]
    assert rows.path == shard.path
    assert rows.codes.shape == (5, 0)


def test_the_cost_of_a_layer_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "0.h5"
    write_shard(path, a_shard(), manifest=a_manifest(), series="layer3", cost=0.25)
    assert read_header(path).cost == 0.25
    for value in (-0.1, 1.5, np.nan, "half", [0.1]):

        def other(header: dict[str, Any], value: Any = value) -> None:
            header["work"] = value

        with pytest.raises(ShardError, match="its header"):
            read_header(forge(path, header=other))


@pytest.mark.parametrize("name", ["path", "image_sha256"])
def test_a_column_of_another_length_is_found(name: str, tmp_path: Path) -> None:
    def shorten(file: Any) -> None:
        short = file[name][:-1]
        del file[name]
        file[name] = short

    path = forge(write(tmp_path / "0.h5", a_shard()), hdf5=shorten)
    reads: list[Callable[[Path], Any]] = [read_shard, read_shard_metadata]
    if name == "image_sha256":
        reads.append(read_image_digests)
    for read in reads:
        with pytest.raises(ShardError, match="columns do not belong together"):
            read(path)


READS: list[Callable[[Path], Any]] = [
    read_header,
    verify_shard,
    read_shard,
    read_shard_metadata,
    read_image_digests,
    in_blocks,
]


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
    path.write_bytes(path.read_bytes().replace(b"bottleneck-shard 3", b"bottleneck-shard 4", 1))
    for read in READS:
        with pytest.raises(ShardError, match="version 4; this program reads version 2 and 3"):
            read(path)


def test_blocks_across_compressed_chunks_are_the_codes(tmp_path: Path) -> None:
    n = 150  # chunks of 64 rows
    blank = [""] * n
    codes = np.random.default_rng(0).random((n, 4096), dtype=np.float32)
    codes[codes < 0.7] = 0
    shard = ShardData(codes, np.arange(n), blank, blank, np.ones(n, bool), blank, blank)
    path = write(tmp_path / "0.h5", shard, compression="gzip")
    for rows in (1, 50, 64, 100, 1000):
        blocks = in_blocks(path, rows)
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
        with pytest.raises(ShardError, match="its bytes are not those that were written"):
            read(path)
    assert read_header(path).shape == (5, 8, 5, 5)
