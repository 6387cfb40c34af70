"""Small shards, whole or forged."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.format.envelope import build_envelope
from bottleneck.cache.format.manifest import Manifest, StorageLayout
from bottleneck.cache.format.shard import FILE_TYPE, ShardData, open_shard
from bottleneck.cache.format.shard_writer import write_shard
from bottleneck.cache.store import Cache
from bottleneck.cache.verify import verify
from bottleneck.input_transform import InputTransform
from bottleneck.model_reference import ModelReference
from bottleneck.spec import Spec

SPEC = Spec("net", "ab" * 32, InputTransform(decoder="pillow-1"), "float32", True, "avg")


def a_manifest(dtype: str = "float32", *, compression: str = "none") -> Manifest:
    return Manifest(
        SPEC, StorageLayout(dtype, 5, compression), ModelReference("net", "none"), "cd" * 32
    )


def a_shard(
    n: int = 5, start: int = 10, shape: tuple[int, ...] = (7,), scale: float = 1
) -> ShardData:
    codes = np.random.default_rng(start).random((n, *shape), dtype=np.float32) * scale
    valid = np.arange(n) != 2
    codes[~valid] = 0
    return ShardData(
        codes=codes,
        row=np.arange(start, start + n),
        path=[f"a/{start + i}.jpg" for i in range(n)],
        label=["ants", "bées", "", "w\udcffps", "a|b\nc"][:n],
        valid=valid,
        reason=["", "", "cannot be decoded: x", "", ""][:n],
        image_sha256=["ab" * 32] * n,
    )


def read_shard_metadata(path: Path) -> ShardData:
    """A shard without its codes, unverified."""
    with open_shard(path) as shard:
        return shard.metadata()


def read_image_digests(path: Path) -> list[str]:
    """The digest of each image of a shard, unverified."""
    with open_shard(path) as shard:
        return shard.image_digests()


def sparse(n: int = 5, start: int = 0) -> ShardData:
    """A shard of maps that every filter makes smaller."""
    shard = a_shard(n, start, shape=(8, 5, 5))
    shard.codes[shard.codes < 0.8] = 0
    return shard


def write(
    path: Path, shard: ShardData, dtype: str = "float32", *, compression: str = "none"
) -> Path:
    write_shard(path, shard, manifest=a_manifest(dtype, compression=compression), series="layer3")
    return path


def forge(
    path: Path,
    *,
    hdf5: Callable[[Any], None] | None = None,
    header: Callable[[dict[str, Any]], None] | None = None,
    body: Callable[[bytes], bytes] | None = None,
) -> Path:
    """Change a shard and give it a right envelope, as an attacker would."""
    values = json.loads(path.read_bytes().splitlines()[1])
    if hdf5 is not None:
        with h5py.File(path, "r+") as file:
            hdf5(file)
    if header is not None:
        header(values)
    with h5py.File(path) as file:
        room = file.userblock_size
    rest = path.read_bytes()[room:]
    content = bytearray(room) + (rest if body is None else body(rest))
    computed = ("bytes", "sha256")
    values = {key: value for key, value in values.items() if key not in computed}
    lines = build_envelope(content, FILE_TYPE, values)
    path.write_bytes(lines + content[len(lines) :])
    return path


def set_work(folder: Path, work: float | None, layer: str = "*") -> None:
    """Let the shards of a cache say other work of a forward pass than theirs, or none."""
    for path in folder.glob(f"codes/{layer}/*.h5"):
        forge(path, header=lambda header: header.update(work=work))


def missing_shards(cache: Cache, layer: str) -> list[int]:
    """Return the shards of a layer that are not finished."""
    finished = cache.finished_shards(layer)
    return [shard for shard in range(cache.shard_count) if shard not in finished]


def verify_shard(path: Path) -> None:
    """Compare every byte of a shard with its digest."""
    with open_shard(path) as shard:
        shard.verify()


def read_shard(path: Path) -> ShardData:
    """Verify a shard and read all of it."""
    with open_shard(path) as shard:
        shard.verify()
        return dataclasses.replace(shard.metadata(), codes=shard.read_codes())


def in_blocks(path: Path, rows: int = 2) -> list[NDArray[Any]]:
    """Verify a shard and read its codes in blocks of some rows."""
    with open_shard(path) as shard:
        shard.verify()
        return list(shard.blocks(rows))


def joined_blocks(path: Path) -> NDArray[Any]:
    """Return the codes of a shard, read in blocks."""
    return np.concatenate(in_blocks(path))


def codes_of(path: Path) -> NDArray[Any]:
    """Return the codes of a shard, read at once."""
    return read_shard(path).codes


def flip(path: Path, place: int) -> None:
    """Change a bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)


def reasons(cache: Path) -> dict[str, str]:
    """What `verify` finds wrong, by file."""
    return {item.file: item.why for item in verify(cache)}
