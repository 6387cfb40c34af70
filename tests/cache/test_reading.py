"""Views and digests of images, as a cache of several series gives them. Codes are known arrays."""

import dataclasses
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bottleneck.cache import Cache, Series, ShardData, open_cache, write_shard
from bottleneck.cache.format.shard import OpenShard, open_shard
from bottleneck.data.resizing.view_recipe import ViewRecipe
from bottleneck.errors import CacheError, InvalidOptionError, ShardError, UnknownNameError
from tests.helpers.datasets import cache_of_layers, written_cache
from tests.helpers.image_tables import one_line
from tests.helpers.shards import read_shard

CODES = np.random.default_rng(0).random((3, 20, 4), dtype=np.float32)  # view, row, value


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    path = written_cache(
        tmp_path / "cache", CODES[0], ["a", "b"] * 10, shard_size=8, views=list(CODES[1:])
    )
    return open_cache(path)


def rewrite(cache: Cache, series: Series, shard: int, *, invalid: int) -> None:
    """Write a shard again, in which one of its rows is not valid."""
    path = cache.shard_path(series, shard)
    old = read_shard(path)
    valid = np.arange(len(old.row)) != invalid
    reason = ["" if ok else "broken" for ok in valid]
    content: ShardData = dataclasses.replace(old, valid=valid, reason=reason)
    write_shard(path, content, manifest=cache.manifest, series=series)


def test_each_view_has_its_own_codes(cache: Cache) -> None:
    assert cache.views("layer") == 3
    assert (cache.layers, cache.view_recipe) == (["layer"], ViewRecipe(("flip", "crop"), 0))
    rows = np.array([0, 7, 8, 19])
    for view in range(3):
        np.testing.assert_array_equal(cache.read_codes("layer", rows, view), CODES[view, rows])
        blocks = cache.read_blocks("layer", 1, 3, verify=True, view=view)
        np.testing.assert_array_equal(np.concatenate(list(blocks)), CODES[view, 8:16])
    np.testing.assert_array_equal(cache.read_codes("layer", rows), CODES[0, rows])


def test_a_row_of_several_views_has_codes_in_each(cache: Cache) -> None:
    rewrite(cache, Series("layer", 1), 1, invalid=2)
    lost = {views: np.flatnonzero(~cache.valid_rows("layer", views)).tolist() for views in (1, 2)}
    assert lost == {1: [], 2: [10]}
    assert np.flatnonzero(~cache.valid_rows("layer", 3)).tolist() == [10]


def test_a_series_with_holes_is_refused_like_an_unfinished_layer(cache: Cache) -> None:
    cache.shard_path(Series("layer", 2), 1).unlink()
    words = "view 2 of layer 'layer' lacks 1 of 3 shards: run the same `bottleneck.extract` again"
    for refused in (lambda: cache.views("layer"), lambda: cache.valid_rows("layer", 3)):
        with pytest.raises(CacheError, match=words):
            refused()
    assert cache.valid_rows("layer", 2).all()
    for file in cache.folder(Series("layer", 1)).iterdir():
        file.unlink()
    cache.folder(Series("layer", 1)).rmdir()
    with pytest.raises(CacheError, match="view 1 of layer 'layer' lacks 3 of 3 shards"):
        cache.views("layer")
    assert cache.valid_rows("layer").all()


