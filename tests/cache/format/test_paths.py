from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottleneck.cache.format.paths import (
    files_in,
    list_foreign,
    list_series,
    list_shards,
    series_dir,
    shard_path,
)
from bottleneck.cache.format.series import Series


def stand(folder: Path, *places: str) -> None:
    for place in places:
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize(
    ("shard", "place"),
    [
        (0, "00000.h5"),
        (999, "00999.h5"),
        (1000, "1/01000.h5"),
        (7123, "7/07123.h5"),
        (99_999, "99/99999.h5"),
        (1_234_567, "1234/1234567.h5"),
    ],
)
def test_each_thousand_shards_have_their_own_folder(tmp_path: Path, shard: int, place: str) -> None:
    assert shard_path(tmp_path, shard) == tmp_path / place
    stand(tmp_path, place)
    assert list_shards(tmp_path) == [shard]


@given(st.sets(st.integers(0, 10**7), max_size=30))
def test_no_two_shards_have_one_place(shards: set[int]) -> None:
    places = {shard_path(Path("layer3"), shard) for shard in shards}
    assert len(places) == len(shards)


def test_no_folder_holds_more_than_two_thousand_names() -> None:
    folders: dict[Path, set[str]] = {}
    for shard in range(12_000):
        place = shard_path(Path("layer3"), shard)
        folders.setdefault(place.parent, set()).add(place.name)
        folders.setdefault(place.parent.parent, set()).add(place.parent.name)
    assert max(len(names) for names in folders.values()) <= 1000 + 12


def test_only_files_in_their_own_place_are_shards(tmp_path: Path) -> None:
    stand(tmp_path, "00003.h5", "2/02001.h5", "00000.h5")
    strangers = [
        "01000.h5",
        "1/00001.h5",
        "3.h5",
        "2/notes.txt",
        "notes.h5",
        "3/2/03000.h5",
        "٣.h5",
    ]
    stand(tmp_path, *strangers, ".00005.h5.host.1.ab.tmp~", "2/.02002.h5.host.1.ab.tmp~")
    assert list_shards(tmp_path) == [0, 3, 2001]
    found = {path.relative_to(tmp_path).as_posix() for path in files_in(tmp_path)}
    assert found == {"00003.h5", "2/02001.h5", "00000.h5", *strangers}


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert list_shards(tmp_path / "gone") == []
    assert files_in(tmp_path / "gone") == []
    assert list_series(tmp_path) == []


def test_a_layers_folder_goes_back_to_its_name(tmp_path: Path) -> None:
    names = ["block/é", "features.12", "a%2Fb", "ü\n"]
    for name in names:
        series_dir(tmp_path, name).mkdir(parents=True)
    assert list_series(tmp_path) == [Series(name) for name in sorted(names)]


def test_a_view_has_a_folder_that_no_layers_name_could_have(tmp_path: Path) -> None:
    for series in (Series("a@1"), Series("a", 2), Series("b@1", 1)):
        series_dir(tmp_path, series).mkdir(parents=True)
    for name in ("c@0", "c@01", "c@x", "c@1@1", "c@٣", "c@1000", "@1", ".ipynb_checkpoints"):
        (tmp_path / "codes" / name).mkdir()
    a, b = ([Series(name, view) for view in range(n)] for name, n in (("a", 3), ("b@1", 2)))
    assert list_series(tmp_path) == [*a, Series("a@1"), *b]


def test_folders_that_are_of_no_layer_are_told_from_those_of_layers(tmp_path: Path) -> None:
    codes = tmp_path / "codes"
    stand(codes, "a/00000.h5", "a/notes.txt", "many/1/01000.h5", "thumbs/0.png", "a%2fb/00000.h5")
    for name in ("begun", "my notes", ".hidden", "%FF"):
        (codes / name).mkdir()
    assert list_series(tmp_path) == [Series("a"), Series("begun"), Series("many")]
    names = [folder.name for folder in list_foreign(tmp_path)]
    assert names == ["%FF", "a%2fb", "my notes", "thumbs"]
