"""Images in tar archives: names, labels, splits, links, damage, memory."""

import io
import json
import pickle
import sys
import tarfile
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bottleneck.data.images import open_images
from bottleneck.data.sources import container
from bottleneck.data.summary import summarize_images
from bottleneck.data.table.image_table import ImageTable
from bottleneck.errors import (
    ContainerError,
    ImageError,
    ImagesNotFoundError,
    ImagesTableError,
    LabelsError,
)
from tests.helpers.archives import png, shard, write_tar
from tests.helpers.image_folders import touch
from tests.helpers.image_tables import one_line

Row = tuple[str, str, str]


def rows_of(path: Path | str) -> list[Row]:
    table = open_images(path).table
    return list(zip(table.path, table.label, table.split, strict=True))


def archive_of(path: Path, *names: str) -> Path:
    return write_tar(path, dict.fromkeys(names, b"x"))


def add_links(path: Path, *links: tuple[str, bytes, str]) -> None:
    """Append links to an archive: name, kind, target."""
    with tarfile.open(path, "a") as archive:
        for name, kind, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)


# WebDataset


def test_a_shard_gives_images_and_their_classes(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a-000.tar", shard(range(4)))
    source = open_images(path)
    assert rows_of(path) == [(f"a-000.tar/{i:04d}.png", str(i % 3), "") for i in range(4)]
    assert [source.read(row) for row in range(4)] == [png(i) for i in range(4)]
    assert source.path(1) == str(tmp_path / "a-000.tar" / "0001.png")
    assert source.table.size.tolist() == [len(png(i)) for i in range(4)]
    assert set(source.table.mtime_ns.tolist()) == {path.stat().st_mtime_ns}
    assert source.missing_here() == ""


def test_shards_of_a_folder_and_of_a_range_are_the_same_rows(tmp_path: Path) -> None:
    for number in range(3):
        write_tar(tmp_path / f"a-{number:03d}.tar", shard(range(4 * number, 4 * number + 4)))
    everything = open_images(tmp_path)
    assert everything.table == open_images(tmp_path / "a-{000..002}.tar").table
    assert everything.read(9) == png(9)
    two = open_images(f"{tmp_path}/a-{{000,002}}.tar")
    assert [two.path(row) for row in (3, 4)] == [
        str(tmp_path / "a-000.tar" / "0003.png"),
        str(tmp_path / "a-002.tar" / "0008.png"),
    ]
    with pytest.raises(ImagesNotFoundError, match=r"2 of the 5 files .* example .*a-003\.tar"):
        open_images(tmp_path / "a-{000..004}.tar")


@pytest.mark.parametrize(
    ("beside", "label", "split", "group"),
    [
        ({"cls": b"7"}, "7", "", ""),
        ({"cls": b" cat \n"}, "cat", "", ""),
        ({"cls": b"\xef\xbb\xbfcat"}, "cat", "", ""),
        ({"CLS": b"7"}, "7", "", ""),
        ({"txt": b"cat\n"}, "cat", "", ""),
        ({"txt": b"two\nlines"}, "", "", ""),
        ({"txt": b"caption " * 50}, "", "", ""),
        ({"json": b'{"label": 3}'}, "3", "", ""),
        ({"json": b'{"class": "cat"}'}, "cat", "", ""),
        ({"json": b'{"Label": 2.0}'}, "2", "", ""),
        ({"json": b'{"label": ["cat", "dog"]}'}, "cat|dog", "", ""),
        ({"json": b'{"label": ["cat", null, ""]}'}, "cat", "", ""),
        ({"json": b'{"label": null, "class": "cat"}'}, "cat", "", ""),
        ({"json": b'{"split": "test", "group": 12, "width": 5}'}, "", "test", "12"),
        ({"json": b"[1, 2]", "cls": b"1"}, "1", "", ""),
        ({"cls": b"1", "txt": b"a caption", "json": b'{"label": 2}'}, "1", "", ""),
        ({"txt": b"a caption", "json": b'{"label": 2}'}, "2", "", ""),
    ],
)
def test_files_beside_an_image_give_its_label_split_and_group(
    tmp_path: Path, beside: dict[str, bytes], label: str, split: str, group: str
) -> None:
    members = {"photos/1.jpg": b"x"} | {f"photos/1.{kind}": data for kind, data in beside.items()}
    write_tar(tmp_path / "a.tar", members)
    table = open_images(tmp_path / "a.tar").table
    assert table.label[:] == [label or "photos"]  # else that of its folder
    assert (table.split[0], table.group[0]) == (split, group)


def test_labels_are_found_in_any_order_of_the_members_and_by_the_name_up_to_a_dot(
    tmp_path: Path,
) -> None:
    members = {"b/1.jpg": b"x", "a/1.photo.jpg": b"x", "a/1.cls": b"1", "b/1.cls": b"2"}
    write_tar(tmp_path / "a.tar", members)
    assert open_images(tmp_path / "a.tar").table.label[:] == ["2", "1"]


def test_texts_are_labels_only_where_every_image_has_one(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"cats/1.jpg": b"x", "cats/1.txt": b"note", "dogs/2.jpg": b"x"})
    assert open_images(tmp_path / "a.tar").table.label[:] == ["cats", "dogs"]


