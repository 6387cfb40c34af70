import csv
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bottleneck.data.images import open_images
from bottleneck.data.table.image_table import ImageTable
from bottleneck.errors import ImagesTableError
from tests.helpers.image_folders import touch, write_csv

HEADER = "path,label,split,group,size,mtime_ns"


SPECIAL = st.text(",\"\n\r\t;\\' aé\u2028日\ufeff\udcff\x00", max_size=8)
FILE_NAMES = st.binary(max_size=8).map(lambda name: name.decode("utf-8", "surrogateescape"))
CELLS = st.one_of(SPECIAL, FILE_NAMES, st.text(max_size=8))
ROWS = st.lists(
    st.tuples(
        CELLS, CELLS, CELLS, CELLS, st.integers(-1, 2**63 - 1), st.integers(-(2**63), 2**63 - 1)
    ),
    max_size=6,
)


def table_of(rows: list[tuple[str, str, str, str, int, int]]) -> ImageTable:
    path, label, split, group, size, mtime = ([row[i] for row in rows] for i in range(6))
    return ImageTable(
        path=[str(cell) for cell in path],
        label=[str(cell) for cell in label],
        split=[str(cell) for cell in split],
        group=[str(cell) for cell in group],
        size=np.array(size, dtype=np.int64),
        mtime_ns=np.array(mtime, dtype=np.int64),
    )


def write_table(table: ImageTable, path: Path) -> None:
    path.unlink(missing_ok=True)
    table.write_csv(path)


def same(a: ImageTable, b: ImageTable) -> bool:
    texts = (a.path, a.label, a.split, a.group) == (b.path, b.label, b.split, b.group)
    return bool(texts and (a.size == b.size).all() and (a.mtime_ns == b.mtime_ns).all())


def test_its_repr_is_short() -> None:
    assert repr(table_of([("1.jpg", "a", "", "", 1, 1)])) == "<ImageTable of 1 images>"


@settings(deadline=None)
@given(ROWS)
@example([("a\rb.jpg", "", "", "", 1, 1)])
@example([("\udcff.jpg", 'a,"b"', "c\nd", "e\r\nf", -1, -1), ("", "", "", "", 0, 0)])
def test_any_table_survives_the_way_there_and_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str, str, int, int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "there_and_back.csv"
    table = table_of(rows)
    write_table(table, path)
    again = ImageTable.read_csv(path)
    assert same(again, table)
    assert again.size.dtype == again.mtime_ns.dtype == np.int64
    assert len(again) == len(rows)


@settings(deadline=None)
@given(ROWS)
def test_a_table_is_what_the_csv_module_reads(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str, str, int, int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "plain.csv"
    write_table(table_of(rows), path)
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        header, *lines = list(csv.reader(file))
    assert ",".join(header[:-1]) == HEADER
    assert header[-1] == "sha256:" + sha256(path.read_bytes().split(b"\r\n", 1)[1]).hexdigest()
    assert lines == [[*(str(cell) for cell in row), ""] for row in rows]


def test_a_table_is_unchanged_after_writing_and_reading(tmp_path: Path) -> None:
    touch(tmp_path / "photos", "train/ants, red/1.jpg", "val/bees/2.png")
    (tmp_path / "photos/val/bees/gone.jpg").symlink_to("nowhere")
    table = open_images(tmp_path / "photos").table
    write_table(table, tmp_path / "images.csv")
    assert same(ImageTable.read_csv(tmp_path / "images.csv"), table)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "path,label\na.jpg,ants\n",
        "label,path,split,group,size,mtime_ns\n",
        "path,label,split,group,size,mtime_ns,more\n",
        "path,label,split,group,size,mtime_ns\n",
        f"path,label,split,group,size,mtime_ns,sha256:{'A' * 64}\n",
        f"path,label,split,group,size,mtime_ns,sha256:{'a' * 63}\n",
        f"path,label,split,group,size,mtime_ns,sha256:{'a' * 64},\n",
        "a.jpg,ants,,,1,1\n",
        '"path',
    ],
)
def test_a_table_with_another_header_is_refused(tmp_path: Path, text: str) -> None:
    path = write_csv(tmp_path, text)
    with pytest.raises(
        ImagesTableError, match="first line must be path,label,split,group"
    ) as caught:
        ImageTable.read_csv(path)
    assert str(path) in str(caught.value)


def digested(text: str) -> str:
    """A table of these rows, with the digest that somebody who forged it would give it."""
    return f"{HEADER},sha256:{sha256(text.encode()).hexdigest()}\n{text}"


def test_a_table_that_was_edited_is_refused(tmp_path: Path) -> None:
    table = table_of([("a.jpg", "ants", "", "", 1, 1), ("b.jpg", "bees", "", "", 1, 1)])
    write_table(table, tmp_path / "images.csv")
    whole = (tmp_path / "images.csv").read_bytes()
    for old, new in ((b"ants", b"bees"), (b"a.jpg", b"c.jpg"), (b"\r\n", b"\n"), (b",1,", b",2,")):
        first, end, rows = whole.partition(b"\r\n")
        (tmp_path / "images.csv").write_bytes(first + end + rows.replace(old, new))
        with pytest.raises(ImagesTableError, match="its lines are not those that were written"):
            ImageTable.read_csv(tmp_path / "images.csv")


@pytest.mark.parametrize(
    "line",
    [
        "b.jpg,ants,,,1",
        "b.jpg,ants,,,1,1",
        "b.jpg",
        "",
        "b.jpg,ants,,,1,1,1,",
        "b.jpg,ants,,,large,1,",
        "b.jpg,ants,,,1,late,",
        "b.jpg,ants,,,1.5,1,",
        "b.jpg,ants,,,,1,",
        "b.jpg,ants,,,99999999999999999999,1,",
        '"b.jpg,ants,,,1,1,',
        '"' + "b" * 140_000,  # longer than the csv module lets a field be
    ],
    ids=lambda line: line[:24] or "blank",
)
def test_a_table_with_a_damaged_row_is_refused(tmp_path: Path, line: str) -> None:
    path = write_csv(tmp_path, digested(f"a.jpg,ants,,,1,1,\n{line}\n"))
    with pytest.raises(ImagesTableError) as caught:
        ImageTable.read_csv(path)
    assert f"{path}: line 3" in str(caught.value)


def test_a_damaged_number_is_named_by_its_own_line(tmp_path: Path) -> None:
    rows = ["a.jpg,ants,,,1,1,", "b.jpg,ants,,,large,1,", "c.jpg,ants,,,1,1,", "d.jpg,,,,1,1,"]
    path = write_csv(tmp_path, digested("\n".join(rows) + "\n"))
    with pytest.raises(ImagesTableError, match="line 3"):
        ImageTable.read_csv(path)


def test_the_table_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ImageTable.read_csv(tmp_path / "images.csv")
