from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bottleneck.errors import ShardError
from bottleneck.shard import (
    IndexedLayer,
    Shard,
    read_header,
    read_outcome,
    read_shard,
    write_index,
    write_shard,
)
from bottleneck.spec import Preprocess, Spec

SPEC = Spec("net", "ab" * 32, Preprocess(), "pillow-1", "float32", True, "avg")


def a_shard(n: int = 5, start: int = 10, shape: tuple[int, ...] = (7,), scale: float = 1) -> Shard:
    codes = np.random.default_rng(start).random((n, *shape), dtype=np.float32) * scale
    valid = np.arange(n) != 2
    codes[~valid] = 0
    return Shard(
        codes=codes,
        row=np.arange(start, start + n),
        path=[f"a/{start + i}.jpg" for i in range(n)],
        label=["ants", "bées", "", "w\udcffps", "a|b\nc"][:n],
        valid=valid,
        reason=["", "", "cannot be decoded: x", "", ""][:n],
        image_sha256=["ab" * 32] * n,
    )


def write(path: Path, shard: Shard, dtype: str = "float32") -> Path:
    write_shard(path, shard, spec=SPEC, layer="layer3", dtype=dtype)
    return path


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
    header, outcome = read_header(path), read_outcome(path)
    assert (header.spec_digest, header.shape) == (SPEC.digest("layer3"), (5, 7))
    assert header.dtype == "float16"
    assert outcome.valid.tolist() == [True, True, False, True, True]
    assert outcome.reason[2] == "cannot be decoded: x"


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


def test_a_column_of_another_length_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "0.h5", a_shard())
    with h5py.File(path, "r+") as file:
        short = file["path"][:-1]
        del file["path"]
        file["path"] = short
    with pytest.raises(ShardError, match="cannot be read"):
        read_shard(path)


def test_files_that_are_no_shards_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no HDF5")
    (tmp_path / "empty.h5").touch()
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["codes"] = np.zeros(3)
    whole = write(tmp_path / "whole.h5", a_shard()).read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    for name in ("text", "empty", "other", "cut", "absent"):
        for read in (read_header, read_shard):
            with pytest.raises(ShardError, match=rf"{name}\.h5") as caught:
                read(tmp_path / f"{name}.h5")
            assert "\n" not in str(caught.value)


def test_a_later_format_is_refused_by_its_number(tmp_path: Path) -> None:
    path = write(tmp_path / "0.h5", a_shard())
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 2
    with pytest.raises(ShardError, match="version 2; this program reads version 1"):
        read_shard(path)


def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: Any, **_kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(h5py.Group, "create_dataset", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "0.h5", a_shard())
    assert list(tmp_path.iterdir()) == []


def test_the_index_shows_shards_of_both_types_as_one_array(tmp_path: Path) -> None:
    folder = tmp_path / "codes" / "layer3"
    first = a_shard(start=0)
    last = a_shard(start=10, n=3, scale=1e6)
    paths = [
        write(folder / "00000.h5", first, "float16"),
        write(folder / "00002.h5", last, "float16"),
    ]
    valid = np.array([True, True, False, True, True] + [False] * 5 + [True, True, False])
    shards = [(paths[0], 0, read_header(paths[0])), (paths[1], 10, read_header(paths[1]))]
    write_index(tmp_path / "codes.h5", {"layer3": IndexedLayer(shards, valid)})
    with h5py.File(tmp_path / "codes.h5") as index:
        codes = index["layer3"][...]
        np.testing.assert_array_equal(index["layer3:valid"][...], valid)
    assert codes.dtype == np.float32
    np.testing.assert_array_equal(codes[:5], first.codes.astype(np.float16))
    assert np.isnan(codes[5:10]).all()  # the shard that is still missing
    np.testing.assert_array_equal(codes[10:], last.codes)
