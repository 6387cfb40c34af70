"""Views of each image in a cache: made, added, resumed, made again."""

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bottleneck.cache.format.series import Series
from bottleneck.cache.format.shard_writer import write_shard
from bottleneck.cache.store import Cache, open_cache
from bottleneck.cache.verify import verify
from bottleneck.data.images import open_images
from bottleneck.data.resizing.view_recipe import ViewRecipe
from bottleneck.errors import InvalidOptionError, SpecMismatchError
from bottleneck.extraction.extract import extract
from bottleneck.extraction.options import ComputeOptions, ViewOptions
from bottleneck.extraction.plan import plan
from bottleneck.extraction.repair import repair
from bottleneck.extraction.running.distributed import ShardTask, WorkerJob
from bottleneck.runtime.schedulers.array_task import ArrayTask
from tests.helpers.fixture_types import Extract
from tests.helpers.networks import PLAIN, SMALL
from tests.helpers.photographs import photograph, write_photographs

BOTH = ["layer2", "layer3"]


@pytest.fixture(scope="module")
def reference(viewed: Path) -> Cache:
    """Both layers of `photos` in three views, made by one run."""
    return open_cache(viewed)


@pytest.fixture
def made(viewed: Path, tmp_path: Path) -> Cache:
    """A copy of `reference` where `extract_tiny` puts its cache."""
    return open_cache(Path(shutil.copytree(viewed, tmp_path / "cache")))


def codes(cache: Cache, layer: str, view: int) -> NDArray[np.float32]:
    return cache.read_codes(layer, np.flatnonzero(cache.valid_rows(layer, view + 1)), view)


def same(one: Cache, other: Cache, layers: list[str] = BOTH, views: int = 3) -> bool:
    """Whether both caches are complete, and hold the same codes bit for bit."""
    return all(
        one.views(layer) == other.views(layer) == views
        and np.array_equal(codes(one, layer, view), codes(other, layer, view))
        for layer in layers
        for view in range(views)
    )


def untouched(cache: Cache) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in cache.path.rglob("0*.h5")}


def test_views_differ_and_the_plain_images_are_those_of_a_cache_without(
    cache: Path, reference: Cache
) -> None:
    plain = open_cache(cache)
    for layer in BOTH:
        np.testing.assert_array_equal(codes(reference, layer, 0), codes(plain, layer, 0))
        every = [codes(reference, layer, view) for view in range(3)]
        assert len({each.tobytes() for each in every}) == 3
    assert plain.view_recipe is None
    assert (plain.views("layer2"), plain.views_begun) == (1, 1)


def test_views_that_are_added_later_are_those_of_one_run(
    cache: Path, photos: Path, extract_tiny: Extract, reference: Cache
) -> None:
    before = untouched(open_cache(cache))
    two = extract_tiny(photos, layers=BOTH, count=2)
    assert (two.rows, two.passes) == (36, 36)
    three = extract_tiny(photos, layers=BOTH, count=3)
    assert (three.rows, three.passes) == (36, 36)
    assert same(three.cache, reference)
    assert before.items() <= untouched(three.cache).items()
    again = extract_tiny(photos, layers=BOTH)
    assert (again.rows, again.passes, again.notes) == (0, 0, ())
    assert again.to_dict()["layers"]["layer2"]["views"] == 3


def test_a_new_layer_gets_the_views_of_the_cache(
    photos: Path, extract_tiny: Extract, reference: Cache
) -> None:
    extract_tiny(photos, layers=["layer2"], count=3)
    done = extract_tiny(photos, layers=BOTH)
    assert (done.rows, done.passes) == (36, 108)
    assert same(done.cache, reference)


@pytest.mark.usefixtures("made")
def test_fewer_views_may_be_asked_for(photos: Path, extract_tiny: Extract) -> None:
    done = extract_tiny(photos, layers=["layer1"], count=1)
    assert (done.passes, done.cache.views("layer1"), done.cache.views("layer2")) == (36, 1, 3)


def test_tasks_and_workers_make_what_one_process_makes(
    photos: Path, extract_tiny: Extract, reference: Cache
) -> None:
    for k in (2, 0):
        done = extract_tiny(photos, layers=BOTH, count=3, task=ArrayTask(k, 3))
    assert not done.to_dict()["complete"]
    job = WorkerJob.from_cache(
        done.cache, done.cache.reference, open_images(photos), ComputeOptions(device="cpu")
    )
    series = tuple(Series(layer, view) for layer in BOTH for view in range(3))
    assert [job.make(ShardTask(series, shard)).rows for shard in (1, 4)] == [24, 12]
    assert same(open_cache(done.cache.path), reference)
    assert verify(done).ok