def test_an_image_without_a_class_among_those_that_have_one_has_no_label(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"x/1.jpg": b"x", "x/1.cls": b"1", "x/2.jpg": b"x"})
    assert open_images(tmp_path / "a.tar").table.label[:] == ["1", ""]


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"1.jpg": b"", "1.json": b"{"}, "'1.json': is not JSON"),
        ({"1.jpg": b"", "1.json": b"[" * 100_000}, "'1.json': is not JSON"),
        ({"1.jpg": b"", "1.json": b"\xff"}, "'1.json': is not JSON"),
        ({"1.jpg": b"", "1.json": b'{"label": {"a": 1}}'}, "'1.json': its label is"),
        ({"1.jpg": b"", "1.json": b'{"label": true}'}, "'1.json': its label is"),
        ({"1.jpg": b"", "1.json": b'{"label": "a\\u0000"}'}, "'1.json': its label is"),
        ({"1.jpg": b"", "1.json": b'{"label": "a\\ud83d"}'}, "'1.json': its label is"),
        ({"1.jpg": b"", "1.json": b'{"split": "a\\ud83d"}'}, "'1.json': its split is"),
        ({"1.jpg": b"", "1.json": b" " * ((1 << 20) + 1)}, "more than 1048576 bytes of a JSON"),
        ({"1.jpg": b"", "1.json": b'{"label": 3.5}'}, "'3.5', neither a text nor a whole number"),
        ({"1.big.jpg": b"", "1.big.json": b"{", "1.cls": b"7"}, "'1.big.json': is not JSON"),
        ({"1.jpg": b"", "1.cls": b"a\nb"}, "'1.cls': is .*, not the name or number of a class"),
        *(
            (
                {"1.jpg": b"", "1.seg.png": b"", f"1.{kind}": b"1"},
                "'1.seg.png' share .*: leave the other out",
            )
            for kind in ("cls", "txt")
        ),
    ],
)
def test_labels_that_are_none_are_refused_by_name(
    tmp_path: Path, members: dict[str, bytes], said: str
) -> None:
    with pytest.raises(ImagesTableError, match=said) as caught:
        open_images(write_tar(tmp_path / "a.tar", members))
    assert one_line(caught)


