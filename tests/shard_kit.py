"""Small shards."""

from pathlib import Path

import numpy as np

from bottleneck.shard import Shard, write_shard
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


def write(path: Path, shard: Shard, dtype: str = "float32", *, compression: str = "none") -> Path:
    write_shard(path, shard, spec=SPEC, layer="layer3", dtype=dtype, compression=compression)
    return path


def sparse(n: int = 5, start: int = 0) -> Shard:
    """A shard of maps that every filter makes smaller."""
    shard = a_shard(n, start, shape=(8, 5, 5))
    shard.codes[shard.codes < 0.8] = 0
    return shard
