import pickle
from pathlib import Path

import numpy as np
import pytest

from bottleneck.data.images import open_images
from bottleneck.data.sources.files.file_source import FileSource
from bottleneck.data.table.image_table import ImageTable
from bottleneck.errors import ImageError
from tests.helpers.image_folders import touch


def test_a_source_reads_its_rows_and_names_them(tmp_path: Path) -> None:
    (touch(tmp_path, "ants/1.jpg") / "ants" / "2.jpg").write_bytes(b"two")
    source = open_images(tmp_path)
    assert (source.read(0), source.read(1)) == (b"x", b"two")
    assert source.path(1) == str(tmp_path / "ants" / "2.jpg")
    (tmp_path / "ants" / "2.jpg").unlink()
    with pytest.raises(ImageError, match="No such file"):
        source.read(1)


@pytest.mark.parametrize("kind", [str, Path])
def test_images_are_opened_by_any_kind_of_path_or_are_a_source_already(
    tmp_path: Path, kind: type
) -> None:
    source = open_images(kind(touch(tmp_path, "1.jpg")))
    assert source.table.path == ["1.jpg"]
    assert open_images(source) is source


def test_another_table_gives_the_same_images_other_rows(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.jpg").write_bytes(name.encode())
    source = open_images(tmp_path)
    turned = source.with_table(source.table.take(np.array([2, 0])))
    assert [turned.read(0), turned.read(1)] == [b"c", b"a"]
    assert turned.path(0) == source.path(2)
    assert len(source.table) == 3


def test_single_files_are_a_source_without_labels(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg")
    source = FileSource.from_paths([tmp_path / "1.jpg", "gone.jpg", str(tmp_path / "1.jpg")])
    assert [source.path(row) for row in range(3)] == [
        str(tmp_path / "1.jpg"),
        "gone.jpg",
        str(tmp_path / "1.jpg"),
    ]
    assert source.table.size.tolist() == [1, -1, 1]
    assert not source.table.has_label.any()
    assert source.read(2) == b"x"


def test_a_pickled_source_does_not_depend_on_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "photos", "1.jpg")
    monkeypatch.chdir(tmp_path)
    source = open_images("photos")
    assert source.path(0) == str(Path("photos", "1.jpg"))
    pickled = pickle.dumps(source)
    monkeypatch.chdir("/")
    again = pickle.loads(pickled)
    assert again.read(0) == b"x"
    assert again.table == source.table


def test_a_source_says_which_image_this_process_does_not_see(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg")
    (tmp_path / "0.jpg").symlink_to("gone.jpg")  # did not exist in the first place
    source = open_images(tmp_path)
    assert source.missing_here() == ""
    (tmp_path / "1.jpg").unlink()
    assert source.missing_here() == str(tmp_path / "1.jpg")
    assert source.with_table(source.table.take(np.array([0]))).missing_here() == ""


def test_sources_are_equal_where_folder_and_table_are(tmp_path: Path) -> None:
    source = open_images(touch(tmp_path, "1.jpg", "2.jpg"))
    assert source == open_images(tmp_path)
    assert hash(source) == hash(open_images(tmp_path))
    assert source != source.with_table(source.table.take(np.array([0])))
    assert source.table != "a table"
    columns = source.table.texts
    older = ImageTable(*columns, source.table.size, source.table.mtime_ns - 1)
    assert source != source.with_table(older)