def test_files_that_lie_beside_no_image_need_not_be_labels(tmp_path: Path) -> None:
    members = {
        "._1.cls": b"\0\5\x16Mac OS X",
        "._1.json": b"\0\5\x16Mac OS X",
        "1.jpg": b"x",
        "1.cls": b"7",
        "annotations/instances.json": b" " * ((1 << 20) + 1),
        "meta.json": b"{}\n{}",
        "dataset.json": b'{"label": {"0": "cat"}}',
        "notes.cls": b"two\nlines",
    }
    assert rows_of(write_tar(tmp_path / "a.tar", members)) == [("a.tar/1.jpg", "7", "")]
    del members["1.cls"]
    assert rows_of(write_tar(tmp_path / "a.tar", members)) == [("a.tar/1.jpg", "", "")]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("imagenet-train-000.tar", "train"),
        ("validation-0.tar", "val"),
        ("test/a-0.tar", "test"),
        ("train/test-0.tar", "test"),
        ("train-test.tar", ""),
        ("contest-0.tar", ""),
        ("a-0.tar", ""),
    ],
)
def test_the_names_of_archives_and_their_folders_are_splits(
    tmp_path: Path, name: str, split: str
) -> None:
    write_tar(tmp_path / name, shard(range(2)))
    assert open_images(tmp_path).table.split[:] == [split, split]


def test_splits_in_the_samples_go_before_the_name_of_the_archive(tmp_path: Path) -> None:
    write_tar(tmp_path / "train-0.tar", shard(range(2), split="val"))
    assert open_images(tmp_path).table.split[:] == ["val", "val"]


# Class folders


def test_class_folders_in_an_archive_are_those_of_a_disk(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.tar", "bees/2.png", "ants/1.jpg", "ants/red/3.jpg", "4.jpg")
    assert rows_of(path) == [
        ("a.tar/bees/2.png", "bees", ""),
        ("a.tar/ants/1.jpg", "ants", ""),
        ("a.tar/ants/red/3.jpg", "ants", ""),
        ("a.tar/4.jpg", "", ""),
    ]


def test_split_folders_in_an_archive_are_those_of_a_disk(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.tar", "train/ants/1.jpg", "val/bees/2.jpg")
    assert rows_of(path) == [
        ("a.tar/train/ants/1.jpg", "ants", "train"),
        ("a.tar/val/bees/2.jpg", "bees", "val"),
    ]
    path = archive_of(tmp_path / "b.tar", "plane/1.jpg", "train/2.jpg")
    assert [label for _, label, _ in rows_of(path)] == ["plane", "train"]


@pytest.mark.parametrize("top", ["photos/", "./", "/", "./photos/", "/data/"])
def test_a_folder_that_was_packed_as_a_whole_is_no_class(tmp_path: Path, top: str) -> None:
    names = (f"{top}train/ants/1.jpg", f"{top}test/bees/2.jpg")
    found = rows_of(archive_of(tmp_path / "a.tar", *names))
    assert [row[1:] for row in found] == [("ants", "train"), ("bees", "test")]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["Training/ants/1.jpg", "valid/ants/2.jpg"], [("ants", "train"), ("ants", "val")]),
        (["train/1.jpg", "Validation/2.jpg"], [("", "train"), ("", "val")]),
        (["train/a/1.jpg", "holdout/a/2.jpg"], [("a", "train"), ("a", "holdout")]),
        (["train/a/1.jpg", "3.jpg", "train/2.jpg"], [("a", "train"), ("", ""), ("", "train")]),
    ],
)
def test_splits_have_their_usual_names(
    tmp_path: Path, names: list[str], found: list[tuple[str, str]]
) -> None:
    rows = rows_of(archive_of(tmp_path / "a.tar", *names))
    assert [row[1:] for row in rows] == found