@pytest.mark.parametrize(("rows", "views"), [(20, 1), (12, 0)], ids=["views", "images"])
def test_a_cache_that_changed_since_it_was_opened_is_refused_as_such(
    tmp_path: Path, rows: int, views: int
) -> None:
    path = written_cache(tmp_path / "cache", CODES[0], ["a", "b"] * 10, shard_size=8)
    before = open_cache(path)
    if views == 0:
        shutil.rmtree(path)
    again = list(CODES[1 : 1 + views, :rows])
    written_cache(path, CODES[0, :rows], ["a", "b"] * (rows // 2), shard_size=8, views=again)
    with pytest.raises(CacheError, match="changed since it was opened: open it again"):
        before.views("layer")
    if views == 0:
        with pytest.raises(ShardError, match="changed since it was opened: open it again"):
            before.read_codes("layer", np.array([0]))
        with pytest.raises(CacheError, match="changed since it was opened: open it again"):
            before.code_shape("layer")  # of a network that took its time to load
    assert open_cache(path).views("layer") == 1 + views


def test_a_cache_that_is_elsewhere_now_has_no_unknown_layer(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cache.path.parent)
    opened = open_cache(cache.path.name)
    monkeypatch.chdir("/")
    with pytest.raises(CacheError, match="no cache at /cache "):
        opened.load("layer")


@pytest.mark.parametrize("wrong", [["train", "test"], 3, b"train"])
def test_a_split_that_is_no_text_is_refused(cache: Cache, wrong: Any) -> None:
    with pytest.raises(InvalidOptionError, match=r"`split=.*`: must be the name of one split"):
        cache.load("layer", split=wrong)


@pytest.mark.parametrize("wrong", [-1, "0", None, 0.5])
def test_a_view_that_is_no_number_is_refused(cache: Cache, wrong: Any) -> None:
    with pytest.raises(InvalidOptionError, match=r"`view=.*`: must be a whole number, 0 or more"):
        cache.read_codes("layer", np.arange(2), wrong)


def test_a_view_that_nobody_made_is_refused_with_what_makes_it(cache: Cache) -> None:
    words = "layer 'layer' has no view 3: `bottleneck.extract` with `views=4` adds it"
    with pytest.raises(CacheError, match=words):
        cache.valid_rows("layer", 4)
    with pytest.raises(UnknownNameError, match="'other': there is layer"):
        cache.views("other")
    with pytest.raises(CacheError, match=words):
        cache.read_codes("layer", np.arange(3), 3)
    with pytest.raises(UnknownNameError, match="'other': there is layer"):
        cache.read_codes("other", np.arange(3))


@pytest.mark.parametrize(
    "rows",
    [
        np.array([False, True]),
        np.array([2, 1]),
        np.array([0, 2, 1, 3]),
        np.array([-1]),
        np.array([10_000]),
        np.array([0.0]),
        np.array([[0]]),
        slice(0, 2),
    ],
)
def test_rows_that_are_not_ascending_row_numbers_are_refused(cache: Cache, rows: Any) -> None:
    with pytest.raises(InvalidOptionError, match=r"(?s)`rows=.*must be ascending whole numbers"):
        cache.read_codes("layer", rows)


def test_rows_may_be_a_list_and_none(cache: Cache) -> None:
    truth = cache.read_codes("layer", np.array([0, 2]))
    np.testing.assert_array_equal(cache.read_codes("layer", [0, 2]), truth)  # type: ignore[arg-type]
    nothing: list[Any] = [np.array([], dtype=np.int64), []]
    for none in (cache.read_codes("layer", rows) for rows in nothing):
        assert (none.shape, none.dtype) == ((0, truth.shape[1]), truth.dtype)
    with pytest.raises(UnknownNameError):
        cache.read_codes("other", [])  # type: ignore[arg-type]


@pytest.mark.parametrize("recipe", [ViewRecipe(("flip", "crop"), 1), ViewRecipe(("rotate",))])
def test_a_shard_by_another_recipe_is_not_finished(cache: Cache, recipe: ViewRecipe) -> None:
    path = cache.shard_path(Series("layer", 1), 0)
    other = dataclasses.replace(cache.manifest, view_recipe=recipe)
    write_shard(path, read_shard(path), manifest=other, series=Series("layer", 1))
    assert list(cache.finished_shards(Series("layer", 1))) == [1, 2]
    with pytest.raises(ShardError, match=f"view 1 of its images, made by {recipe}"):
        cache.read_codes("layer", np.arange(3), 1)


def test_the_shards_of_two_views_cannot_be_exchanged(cache: Cache) -> None:
    one, two = (cache.shard_path(Series("layer", view), 0) for view in (1, 2))
    two.replace(one)
    with pytest.raises(ShardError, match="of view 2 of its images"):
        cache.read_codes("layer", np.arange(3), 1)


def test_the_index_shows_all_views_beside_the_plain_images(cache: Cache) -> None:
    cache.shard_path(Series("layer", 2), 1).unlink()
    rewrite(cache, Series("layer", 1), 0, invalid=3)
    cache.write_derived_files()
    expected = CODES.transpose(1, 0, 2).copy()
    expected[8:16, 2] = np.nan
    there = np.ones((20, 3), dtype=bool)
    there[8:16, 2] = there[3, 1] = False
    with h5py.File(cache.path / "codes.h5") as file:
        assert sorted(file) == ["layer", "layer:valid", "layer:views", "layer:views:valid"]
        np.testing.assert_array_equal(file["layer"][...], CODES[0])
        np.testing.assert_array_equal(file["layer:views"][...], expected)
        np.testing.assert_array_equal(file["layer:views:valid"][...], there)
        assert file["layer:valid"][...].all()


def test_a_status_is_of_all_views(cache: Cache) -> None:
    cache.shard_path(Series("layer", 2), 1).unlink()
    rewrite(cache, Series("layer", 1), 0, invalid=3)
    status = cache.status()
    layer = status.layers["layer"]
    assert (layer.views, layer.done, layer.rejected, layer.missing) == (3, 11, 1, 8)
    assert (layer.missing_shards, status.finished) == ((1,), False)
    text = str(status)
    assert "views by flip,crop with seed 0" in text
    assert text.splitlines()[1].split()[:5] == ["layer", "done", "rejected", "missing", "views"]
    assert status.to_dict()["layers"]["layer"]["views"] == 3


# The digests of images


def key(row: int) -> int:
    """The beginning of the digest that `cache_of_layers` gives the image of a row."""
    return int.from_bytes(sha256(str(row).encode()).digest()[:8], "big")


@pytest.fixture
def read_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The shards whose digests were read, as layer/name."""
    read: list[str] = []

    image_digests = OpenShard.image_digests

    def note(shard: OpenShard) -> list[str]:
        read.append(shard.path.relative_to(shard.path.parents[1]).as_posix())
        return image_digests(shard)

    monkeypatch.setattr(OpenShard, "image_digests", note)
    return read


def two_layers(path: Path) -> Cache:
    layers = {"early": [CODES[0]], "late": [CODES[1]]}
    return open_cache(cache_of_layers(path, layers, ["a", "b"] * 10, shard_size=8))


def test_digests_are_read_from_one_layer_and_kept(tmp_path: Path, read_files: list[str]) -> None:
    cache = two_layers(tmp_path / "c")
    for layer in ("late", "early", "late"):
        keys, rows = cache.image_keys(layer)
        assert rows.tolist() == list(range(20))
        assert keys.tolist() == [key(row) for row in range(20)]
    assert len(read_files) == 3
    assert {Path(name).parent.name for name in read_files} == {"late"}
    dataclasses.replace(cache, images=cache.images).image_keys("late")  # of another table
    assert len(read_files) == 6


def test_a_digest_that_one_layer_lacks_is_read_from_the_other(
    tmp_path: Path, read_files: list[str]
) -> None:
    cache = two_layers(tmp_path / "c")
    path = cache.shard_path("early", 1)
    rewrite(cache, Series("early"), 1, invalid=2)
    old = read_shard(path)
    lacks = ["" if row == 10 else text for row, text in zip(old.row, old.image_sha256, strict=True)]
    write_shard(
        path,
        dataclasses.replace(old, image_sha256=lacks),
        manifest=cache.manifest,
        series=Series("early"),
    )
    rows = [row for row in range(20) if row != 10]
    keys, found = cache.image_keys("early")
    assert (found.tolist(), keys.tolist()) == (rows, [key(row) for row in rows])
    keys, found = cache.image_keys("late")
    assert (found.tolist(), keys.tolist()) == (list(range(20)), [key(row) for row in range(20)])
    assert len(read_files) == 3 + 1


def test_a_digest_that_is_none_is_of_a_damaged_shard(tmp_path: Path) -> None:
    cache = two_layers(tmp_path / "c")
    path = cache.shard_path("late", 2)
    with open_shard(path) as opened:
        digest = opened.image_digests()[1]
    path.write_bytes(path.read_bytes().replace(digest.encode(), b"x" + digest[1:].encode()))
    with pytest.raises(ShardError, match=r"00002\.h5: its digests .*repair` makes it again") as e:
        cache.image_keys("late")
    assert one_line(e)
