"""What is opened under a path: images before containers, one kind of them, or a refusal."""

from pathlib import Path

import numpy as np
import pytest

from bottleneck.data.images import is_collection, open_images
from bottleneck.errors import ImagesNotFoundError
from tests.helpers.archives import image_values, medmnist, png, write_parquet, write_tar


def test_images_in_a_folder_go_before_archives_in_it(tmp_path: Path) -> None:
    (tmp_path / "ants").mkdir()
    (tmp_path / "ants" / "1.png").write_bytes(png(1))
    write_tar(tmp_path / "backup.tar", {"2.png": png(2)})
    assert open_images(tmp_path).table.path[:] == ["ants/1.png"]


def test_a_folder_of_two_kinds_is_refused_with_what_was_seen(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"2.png": png(2)})
    write_parquet(tmp_path / "a.parquet", {"image": image_values([1])})
    with pytest.raises(ImagesNotFoundError, match="1 parquet files and 1 tar files: name one"):
        open_images(tmp_path)


def test_a_folder_of_one_array_is_that_array_and_of_two_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **medmnist({"train": 2}))
    assert open_images(tmp_path).table.path[0] == "a.npz/train/00000"
    np.savez(tmp_path / "b.npz", **medmnist({"train": 2}))
    with pytest.raises(ImagesNotFoundError, match=r"no images in .*, but 2 npz files: name one"):
        open_images(tmp_path)


@pytest.mark.parametrize("name", ["a.zip", "a.rar", "a.txt", "a.pt"])
def test_other_files_are_refused_with_what_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ImagesNotFoundError, match=r"neither .* nor one of \.tar .*\.npz"):
        open_images(tmp_path / name)


def test_a_folder_called_like_an_archive_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.tar" / "ants").mkdir(parents=True)
    (tmp_path / "a.tar" / "ants" / "1.png").write_bytes(png(1))
    assert open_images(tmp_path / "a.tar").table.label[:] == ["ants"]


def test_a_file_with_braces_in_its_name_is_that_file(tmp_path: Path) -> None:
    write_tar(tmp_path / "a-{0..1}.tar", {"2.png": png(2)})
    assert open_images(tmp_path / "a-{0..1}.tar").table.path[:] == ["a-{0..1}.tar/2.png"]


def test_collections_and_single_images_are_distinguished(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"2.png": png(2)})
    (tmp_path / "1.png").write_bytes(png(1))
    assert is_collection(tmp_path / "a.tar")
    assert is_collection(tmp_path)
    assert is_collection(Path("a-{0..1}.tar"))
    assert not is_collection(tmp_path / "1.png")
    assert not is_collection(Path("absent.tar"))