def test_one_class_alone_is_a_class(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.tar", "ants/1.jpg", "ants/red/2.jpg")
    assert [label for _, label, _ in rows_of(path)] == ["ants", "ants"]


def test_hidden_members_folders_and_other_files_are_passed_over(tmp_path: Path) -> None:
    names = ("ants/._1.jpg", ".thumbs/1.jpg", "ants/1.jpg", "ants/notes.txt", "Thumbs.db", "x/")
    assert [path for path, _, _ in rows_of(archive_of(tmp_path / "a.tar", *names))] == [
        "a.tar/ants/1.jpg"
    ]


def test_names_that_lead_out_of_the_archive_are_only_names(tmp_path: Path) -> None:
    names = ("../ants/1.jpg", "/etc/2.jpg", "a/../../b/3.jpg")
    source = open_images(archive_of(tmp_path / "in" / "a.tar", *names))
    assert source.table.path[:] == [
        "a.tar/../ants/1.jpg",
        "a.tar/etc/2.jpg",
        "a.tar/a/../../b/3.jpg",
    ]
    assert [source.read(row) for row in range(3)] == [b"x"] * 3
    assert list(tmp_path.rglob("*.jpg")) == []


# Links


def test_links_are_the_images_that_they_lead_to(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a/1.jpg": b"image"})
    add_links(
        path,
        ("b/2.jpg", tarfile.LNKTYPE, "a/1.jpg"),
        ("b/3.jpg", tarfile.SYMTYPE, "../a/1.jpg"),
        ("b/4.jpg", tarfile.SYMTYPE, "3.jpg"),
        ("b/5.jpg", tarfile.SYMTYPE, "/etc/passwd"),
        ("b/6.jpg", tarfile.SYMTYPE, "6.jpg"),
    )
    source = open_images(path)
    assert [source.read(row) for row in range(4)] == [b"image"] * 4
    assert source.table.size.tolist() == [5, 5, 5, 5, -1, -1]
    assert source.table.exists.tolist() == [True] * 4 + [False] * 2
    for row in (4, 5):
        with pytest.raises(ImageError, match="a link to something that is not in the archive"):
            source.read(row)


def test_links_lead_to_files_of_any_name_before_or_behind_them(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {})
    add_links(path, ("cat/1.jpg", tarfile.SYMTYPE, "../.store/ab"))
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo(".store/ab")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"image"))
    assert open_images(path).read(0) == b"image"
    assert open_images(path).table.size.tolist() == [5]


def test_labels_are_read_through_links(tmp_path: Path) -> None:
    members = {"1.jpg": b"x", "1.cls": b"7", "2.jpg": b"x", "3.jpg": b"x", "classes/8": b"8"}
    path = write_tar(tmp_path / "a.tar", members)
    add_links(
        path,
        ("2.cls", tarfile.LNKTYPE, "1.cls"),  # as tar packs files of one inode
        ("3.cls", tarfile.SYMTYPE, "classes/8"),
        ("4.cls", tarfile.SYMTYPE, "gone.cls"),  # beside no image
    )
    assert open_images(path).table.label[:] == ["7", "7", "8"]
    add_links(path, ("5.jpg", tarfile.LNKTYPE, "1.jpg"), ("5.cls", tarfile.SYMTYPE, "gone.cls"))
    with pytest.raises(ImagesTableError, match=r"'5\.cls': cannot be read: a link to something"):
        open_images(path)


# Damage and change


def test_the_member_in_which_an_archive_is_cut_off_says_where_and_how_many(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {f"{i}.jpg": b"x" * 2000 for i in range(5)})
    cut = 3 * (512 + 2048) + 512 + 100
    path.write_bytes(path.read_bytes()[:cut])
    source = open_images(path)
    assert len(source.table) == 4
    assert source.read(2) == b"x" * 2000
    with pytest.raises(
        ImageError, match=rf"a\.tar is cut off at byte {cut}, in this member, the last of 4"
    ):
        source.read(3)


def test_an_archive_that_is_cut_off_between_members_is_named(tmp_path: Path) -> None:
    for number in range(3):
        write_tar(tmp_path / f"{number}.tar", {f"{i}.jpg": b"x" for i in range(4)})
    assert summarize_images(tmp_path).remarks() == []
    data = (tmp_path / "1.tar").read_bytes()
    (tmp_path / "1.tar").write_bytes(data[: 2 * 1024])
    (remark,) = summarize_images(tmp_path).remarks()
    assert remark.startswith(
        "1 archive has no end-of-archive marker, such as '1.tar' behind 2 members: cut off"
    )
    (tmp_path / "1.tar").write_bytes(data[: 2 * 1024 - 500])  # in what fills up the last block
    assert summarize_images(tmp_path).remarks() == [remark]
    (tmp_path / "1.tar").write_bytes(b"")
    (remark,) = summarize_images(tmp_path).remarks()
    assert "such as '1.tar' behind 0 members" in remark


