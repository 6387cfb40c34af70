"""Disks that fill up, and forged shards: with a right envelope and hostile HDF5 content."""

import errno
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bottleneck.cache.format import hdf5
from bottleneck.errors import ShardError
from tests.helpers.shards import (
    a_shard,
    forge,
    in_blocks,
    read_shard,
    read_shard_metadata,
    sparse,
    write,
)


def refused(path: Path, why: str) -> None:
    for read in (read_shard, in_blocks):
        with pytest.raises(ShardError, match=why) as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of somebody else's with codes that would fit."""
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["codes"] = np.ones((5, 7), np.float32)
    np.ones((5, 7), np.float32).tofile(tmp_path / "secret.raw")
    return tmp_path / "secret.h5"


def external_link(file: Any, secret: Path) -> None:
    file["codes"] = h5py.ExternalLink(str(secret), "codes")


def soft_link(file: Any, _secret: Path) -> None:
    file["others"] = np.ones((5, 7), np.float32)
    file["codes"] = h5py.SoftLink("/others")


def virtual(file: Any, secret: Path) -> None:
    layout = h5py.VirtualLayout((5, 7), np.float32)
    layout[...] = h5py.VirtualSource(str(secret), "codes", (5, 7))
    file.create_virtual_dataset("codes", layout)


def external_storage(file: Any, secret: Path) -> None:
    raw = str(secret.with_suffix(".raw"))
    file.create_dataset("codes", (5, 7), np.float32, external=[(raw, 0, h5py.h5f.UNLIMITED)])


def group(file: Any, _secret: Path) -> None:
    file.create_group("codes")


@pytest.mark.parametrize(
    "put", [external_link, soft_link, virtual, external_storage, group], ids=lambda f: f.__name__
)
def test_codes_outside_the_file_are_refused(
    tmp_path: Path, secret: Path, put: Callable[[Any, Path], None]
) -> None:
    def replace(file: Any) -> None:
        del file["codes"]
        put(file, secret)

    refused(
        forge(write(tmp_path / "0.h5", a_shard()), hdf5=replace),
        "has no dataset 'codes' of its own|lies in another file",
    )


@pytest.mark.parametrize("name", ["row", "valid", "path", "image_sha256"])
def test_columns_outside_the_file_are_refused(tmp_path: Path, secret: Path, name: str) -> None:
    def replace(file: Any) -> None:
        del file[name]
        file[name] = h5py.ExternalLink(str(secret), "codes")

    path = forge(write(tmp_path / "0.h5", a_shard()), hdf5=replace)
    with pytest.raises(ShardError, match=f"no dataset '{name}' of its own"):
        read_shard_metadata(path)


@pytest.mark.parametrize("chunks", [None, (1 << 20, 7)])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_shard_that_claims_more_rows_than_it_has_bytes_for_takes_no_memory(
    tmp_path: Path, chunks: tuple[int, int] | None, compression: str | None
) -> None:
    rows = 1 << 60 if chunks else 1 << 40
    if compression and not chunks:
        chunks = (1 << 10, 7)

    def claim(file: Any) -> None:
        del file["codes"]
        file.create_dataset("codes", (rows, 7), np.float32, chunks=chunks, compression=compression)

    def say(header: dict[str, Any]) -> None:
        header["shape"] = [rows, 7]

    path = forge(write(tmp_path / "0.h5", a_shard()), hdf5=claim, header=say)
    tracemalloc.start()
    try:
        refused(path, "claims|cannot be read")
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()


def test_a_filter_that_is_a_plugin_is_refused(tmp_path: Path) -> None:
    def other(file: Any) -> None:
        codes = file["codes"][...]
        del file["codes"]
        file.create_dataset(
            "codes", data=codes, chunks=codes.shape, scaleoffset=3 if codes.dtype.kind == "f" else 0
        )

    refused(forge(write(tmp_path / "0.h5", a_shard()), hdf5=other), "has filters")


@pytest.mark.parametrize("compression", ["lzf", "gzip"])
def test_shuffled_codes_of_another_writer_are_read(tmp_path: Path, compression: str) -> None:
    shard = sparse()

    def shuffle(file: Any) -> None:
        del file["codes"]
        file.create_dataset(
            "codes", data=shard.codes, shuffle=True, fletcher32=True, compression=compression
        )

    path = forge(write(tmp_path / "0.h5", shard), hdf5=shuffle)
    np.testing.assert_array_equal(read_shard(path).codes, shard.codes)


def test_codes_of_zeros_are_not_refused_as_a_decompression_bomb(tmp_path: Path) -> None:
    shard = a_shard(5, shape=(512, 14, 14))
    shard.codes[...] = 0
    for compression in ("gzip", "lzf"):
        path = write(tmp_path / f"{compression}.h5", shard, compression=compression)
        np.testing.assert_array_equal(read_shard(path).codes, shard.codes)


def test_bytes_that_a_full_disk_refused_are_read_back_as_zeros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HDF5 reads references to strings back, and follows whatever the memory held."""
    path = tmp_path / "codes.h5"
    path.touch()
    with hdf5._DeferredErrorFile(path, "r+") as file:
        file.write(b"abc")

        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        assert file.write(b"defg") == 4
        file.seek(1)
        buffer = bytearray(b"?" * 6)
        assert file.readinto(buffer) == 6
        assert buffer == b"bc\0\0\0\0"
        with pytest.raises(OSError, match="No space left"):
            file.raise_error()
