"""Images in .npz files: MedMNIST's layout, stored and compressed, labels, damage."""

import os
import pickle
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bottleneck.data.decoding.decode import decode_image
from bottleneck.data.images import open_images
from bottleneck.data.sources.arrays import npz
from bottleneck.data.summary import summarize_images
from bottleneck.errors import ContainerError, ImageError, ImagesNotFoundError, ImagesTableError
from tests.helpers.archives import medmnist, picture
from tests.helpers.image_tables import one_line

SAVE = {"stored": np.savez, "compressed": np.savez_compressed}


@pytest.fixture(params=SAVE)
def save(request: pytest.FixtureRequest) -> Callable[..., None]:
    return SAVE[request.param]


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_the_splits_of_medmnist_are_read_pixel_by_pixel(
    tmp_path: Path, save: Callable[..., None], channels: tuple[int, ...]
) -> None:
    path = tmp_path / "medmnist.npz"
    arrays = medmnist({"train": 7, "val": 2, "test": 3}, 28, 20, *channels)
    save(path, **arrays)
    source = open_images(path)
    table = source.table
    assert table.path[6:8] == ["medmnist.npz/train/00006", "medmnist.npz/val/00000"]
    assert table.split[:] == ["train"] * 7 + ["val"] * 2 + ["test"] * 3
    assert table.label[:] == list("0120120") + list("01") + list("012")
    assert table.size.tolist() == [28 * 20 * (3 if channels == (3,) else 1)] * 12
    assert set(table.mtime_ns.tolist()) == {path.stat().st_mtime_ns}
    pixels = np.concatenate([arrays[f"{split}_images"] for split in ("train", "val", "test")])
    for row in range(12):
        expected = pixels[row].reshape(28, 20, -1)
        np.testing.assert_array_equal(
            decode_image(source.read(row)), np.broadcast_to(expected, (28, 20, 3))
        )


def test_images_without_splits_or_labels_are_images(
    tmp_path: Path, save: Callable[..., None]
) -> None:
    save(tmp_path / "a.npz", images=picture(0, 3, 8, 8))
    table = open_images(tmp_path / "a.npz").table
    assert table.path[:] == ["a.npz/00000", "a.npz/00001", "a.npz/00002"]
    assert (table.label.categories, table.split.categories) == ([""], [""])


def test_splits_and_groups_beside_images_are_read(
    tmp_path: Path, save: Callable[..., None]
) -> None:
    columns = {"target": [0, 1, 0], "subset": ["train", "train", "Test"], "groups": [7, 7, 8]}
    save(tmp_path / "a.npz", images=picture(0, 3, 8, 8), camera=[1, 1, 1], **columns)
    table = open_images(tmp_path / "a.npz").table
    assert summarize_images(tmp_path / "a.npz").remarks() == ["arrays that are not used: 'camera'"]
    assert table.label[:] == ["0", "1", "0"]
    assert table.split[:] == ["train", "train", "test"]
    assert table.group[:] == ["7", "7", "8"]


def test_an_array_that_tells_splits_under_another_name_is_refused(
    tmp_path: Path, save: Callable[..., None]
) -> None:
    flags = {"images": picture(0, 3, 8, 8), "is_test": [0, 0, 1]}
    for arrays in (flags, flags | medmnist({"val": 2})):
        save(tmp_path / "a.npz", **arrays)
        with pytest.raises(ImagesTableError, match="the array 'is_test' looks like a split"):
            open_images(tmp_path / "a.npz")
    save(tmp_path / "b.npz", is_test=[0, 1], **medmnist({"val": 2}))
    assert open_images(tmp_path / "b.npz").table.split[:] == ["val", "val"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([4, 5, 6], ["4", "5", "6"]),
        ([[4], [5], [6]], ["4", "5", "6"]),
        ([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]], ["0|3", "1", "none"]),
        (np.asfortranarray([[1, 0], [1, 0], [0, 1]]), ["0", "0", "1"]),
        (["cat", "dog ", "cat"], ["cat", "dog", "cat"]),
        ([b"cat", b"dog", b"cat"], ["cat", "dog", "cat"]),
    ],
)
def test_labels_are_classes_or_several_of_0_and_1(
    tmp_path: Path, save: Callable[..., None], labels: Any, expected: list[str]
) -> None:
    save(tmp_path / "a.npz", images=picture(0, 3, 8, 8), labels=labels)
    assert open_images(tmp_path / "a.npz").table.label[:] == expected