@pytest.mark.parametrize(
    "batch_size", [5, *(pytest.param(size, marks=pytest.mark.slow) for size in (1, 36))]
)
def test_the_size_of_a_batch_does_not_matter(
    photos: Path, extract_tiny: Extract, reference: Cache, batch_size: int
) -> None:
    done = extract_tiny(photos, count=3, batch_size=batch_size, shard_size=20)
    for view in range(3):
        np.testing.assert_allclose(
            codes(done.cache, "layer2", view), codes(reference, "layer2", view), rtol=1e-5
        )


def test_another_recipe_is_refused_and_both_are_named(photos: Path, extract_tiny: Extract) -> None:
    cache = extract_tiny(photos, count=2, augmentations=["crop"], seed=3).cache
    before = untouched(cache)
    others: list[dict[str, Any]] = [{"augmentations": ["rotate", "flip"]}, {"seed": 4}]
    for options in others:
        asked = ViewOptions(2, **options).recipe(ViewRecipe(("crop",), 3))
        words = f"has views by crop with seed 3, this run asks for {asked}: leave `augmentations`"
        with pytest.raises(SpecMismatchError, match=words):
            extract_tiny(photos, count=2, **options)
    assert untouched(cache) == before
    assert extract_tiny(photos, layers=BOTH).cache.view_recipe == ViewRecipe(("crop",), 3)


def test_a_recipe_that_made_nothing_binds_nothing(photos: Path, extract_tiny: Extract) -> None:
    cache = extract_tiny(photos, count=2).cache
    shutil.rmtree(cache.folder(Series("layer2", 1)))
    done = extract_tiny(photos, count=2, augmentations=["rotate"])
    assert done.cache.view_recipe == ViewRecipe(("rotate",))
    assert (done.passes, done.cache.views("layer2"), verify(done).ok) == (36, 2, True)


