"""Images in HDF5 files: datasets, labels, what is refused, threads."""

import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bottleneck.data.decoding.decode import decode_image
from bottleneck.data.images import open_images
from bottleneck.data.summary import summarize_images
from bottleneck.errors import ContainerError, ImagesNotFoundError, ImagesTableError
from tests.helpers.archives import picture
from tests.helpers.image_tables import one_line


def write_hdf5(path: Path, **datasets: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
    return path


@pytest.mark.parametrize("options", [{}, {"chunks": (5, 16, 24, 3), "compression": "gzip"}])
def test_datasets_give_images_labels_splits_and_groups(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    pixels = picture(0, 12, 16, 24, 3)
    path = write_hdf5(
        tmp_path / "a.h5",
        labels=[["cat"], ["dog"]] * 6,
        split=["train"] * 8 + ["test"] * 4,
        group=np.arange(12) // 2,
    )
    with h5py.File(path, "a") as file:
        file.create_dataset("images", data=pixels, **options)
    source = open_images(path)
    table = source.table
    assert table.path[11] == "a.h5/00011"
    assert table.label[:3] == ["cat", "dog", "cat"]
    assert table.split[7:9] == ["train", "test"]
    assert table.group[:4] == ["0", "0", "1", "1"]
    with ThreadPoolExecutor(4) as threads:
        for row, data in enumerate(threads.map(source.read, range(12))):
            np.testing.assert_array_equal(decode_image(data), pixels[row])


def test_several_labels_are_0_and_1(tmp_path: Path) -> None:
    labels = np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=np.uint8)
    path = write_hdf5(tmp_path / "a.hdf5", images=picture(0, 3, 8, 8), labels=labels)
    assert open_images(path).table.label[:] == ["0|1", "2", "none"]


def test_deep_grey_values_keep_their_bits(tmp_path: Path) -> None:
    values = np.array([[[0x0102, 0xFFFE]]], dtype=np.uint16)
    data = open_images(write_hdf5(tmp_path / "a.h5", images=values)).read(0)
    assert data == b"P5 2 1 65535\n\x01\x02\xff\xfe"


def test_links_to_other_datasets_are_refused(tmp_path: Path) -> None:
    other = write_hdf5(tmp_path / "other.h5", images=picture(0, 2, 8, 8))
    path = tmp_path / "a.h5"

    def refused(said: str) -> None:
        with pytest.raises(ImagesTableError, match=said) as caught:
            open_images(path)
        assert one_line(caught)

    with h5py.File(path, "w") as file:
        file["images"] = h5py.ExternalLink(other, "images")
    refused("not a dataset that lies in this file itself")
    with h5py.File(path, "w") as file:
        file["real"] = picture(0, 2, 8, 8)
        file["images"] = h5py.SoftLink("/real")
    refused("not a dataset that lies in this file itself")
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout((2, 8, 8), np.uint8)
        layout[:] = h5py.VirtualSource(other, "images", (2, 8, 8))
        file.create_virtual_dataset("images", layout)
    refused("not a dataset that lies in this file itself")
    with h5py.File(path, "w") as file:
        file.create_group("images")
    refused("not a dataset that lies in this file itself")
    with h5py.File(path, "w") as file:
        file.create_dataset("images", (1 << 40, 28, 28), np.uint8, chunks=(1, 28, 28))
    refused("claims .* bytes and has 0")


@pytest.mark.parametrize(
    ("datasets", "said"),
    [
        ({"photos": [1]}, "no dataset 'images'; it has photos"),
        ({"images": np.zeros((2, 8, 8))}, "holds float64"),
        ({"images": picture(0, 2, 8, 8), "labels": [1]}, r"shape \(1,\), for 2 images"),
        ({"images": picture(0, 2, 8, 8), "labels": 3}, r"shape \(\), for 2 images|labels"),
    ],
)
def test_other_datasets_are_refused(tmp_path: Path, datasets: dict[str, Any], said: str) -> None:
    with pytest.raises(ImagesTableError, match=said):
        open_images(write_hdf5(tmp_path / "a.h5", **datasets))


@pytest.mark.parametrize("options", [{}, {"chunks": (5, 8, 8), "maxshape": (None, 8, 8)}])
def test_a_dataset_without_rows_has_no_images(tmp_path: Path, options: dict[str, Any]) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", (0, 8, 8), np.uint8, **options)
        file["labels"] = np.zeros(0, np.int64)
    with pytest.raises(ImagesNotFoundError, match=r"no images in .*a\.h5: it is empty"):
        open_images(tmp_path / "a.h5")


def test_a_file_that_another_program_writes_is_not_called_damaged(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "a.h5", images=picture(0, 3, 8, 8))
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # as HDF5 does
        with pytest.raises(ImagesTableError, match=r"a\.h5 is open for writing in another pr") as e:
            open_images(path)
    assert one_line(e)
    assert len(open_images(path).table) == 3


def test_a_file_that_is_not_hdf5_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"junk" * 100)
    with pytest.raises(ImagesTableError, match="is not an HDF5 file, or a damaged one") as caught:
        open_images(tmp_path / "a.h5")
    assert one_line(caught)


def test_a_file_that_is_written_anew_is_not_read_by_its_old_places(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "a.h5", images=picture(0, 3, 8, 8))
    source = open_images(path)
    write_hdf5(path, images=picture(1, 4, 8, 8))
    os.utime(path, ns=(0, 1))
    with pytest.raises(ContainerError, match=r"a\.h5 changed while it was in use"):
        source.read(0)


def test_a_file_that_is_written_over_while_it_is_open_gives_no_other_images(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "a.h5", images=picture(0, 3, 8, 8))
    other = write_hdf5(tmp_path / "b.h5", images=picture(1, 3, 8, 8)).read_bytes()
    source = open_images(path)
    source.read(0)
    path.write_bytes(other)
    os.utime(path, ns=(0, 1))
    with pytest.raises(ContainerError, match=r"a\.h5 changed while it was in use"):
        source.read(1)


def test_datasets_that_are_not_used_are_named_and_flags_refused(tmp_path: Path) -> None:
    pixels = picture(0, 4, 8, 8)
    columns = {"images": pixels, "label": [0, 1, 0, 1], "subset": ["train"] * 2 + ["Test"] * 2}
    path = write_hdf5(tmp_path / "a.h5", **columns, camera=[1] * 4)
    assert summarize_images(path).remarks() == ["datasets that are not used: 'camera'"]
    table = open_images(path).table
    assert (table.label[:], table.split[:]) == (["0", "1"] * 2, ["train"] * 2 + ["test"] * 2)
    with pytest.raises(ImagesTableError, match="the dataset 'is_train' looks like a split"):
        open_images(write_hdf5(tmp_path / "b.h5", images=pixels, is_train=[1, 1, 0, 0]))


def test_channels_that_are_first_are_named(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "a.h5", images=np.moveaxis(picture(0, 4, 8, 9, 3), 3, 1))
    with pytest.raises(ImagesTableError, match=r"channels are first: save numpy.moveaxis"):
        open_images(path)
