"""Names of containers: kinds, ranges, splits."""

from pathlib import Path

import pytest

from bottleneck.data.sources.container_names import (
    container_kind,
    expand_shards,
    find_containers,
    is_shard_pattern,
    split_of_container,
)
from bottleneck.errors import ImagesNotFoundError
from tests.helpers.image_folders import touch


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.tar", "tar"),
        ("A.TAR", "tar"),
        ("a.tar.gz", "tar"),
        ("a.tgz", "tar"),
        ("a.parquet", "parquet"),
        ("a.npz", "npz"),
        ("a.hdf5", "hdf5"),
        ("a.jpg", None),
        ("a.gz", None),
        ("tar", None),
        ("a.tar.txt", None),
    ],
)
def test_the_end_of_a_name_says_the_kind(name: str, kind: str | None) -> None:
    assert container_kind(name) == kind


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a-{0..2}.tar", ["a-0.tar", "a-1.tar", "a-2.tar"]),
        ("a-{098..100}.tar", ["a-098.tar", "a-099.tar", "a-100.tar"]),
        ("{b,a}/{1..1}.tar", ["b/1.tar", "a/1.tar"]),
        ("a.tar", ["a.tar"]),
    ],
)
def test_braces_stand_for_names(pattern: str, names: list[str]) -> None:
    assert expand_shards(pattern) == names


@pytest.mark.parametrize(
    "pattern", ["a-{}.tar", "a-{5..1}.tar", "a-{a..c}.tar", "a-{1..2..3}.tar", "a-{0..-1}.tar"]
)
def test_other_braces_are_refused(pattern: str) -> None:
    with pytest.raises(ImagesNotFoundError, match="in braces there must be a range"):
        expand_shards(pattern)


@pytest.mark.parametrize(
    "pattern", ["a-{0..99999999999999999}.tar", "{0..9999}{0..9999}.tar", "{0..999999}{a,b}.tar"]
)
def test_more_names_than_a_disk_has_are_refused_at_once(pattern: str) -> None:
    with pytest.raises(ImagesNotFoundError, match="more than 1000000 files"):
        expand_shards(pattern)


def test_a_pattern_has_braces_and_the_name_of_a_container() -> None:
    assert is_shard_pattern("a-{0..1}.tar")
    assert not is_shard_pattern("a-{0..1}.jpg")
    assert not is_shard_pattern("a-0.tar")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00002.parquet", "train"),
        ("Training.parquet", "train"),
        ("imagenet_val_001.tar", "val"),
        ("dev.tar", "val"),
        ("data/eval-0.tar", "test"),
        ("validation/0000.parquet", "val"),
        ("train2017.tar", "train"),
        ("contest.tar", ""),
        ("strain.tar", ""),
        ("train-val.tar", ""),
        ("a/b.tar", ""),
    ],
)
def test_whole_words_of_a_name_are_splits(name: str, split: str) -> None:
    assert split_of_container(name) == split


def test_containers_are_found_below_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "b.tar", "a/c.tar", "x.parquet", ".hidden.tar", ".git/d.tar", "notes.txt")
    touch(tmp_path / "a.cache", "spec.json", "images.csv", "codes.h5", "codes/layer3/00000.h5")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "linked.tar").symlink_to("b.tar")
    assert find_containers(tmp_path) == {
        "parquet": ["x.parquet"],
        "tar": ["a/c.tar", "b.tar", "linked.tar"],
    }
