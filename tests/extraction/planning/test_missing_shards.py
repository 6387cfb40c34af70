from pathlib import Path

import pytest

from bottleneck.cache.format.series import Series
from bottleneck.cache.store import open_cache
from bottleneck.extraction.planning.missing_shards import OtherTasks, find_missing
from bottleneck.runtime.schedulers.array_task import ArrayTask

BOTH = (Series("layer2"), Series("layer3"))


@pytest.mark.parametrize(
    ("removed", "task", "expected"),
    [
        ([], ArrayTask(), OtherTasks(BOTH, (), begun=False)),  # there are no others
        ([], ArrayTask(1, 2), OtherTasks(BOTH, (), begun=True)),
        ([0, 2, 4], ArrayTask(1, 2), OtherTasks(BOTH, (0, 2, 4), begun=False)),
        ([0, 2], ArrayTask(1, 2), OtherTasks(BOTH, (0, 2), begun=True)),
        ([0, 1, 2, 3, 4], ArrayTask(7, 8), OtherTasks(BOTH, (0, 1, 2, 3, 4), begun=False)),
    ],
)
def test_shards_of_other_tasks_are_found_by_file_names(
    cache: Path, removed: list[int], task: ArrayTask, expected: OtherTasks
) -> None:
    found = open_cache(cache)
    for shard in removed:
        for layer in BOTH:
            found.shard_path(layer, shard).unlink()
    assert OtherTasks.find(found, BOTH, task) == expected


def test_a_shard_is_missing_if_one_layer_lacks_it(cache: Path) -> None:
    found = open_cache(cache)
    found.shard_path("layer3", 4).unlink()
    assert OtherTasks.find(found, BOTH[:1], ArrayTask(1, 2)).missing == ()
    assert OtherTasks.find(found, BOTH, ArrayTask(1, 2)) == OtherTasks(BOTH, (4,), begun=True)


def test_shards_of_layers_that_are_not_the_runs_do_not_count(cache: Path) -> None:
    fc = (Series("fc"),)
    expected = OtherTasks(fc, (0, 1, 2, 3, 4), begun=False)
    assert OtherTasks.find(open_cache(cache), fc, ArrayTask(1, 2)) == expected


def test_a_shard_that_lacks_several_views_is_one_piece_of_work(cache: Path) -> None:
    found = open_cache(cache)
    found.shard_path("layer3", 4).unlink()
    series = [Series(layer, view) for view in (0, 1) for layer in ("layer2", "layer3")]
    views = (Series("layer2", 1), Series("layer3", 1))
    assert find_missing(found, series, ArrayTask()) == {
        views: [0, 1, 2, 3],
        (Series("layer3"), *views): [4],
    }
    again = find_missing(found, series[:2], ArrayTask(0, 4), {(Series("layer2"), 0)})
    assert again == {(Series("layer2"),): [0], (Series("layer3"),): [4]}
