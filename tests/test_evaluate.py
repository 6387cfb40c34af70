import shutil
from pathlib import Path

import pytest
from conftest import Extract, write_photographs

from bottleneck.errors import LabelsError, SpecMismatchError, UnknownNameError
from bottleneck.evaluate import evaluate
from bottleneck.head import Head


def test_a_cache_and_its_images_are_judged_alike(head: Head, cache: Path, photos: Path) -> None:
    on_cache, _ = evaluate(head, cache)
    on_images, _ = evaluate(head, photos, device="cpu")
    assert on_cache.to_json() == on_images.to_json()
    assert (on_cache.split, on_cache.n) == ("val", 12)


def test_a_split_can_be_chosen(head: Head, cache: Path) -> None:
    assert evaluate(head, cache, split="train")[0].n == 24
    with pytest.raises(UnknownNameError, match="unknown split 'tests'"):
        evaluate(head, cache, split="tests")


def test_new_images_need_no_training_split(head: Head, photos: Path) -> None:
    shutil.rmtree(photos / "train")
    found, _ = evaluate(head, photos, device="cpu")
    assert (found.split, found.n) == ("val", 12)


def test_images_without_splits_are_all_judged(head: Head, photos: Path) -> None:
    found, _ = evaluate(head, photos / "val", device="cpu")
    assert (found.split, found.n) == ("", 12)


def test_rejected_images_are_named_and_not_judged(
    head: Head, photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    (photos / "val" / "bees" / "bees001.png").write_bytes(b"no image")
    cache = extract_tiny(photos, tmp_path / "again").cache.path
    for target in (cache, photos):
        found, rejected = evaluate(head, target, device="cpu")
        assert found.n == 11
        assert list(rejected) == ["val/bees/bees001.png"]


def test_labels_that_the_head_never_saw_are_refused(head: Head, photos: Path) -> None:
    write_photographs(photos / "val" / "moths", 2, label="moths")
    with pytest.raises(LabelsError, match=r"2 images have labels.*'moths'.*ants, bees, wasps"):
        evaluate(head, photos, device="cpu")


def test_a_cache_of_another_spec_is_refused(
    head: Head, photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    other = extract_tiny(photos, tmp_path / "other", pool="max").cache.path
    with pytest.raises(SpecMismatchError, match="pool is avg in the head and max in cache"):
        evaluate(head, other)


def test_nothing_to_judge_is_refused(head: Head, photos: Path) -> None:
    shutil.rmtree(photos / "val")
    write_photographs(photos / "val", 2, label="ants")  # without classes
    with pytest.raises(LabelsError, match="no labelled image"):
        evaluate(head, photos, device="cpu")
