import gc
import os
import signal
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bottleneck.cache.format import hdf5
from bottleneck.cache.format.envelope import verify_envelope
from bottleneck.cache.format.manifest import COMPRESSIONS
from bottleneck.cache.format.shard import read_header
from bottleneck.cache.index import FILE_TYPE, IndexedLayer, write_index
from bottleneck.cache.store import (
    open_cache,
)
from tests.helpers.shards import a_shard, sparse, write


def test_the_index_shows_shards_of_every_compression_as_one_array(tmp_path: Path) -> None:
    shards = []
    for k, compression in enumerate(COMPRESSIONS):
        path = tmp_path / "codes" / "layer3" / f"{k:05d}.h5"
        write(path, sparse(start=5 * k), compression=compression)
        shards.append((path, read_header(path)))
    write_index(tmp_path / "codes.h5", {"layer3": IndexedLayer(shards, np.ones((15, 1), bool))})
    with h5py.File(tmp_path / "codes.h5") as index:
        for k in range(3):
            here = index["layer3"][5 * k : 5 * k + 5]
            np.testing.assert_array_equal(here, sparse(start=5 * k).codes)


def test_the_index_shows_shards_of_both_types_as_one_array(tmp_path: Path) -> None:
    folder = tmp_path / "codes" / "layer3"
    first = a_shard(start=0)
    last = a_shard(start=10, n=3, scale=1e6)
    paths = [
        write(folder / "00000.h5", first, "float16"),
        write(folder / "00002.h5", last, "float16"),
    ]
    valid = np.array([True, True, False, True, True] + [False] * 5 + [True, True, False])
    shards = [(path, read_header(path)) for path in paths]
    write_index(tmp_path / "codes.h5", {"layer3": IndexedLayer(shards, valid[:, None])})
    with h5py.File(tmp_path / "codes.h5") as index:
        codes = index["layer3"][...]
        np.testing.assert_array_equal(index["layer3:valid"][...], valid)
    assert codes.dtype == np.float32
    np.testing.assert_array_equal(codes[:5], first.codes.astype(np.float16))
    assert np.isnan(codes[5:10]).all()  # the shard that is still missing
    np.testing.assert_array_equal(codes[10:], last.codes)


def test_layers_with_names_in_the_way_of_others_have_those_of_their_folders(tmp_path: Path) -> None:
    layers = {}
    names = ("block", "block/1", "block:valid", "stem/1", "/a", "a", "a//b", "/")
    for start, layer in enumerate(names):
        path = write(tmp_path / "codes" / f"{start}.h5", a_shard(start=0, scale=start + 1))
        layers[layer] = IndexedLayer([(path, read_header(path))], np.ones((5, 1), bool))
    write_index(tmp_path / "codes.h5", layers)
    with h5py.File(tmp_path / "codes.h5") as index:
        found = ("block", "block%2F1", "block%3Avalid", "stem/1", "%2Fa", "a", "a%2F%2Fb", "%2F")
        for start, name in enumerate(found):
            np.testing.assert_array_equal(index[name], a_shard(start=0, scale=start + 1).codes)
            assert index[f"{name}:valid"][...].all()


def test_of_tasks_that_end_together_the_last_index_has_all_shards(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = open_cache(cache)
    late = found.shard_path("layer2", 4)
    whole = late.read_bytes()
    late.unlink()

    def slowly(path: Path, layers: dict[str, IndexedLayer]) -> None:
        write_index(path, layers)
        late.write_bytes(whole)  # another task's, which has written its own index before this one

    monkeypatch.setattr("bottleneck.cache.index.write_index", slowly)
    found.write_derived_files()
    with h5py.File(cache / "codes.h5") as index:
        assert index["layer2:valid"][...].all()
        assert np.isfinite(index["layer2"][...]).all()


def test_an_interrupt_while_hdf5_writes_stays_an_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "codes" / "layer3" / "00000.h5"
    write(path, a_shard(start=0))
    layers = {"layer3": IndexedLayer([(path, read_header(path))], np.ones((5, 1), bool))}
    write_bytes = hdf5._DeferredErrorFile.write

    def interrupted(self: Any, data: Any) -> int:
        monkeypatch.undo()  # once: a second one would come after the test's end
        os.kill(os.getpid(), signal.SIGINT)
        return write_bytes(self, data)

    monkeypatch.setattr(hdf5._DeferredErrorFile, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_index(tmp_path / "codes.h5", layers)
    gc.collect()
    verify_envelope(tmp_path / "codes.h5", FILE_TYPE)  # what was begun was finished