def test_an_archive_that_is_cut_off_in_a_label_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"x", "1.cls": b"7" * 90})
    path.write_bytes(path.read_bytes()[: 3 * 512 + 50])
    with pytest.raises(ImagesTableError, match=r"it ends at byte 1586, in '1\.cls'; 2 members"):
        open_images(path)


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"x", "2.jpg": b"x"})
    with tarfile.open(path, "a") as archive:
        archive.addfile(tarfile.TarInfo("1.jpg"))
    with pytest.raises(ImagesTableError, match=r"a\.tar/1\.jpg: images 1 and 3 have this name"):
        open_images(path)


@pytest.mark.parametrize("change", [lambda data: data[:-512], lambda data: data])
def test_an_archive_that_is_written_anew_is_not_read_by_its_old_places(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"one", "2.jpg": b"two"})
    source = open_images(path)
    assert source.read(1) == b"two"
    other = write_tar(tmp_path / "b.tar", {"1.jpg": b"1", "2.jpg": b"2"}).read_bytes()
    path.write_bytes(change(other))
    for _ in range(2):
        with pytest.raises(ContainerError, match=r"a\.tar changed while it was in use"):
            source.read(1)
    assert open_images(path).read(1) == b"2"


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    source = open_images(write_tar(tmp_path / "a.tar", {"1.jpg": b"x"}))
    again = pickle.loads(pickle.dumps(source))
    (tmp_path / "a.tar").unlink()
    assert again.missing_here() == source.missing_here() == str(tmp_path / "a.tar")
    assert source.read is not None
    with pytest.raises(ImagesNotFoundError, match=r"a\.tar"):
        again.read(0)
    with pytest.raises(ImagesNotFoundError, match=r"a\.tar"):
        open_images(tmp_path / "a.tar")


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz"])
def test_compressed_archives_are_refused(tmp_path: Path, name: str) -> None:
    kind = {"tgz": "gz"}.get(name.rsplit(".", maxsplit=1)[-1], name.rsplit(".", maxsplit=1)[-1])
    with tarfile.open(tmp_path / name, f"w:{kind}") as archive:  # type: ignore[call-overload]
        archive.addfile(tarfile.TarInfo("1.jpg"))
    for given in (tmp_path / name, tmp_path):
        with pytest.raises(ImagesTableError, match="is compressed"):
            open_images(given)


def test_an_archive_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImagesNotFoundError, match=r"no images in .*a\.tar"):
        open_images(archive_of(tmp_path / "a.tar", "notes.txt"))


# As a source


def test_another_table_gives_the_same_images_other_rows(tmp_path: Path) -> None:
    source = open_images(write_tar(tmp_path / "a.tar", shard(range(5))))
    turned = source.with_table(source.table.take(np.array([4, 0, 2])))
    assert [turned.read(row) for row in range(3)] == [png(4), png(0), png(2)]
    one = turned.with_table(source.table.take(np.array([3])))
    assert one.with_table(source.table).read(1) == png(1)
    names = [*(f"a.tar/gone{i}.png" for i in range(20)), "a.tar/0001.png"]
    n, empty = np.ones(21, dtype=np.int64), [""] * 21
    foreign = source.with_table(ImageTable(names, empty, empty, empty, n, n))
    for row in range(20):
        with pytest.raises(ImageError, match="not in its container any more"):
            foreign.read(row)
    assert foreign.read(20) == png(1)


