"""A cache without shards binds nothing; one with a shard keeps its spec."""

import dataclasses
import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from bottleneck.cache.store import open_cache
from bottleneck.cache.update.release import release_empty_cache, require_spec_of_run
from bottleneck.errors import SpecMismatchError
from bottleneck.runtime import atomic_write


def drop_shards(cache: Path) -> None:
    for shard in (cache / "codes").rglob("*.h5"):
        shard.unlink()


def test_a_cache_with_a_shard_is_left_as_it_is(cache: Path) -> None:
    before = {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()}
    assert not release_empty_cache(cache)
    assert {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()} == before


def test_a_cache_without_shards_is_gone(cache: Path) -> None:
    drop_shards(cache)
    assert release_empty_cache(cache)
    assert list(cache.iterdir()) == []
    assert not release_empty_cache(cache)


@pytest.mark.parametrize("alive", [False, True])
def test_a_shard_that_was_being_written_counts_if_its_process_lives(
    cache: Path, alive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop_shards(cache)
    ended = subprocess.Popen(["true"])
    ended.wait()
    with monkeypatch.context() as patch, suppress(RuntimeError):
        patch.setattr(os, "getpid", lambda: os.getppid() if alive else ended.pid)
        with atomic_write(cache / "codes" / "layer2" / "00000.h5") as temporary:
            raise RuntimeError("killed")
    temporary.touch()
    before = sorted(cache.rglob("*"))
    assert release_empty_cache(cache) is not alive
    assert sorted(cache.rglob("*")) == (before if alive else [])


def test_a_folder_that_is_no_cache_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_text("mine")
    assert not release_empty_cache(tmp_path)
    assert (tmp_path / "images.csv").exists()


def test_a_shard_of_a_spec_that_was_replaced_is_refused(cache: Path) -> None:
    opened = open_cache(cache)
    require_spec_of_run(opened)
    spec = dataclasses.replace(opened.spec, precision="bfloat16")
    changed = dataclasses.replace(opened.manifest, spec=spec)
    with pytest.raises(SpecMismatchError, match=r"precision is float32 in cache .* begun anew"):
        require_spec_of_run(dataclasses.replace(opened, manifest=changed))
