"""Arguments of predict and evaluate become a head and image files."""

from pathlib import Path

import pytest

from bottleneck.data.summary import summarize_images
from bottleneck.errors import HeadError, ImagesNotFoundError, ImagesTableError
from bottleneck.fitting.head import Head
from bottleneck.prediction.inputs import expand_paths, open_head, open_sources


def test_names_are_files_folders_and_patterns(photos: Path, tmp_path: Path) -> None:
    folder = photos / "val" / "ants"
    files = sorted(folder.iterdir())
    assert expand_paths(str(files[0])) == [files[0]]
    assert expand_paths(folder) == files
    assert expand_paths(str(folder / "*.png")) == [path for path in files if path.suffix == ".png"]
    assert expand_paths(str(photos / "val" / "**" / "ants000.jpg")) == [folder / "ants000.jpg"]
    odd = tmp_path / "a[1].jpg"  # a file's own name goes before a pattern
    odd.touch()
    assert expand_paths(str(odd)) == [odd]
    for absent in ("absent.jpg", "absent/*.jpg"):
        with pytest.raises(ImagesNotFoundError, match="absent"):
            expand_paths(absent)


def test_a_csv_gives_its_paths_in_its_order(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "some.CSV").write_text("label,path\nx,b.jpg\ny,../a.jpg\n")
    (tmp_path / "lists" / "more.csv").write_text("path\nc.jpg\n")
    folder = tmp_path / "lists"
    assert expand_paths(folder / "some.CSV") == [folder / "b.jpg", folder / "../a.jpg"]
    assert expand_paths(str(folder / "*.csv")) == [folder / "c.jpg"]
    (folder / "bad.csv").write_text("url\na.jpg\n")
    with pytest.raises(ImagesTableError, match="no column 'path'"):
        expand_paths(folder / "bad.csv")


def test_a_head_is_itself_or_read_from_its_file(head: Head, tmp_path: Path) -> None:
    head.save(tmp_path / "a.head")
    assert open_head(head) is head
    for path in (tmp_path / "a.head", str(tmp_path / "a.head")):
        assert open_head(path).coef.tolist() == head.coef.tolist()
    with pytest.raises(HeadError, match="no head at"):
        open_head(tmp_path / "absent.head")


def test_what_is_found_beside_the_images_of_all_names_is_noted(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "a/2.heic", "b/train/3.jpg", "b/training/4.jpg", "b/5.heic"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    source = open_sources([tmp_path / "a", tmp_path / "b", tmp_path / "a" / "1.jpg"])
    assert len(source.table) == 4  # splits do not matter, and are not refused
    assert summarize_images(source).counts == (
        "4 images; 2 files of kinds that are not read: 2 .heic"
    )
