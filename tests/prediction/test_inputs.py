"""Arguments of predict and evaluate become a head and a source of images."""

import os
import tarfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bottleneck.data.summary import summarize_images
from bottleneck.errors import (
    HeadError,
    ImagesNotFoundError,
    ImagesTableError,
    InvalidOptionError,
)
from bottleneck.fitting.heads.head import Head
from bottleneck.prediction.inputs import (
    expand_paths,
    open_head,
    open_predictor,
    open_sources,
)


def paths_of(names: str | Path | Iterable[str | Path]) -> list[Path]:
    source = open_sources(names)
    return [Path(source.path(row)) for row in range(len(source.table))]


def test_names_are_files_folders_and_patterns(photos: Path, tmp_path: Path) -> None:
    folder = photos / "val" / "ants"
    files = sorted(folder.iterdir())
    assert paths_of(str(files[0])) == [files[0]]
    assert paths_of(folder) == files
    assert paths_of(str(folder / "*.png")) == [path for path in files if path.suffix == ".png"]
    assert paths_of(str(photos / "val" / "**" / "ants000.jpg")) == [folder / "ants000.jpg"]
    odd = tmp_path / "a[1].jpg"  # a file's own name goes before a pattern
    odd.touch()
    assert expand_paths(str(odd)) == [odd]
    for absent in ("absent.jpg", "absent/*.jpg", "absent.tar"):
        with pytest.raises(ImagesNotFoundError, match="absent"):
            open_sources(absent)


def test_a_csv_gives_its_paths_in_its_order(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "some.CSV").write_text("label,path\nx,b.jpg\ny,../a.jpg\n")
    (tmp_path / "lists" / "more.csv").write_text("path\nc.jpg\n")
    folder = tmp_path / "lists"
    assert paths_of(folder / "some.CSV") == [folder / "b.jpg", folder / "../a.jpg"]
    assert paths_of(str(folder / "*.csv")) == [folder / "c.jpg"]
    (folder / "bad.csv").write_text("url\na.jpg\n")
    with pytest.raises(ImagesTableError, match="no column 'path'"):
        open_sources(folder / "bad.csv")


def test_files_and_archives_are_mixed_in_the_order_in_which_they_are_named(
    photos: Path, tmp_path: Path
) -> None:
    first, second, *_ = sorted((photos / "val" / "ants").iterdir())
    for name in ("a-0.tar", "a-1.tar"):
        with tarfile.open(tmp_path / name, "w") as archive:
            archive.add(second, "ants/2.jpg")
    names = [first, tmp_path / "a-{0..1}.tar", first, second]
    source = open_sources(names)
    assert [source.path(row) for row in range(5)] == [
        str(first),
        str(tmp_path / "a-0.tar" / "ants" / "2.jpg"),
        str(tmp_path / "a-1.tar" / "ants" / "2.jpg"),
        str(first),
        str(second),
    ]
    expected = [first, second, second, first, second]
    assert [source.read(row) for row in range(5)] == [path.read_bytes() for path in expected]
    assert source.missing_here() == ""
    (tmp_path / "a-1.tar").unlink()
    assert source.missing_here() == str(tmp_path / "a-1.tar")
    assert paths_of(str(tmp_path / "*.tar")) == [tmp_path / "a-0.tar" / "ants" / "2.jpg"]


def test_a_head_is_itself_or_read_from_its_file(head: Head, tmp_path: Path) -> None:
    head.save(tmp_path / "a.head")
    assert open_head(head) is head
    for path in (tmp_path / "a.head", str(tmp_path / "a.head")):
        opened = open_head(path)
        assert isinstance(opened, Head)
        assert opened.coef.tolist() == head.coef.tolist()
    with pytest.raises(HeadError, match="no head at"):
        open_head(tmp_path / "absent.head")


def test_objects_that_are_no_head_are_refused_with_a_hint() -> None:
    for opens in (open_head, open_predictor):
        with pytest.raises(InvalidOptionError, match=r"`head='object'`: .* `head`, .* `tail`"):
            opens(object())  # type: ignore[arg-type]


def test_paths_may_come_from_an_iterator(photos: Path) -> None:
    found = sorted((photos / "train" / "ants").glob("*.jpg"))
    assert found and paths_of(iter(found)) == found


@pytest.mark.parametrize("wrong", [np.zeros((2, 8, 8, 3)), [np.zeros((8, 8, 3))], 3, None, b"x"])
def test_objects_that_are_no_path_are_refused_with_the_next_step(wrong: Any) -> None:
    with pytest.raises(InvalidOptionError, match=r"`images='\w+'`: must be paths, .*`numpy.savez`"):
        open_sources(wrong)


def test_the_bytes_of_a_file_are_named_as_such() -> None:
    with pytest.raises(InvalidOptionError, match=r"`images='bytes'`.*`bottleneck.export` writes"):
        open_sources(b"\xff\xd8")  # type: ignore[arg-type]


def test_files_beside_the_images_are_counted_over_all_names(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "a/2.cr2", "b/train/3.jpg", "b/training/4.jpg", "b/5.cr2"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    source = open_sources([tmp_path / "a", tmp_path / "b", tmp_path / "a" / "1.jpg"])
    assert len(source.table) == 4  # splits do not matter, and are not refused
    assert summarize_images(source).counts == (
        "4 images; 2 files of kinds that are not read: 2 .cr2"
    )


def test_each_image_of_a_folder_is_looked_up_once(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: Counter[str] = Counter()
    stat = os.stat

    def count(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        looked_up[os.path.basename(path) if isinstance(path, str) else ""] += 1  # noqa: PTH119
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", count)
    table = open_sources([photos]).table
    names = [Path(path).name for path in table.path]
    assert names
    assert {looked_up[name] for name in names} == {names.count(name) for name in names}
    assert table.size.tolist() == [Path(path).stat().st_size for path in table.path]