def test_a_pickled_source_is_small_and_does_not_depend_on_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        write_tar(tmp_path / f"a-{number}.tar", shard(range(4 * number, 4 * number + 4)))
    monkeypatch.chdir(tmp_path)
    source = open_images("a-{0..1}.tar")
    assert source.path(0) == str(Path("a-0.tar", "0000.png"))
    pickled = pickle.dumps(source.with_table(source.table.take(np.array([6]))))
    monkeypatch.chdir("/")
    again = pickle.loads(pickled)
    assert again.read(0) == png(6)
    assert again.with_table(source.table).read(3) == png(3)
    assert hash(again) == hash(pickle.loads(pickled))
    assert again == pickle.loads(pickled)


def test_a_pickled_source_is_in_the_same_folder_above_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    write_tar(tmp_path / "disk" / "a.tar", {"1.png": png(1)})
    (tmp_path / "link").symlink_to("disk/deep")
    monkeypatch.chdir(tmp_path)
    pickled = pickle.dumps(open_images("link/../a.tar"))
    monkeypatch.chdir("/")
    again = pickle.loads(pickled)
    assert (again.missing_here(), again.read(0)) == ("", png(1))


def test_of_many_threads_one_looks_through_the_archives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_images(write_tar(tmp_path / "a.tar", shard(range(30))))
    calls: list[int] = []

    def count(*arguments: object) -> object:
        calls.append(threading.get_ident())
        return source.open_members(*arguments)  # type: ignore[attr-defined]

    again = container.ContainerSource(source.root, source.names, source.table, count)  # type: ignore[attr-defined, arg-type]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(again.read, range(30))) == [png(i) for i in range(30)]
    assert len(calls) == 1


def test_more_archives_than_files_may_be_open_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    for number in range(150):
        write_tar(tmp_path / f"{number:03d}.tar", {f"{number}.jpg": b"%d" % number})
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_now = len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 60
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 90, limits[1]))
    try:
        source = open_images(tmp_path)
        assert [source.read(row) for row in range(150)] == [b"%d" % n for n in range(150)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_an_archive_takes_no_more_memory_than_a_folder(tmp_path: Path) -> None:
    names = [f"{i // 500:02d}/{i:06d}.jpg" for i in range(4096)]  # a block of paths
    archive_of(tmp_path / "a.tar", *names)
    touch(tmp_path / "a", *names)

    def memory(path: Path) -> tuple[int, int]:
        tracemalloc.start()
        source = open_images(path)
        kept, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(source.table) == 4096
        return kept, peak

    open_images(tmp_path / "a.tar")  # modules are loaded
    folder, tar = memory(tmp_path / "a"), memory(tmp_path / "a.tar")
    assert tar[0] < folder[0] + 4096 * 20  # where each member lies, and how long it is
    assert tar[1] < folder[1] + 4096 * 150  # a part of the archive is read at once


def test_json_is_what_webdataset_writes(tmp_path: Path) -> None:
    members = {"1.jpg": b"x", "1.json": json.dumps({"label": "cat", "split": "train"}).encode()}
    assert rows_of(write_tar(tmp_path / "a.tar", members)) == [("a.tar/1.jpg", "cat", "train")]


# What was found


def test_the_summary_names_skipped_files_and_translated_splits(tmp_path: Path) -> None:
    names = ("photos/Training/a/1.jpg", "photos/valid/b/2.jpg", "photos/3.cr2", "photos/x.txt")
    summary = summarize_images(archive_of(tmp_path / "a.tar", *names, "photos/._1.jpg"))
    assert str(summary).splitlines() == [
        "2 images, 2 classes, train 1, val 1; 1 file of a kind that is not read: 1 .cr2",
        "everything lies in the folder 'photos', which is passed over",
        "splits by their usual names: 'Training' is train, 'valid' is val",
    ]
    assert summary.notes.lost_images


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["cats/train/1.jpg", "cats/test/2.jpg", "dogs/train/3.jpg"], "'cats' holds 'test'"),
        (["fold1/a/1.jpg", "fold2/b/2.jpg"], "look like folds"),
        (["train/a/1.jpg", "Training/a/2.jpg"], "all look like the split 'train'"),
    ],
)
def test_ambiguous_split_folders_are_refused(tmp_path: Path, names: list[str], said: str) -> None:
    path = archive_of(tmp_path / "a.tar", *names)
    with pytest.raises(LabelsError, match=said) as caught:
        open_images(path)
    assert one_line(caught)
    assert str(path) in str(caught.value)
    assert len(open_images(path, labels=False).table) == len(names)  # to predict, it is no matter