def test_pixels_of_16_bits_keep_their_values(tmp_path: Path, save: Callable[..., None]) -> None:
    values = np.array([[[0x0102, 0xFF00], [0x1234, 0xFFFF]]], dtype=np.uint16)
    for kind in ("<u2", ">u2"):
        save(tmp_path / "a.npz", images=values.astype(kind))
        data = open_images(tmp_path / "a.npz").read(0)
        assert data == b"P5 2 2 65535\n" + bytes.fromhex("0102ff001234ffff")
        high = decode_image(data)[..., 0]
        assert high.tolist() == [[0x01, 0xFF], [0x12, 0xFF]]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": picture(0, 3, 8, 8)}, "no array train_images, .*; it has x"),
        ({"images": picture(0, 8, 8)}, r"'images' has the shape \(8, 8\)"),
        ({"images": picture(0, 3, 8, 8, 4)}, r"shape \(3, 8, 8, 4\): images must be"),
        ({"images": picture(0, 3, 3, 8, 8)}, r"shape \(3, 3, 8, 8\): images must be"),
        ({"images": np.zeros((3, 8, 8), np.float32)}, "holds float32: pixels must be uint8"),
        ({"images": np.zeros((3, 8, 8), np.int16)}, "holds int16"),
        ({"images": np.zeros((3, 0, 8), np.uint8)}, "no pixels"),
        ({"images": np.asfortranarray(picture(0, 3, 8, 8))}, "Fortran's order"),
        ({"images": picture(0, 3, 8, 8), "labels": [1, 2]}, r"shape \(2,\), for 3 images"),
        ({"images": picture(0, 3, 8, 8), "labels": [0.5, 1, 2]}, "holds float64: give integers"),
        ({"images": picture(0, 3, 8, 8), "labels": [[0, 2]] * 3}, "other values than 0 and 1"),
        ({"images": picture(0, 3, 8, 8), "labels": [[[1]]] * 3}, r"shape \(3, 1, 1\)"),
        ({"images": picture(0, 2, 8, 8), "labels": ["a\ud83d", "b"]}, r"holds 'a\\ud83d': give"),
        (
            {"images": picture(0, 3, 8, 8), "labels": np.array([{}, 1, ""], dtype=object)},
            r"a\.npz: 'labels' holds Python objects, .*: save labels\.astype\(str\)",
        ),
    ],
)
def test_arrays_that_are_no_images_or_labels_are_refused(
    tmp_path: Path, save: Callable[..., None], arrays: dict[str, NDArray[Any]], said: str
) -> None:
    save(tmp_path / "a.npz", **arrays)
    with pytest.raises(ImagesTableError, match=said) as caught:
        open_images(tmp_path / "a.npz")
    assert one_line(caught)


def test_an_array_without_rows_has_no_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((0, 8, 8), np.uint8))
    with pytest.raises(ImagesNotFoundError, match="no images"):
        open_images(tmp_path / "a.npz")


def test_a_compressed_array_that_is_too_large_is_refused_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npz, "_MOST_LOADED", 1000)
    arrays = medmnist({"train": 9})
    np.savez(tmp_path / "stored.npz", **arrays)
    np.savez_compressed(tmp_path / "compressed.npz", **arrays)
    assert len(open_images(tmp_path / "stored.npz").table) == 9
    with pytest.raises(
        ImagesTableError, match="is compressed and takes 7056 bytes, more than 1000"
    ):
        open_images(tmp_path / "compressed.npz")


def test_a_compressed_array_is_loaded_once_for_all_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "a.npz", **medmnist({"train": 40}))
    source = open_images(tmp_path / "a.npz")
    calls: list[int] = []
    load = npz._CompressedPixels._load

    def count(self: Any) -> Any:
        calls.append(1)
        return load(self)

    monkeypatch.setattr(npz._CompressedPixels, "_load", count)
    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(source.read, range(40)))) == 40
    assert calls == [1]


def test_a_file_that_is_no_zip_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"PK\x03\x04junk", b"\x93NUMPY" + bytes(100)):
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(ImagesTableError, match=r"is not an \.npz file, or a damaged one"):
            open_images(tmp_path / "a.npz")


def test_pixels_that_are_cut_off_or_claim_too_much_are_refused(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w") as archive,
        archive.open("images.npy", "w") as file,
    ):
        header = {"descr": "|u1", "fortran_order": False, "shape": (1 << 40, 28, 28)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(1000))
    with pytest.raises(ImagesTableError, match=r"claims .* bytes of pixels and has 1000"):
        open_images(tmp_path / "a.npz")


def test_damaged_compressed_pixels_reject_their_images_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=picture(0, 20, 28, 28))
    source = open_images(path)
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[3000:3100] = bytes(100)
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(ImageError, match=r"cannot be read: a\.npz: ") as caught:
        source.read(0)
    assert one_line(caught)


def test_a_file_that_is_written_anew_is_not_read_by_its_old_places(
    tmp_path: Path, save: Callable[..., None]
) -> None:
    save(tmp_path / "a.npz", images=picture(0, 3, 8, 8))
    source = open_images(tmp_path / "a.npz")
    save(tmp_path / "a.npz", images=picture(1, 4, 8, 8))
    with pytest.raises(ContainerError, match=r"a\.npz changed while it was in use"):
        source.read(0)


def test_a_file_that_is_written_anew_while_it_is_loaded_gives_no_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=picture(0, 3, 8, 8))
    source = open_images(path)
    fill = npz._fill

    def rewriting(*arguments: Any) -> int:
        np.savez_compressed(path, images=picture(1, 3, 8, 8))
        os.utime(path, ns=(0, 1))
        return fill(arguments[0], zipfile.ZipFile(path), arguments[2])

    monkeypatch.setattr(npz, "_fill", rewriting)
    with pytest.raises(ContainerError, match=r"a\.npz changed while it was in use"):
        source.read(0)


def test_a_pickled_source_reads_the_same_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: Callable[..., None]
) -> None:
    save(tmp_path / "a.npz", **medmnist({"train": 5}))
    monkeypatch.chdir(tmp_path)
    source = open_images("a.npz")
    pickled = pickle.dumps(source.with_table(source.table.take(np.array([3]))))
    expected = source.read(3)
    monkeypatch.chdir("/")
    assert pickle.loads(pickled).read(0) == expected
