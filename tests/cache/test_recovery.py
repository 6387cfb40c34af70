import shutil
from pathlib import Path

import pytest

from bottleneck.cache.recovery import recover_cache
from bottleneck.cache.store import open_cache
from bottleneck.errors import CacheError


def test_an_intact_cache_is_opened_as_it_is(cache: Path) -> None:
    recovered = recover_cache(cache)
    assert recovered.lost == {}
    assert recovered.cache == open_cache(cache)


@pytest.mark.parametrize("lost", [{"spec.json"}, {"images.csv"}, {"spec.json", "images.csv"}])
def test_the_small_files_are_recovered_from_the_shards_and_restored(
    cache: Path, lost: set[str]
) -> None:
    before = open_cache(cache)
    for name in lost:
        (cache / name).unlink()
    recovered = recover_cache(cache)
    assert recovered.lost == dict.fromkeys(lost, "missing")
    assert recovered.cache.manifest == before.manifest
    assert list(recovered.cache.images.path) == list(before.images.path)
    assert list(recovered.cache.images.label) == list(before.images.label)
    assert not any((cache / name).exists() for name in lost)  # nothing is written unasked
    recovered.restore(before.images)
    assert open_cache(cache).manifest == before.manifest
    assert open_cache(cache).images.texts == before.images.texts
    assert recover_cache(cache).lost == {}


def test_a_row_of_a_damaged_shard_has_no_image(cache: Path) -> None:
    before = list(open_cache(cache).images.path)
    (cache / "images.csv").unlink()
    for layer in ("layer2", "layer3"):
        shard = cache / "codes" / layer / "00001.h5"
        shard.write_bytes(shard.read_bytes()[:-1] + b"!")
    images = recover_cache(cache).cache.images
    assert list(images.path)[16:] == before[16:]
    assert list(images.path)[8:16] == [f"lost: row {row}" for row in range(8, 16)]
    assert images.exists.tolist() == [not 8 <= row < 16 for row in range(36)]


def test_the_manifest_is_that_of_most_shards(cache: Path) -> None:
    manifest = open_cache(cache).manifest
    foreign = Path(__file__).parents[1] / "data" / "before" / "cache"
    shutil.copy(foreign / "codes" / "layer1" / "00000.h5", cache / "codes" / "layer2")
    (cache / "spec.json").write_text("{")
    recovered = recover_cache(cache)
    assert recovered.cache.manifest == manifest
    assert recovered.lost["spec.json"].startswith("is damaged")


def test_nothing_is_recovered_without_an_intact_shard(cache: Path) -> None:
    shutil.rmtree(cache / "codes")
    (cache / "images.csv").unlink()
    with pytest.raises(CacheError, match=r"images\.csv is lost, and no shard is intact"):
        recover_cache(cache)
    (cache / "spec.json").unlink()
    with pytest.raises(CacheError, match="no cache at"):
        recover_cache(cache)