def test_wrappers_are_passed_over_at_any_depth_and_parents_are_no_classes(tmp_path: Path) -> None:
    names = [f"a/b/{split}/{label}/1.jpg" for split in ("train", "test1") for label in "cd"]
    assert [row[1:] for row in rows_of(archive_of(tmp_path / "a.tar", *names))] == [
        *[("c", "train"), ("d", "train"), ("c", "test"), ("d", "test")]
    ]
    above = archive_of(tmp_path / "b.tar", "../cat/1.jpg", "dog/2.jpg")
    assert [label for _, label, _ in rows_of(above)] == ["cat", "dog"]


def test_keys_that_are_not_used_are_named_and_splits_among_them_refused(tmp_path: Path) -> None:
    def archive(**keys: object) -> Path:
        members = {"1.jpg": b"x", "1.json": json.dumps({"label": 1, **keys}).encode()}
        return write_tar(tmp_path / "a.tar", members)

    (remark,) = summarize_images(archive(width=24, url="x")).remarks()
    assert remark == "JSON keys that are not used: 'width', 'url'"
    with pytest.raises(ImagesTableError, match="the JSON key 'is_test' looks like a split"):
        open_images(archive(is_test=True))
    members = {f"{i}.jpg": b"x" for i in "12"} | {
        "1.json": b'{"label": 1, "stage": "train"}',
        "2.json": b'{"label": 2, "stage": "test"}',
    }
    with pytest.raises(ImagesTableError, match="the JSON key 'stage' holds 'test', 'train', which"):
        open_images(write_tar(tmp_path / "a.tar", members))


@pytest.mark.parametrize("text", [b"[1]", b"7", b'"ant"', b"null"])
def test_json_that_is_no_object_is_named(tmp_path: Path, text: bytes) -> None:
    members = {"1.jpg": b"x", "1.json": b'{"label": "cat"}', "2.jpg": b"x", "2.json": text}
    path = write_tar(tmp_path / "a.tar", members)
    assert [row[1] for row in rows_of(path)] == ["cat", ""]
    said = "JSON file holds no object, such as '2.json': not used"
    assert f"1 {said}" in summarize_images(path).remarks()
    more = write_tar(tmp_path / "a.tar", members | {"3.jpg": b"x", "3.json": text})
    assert f"2 {said.replace('file holds', 'files hold')}" in summarize_images(more).remarks()


def test_texts_are_labels_only_if_each_image_has_one_of_one_line(tmp_path: Path) -> None:
    captions = {"1.jpg": b"x", "1.txt": b"a cat " * 90, "2.jpg": b"x", "2.txt": b"dog"}
    assert [row[1] for row in rows_of(write_tar(tmp_path / "a.tar", captions))] == ["", ""]
    names = captions | {"1.txt": b"cat"}
    path = write_tar(tmp_path / "a.tar", names)
    assert [row[1] for row in rows_of(path)] == ["cat", "dog"]
    assert summarize_images(path).remarks() == ["labels are the texts in .txt files, such as 'cat'"]


def test_an_archive_without_images_says_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(ImagesNotFoundError, match=r"1 \.gz"):
        open_images(write_tar(tmp_path / "a.tar", {"1.jpg.gz": b"x", "1.cls": b"1"}))


def test_a_label_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"x", "1.cls": b"\x80\x03K\x01."})
    with pytest.raises(ImagesTableError, match=r"'1\.cls': is .*, not the name"):
        open_images(path)
