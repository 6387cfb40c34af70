from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bottleneck.cache.format.series import SeriesLike
from bottleneck.cache.store import Cache, open_cache
from bottleneck.data.labels import UnknownLabels
from bottleneck.errors import CacheError, LabelsError
from bottleneck.fitting.loading.dataset import CodeDataset, load_dataset
from bottleneck.fitting.loading.features import Features
from bottleneck.fitting.loading.labelled_rows import require_rows
from bottleneck.fitting.loading.sharded_matrix import ShardedMatrix
from bottleneck.linear.matrix import ArrayMatrix, CodeMatrix
from tests.helpers.datasets import written_cache

ONE = Features(("layer",))
CODES = np.arange(24, dtype=np.float32).reshape(12, 2)


def dataset_of(
    folder: Path, labels: list[str], *, memory: int = 1 << 30, **columns: Any
) -> CodeDataset:
    cache = open_cache(written_cache(folder, CODES[: len(labels)], labels, shard_size=5, **columns))
    return load_dataset(cache, ONE, cache.images, memory=memory)


def rows_in(codes: CodeMatrix) -> list[int]:
    """Which rows of `CODES` these are."""
    return [int(value) // 2 for value in np.concatenate(list(codes.blocks()))[:, 0]]


def held_out(lesson: CodeDataset) -> tuple[list[int], NDArray[Any]]:
    assert lesson.heldout is not None
    return rows_in(lesson.heldout.codes), lesson.heldout.targets


@pytest.mark.parametrize("memory", [1 << 30, 1])
def test_rows_are_those_of_their_split_with_their_labels(tmp_path: Path, memory: int) -> None:
    split = ["val", "train", "test", "train"] * 3
    labels = ["x", "b", "a", "a", "x", "b", "", "a", "x", "", "b", "c"]
    lesson = dataset_of(tmp_path, labels, split=split, memory=memory)
    assert (lesson.features, lesson.labelled.names, lesson.labelled.judged.name) == (
        ONE,
        ["a", "b", "c"],
        "test",
    )
    assert rows_in(lesson.training.codes) == [1, 3, 5, 7, 11]
    assert lesson.training.targets.tolist() == [1, 0, 1, 0, 2]
    rows, targets = held_out(lesson)
    assert (rows, targets.tolist()) == ([2, 10], [0, 1])
    assert lesson.heldout is not None
    assert lesson.training.classes == lesson.heldout.classes == 3
    assert isinstance(lesson.training.codes, ArrayMatrix if memory > 1 else ShardedMatrix)


@pytest.mark.parametrize("split", [None, ["train"] * 12])
def test_without_splits_all_labelled_rows_train(tmp_path: Path, split: list[str] | None) -> None:
    lesson = dataset_of(tmp_path, ["a", "b", ""] * 4, split=split)
    assert (lesson.heldout, lesson.labelled.judged.name) == (None, "")
    assert rows_in(lesson.training.codes) == [0, 1, 3, 4, 6, 7, 9, 10]


def test_images_in_no_split_take_no_part_where_others_are_in_train(tmp_path: Path) -> None:
    lesson = dataset_of(tmp_path, ["a", "b", ""] * 4, split=["", "train"] * 6)
    assert (lesson.heldout, lesson.labelled.judged.name) == (None, "")
    assert rows_in(lesson.training.codes) == [1, 3, 7, 9]


def test_other_splits_take_no_part(tmp_path: Path) -> None:
    lesson = dataset_of(tmp_path, ["a", "b", "c"] * 4, split=["train", "train", "spare"] * 4)
    assert (lesson.labelled.names, lesson.heldout) == (["a", "b"], None)
    assert rows_in(lesson.training.codes) == [0, 1, 3, 4, 6, 7, 9, 10]


def test_groups_are_those_of_the_training_rows(tmp_path: Path) -> None:
    split, group = ["test", "train", "train"] * 4, [f"slide{row // 2}" for row in range(12)]
    lesson = dataset_of(tmp_path, ["a", "b", "a"] * 4, split=split, group=group)
    assert lesson.training.groups is not None
    slides = [row // 2 for row in range(12) if row % 3]
    assert lesson.training.groups.tolist() == np.unique(slides, return_inverse=True)[1].tolist()
    assert lesson.heldout is not None
    assert lesson.heldout.groups is not None
    assert lesson.heldout.groups.tolist() == [0, 1, 2, 3]


def test_several_names_make_several_labels(tmp_path: Path) -> None:
    labels, split = ["a|b", "b", "c", "c | a"], ["train", "train", "train", "test"]
    lesson = dataset_of(tmp_path, labels, split=split)
    assert lesson.labelled.names == ["a", "b", "c"]
    assert lesson.training.multilabel
    assert lesson.training.targets.tolist() == [
        [True, True, False],
        [False, True, False],
        [False, False, True],
    ]
    assert held_out(lesson)[1].tolist() == [[True, False, True]]


def test_held_out_images_of_other_classes_are_counted_and_not_loaded(tmp_path: Path) -> None:
    labels = ["a", "b", "z", "a", "B", "b", "a", "z", "b"]
    split = ["train", "train", "test", "test", "test", "test", "train", "train", "train"]
    split[7] = "spare"  # a split that neither trains nor judges teaches no class
    lesson = dataset_of(tmp_path, labels, split=split)
    assert lesson.labelled.names == ["a", "b"]
    assert rows_in(lesson.training.codes) == [0, 1, 6, 8]
    rows, targets = held_out(lesson)
    assert (rows, targets.tolist()) == ([3, 5], [0, 1])
    assert lesson.labelled.judged.unknown == UnknownLabels(2, {"z": 1, "B": 1}, {"B": "b"})


def test_of_several_labels_one_that_is_unknown_leaves_the_image_out(tmp_path: Path) -> None:
    labels, split = ["a|b", "b", "b|z", "a", "z"], ["train", "train", "test", "test", "test"]
    lesson = dataset_of(tmp_path, labels, split=split)
    rows, targets = held_out(lesson)
    assert (rows, targets.tolist()) == ([3], [[True, False]])
    assert lesson.labelled.judged.unknown == UnknownLabels(2, {"z": 2})


def test_no_remark_is_made_where_all_classes_are_known(tmp_path: Path) -> None:
    lesson = dataset_of(tmp_path, ["a", "b", "a"], split=["train", "train", "test"])
    assert lesson.labelled.judged.unknown == UnknownLabels()


def test_labels_are_those_of_the_table_that_was_given(tmp_path: Path) -> None:
    cache = open_cache(written_cache(tmp_path, CODES[:4], ["a", "b", "a", "b"]))
    other = open_cache(written_cache(tmp_path / "other", CODES[:4], ["x", "x", "", "y"])).images
    lesson = load_dataset(cache, ONE, other)
    assert (lesson.labelled.names, rows_in(lesson.training.codes)) == (["x", "y"], [0, 1, 3])


@pytest.mark.parametrize(
    ("split", "needed"),
    [(None, {0, 1, 2}), (["train"] * 5 + ["spare"] * 5 + ["test"] * 2, {0, 2})],
)
def test_each_shard_that_is_needed_is_read_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    split: list[str] | None,
    needed: set[int],
) -> None:
    reads: Counter[int] = Counter()
    read_checked = Cache.read_checked

    def spy(cache: Cache, series: SeriesLike, shard: int) -> NDArray[Any]:
        reads[shard] += 1
        return read_checked(cache, series, shard)

    monkeypatch.setattr(Cache, "read_checked", spy)
    lesson = dataset_of(tmp_path, ["a", "b"] * 6, split=split)
    list(lesson.training.codes.blocks())
    assert reads == dict.fromkeys(needed, 1)


# Refusals


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "b", "a", "z"], "'z' .*knows a, b"),
        (["a", "b", "a", "a|b"], r"'a\|b'"),  # in the training split no image has two
        (["a", "b|a", "a", "z|a"], "'z' .*knows a, b"),
        (["a", "a", "", "b"], "2 classes in split 'train', found 'a'"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    tmp_path: Path, labels: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("read codes")

    monkeypatch.setattr("bottleneck.fitting.loading.dataset.open_matrix", never)
    with pytest.raises(LabelsError, match=message):
        dataset_of(tmp_path, labels, split=["train", "train", "train", "test"])


def test_a_layer_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    cache = open_cache(written_cache(tmp_path, CODES, ["a", "b"] * 6, shard_size=5))
    cache.shard_path("layer", 1).unlink()
    with pytest.raises(CacheError, match="lacks 1 of 3 shards"):
        load_dataset(cache, ONE, cache.images)


def test_no_rows_are_refused() -> None:
    require_rows(np.array([3]), split="val")
    with pytest.raises(LabelsError, match="no labelled image with codes in split 'val': labels"):
        require_rows(np.array([], dtype=np.int64), split="val")
    with pytest.raises(LabelsError, match="no labelled image with codes: labels"):
        require_rows(np.array([], dtype=np.int64), split="")
