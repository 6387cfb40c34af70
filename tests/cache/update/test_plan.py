import dataclasses
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bottleneck.cache.directory import REMOVED
from bottleneck.cache.format.series import Series
from bottleneck.cache.store import Cache, open_cache
from bottleneck.cache.update.merge import ImageChanges
from bottleneck.cache.update.plan import CacheUpdate, plan_update
from bottleneck.cache.verify import verify
from bottleneck.data.image_source import ImageSource
from bottleneck.data.images import open_images
from bottleneck.data.table.categorical_column import CategoricalColumn
from bottleneck.errors import CacheError, SpecMismatchError
from bottleneck.runtime.schedulers.array_task import ArrayTask
from tests.helpers.cli import contents
from tests.helpers.fixture_types import Extract
from tests.helpers.networks import SMALL
from tests.helpers.photographs import photograph, write_photographs
from tests.helpers.shards import forge, missing_shards


def times(cache: Cache, layer: str = "layer2") -> list[int]:
    """When each shard was made; 0 where it is missing."""
    paths = [cache.shard_path(layer, shard) for shard in range(cache.shard_count)]
    return [path.stat().st_mtime_ns if path.exists() else 0 for path in paths]


def remade(before: list[int], after: list[int]) -> list[int]:
    """The shards that were made at another time."""
    return [shard for shard, pair in enumerate(zip(before, after, strict=True)) if len({*pair}) > 1]


def facts(cache: Cache) -> dict[str, Any]:
    """What another cache of the same codes is planned with."""
    return {"spec": cache.spec, "layout": cache.layout, "reference": cache.reference}


@pytest.fixture
def first(cache: Path) -> Cache:
    """The cache of `photos` as it was made."""
    return open_cache(cache)


def touch(path: Path, image_seed: int) -> None:
    before = path.stat().st_mtime_ns
    photograph(image_seed, "wasps").save(path)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def killed(*_args: object, **_kwargs: object) -> None:
    raise KeyboardInterrupt


def test_a_changed_image_redoes_its_shard_and_no_other(photos: Path, extract_tiny: Extract) -> None:
    first = extract_tiny(photos)
    before, codes = times(first.cache), first.cache.read_codes("layer2", np.arange(36))
    row = 11
    touch(photos / first.cache.images.path[row], 999)
    again = extract_tiny(photos)
    assert again.changes == ImageChanges(changed=1)
    assert again.rows == 8
    assert remade(before, times(again.cache)) == [1]
    now = again.cache.read_codes("layer2", np.arange(36))
    same = np.arange(36) != row
    np.testing.assert_array_equal(now[same], codes[same])
    assert not np.allclose(now[row], codes[row])


def test_codes_of_changed_pixels_survive_in_no_layer(
    photos: Path, first: Cache, extract_tiny: Extract
) -> None:
    touch(photos / first.images.path[11], 999)
    again = extract_tiny(photos, layers=["layer2"]).cache
    assert missing_shards(again, "layer2") == []
    assert missing_shards(again, "layer3") == [1]


