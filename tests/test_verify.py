import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bottleneck.errors import ShardError
from bottleneck.store import open_cache
from bottleneck.verify import repair, verify


def by_index(cache: Path, layer: str) -> Any:
    with h5py.File(cache / "codes.h5") as index:
        return index[layer][...]


def test_verify_names_what_is_wrong(cache: Path) -> None:
    found = open_cache(cache)
    assert verify(found) == []
    found.shard_path("layer2", 0).unlink()
    with h5py.File(found.shard_path("layer2", 1), "r+") as file:
        file["codes"][3, 3] += 1
    shutil.copy(found.shard_path("layer3", 2), found.shard_path("layer2", 2))
    (cache / "codes" / "layer2" / "00099.h5").write_bytes(b"")
    bad = {item.file.split("/")[-1]: item.why for item in verify(found)}
    assert bad.keys() == {"00000.h5", "00001.h5", "00002.h5", "00099.h5"}
    assert bad["00000.h5"] == "missing"
    assert "sha256 differs" in bad["00001.h5"]
    assert bad["00002.h5"] == "of another spec or layer"
    assert bad["00099.h5"] == "not a shard of the plan: remove it by hand"


@pytest.mark.parametrize("position", [0.3, 0.6, 0.9])
def test_a_flipped_byte_in_the_codes_is_found(cache: Path, position: float) -> None:
    found = open_cache(cache)
    path = found.shard_path("layer2", 0)
    with h5py.File(path) as file:
        chunk = file["codes"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + int(position * chunk.size)] ^= 0x10
    path.write_bytes(content)
    assert [bad.file for bad in verify(found)] == ["codes/layer2/00000.h5"]
    with pytest.raises(ShardError):
        found.read("layer2", np.array([0]))


def test_repair_makes_again_only_what_is_bad(cache: Path, photos: Path) -> None:
    before = {layer: by_index(cache, layer) for layer in ("layer2", "layer3")}
    found = open_cache(cache)
    with h5py.File(found.shard_path("layer2", 1), "r+") as file:
        file["codes"][0, 0] += 1
    found.shard_path("layer3", 4).unlink()
    foreign = cache / "codes" / "layer3" / "notes.txt"
    foreign.write_text("dear to somebody")
    bad, done = repair(cache, photos)
    assert {item.file for item in bad if item.shard is not None} == {
        "codes/layer2/00001.h5",
        "codes/layer3/00004.h5",
    }
    assert done.rows == 8 + 4
    assert [item.file for item in verify(open_cache(cache))] == ["codes/layer3/notes.txt"]
    assert foreign.read_text() == "dear to somebody"
    for layer, expected in before.items():
        np.testing.assert_allclose(by_index(cache, layer), expected, rtol=1e-6)


def test_swapped_shards_are_found(cache: Path) -> None:
    found = open_cache(cache)
    a, b = found.shard_path("layer2", 0), found.shard_path("layer2", 1)
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)
    assert [bad.file for bad in verify(found)] == ["codes/layer2/00000.h5", "codes/layer2/00001.h5"]


def test_a_table_whose_lines_were_moved_is_found(cache: Path) -> None:
    head, *lines = (cache / "images.csv").read_text().splitlines(keepends=True)
    (cache / "images.csv").write_text("".join([head, *reversed(lines)]))
    assert len(verify(open_cache(cache))) == 10  # every shard of both layers