def test_a_run_of_another_recipe_that_began_at_the_same_time_writes_nothing(
    cache: Path, photos: Path, extract_tiny: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both found no views; the other one gave its recipe last, after this one's."""
    from bottleneck.extraction.running import pipeline

    def first(*arguments: Any, **options: Any) -> Any:
        monkeypatch.undo()
        extract_tiny(photos, count=2, augmentations=["rotate"])
        return pipeline.write_shards(*arguments, **options)

    monkeypatch.setattr("bottleneck.extraction.running.local.write_shards", first)
    words = "another run has begun views by rotate with seed 0 in cache .* makes them by flip,crop"
    with pytest.raises(SpecMismatchError, match=words):
        extract_tiny(photos, count=2)
    now = open_cache(cache)
    assert (now.views("layer2"), now.view_recipe) == (2, ViewRecipe(("rotate",)))


def test_a_cache_of_format_2_never_gets_views(photos: Path, extract_tiny: Extract) -> None:
    from bottleneck.cache.format.manifest import manifest_text

    cache = extract_tiny(photos).cache
    older = dataclasses.replace(cache.manifest, version=2)
    (cache.path / "spec.json").write_text(manifest_text(older))
    words = "is of format version 2, which has no views: extract into another directory with `out`"
    with pytest.raises(SpecMismatchError, match=words):
        extract_tiny(photos, count=2)


def test_a_changed_image_gets_all_views_anew(
    made: Cache, photos: Path, extract_tiny: Extract
) -> None:
    row = 9
    photograph(99, "wasps").save(photos / made.images.path[row])
    old = {view: codes(made, "layer2", view)[row] for view in range(3)}
    done = extract_tiny(photos, layers=BOTH)
    assert (done.rows, done.passes, done.changes.changed) == (8, 24, 1)
    for view in range(3):
        assert not np.array_equal(codes(done.cache, "layer2", view)[row], old[view])
    assert verify(done).ok


def test_stale_views_that_a_run_does_not_make_are_removed(
    photos: Path, extract_tiny: Extract
) -> None:
    cache = extract_tiny(photos, count=2).cache
    photograph(99, "wasps").save(photos / cache.images.path[9])
    done = extract_tiny(photos, count=1)
    assert (done.passes, len(done.cache.finished_shards("layer2"))) == (8, 5)
    assert list(done.cache.finished_shards(Series("layer2", 1))) == [0, 2, 3, 4]
    assert extract_tiny(photos).passes == 8
    assert done.cache.views("layer2") == 2


@pytest.mark.usefixtures("made")
def test_new_images_get_all_views(photos: Path, extract_tiny: Extract) -> None:
    write_photographs(photos / "train" / "zebras", 2, label="wasps")
    done = extract_tiny(photos)
    assert done.passes == 3 * 6  # the last shard grows from four rows to six
    assert done.cache.valid_rows("layer2", 3).sum() == 38


def test_a_run_that_was_killed_goes_on_where_it_was(
    photos: Path, extract_tiny: Extract, reference: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []

    def kill_amid_views(path: Path, *arguments: Any, **options: Any) -> None:
        if len(written) == 8:  # one shard with all six series, and two of the next
            raise KeyboardInterrupt
        written.append(path)
        write_shard(path, *arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("bottleneck.extraction.running.pipeline.write_shard", kill_amid_views)
        extract_tiny(photos, layers=BOTH, count=3)
    before = untouched(open_cache(reference.path))
    assert len(before) == 30
    left = open_cache(written[0].parents[2])
    assert left.status(BOTH).layers["layer2"].missing_shards == (1, 2, 3, 4)
    done = extract_tiny(photos, layers=BOTH)  # the views that the cache has begun
    assert done.passes == 8 * 2 + 3 * 20  # views 1 and 2 of the second shard, three of the others
    assert same(done.cache, reference)


def test_verify_and_repair_know_each_view(made: Cache, photos: Path, reference: Cache) -> None:
    gone, cut = (made.shard_path(Series(layer, 2), 1) for layer in BOTH)
    gone.unlink()
    os.truncate(cut, cut.stat().st_size - 1)
    (made.path / "spec.json").unlink()
    assert [(item.file, item.view) for item in verify(made)] == [
        ("spec.json", 0),
        ("codes/layer2@2/00001.h5", 2),
        ("codes/layer3@2/00001.h5", 2),
    ]
    done = repair(made, photos, model=PLAIN, compute=ComputeOptions(device="cpu"))
    assert (done.extraction.rows, done.extraction.passes) == (8, 8)
    assert done.cache.view_recipe == ViewRecipe()
    assert same(done.cache, reference)
    assert verify(made).ok


def test_the_number_of_views_is_reported_before_and_after(
    photos: Path, extract_tiny: Extract
) -> None:
    told: list[Any] = []
    turned = {"count": 5, "augmentations": ["flip", "rotate"]}
    done = extract_tiny(photos, **turned, on_progress=told.append)
    made = "views of each image: 5, the image itself and 4 by flip,rotate with seed 0"
    assert done.notes == (made,)
    ahead = "180 views of 36 images to encode at layer2 (8): at most"
    assert str(told[0].estimate).startswith(ahead)
    assert (told[0].done, told[-1].done, told[-1].total) == (0, 180, 180)
    assert "encoded 180 views of 36 images in" in str(done)
    assert done.to_dict()["encoded"] == 36
    few = extract_tiny(photos, photos.parent / "few", count=3, augmentations=["flip"])
    assert few.notes[1] == (
        "WARNING: flip makes 2 pictures of an image, so that some of its 3 views are alike: "
        "`augmentations=flip,crop` makes any number"
    )


def test_views_are_also_given_by_their_number(photos: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"model": PLAIN, "layers": ["layer2"], "transform": SMALL}
    assert extract(photos, tmp_path / "cache", views=2, **options).cache.views("layer2") == 2
    assert plan(photos, views=2, **options).views == 2
    with pytest.raises(InvalidOptionError, match="`views='two'`: must be a whole number from 1"):
        extract(photos, tmp_path / "other", views="two", **options)  # type: ignore[arg-type]
    such_as = r"must be a ViewOptions, such as ViewOptions\(count=2\)"
    with pytest.raises(InvalidOptionError, match=such_as):
        extract(photos, tmp_path / "other", views={"count": 2}, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 0}, "`views=0`: must be a whole number from 1, the image alone, to 1000"),
        ({"count": 2, "augmentations": ["shear"]}, "`augmentations='shear'`: must be one or more"),
        ({"count": 2, "seed": -1}, "`seed=-1`: must be a whole number from 0"),
        ({"augmentations": ["flip"]}, r"given with `views` of at least 2"),
        ({"count": 1, "seed": 1}, "given with `views` of at least 2"),
    ],
)
def test_options_that_make_no_sense_are_refused_and_nothing_is_written(
    photos: Path, extract_tiny: Extract, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidOptionError, match=words):
        extract_tiny(photos, **options)
    assert not (tmp_path / "cache").exists()