def test_the_index_never_calls_a_row_valid_whose_codes_are_gone(
    photos: Path, first: Cache, extract_tiny: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(photos / first.images.path[11], 999)

    monkeypatch.setattr("bottleneck.extraction.running.local.write_shards", killed)
    with pytest.raises(KeyboardInterrupt):
        extract_tiny(photos)
    assert not (first.path / "codes.h5").exists()


def test_an_index_that_was_not_written_is_written_by_the_next_run(
    photos: Path, extract_tiny: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = extract_tiny(photos).cache
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Cache, "write_derived_files", killed)
        extract_tiny(photos, layers=["layer3"])
    assert extract_tiny(photos, layers=["layer3"]).rows == 0
    with h5py.File(cache.path / "codes.h5") as index:
        assert index["layer3:valid"][...].all()


def test_new_images_become_rows_at_the_end(photos: Path, extract_tiny: Extract) -> None:
    first = extract_tiny(photos)
    old = list(first.cache.images.path)
    write_photographs(photos / "train" / "aardvarks", 3, label="aardvarks")
    again = extract_tiny(photos)
    assert again.changes == ImageChanges(added=3)
    assert again.cache.images.path[:36] == old
    assert again.cache.images.path[36:] == [
        f"train/aardvarks/aardvarks{i:03d}.{'png' if i % 2 else 'jpg'}" for i in range(3)
    ]
    assert again.rows == 7  # the last shard had 4 rows and now has 7
    assert times(first.cache)[:4] == times(again.cache)[:4]


@pytest.mark.parametrize("check_content", [False, True])
def test_a_change_in_a_shard_that_grows_is_counted_once(
    photos: Path, extract_tiny: Extract, check_content: bool
) -> None:
    first = extract_tiny(photos, layers=["layer2", "layer3"])
    touch(photos / first.cache.images.path[11], 911)  # in a full shard
    touch(photos / first.cache.images.path[33], 933)  # in the last one, of 4 rows
    os.utime(photos / first.cache.images.path[34])
    write_photographs(photos / "train" / "aardvarks", 3, label="aardvarks")
    layers = {"layers": ["layer2", "layer3"], "check_content": check_content}
    again = extract_tiny(photos, **layers)
    assert again.changes == ImageChanges(added=3, changed=2)
    assert (again.changes.touched, again.rows) == (1, 15)
    assert "images: 3 added, 2 changed, 0 removed" in str(again)
    assert (extract_tiny(photos, **layers).changes, verify(again.cache).ok) == (
        ImageChanges(),
        True,
    )


def test_removed_images_stay_as_rows_that_are_not_valid(
    photos: Path, extract_tiny: Extract
) -> None:
    first = extract_tiny(photos)
    before = times(first.cache)
    gone = first.cache.images.path[5]
    (photos / gone).unlink()
    again = extract_tiny(photos)
    assert again.changes == ImageChanges(removed=1)
    assert (again.rows, times(again.cache)) == (0, before)
    assert not again.cache.valid_rows("layer2")[5]
    assert again.rejected == {}
    assert again.cache.rejected() == {5: REMOVED}
    assert f"5,{gone},{REMOVED}" in (again.cache.path / "rejected.csv").read_text().splitlines()
    assert extract_tiny(photos).changes == ImageChanges()


def test_an_image_that_exists_again_keeps_its_code(photos: Path, extract_tiny: Extract) -> None:
    first = extract_tiny(photos)
    path = photos / first.cache.images.path[5]
    content, before = path.read_bytes(), times(first.cache)
    path.unlink()
    extract_tiny(photos)
    path.write_bytes(content)
    again = extract_tiny(photos)
    assert (again.changes.changed, again.changes.touched, again.rows) == (0, 1, 0)
    assert again.cache.valid_rows("layer2").all()
    assert times(again.cache) == before


def test_another_image_of_a_removed_ones_name_is_extracted(
    photos: Path, extract_tiny: Extract
) -> None:
    path = photos / extract_tiny(photos).cache.images.path[5]
    path.unlink()
    extract_tiny(photos)
    photograph(999, "wasps").save(path)
    again = extract_tiny(photos)
    assert (again.changes, again.rows) == (ImageChanges(changed=1), 8)
    assert again.cache.valid_rows("layer2").all()


@pytest.mark.parametrize("with_file", [False, True])
def test_a_removed_image_is_known_as_such_in_a_shard_that_is_made_again(
    photos: Path, extract_tiny: Extract, with_file: bool
) -> None:
    first = extract_tiny(photos).cache
    names, codes = list(first.images.path), first.read_codes("layer2", np.arange(36))
    gone, absent, listed = names[33], names[35], photos / "list.csv"
    (photos / absent).unlink()
    if not with_file:
        (photos / gone).rename(photos / "aside")
    listed.write_text("\n".join(["path", *names, "new.jpg"]).replace(f"{gone}\n", ""))
    photograph(999).save(photos / "new.jpg")  # the last shard grows from 4 rows to 5
    calls: list[tuple[int, int]] = []
    again = extract_tiny(listed, on_progress=lambda at: calls.append((at.done, at.total)))
    assert (again.rows, calls[0], calls[-1]) == (4, (0, 4), (4, 4))
    here = f"{absent}: cannot be read: No such file or directory"
    assert f"rejected: {here}" in str(again).splitlines()
    assert list(again.rejected) == [35]
    assert again.cache.rejected()[33] == REMOVED
    assert f"33,{gone},{REMOVED}" in (first.path / "rejected.csv").read_text().splitlines()
    assert verify(first.path).ok
    assert str(again.cache.status()).splitlines()[-2:] == [
        "rows of removed images, which count as rejected: 1",
        f"rejected: {here}",
    ]
    assert list(again.cache.images.path) == [*names, "new.jpg"]

    if not with_file:
        (photos / "aside").rename(photos / gone)
    listed.write_text("\n".join(["path", *names, "new.jpg"]))
    back = extract_tiny(listed)
    assert (back.changes.changed, list(back.rejected)) == (1, [35])
    np.testing.assert_allclose(
        back.cache.read_codes("layer2", np.arange(35)), codes[:35], rtol=1e-5, atol=1e-7
    )
    assert extract_tiny(listed).rows == 0


def test_a_removed_image_that_is_back_and_cannot_be_read_is_rejected_for_that(
    photos: Path, extract_tiny: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = extract_tiny(photos).cache
    path, opening = photos / first.images.path[33], os.open
    path.rename(photos / "aside")
    extract_tiny(photos, layers=["layer2", "layer3"])  # the shards of layer3 know it as removed
    (photos / "aside").rename(path)

    def denied(name: Any, flags: int, *mode: int) -> int:
        if Path(name) == path:
            raise PermissionError(13, "Permission denied")
        return opening(name, flags, *mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", denied)
        again = extract_tiny(photos, layers=["layer3"])
        assert again.rejected == {33: "cannot be read: Permission denied"}
        assert extract_tiny(photos, layers=["layer3"]).rows == 0
    assert missing_shards(again.cache, "layer2") == [4]  # of other bytes, as far as is known
    found = extract_tiny(photos, layers=["layer2", "layer3"], retry_rejected=True)
    assert found.rejected == {}


def test_labels_splits_and_groups_change_without_extraction(
    photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    paths = sorted(str(path.relative_to(tmp_path)) for path in (photos / "train").rglob("*.*"))
    table = tmp_path / "images.csv"

    def write(label: str, split: str, group: str) -> None:
        lines = [f"{path},{label},{split},{group}" for path in paths]
        table.write_text("\n".join(["path,label,split,group", *lines]))

    write("a", "train", "g")
    first = extract_tiny(table)
    write("b", "test", "h")
    again = extract_tiny(table)
    assert (again.rows, again.changes) == (0, ImageChanges())
    images = open_cache(again.cache.path).images
    assert {*images.label, *images.split, *images.group} == {"b", "test", "h"}
    assert times(first.cache) == times(again.cache)


def test_another_layer_later_leaves_the_first_alone(photos: Path, extract_tiny: Extract) -> None:
    first = extract_tiny(photos, layers=["layer2"])
    before = times(first.cache)
    again = extract_tiny(photos, layers=["layer2", "layer3"])
    assert again.rows == 36
    assert times(again.cache) == before
    assert again.cache.layers == ["layer2", "layer3"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pool": "max"}, "pool is avg in cache .* and max in this run"),
        ({"relu": False}, "relu is True in cache .* and False in this run"),
        ({"precision": "bfloat16"}, "precision is float32 in cache .* and bfloat16 in this run"),
        ({"transform": SMALL | {"crop": 24}}, "crop is 32 in cache .* and 24 in this run"),
        ({"dtype": "float16"}, "has dtype float32, this run asks for float16"),
        ({"shard_size": 9}, "has shard_size 8, this run asks for 9"),
    ],
)
def test_another_spec_or_layout_is_refused_and_spelled_out(
    photos: Path, first: Cache, extract_tiny: Extract, options: dict[str, object], words: str
) -> None:
    before = times(first)
    with pytest.raises(SpecMismatchError, match=words):
        extract_tiny(photos, **options)
    assert times(first) == before


def test_the_caches_own_layout_and_precision_need_not_be_repeated(
    photos: Path, extract_tiny: Extract
) -> None:
    extract_tiny(photos, precision="bfloat16")
    again = extract_tiny(photos, dtype=None, shard_size=None, precision="auto")
    assert (again.rows, again.cache.spec.precision) == (0, "bfloat16")


def test_entirely_different_images_are_refused(
    photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    cache = extract_tiny(photos).cache
    write_photographs(tmp_path / "other", 3, label="x")
    with pytest.raises(SpecMismatchError, match="none of the 3 images is in cache"):
        extract_tiny(tmp_path / "other")
    assert len(open_cache(cache.path).images) == 36


def test_an_index_without_the_new_images_is_gone_before_they_are_rows(
    photos: Path, first: Cache, extract_tiny: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photographs(photos / "train" / "aardvarks", 3, label="aardvarks")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("bottleneck.extraction.running.local.write_shards", killed)
        extract_tiny(photos)
    assert len(open_cache(first.path).images) == 39
    assert not (first.path / "codes.h5").exists()


def test_an_update_changes_nothing_before_it_is_applied_and_removes_no_shard_then(
    photos: Path, first: Cache, tmp_path: Path
) -> None:
    for row in (3, 11, 12):
        touch(photos / first.images.path[row], 900 + row)
    before = contents(first.path)
    source = open_images(photos)
    plan = plan_update(first.path, source, **facts(first))
    new = plan_update(tmp_path / "new", source, **facts(first))
    series = (Series("layer2"), Series("layer3"))
    assert plan.stale == {(each, shard) for each in series for shard in (0, 1)}
    assert (plan.changes, plan.new) == (ImageChanges(changed=3), False)
    assert (new.stale, new.changes, new.new) == (frozenset(), ImageChanges(), True)
    assert contents(first.path) == before
    assert not (tmp_path / "new").exists()

    applied = plan.apply()
    after = contents(first.path)
    assert {name for name in before if before[name] != after.get(name)} == {
        "codes.h5",
        "images.csv",
        "rejected.csv",
    }
    assert np.flatnonzero(open_cache(first.path).images.mtime_ns == -1).tolist() == [3, 11, 12]
    # As if the run had made the shards of layer2, and nobody those of layer3.
    finished = plan.finish(applied, ["layer2"])
    assert missing_shards(finished, "layer2") == []
    assert missing_shards(finished, "layer3") == [0, 1]
    assert open_cache(first.path).images == source.table
    new.apply()
    assert len(open_cache(tmp_path / "new").images) == 36


def test_two_tasks_may_plan_the_same_cache_at_once_but_no_other(
    photos: Path, first: Cache, tmp_path: Path
) -> None:
    plans = [
        plan_update(tmp_path / "new", open_images(photos), **facts(first) | {"spec": spec})
        for spec in (first.spec, first.spec, dataclasses.replace(first.spec, pool="max"))
    ]
    plans[0].apply()
    plans[1].apply()
    with pytest.raises(SpecMismatchError, match="pool is avg"):
        plans[2].apply()
    assert open_cache(tmp_path / "new").spec == first.spec


def test_a_directory_in_use_is_refused(photos: Path, extract_tiny: Extract, tmp_path: Path) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter1.tex").write_text("dear to somebody")
    with pytest.raises(CacheError, match="is not a cache"):
        extract_tiny(photos, out)
    assert not (out / "spec.json").exists()


def test_a_cache_without_its_manifest_is_to_be_repaired(
    photos: Path, cache: Path, extract_tiny: Extract
) -> None:
    (cache / "spec.json").unlink()
    before = contents(cache)
    for call in (open_cache, partial(extract_tiny, photos)):
        with pytest.raises(CacheError, match=r"spec\.json is absent: `bottleneck\.repair`"):
            call(cache)
    assert contents(cache) == before
    shutil.rmtree(cache / "codes" / "layer2")
    shutil.rmtree(cache / "codes" / "layer3")  # and there is no shard to restore it from
    with pytest.raises(CacheError, match="is not a cache, it holds codes"):
        extract_tiny(photos, cache)


@pytest.mark.parametrize("below", ["", "new", "new/cache"])
@pytest.mark.parametrize("kind", ["a file", "a link to gone, which is not there"])
def test_what_is_or_is_below_no_directory_is_refused(
    photos: Path, first: Cache, tmp_path: Path, kind: str, below: str
) -> None:
    out = tmp_path / "out"
    out.symlink_to("gone") if "link" in kind else out.write_text("dear to somebody")
    what = f"{out if below else 'it'} is {kind}: name an empty or new directory"
    with pytest.raises(CacheError, match=f"is not a cache, {what}"):
        plan_update(out / below, open_images(photos), **facts(first))


def test_an_interrupted_creation_is_repeated(
    photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "images.csv").write_text("half")
    assert extract_tiny(photos).rows == 36


# Content


def same_time(path: Path, image_seed: int) -> None:
    """Other pixels in a file of the same size and time."""
    status = path.stat()
    photograph(image_seed, "wasps").save(path)
    content = path.read_bytes()[: status.st_size].ljust(status.st_size, b"\0")
    path.write_bytes(content)
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))


def test_a_change_that_size_and_time_hide_is_found_by_content(
    photos: Path, extract_tiny: Extract
) -> None:
    first = extract_tiny(photos, layers=["layer2", "layer3"])
    row = 10
    codes = first.cache.read_codes("layer2", np.arange(36))
    same_time(photos / first.cache.images.path[row], 999)
    assert extract_tiny(photos, layers=["layer2", "layer3"]).rows == 0  # nobody can tell
    again = extract_tiny(photos, layers=["layer2", "layer3"], check_content=True)
    assert (again.changes, again.rows) == (ImageChanges(changed=1), 8)
    now = again.cache.read_codes("layer2", np.arange(36))
    same = np.arange(36) != row
    np.testing.assert_array_equal(now[same], codes[same])
    assert not np.allclose(now[row], codes[row])
    assert extract_tiny(photos, layers=["layer2", "layer3"], check_content=True).rows == 0


@pytest.mark.parametrize("check_content", [False, True])
def test_times_that_moved_are_no_change(
    photos: Path, extract_tiny: Extract, check_content: bool
) -> None:
    first = extract_tiny(photos)
    before = times(first.cache)
    for path in photos.rglob("*.*"):
        os.utime(path)  # a checkout, or a copy without times
    again = extract_tiny(photos, check_content=check_content)
    assert (again.changes, again.changes.touched, again.rows) == (ImageChanges(), 36, 0)
    assert "images of another time and the same bytes: 36, unchanged" in str(again)
    assert times(again.cache) == before
    assert (again.cache.path / "codes.h5").exists()
    later = extract_tiny(photos)
    assert (later.changes.touched, later.rows) == (0, 0)  # the new times are known from here on


def test_content_tells_of_images_that_came_went_or_broke(
    photos: Path, extract_tiny: Extract
) -> None:
    broken = photos / "train" / "ants" / "broken.jpg"
    broken.write_bytes(b"no image")
    first = extract_tiny(photos).cache
    removed = photos / first.images.path[20]
    removed.unlink()
    write_photographs(photos / "new", 1, label="zebra")
    broken.write_bytes(b"NO image")
    again = extract_tiny(photos, check_content=True)
    assert again.changes == ImageChanges(added=1, changed=1, removed=1)
    assert again.rejected.keys() == {first.images.path.index("train/ants/broken.jpg")}


def test_a_shard_that_was_made_of_older_bytes_is_made_again(
    photos: Path, extract_tiny: Extract
) -> None:
    first = extract_tiny(photos, layers=["layer2"]).cache
    same_time(photos / first.images.path[11], 999)
    extract_tiny(photos, layers=["layer3"])  # of the new pixels, and nobody noticed
    again = extract_tiny(photos, layers=["layer2", "layer3"], check_content=True)
    assert (again.changes, again.rows) == (ImageChanges(changed=1), 8)


def staged(photos: Path, place: Path) -> Path:
    """A copy of the images with times of its own, as a job makes it on its node's disk."""
    shutil.copytree(photos, place, copy_function=shutil.copyfile)
    return place


def test_a_changed_image_of_the_same_size_is_found_among_copies(
    photos: Path, first: Cache, extract_tiny: Extract, tmp_path: Path
) -> None:
    row = 20
    copy = staged(photos, tmp_path / "copy")
    same_time(copy / first.images.path[row], 999)
    again = extract_tiny(copy, layers=["layer2", "layer3"])
    assert (again.changes, again.changes.touched, again.rows) == (ImageChanges(changed=1), 35, 8)
    assert extract_tiny(copy, layers=["layer2", "layer3"], check_content=True).rows == 0


def test_copies_of_two_tasks_cost_neither_a_shard(
    photos: Path, first: Cache, extract_tiny: Extract, tmp_path: Path
) -> None:
    before = times(first)
    tasks = (ArrayTask(0, 2), ArrayTask(1, 2))
    copies = [staged(photos, tmp_path / f"copy{task.index}") for task in tasks]
    for copy, task, count in zip(copies, tasks, (20, 16), strict=True):
        again = extract_tiny(copy, task=task)
        assert (again.changes, again.changes.touched) == (ImageChanges(), count)
        assert (again.rows, times(again.cache)) == (0, before)
    stamps = open_cache(first.path).images.mtime_ns
    for row, path in enumerate(first.images.path):
        assert stamps[row] == (copies[row // 8 % 2] / path).stat().st_mtime_ns


def test_a_task_leaves_the_stale_shards_of_others_to_them(
    photos: Path, first: Cache, extract_tiny: Extract
) -> None:
    for row in (3, 11, 30):  # shards 0, 1 and 3
        touch(photos / first.images.path[row], 900 + row)
    before = {layer: times(first, layer) for layer in ("layer2", "layer3")}
    one = extract_tiny(photos, layers=["layer2"], task=ArrayTask(0, 2))
    assert (one.changes, one.rows) == (ImageChanges(changed=1), 8)
    assert missing_shards(one.cache, "layer2") == []
    assert missing_shards(one.cache, "layer3") == [0]  # of its own number, and nobody made it
    assert remade(before["layer2"], times(one.cache)) == [0]
    other = extract_tiny(photos, layers=["layer2"], task=ArrayTask(1, 2))
    assert (other.changes, other.rows) == (ImageChanges(changed=2), 16)
    assert missing_shards(other.cache, "layer3") == [0, 1, 3]
    assert extract_tiny(photos, layers=["layer2"]).changes.touched == 0


def test_tasks_that_plan_at_once_write_the_stamps_of_their_own_rows(
    photos: Path, first: Cache
) -> None:
    touch(photos / first.images.path[3], 903)
    for path in photos.rglob("*.*"):
        os.utime(path)
    source = open_images(photos)
    plans = [
        plan_update(first.path, source, task=ArrayTask(i, 2), **facts(first)) for i in range(2)
    ]
    applied = [plan.apply() for plan in plans]  # the second has seen no note of the first
    stamps = open_cache(first.path).images.mtime_ns
    assert stamps[3] == -1
    assert np.array_equal(np.delete(stamps, 3), np.delete(source.table.mtime_ns, 3))
    for plan, opened in zip(reversed(plans), reversed(applied), strict=True):
        plan.finish(opened, ["layer2"])
    assert open_cache(first.path).images == source.table


@pytest.mark.parametrize("noted", [False, True])
def test_images_that_changed_with_their_labels_have_no_codes_before_their_task_compares_them(
    photos: Path, first: Cache, noted: bool
) -> None:
    for row in (3, 11):  # of shards 0 and 1, which are of two tasks
        touch(photos / first.images.path[row], 900 + row)
    table = open_images(photos).table
    labels = CategoricalColumn(f"no {label}" for label in table.label)
    source = open_images(photos).with_table(dataclasses.replace(table, label=labels))
    plan = plan_update(first.path, source, task=ArrayTask(0, 2), **facts(first))
    if noted:  # another run writes the table with the old labels, after the task has read it
        group = CategoricalColumn(["g"] * len(table))
        dataclasses.replace(first.images, group=group).write_csv(first.path / "images.csv")
    plan.finish(plan.apply(), [])
    assert missing_shards(open_cache(first.path), "layer2") == [0, 1]
    other = plan_update(first.path, source, task=ArrayTask(1, 2), **facts(first))
    assert other.changes == ImageChanges(changed=1)


def test_a_row_that_one_task_appends_keeps_the_times_that_another_has_noted(
    photos: Path, first: Cache
) -> None:
    for path in photos.rglob("*.*"):
        os.utime(path)
    before = open_images(photos)
    write_photographs(photos / "train" / "zebras", 1, label="zebras")
    appending, touched = (
        plan_update(first.path, source, task=ArrayTask(i, 2), **facts(first))
        for i, source in enumerate((open_images(photos), before))
    )
    touched.finish(touched.apply(), ["layer2"])
    appending.finish(appending.apply(), [])
    images = open_cache(first.path).images
    assert len(images) == 37
    assert np.array_equal(images.mtime_ns[:36], before.table.mtime_ns)


def test_rows_that_another_run_appends_in_the_meantime_stay(
    photos: Path, first: Cache, extract_tiny: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(photos / first.images.path[11], 999)
    finish = CacheUpdate.finish

    def finish_late(update: CacheUpdate, *arguments: Any) -> Cache:
        monkeypatch.undo()
        write_photographs(photos / "train" / "aardvarks", 3, label="aardvarks")
        extract_tiny(photos)
        return finish(update, *arguments)

    monkeypatch.setattr(CacheUpdate, "finish", finish_late)
    again = extract_tiny(photos)
    assert len(again.cache.images) == len(open_cache(first.path).images) == 39
    last = extract_tiny(photos)
    assert (last.changes, last.changes.touched, last.rows) == (ImageChanges(), 0, 0)


def test_a_changed_image_beside_one_that_is_back_has_no_code_until_the_run_ends(
    photos: Path, first: Cache
) -> None:
    shutil.rmtree(first.folder("layer3"))
    removal = {"rejected": {"3": REMOVED}}
    forge(first.shard_path("layer2", 1), header=lambda header: header.update(removal))
    size = first.images.size.copy()
    size[11] = -1
    dataclasses.replace(first.images, size=size).write_csv(first.path / "images.csv")
    touch(photos / first.images.path[10], 999)
    plan_update(first.path, open_images(photos), **facts(first)).apply()
    assert missing_shards(open_cache(first.path), "layer2") == [1]
    assert not (first.path / "codes.h5").exists()


def test_labels_that_another_run_has_written_meanwhile_stay(photos: Path, first: Cache) -> None:
    touch(photos / first.images.path[11], 999)
    source = open_images(photos)
    update = plan_update(first.path, source, **facts(first))
    labelled = dataclasses.replace(source.table, label=CategoricalColumn(["later"] * 36))
    begun = update.apply()
    plan_update(first.path, source.with_table(labelled), **facts(first)).apply()
    done = update.finish(begun, []).images
    assert done == open_cache(first.path).images
    assert set(done.label) == {"later"}
    assert done.mtime_ns.tolist() == source.table.mtime_ns.tolist()


def sources_of_other_images(photos: Path) -> list[ImageSource]:
    """The photographs alone, then with two others each."""
    sources = [open_images(photos)]
    for label in ("aardvarks", "zebras"):
        write_photographs(photos / "train" / label, 2, label=label)
        sources.append(open_images(photos))
        shutil.move(photos / "train" / label, photos.with_name(label))
    return sources


def test_images_that_another_run_has_added_meanwhile_are_not_dropped(
    photos: Path, first: Cache
) -> None:
    as_before = plan_update(first.path, open_images(photos), **facts(first))
    touch(photos / first.images.path[11], 999)
    changing, adding, adding_others = (
        plan_update(first.path, source, **facts(first))
        for source in sources_of_other_images(photos)
    )
    adding.apply()
    before = contents(first.path)
    for plan in (as_before, changing, adding_others):
        with pytest.raises(CacheError, match=r"another run has added images to cache .* again"):
            plan.apply()
        assert contents(first.path) == before
    adding_others.cache.images.write_csv(first.path / "images.csv")  # at the same moment
    with pytest.raises(CacheError, match="another run has added images"):
        adding.finish(adding.cache, [])


def test_a_cache_that_another_run_creates_meanwhile_keeps_its_images(
    photos: Path, first: Cache, tmp_path: Path
) -> None:
    plans = [
        plan_update(tmp_path / "new", source, **facts(first))
        for source in sources_of_other_images(photos)
    ]
    plans[1].apply()
    before = contents(tmp_path / "new")
    for plan in (plans[0], plans[2]):
        with pytest.raises(CacheError, match="another run has added images"):
            plan.apply()
        assert contents(tmp_path / "new") == before
    assert open_cache(tmp_path / "new").images == plans[1].cache.images
    plans[2].cache.images.write_csv(tmp_path / "new/images.csv")  # at the same moment
    with pytest.raises(CacheError, match="another run has added images"):
        plans[1].finish(plans[1].cache, [])


def test_shards_of_a_cache_that_two_runs_create_at_once_are_of_the_table_that_stays(
    photos: Path, first: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, one, other = (
        plan_update(tmp_path / "new", source, **facts(first))
        for source in sources_of_other_images(photos)
    )
    one.apply()
    monkeypatch.setattr(CacheUpdate, "_read_table", lambda update: None)  # it looked before that
    other.apply()
    there = open_cache(tmp_path / "new")
    assert there.images == other.cache.images
    assert there.manifest.cache_id == other.cache.manifest.cache_id != one.cache.manifest.cache_id


# Kills


_UNLINK = Path.unlink


class _Steps:
    """Calls that change what a reader sees, before one of which the run is killed."""

    def __init__(self, patch: pytest.MonkeyPatch, kill_at: int | None = None) -> None:
        self.taken, self.kill_at = 0, kill_at
        for name in ("replace", "unlink"):
            patch.setattr(Path, name, self._stepping(getattr(Path, name)))

    def _stepping(self, call: Any) -> Any:
        def step(path: Path, *args: Any, **kwargs: Any) -> Any:
            if not path.exists() or (call is _UNLINK and path.name.startswith(".")):
                return call(path, *args, **kwargs)
            self.taken += 1
            if self.kill_at is not None and self.taken > self.kill_at:
                raise KeyboardInterrupt
            return call(path, *args, **kwargs)

        return step


@pytest.mark.parametrize(
    "some", [slice(1, None, 2), pytest.param(slice(None), marks=pytest.mark.slow)]
)
def test_a_kill_before_any_step_of_an_update_loses_nothing(
    some: slice, photos: Path, first: Cache, extract_tiny: Extract, tmp_path: Path
) -> None:
    (photos / first.images.path[30]).write_bytes(b"no image")
    touch(photos / first.images.path[3], 903)
    same_time(photos / first.images.path[11], 911)
    os.utime(photos / first.images.path[20])
    os.utime(photos / first.images.path[11])
    whole = shutil.copytree(first.path, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        steps = _Steps(patch)
        expected = extract_tiny(photos, whole, layers=["layer2"])
    # The derived files, the table, three shards, three of the other layer, the table, the derived.
    assert (expected.rows, steps.taken) == (24, 2 + 1 + 3 + 3 + 1 + 2)
    assert missing_shards(expected.cache, "layer3") == [0, 1, 3]
    rows = np.flatnonzero(expected.cache.valid_rows("layer2"))
    codes = expected.cache.read_codes("layer2", rows)
    for step in range(steps.taken)[some]:
        path = shutil.copytree(first.path, tmp_path / f"killed{step}")
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            _Steps(patch, step)
            extract_tiny(photos, path, layers=["layer2"])
        between = open_cache(path)
        assert between.is_full(["layer2"])
        again = extract_tiny(photos, path, layers=["layer2"])
        assert again.rows <= 24
        assert again.cache.images == expected.cache.images
        assert np.array_equal(np.flatnonzero(again.cache.valid_rows("layer2")), rows)
        np.testing.assert_array_equal(again.cache.read_codes("layer2", rows), codes)
        assert missing_shards(again.cache, "layer3") == [0, 1, 3]
        assert contents(path).keys() == contents(whole).keys()
        assert {item.why for item in verify(path)} == {"missing"}
